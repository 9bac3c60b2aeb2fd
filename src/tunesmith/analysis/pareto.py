"""The Pareto set: the trials that no other one beats in every objective."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from tunesmith.analysis.scores import last_values
from tunesmith.analysis.trial_view import TrialView
from tunesmith.stores import Reader
from tunesmith.trial import MetricConstraint, Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_log = logging.getLogger(__name__)
_ATTEMPT = "SELECT attempt FROM current_results WHERE trial = ? AND step = ? ORDER BY attempt DESC LIMIT 1"
_KEPT = "SELECT path FROM checkpoints WHERE trial = ? AND attempt = ? AND step = ? AND state = 'kept'"


class ParetoPoint(msgspec.Struct, frozen=True):
    """A trial of the Pareto set: everything from its last report."""

    config: dict[str, Any]  #: of the attempt that reported it
    values: tuple[float, ...]  #: of the objective's metrics, in their order and the user's sign
    metrics: dict[str, float]  #: all that was reported
    step: int
    is_feasible: bool  #: whether it keeps every constraint
    checkpoint: str | None  #: absolute path of the checkpoint of that step, if one was saved and kept
    trial: TrialView


def pareto_points(reader: Reader, objective: Objective, view: Callable[[int], TrialView]) -> list[ParetoPoint]:
    """The trials that no other one dominates by their last reports, best first by the first metric.

    Where no trial keeps every constraint: those that come closest, none of which is beaten in all excesses.
    """
    import numpy as np

    from tunesmith.models.pareto import pareto_places

    bounds = objective.constraints
    rows = last_values(reader, (*objective.metrics, *(bound.metric for bound in bounds)))
    table = np.array([values for _, values in rows], float).reshape(len(rows), len(objective.metrics) + len(bounds))
    signs = np.array([mode.as_loss(1.0) for mode in objective.modes])
    losses = table[:, : len(signs)] * signs
    indices = np.array([trial for trial, _ in rows], int)
    is_known = np.isfinite(losses).all(axis=1)
    losses, indices, broken = losses[is_known], indices[is_known], _violations(table[is_known, len(signs) :], bounds)
    is_feasible = (broken == 0.0).all(axis=1)
    if len(losses) and not is_feasible.any():
        _log.warning(
            "No trial's last report keeps %s. The Pareto set holds those that come closest.", bound_words(bounds)
        )
    return [
        _point(reader, view(int(indices[i])), tuple(map(float, losses[i] * signs)), is_feasible=bool(is_feasible[i]))
        for i in pareto_places(losses, broken)
    ]


def bound_words(constraints: tuple[MetricConstraint, ...]) -> str:
    """`latency <= 20 and size <= 5`."""
    return " and ".join(map(str, constraints))


def _violations(values: Array, constraints: tuple[MetricConstraint, ...]) -> Array:
    """By how much each breaks each constraint, 0 if it keeps it; infinite where it lacks the metric. Shape (n, k)."""
    import numpy as np

    excesses = np.empty_like(values)
    for j, bound in enumerate(constraints):
        excesses[:, j] = [bound.excess(value) for value in values[:, j].tolist()]
    return np.asarray(np.maximum(np.where(np.isnan(excesses), np.inf, excesses), 0.0))


def _point(reader: Reader, view: TrialView, values: tuple[float, ...], *, is_feasible: bool) -> ParetoPoint:
    trial = view.trial
    found = reader.query(_ATTEMPT, (trial.index, trial.step))
    attempt = found[0][0] if found else trial.attempt
    kept = reader.query(_KEPT, (trial.index, attempt, trial.step))
    return ParetoPoint(
        config=trial.config if attempt == trial.attempt else reader.config_of(trial.index, attempt),
        values=values,
        metrics=dict(trial.metrics or {}),
        step=trial.step,
        is_feasible=is_feasible,
        checkpoint=str(reader.folder / kept[0][0]) if kept else None,
        trial=view,
    )
