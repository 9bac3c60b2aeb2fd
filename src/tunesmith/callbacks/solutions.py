"""Several objectives, and bounds on metrics: which trials are solutions, by their last reports. Pure: a view in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from tunesmith.callbacks.progress_view import Best, ProgressView, best_by_last_report, last_value
from tunesmith.callbacks.text import clean, format_number
from tunesmith.trial import MetricConstraint, Objective, Trial

_MAX_ROWS = 8  #: of the table of the Pareto set


def is_feasible(trial: Trial, objective: Objective) -> bool:
    """Whether the trial's last report keeps every constraint."""
    return all(_violation(trial, bound) == 0.0 for bound in objective.constraints)


def best_feasible(view: ProgressView) -> Best | None:
    """The best trial by the objective's first metric whose last report keeps every constraint."""
    objective = view.objective
    if objective is None:
        return None
    kept = tuple(trial for trial in view.trials if is_feasible(trial, objective))
    return best_by_last_report(msgspec.structs.replace(view, trials=kept), objective.metric, objective.mode.value)


def kept_words(trial: Trial, constraints: Sequence[MetricConstraint]) -> str:
    """`keeps latency <= 20 (18.2)`: the bounds with the trial's last values."""
    words = [f"{clean(str(bound))} ({_number(trial, bound.metric)})" for bound in constraints]
    return f"keeps {' and '.join(words)}"


def pareto_set(view: ProgressView) -> list[Trial]:
    """The trials that no other one dominates, as `result.pareto` has them; [] without an objective."""
    import numpy as np

    from tunesmith.models.pareto import pareto_places

    objective = view.objective
    if objective is None:
        return []
    trials = [trial for trial in view.trials if _losses(trial, objective) is not None]
    losses = np.array([_losses(trial, objective) for trial in trials], float).reshape(-1, len(objective.metrics))
    broken = [[_violation(trial, bound) for bound in objective.constraints] for trial in trials]
    violations = np.array(broken, float).reshape(len(trials), len(objective.constraints))
    return [trials[i] for i in pareto_places(losses, violations)]


def pareto_table(view: ProgressView, trials: Sequence[Trial], *, width: int) -> list[str]:
    """Heading and at most eight of the trials, both ends among them: objectives, then bounded metrics."""
    from tunesmith.callbacks.tables import Column, Kind, fit

    objective = view.objective
    assert objective is not None
    n_rows = min(len(trials), _MAX_ROWS)
    rows = [trials[round(i * (len(trials) - 1) / max(n_rows - 1, 1))] for i in range(n_rows)]
    columns = [Column(kind=Kind.TRIAL, heading="trial", cells=tuple(str(t.index) for t in rows), is_right=True)]
    for name in dict.fromkeys((*objective.metrics, *(bound.metric for bound in objective.constraints))):
        cells = tuple(_number(trial, name) for trial in rows)
        columns.append(Column(kind=Kind.METRIC, heading=clean(name), cells=cells, is_right=True))
    lines = fit(columns, width).lines()
    return [*lines, f"and {len(trials) - n_rows} more: result.pareto"] if len(trials) > n_rows else lines


def _number(trial: Trial, metric: str) -> str:
    value = last_value(trial, metric)
    return "" if value is None else format_number(value)


def _losses(trial: Trial, objective: Objective) -> list[float] | None:
    """The objectives of the last report, None unless all are finite."""
    values = [last_value(trial, name) for name in objective.metrics]
    losses = [
        mode.as_loss(value)
        for value, mode in zip(values, objective.modes, strict=True)
        if value is not None and math.isfinite(value)
    ]
    return losses if len(losses) == len(values) else None


def _violation(trial: Trial, bound: MetricConstraint) -> float:
    """By how much the last report breaks the bound, 0 if it keeps it; infinite where it lacks the metric."""
    value = last_value(trial, bound.metric)
    return math.inf if value is None or math.isnan(value) else max(bound.excess(value), 0.0)
