"""tunesmith's searchers as optimizers of the search-quality benchmark: sequential ask and tell.

The harness takes them as `--opt search_adapter:auto` too, with this folder and `src` on PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tunesmith.protocols import History
from tunesmith.rng import generator
from tunesmith.searchers import SEARCHERS, create_searcher
from tunesmith.space import Space, choice, lograndint, loguniform, randint, uniform
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

_OPTION = "(option)"  #: beside the parameters of an option: which one it is


class Tunesmith:
    """A searcher and a history in memory."""

    def __init__(self, params: Sequence[Any], seed: int, budget: int, *, searcher: str) -> None:
        self.space = space_of(params)
        self.objective = Objective(("loss",), (Mode.MIN,))
        self.searcher, self.seed = create_searcher(searcher), seed
        self.trials: list[Trial] = []

    def ask(self) -> dict[str, Any]:
        """The next config; parameters that are not active are left out."""
        n = len(self.trials)
        history = History(self.space, self.objective, self.seed, tuple(self.trials))
        answer = self.searcher.suggest(history, generator(self.seed, "suggest", n), 1)
        if not isinstance(answer, Sequence):
            raise RuntimeError(f"{type(self.searcher).__name__} has no config for trial {n}: {answer.reason}")
        self.suggestion = answer[0]
        return flat(self.suggestion.config)

    def tell(self, config: dict[str, Any], value: float) -> None:
        """The loss of the config that was asked for last."""
        self.trials.append(finished_trial(len(self.trials), self.suggestion.config, loss=value))


def finished_trial(index: int, config: dict[str, Any], *, loss: float) -> Trial:
    """A trial that reported once and completed."""
    return Trial(
        index,
        f"t{index}",
        config,
        TrialStatus.COMPLETED,
        attempt=1,
        step=1,
        n_reports=1,
        metrics={"loss": loss},
        best_value=loss,
        best_step=1,
    )


def space_of(params: Sequence[Any]) -> Space:
    """The harness's parameters as a space."""
    return Space(tree([p for p in params if p.parent is None], params))


def tree(params: Sequence[Any], all_params: Sequence[Any]) -> dict[str, Any]:
    """The space of these parameters; the children of a choice lie within the options they are active for."""
    return {p.name: domain(p, all_params) for p in params}


def domain(p: Any, all_params: Sequence[Any]) -> Any:
    """One parameter, with those that depend on it."""
    children = [q for q in all_params if q.parent == p.name]
    if p.kind == "cat":
        if not children:
            return choice(p.choices)
        return choice(
            [{_OPTION: value, **tree([q for q in children if value in q.when], all_params)} for value in p.choices]
        )
    if p.kind == "int":
        return (lograndint if p.log else randint)(int(p.lo), int(p.hi) + 1)
    return (loguniform if p.log else uniform)(p.lo, p.hi)


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """A config of `space_of` as the harness has it: names and values, without levels."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            out[name] = value[_OPTION]
            out.update(flat({k: v for k, v in value.items() if k != _OPTION}))
        else:
            out[name] = value
    return out


#: Every searcher by its name; those that need something else to search (a grid), or are an alias, are left out.
OPTIMIZERS = {
    name: partial(Tunesmith, searcher=name) for name in SEARCHERS if name not in ("variant_generator", "grid")
}
