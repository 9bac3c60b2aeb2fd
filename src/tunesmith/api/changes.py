"""What may differ between an experiment and the call that goes on with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from tunesmith.errors import ConfigError, ExperimentExistsError
from tunesmith.space import keeps_grid_places, space_difference
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import Reader
from tunesmith.trial import MetricConstraint, Objective
from tunesmith.trialside.functions import ANONYMOUS_METRIC

_log = logging.getLogger("tunesmith")

#: What may be said about each difference; the first is meant where nothing is said.
_WORDS = {"space": ("refuse", "allow"), "objective": ("refuse", "allow"), "code": ("warn", "ignore", "refuse")}


def parse_on_change(on_change: Mapping[str, str] | None) -> dict[str, str]:
    """What to do about each difference. Raises ConfigError for a word that nobody knows."""
    given: Any = {} if on_change is None else on_change
    if not isinstance(given, Mapping):
        raise ConfigError(f"on_change is {given!r}. Give a dict such as {{'space': 'allow'}}.")
    for what, word in given.items():
        if what not in _WORDS:
            raise ConfigError(f"on_change has the key {what!r}. Its keys are {_listed(_WORDS)}.")
        if word not in _WORDS[what]:
            raise ConfigError(f"on_change[{what!r}] is {word!r}. Give one of {_listed(_WORDS[what])}.")
    return {what: given.get(what, words[0]) for what, words in _WORDS.items()}


def continued_spec(reader: Reader, new: ExperimentSpec, *, on_change: Mapping[str, str]) -> ExperimentSpec:
    """The spec to go on with: the stored one's identity and seed, the new one's budgets.

    Args: on_change: as `parse_on_change` gives it.
    Raises: ExperimentExistsError if space, objective or code differ and that is not allowed, or a changed grid could
        not be gone on with even then.
    """
    old = reader.spec
    if old.space_fingerprint != new.space_fingerprint:
        _check("space", "; ".join(space_difference(old.space, new.space)), old, on_change)
    _check_points(old, new, reader.n_trials())
    if old.objective != new.objective and not _is_same_metric(reader, new.objective):
        difference = f"the objective was {_objective_words(old.objective)}, is {_objective_words(new.objective)}"
        _check("objective", difference, old, on_change, hint=f"{_as_before(old.objective)}, ")
    if old.source_digest != new.source_digest:
        _check("code", f"the source of {new.trainable_name} has changed since it began", old, on_change)
        if on_change["code"] == "warn":
            _log.warning("The source of %s has changed since the experiment %r began.", new.trainable_name, old.name)
    return replace(new, experiment_id=old.experiment_id, name=old.name, seed=old.seed, created_at=old.created_at)


def _check(what: str, difference: str, old: ExperimentSpec, on_change: Mapping[str, str], *, hint: str = "") -> None:
    if difference and on_change[what] == "refuse":
        allowing = next(word for word in _WORDS[what] if word != "refuse")
        raise ExperimentExistsError(
            f"The experiment {old.name!r} exists with {'other' if what == 'code' else 'another'} {what}: {difference}. "
            f"Give another name, {hint}or allow it with on_change={{{what!r}: {allowing!r}}}."
        )


def _check_points(old: ExperimentSpec, new: ExperimentSpec, n_trials: int) -> None:
    """Searchers that go through a grid know the next point from the number of trials alone."""
    is_full_grid = new.searcher_name == "GridSearch"  # over all leaves, whatever their domains
    is_changed = old.space_fingerprint != new.space_fingerprint
    if is_full_grid and n_trials and (is_changed or old.searcher_name != new.searcher_name):
        what = "the space differs" if is_changed else f"they were proposed by {old.searcher_name}"
    elif is_changed and not keeps_grid_places(old.space, new.space, n_trials):
        what = "the grid_search differs"
    else:
        return
    raise ExperimentExistsError(
        f"The experiment {old.name!r} has {n_trials} trials that are not the first points of this grid: {what}. "
        f"Going on would leave out some of its points and repeat others. Give another name."
    )


def _is_same_metric(reader: Reader, new: Objective | None) -> bool:
    """Whether the objective that had no name is now called by the name of the one metric that all trials reported."""
    old = reader.spec.objective
    if old is None or new is None or old.metrics != (ANONYMOUS_METRIC,):
        return False
    if old.modes != new.modes or old.constraints != new.constraints:
        return False
    paths = [f"$.{json.dumps(name, ensure_ascii=False)}" for name in (ANONYMOUS_METRIC, new.metric)]
    sql = "SELECT 1 FROM results WHERE json_extract(metrics, ?) IS NOT json_extract(metrics, ?) LIMIT 1"
    return not reader.query(sql, paths)


def _objective_words(objective: Objective | None) -> str:
    if objective is None:
        return "none"
    names = ("the returned or only metric" if name == ANONYMOUS_METRIC else name for name in objective.metrics)
    words = ", ".join(f"{mode.value} {name}" for mode, name in zip(objective.modes, names, strict=True))
    bounds = " and ".join(f"{bound.metric} {_bound_words(bound)}" for bound in objective.constraints)
    return f"{words} with {bounds}" if bounds else words


def _bound_words(constraint: MetricConstraint) -> str:
    """As it may be given again: exactly."""
    return f"{'<=' if constraint.is_upper else '>='} {constraint.bound!r}".removesuffix(".0")


def _as_before(objective: Objective | None) -> str:
    if objective is None:
        return "leave out metric= and mode="
    bounds = {bound.metric: _bound_words(bound) for bound in objective.constraints}
    also = f" and constraints={bounds!r}" if bounds else ""
    if objective.metrics == (ANONYMOUS_METRIC,):
        return f"go on without metric= in tune.{'minimize' if objective.mode.value == 'min' else 'maximize'}{also}"
    is_one = len(objective.metrics) == 1
    metric: Any = objective.metric if is_one else list(objective.metrics)
    mode: Any = objective.mode.value if is_one else [mode.value for mode in objective.modes]
    return f"give metric={metric!r}{',' if bounds else ' and'} mode={mode!r}{also} as before"


def _listed(words: Any) -> str:
    return ", ".join(map(repr, words))
