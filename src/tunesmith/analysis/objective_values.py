"""Several objectives side by side, for every trial: which of them no other one beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.analysis.metric_choice import check_metric
from tunesmith.analysis.scores import feasible_trials, last_values
from tunesmith.errors import ConfigError
from tunesmith.models.pareto import is_non_dominated
from tunesmith.stores import Reader
from tunesmith.trial import Mode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectiveValues:
    """The last reports of all trials in which every one of the metrics is finite; entries are by trial."""

    metrics: tuple[str, ...]
    modes: tuple[Mode, ...]
    trial: NDArray[np.int64]
    values: Array  #: shape (n, number of metrics), in the user's sign
    is_feasible: NDArray[np.bool_]  #: whether it keeps the experiment's constraints
    is_best: NDArray[np.bool_]  #: whether it is feasible, and no other feasible one is better in one and worse in none
    n_left_out: int  #: trials with a report that lacks a metric, or has one that is not finite


def objective_values(
    reader: Reader, metrics: Sequence[str] | None = None, modes: Sequence[str] | None = None
) -> ObjectiveValues:
    """What each trial reached in each of the objectives.

    Args: metrics, modes: the experiment's own where left out; modes of own metrics may be left out too.
    Raises: ConfigError for an unknown metric or mode.
    """
    names, which = _chosen(reader, metrics, modes)
    rows = last_values(reader, names)
    table = np.array([values for _, values in rows], float).reshape(len(rows), len(names))
    trial = np.array([index for index, _ in rows], np.int64)
    is_known = np.isfinite(table).all(axis=1)
    own = reader.spec.objective
    constraints = () if own is None else own.constraints
    feasible = feasible_trials(reader, constraints) if constraints else set(trial.tolist())
    table, trial = table[is_known], trial[is_known]
    is_feasible = np.array([index in feasible for index in trial.tolist()], bool)
    is_best = np.zeros(len(trial), bool)
    is_best[is_feasible] = is_non_dominated(table[is_feasible] * [mode.as_loss(1.0) for mode in which])
    return ObjectiveValues(names, which, trial, table, is_feasible, is_best, int((~is_known).sum()))


def _chosen(
    reader: Reader, metrics: Sequence[str] | None, modes: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
    own = reader.spec.objective
    known = {} if own is None else dict(zip(own.metrics, own.modes, strict=True))
    if metrics is None:
        if own is None:
            raise ConfigError("The experiment was run without metrics. Give metrics=[...] and modes=[...].")
        return own.metrics, own.modes
    if isinstance(metrics, str) or isinstance(modes, str):
        raise ConfigError(f"metrics is {metrics!r} and modes is {modes!r}. Give lists of names.")
    names = tuple(check_metric(reader, name) for name in metrics)
    words = [known.get(name) for name in names] if modes is None else list(modes)
    if len(words) != len(names):
        raise ConfigError(f"There are {len(names)} metrics and {len(words)} modes. Give one mode for each metric.")
    for name, word in zip(names, words, strict=True):
        if word not in ("min", "max"):
            raise ConfigError(f"The mode of {name!r} is {word!r}. Give modes=[...], 'min' or 'max' for each metric.")
    return names, tuple(Mode(word) for word in words if word is not None)
