"""An adapter for any optimizer that is asked and told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tunesmith.errors import ConfigError, SpaceError
from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.rng import derived_seed, seeded_globals
from tunesmith.searchers.given_points import completed_config
from tunesmith.searchers.replay import Replay, is_same_task
from tunesmith.space import Space
from tunesmith.trial import Mode, Trial, TrialStatus

if TYPE_CHECKING:
    import numpy as np

_N_TRIES = 20  #: proposals that break a constraint of the space before one is drawn at random


class AsksAndTells(Protocol):
    """What `AskTell` needs of an optimizer; it minimises."""

    def ask(self) -> Mapping[str, Any] | None:
        """The next config, or None where there is no further one. What it leaves out is drawn at random."""

    def tell(self, config: dict[str, Any], loss: float, /) -> object:
        """Take what a config was worth; it need not be one that `ask` gave."""


class AskTell:
    """Proposes what a foreign optimizer asks for: HEBO, Nevergrad, Ax or one's own, wrapped in `ask` and `tell`.

    The optimizer may remember; the adapter makes a function of the history of it. For each trial, by its number, the
    optimizer is asked, and told the trial's config and loss if that is known: the best value of the metric, its sign
    turned for mode "max". Failures and results that are no finite number are not told. When trials end in another
    order than they began, or an experiment is resumed, a fresh optimizer goes through the same steps again. It is
    kept by `copy.deepcopy`; where that fails, every request goes through all trials.

    Answers are equal for equal histories if the optimizer draws from the `seed` it is made with or from the global
    generators of `random` and NumPy, which are seeded while it is called and restored after.
    """

    uses_results = True

    def __init__(self, make: Callable[[Space, int], AsksAndTells]) -> None:
        """Args: make: given the space and a seed (0 <= seed < 2**32), returns a new optimizer.

        Raises: ConfigError if it cannot be called; from `suggest`, without exactly one metric; SpaceError, from
            `suggest`, naming the field of a proposal that does not fit the space.
        """
        if not callable(make):
            raise ConfigError(f"make is {make!r}. Give a function of (space, seed) that returns a new optimizer.")
        self._make = make
        self._replay: tuple[History, Replay[AsksAndTells]] | None = None

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher. Makes no use of `rng`: the optimizer goes on with its own stream."""
        if self._replay is None or not is_same_task(self._replay[0], history):
            self._replay = (history, self._new_replay(history))
        optimizer = self._replay[1].after(history.trials)
        found: list[Suggestion] = []
        for index in range(len(history.trials), len(history.trials) + n):
            with seeded_globals(_seed(history, index)):
                suggestion = _asked(optimizer, history, index)
            if suggestion is None:
                break
            found.append(suggestion)
        return found or Exhausted(f"{type(optimizer).__name__} has no further config")

    def _new_replay(self, history: History) -> Replay[AsksAndTells]:
        if history.objective is None or len(history.objective.metrics) != 1:
            n = 0 if history.objective is None else len(history.objective.metrics)
            raise ConfigError(f"AskTell tells one loss, and there are {n} metrics. Give one metric and its mode.")
        space, seed, mode = history.space, history.seed, history.objective.mode

        def start() -> AsksAndTells:
            with seeded_globals(derived_seed(seed, "ask and tell")):
                return self._make(space, derived_seed(seed, "optimizer"))

        def apply(optimizer: AsksAndTells, trial: Trial) -> None:
            with seeded_globals(_seed(history, trial.index)):
                optimizer.ask()
                loss = _loss(trial, mode)
                if loss is not None:
                    optimizer.tell(trial.config, loss)

        return Replay(start, apply)


def _seed(history: History, index: int) -> int:
    return derived_seed(history.seed, "ask and tell", index + 1)


def _loss(trial: Trial, mode: Mode) -> float | None:
    """What the optimizer is told, None if nothing."""
    value = trial.best_value
    is_result = trial.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED)
    return mode.as_loss(value) if is_result and value is not None and math.isfinite(value) else None


def _asked(optimizer: AsksAndTells, history: History, index: int) -> Suggestion | None:
    """What the optimizer proposes for this trial, None if nothing more."""
    space, seed, reason = history.space, history.seed, ""
    n_tries = _N_TRIES if space.has_constraints else 1
    for attempt in range(1, n_tries + 1):
        point = optimizer.ask()
        if point is None:
            return None
        try:
            config = completed_config(space, point, seed=seed, index=index)
            if space.n_grid > 1:
                config = space.assemble(
                    {**space.values(config), **space.grid_point(index % space.n_grid)}, seed=seed, index=index
                )
        except SpaceError as error:
            if not space.has_constraints:
                raise
            reason = f"drawn at random, since {attempt} proposals were not allowed. The last: {error}"
        else:
            return Suggestion(config, reason=f"asked of {type(optimizer).__name__}")
    return Suggestion(space.sample(seed, index), reason=reason)
