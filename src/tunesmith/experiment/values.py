"""What a report is worth: the best value or the mean over folds so far, retention's rank, an error in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec.structs import replace

from tunesmith.events import TrialReported
from tunesmith.spec import CheckpointPolicy
from tunesmith.trial import FoldScore, Mode, Objective, Trial, fold_of, mean_over_folds, metric_value


def best_after(objective: Objective | None, trial: Trial, report: TrialReported) -> tuple[float | None, int | None]:
    """The trial's best value and its step, this report included; what is not finite is never the best (F3).

    Args: trial: `with_fold` this report. Of one with folds the best is their mean, whatever is reported beside them.
    """
    if objective is None or trial.folds:
        return trial.best_value, trial.best_step
    best = trial.best_value
    value = metric_value(report.metrics, report.step, report.time_total_s, objective.metrics[0])
    if value is None or not math.isfinite(value):
        return best, trial.best_step
    is_better = best is None or objective.modes[0].is_better(value, best)
    return (value, report.step) if is_better else (best, trial.best_step)


def with_fold(objective: Objective | None, trial: Trial, report: TrialReported) -> Trial:
    """The trial with the value of this report for its fold, and the mean over all folds as its best."""
    fold = fold_of(report.metrics)
    if objective is None or fold is None:
        return trial
    value = metric_value(report.metrics, report.step, report.time_total_s, objective.metric)
    if value is None:
        return trial
    others = (other for other in trial.folds if other.fold != fold)
    folds = tuple(sorted((*others, FoldScore(fold, report.step, float(value))), key=lambda one: one.fold))
    mean = mean_over_folds([one.value for one in folds])
    return replace(trial, folds=folds, best_value=mean, best_step=None if mean is None else report.step)


def checkpoint_score(
    policy: CheckpointPolicy, objective: Objective | None, metrics: Mapping[str, float], step: int, time_total_s: float
) -> float | None:
    """What retention ranks a checkpoint by, smaller is better; None where the metric is missing or not finite.

    Of fold reports the later is the better one, unless the user named a metric: a lucky fold says nothing of its model.
    """
    if policy.score_metric is not None:
        metric, mode = policy.score_metric, policy.score_mode
    elif objective is not None and fold_of(metrics) is None:
        metric, mode = objective.metric, objective.mode
    else:
        metric, mode = "training_iteration", Mode.MAX
    value = metric_value(metrics, step, time_total_s, metric)
    return None if value is None or not math.isfinite(value) else mode.as_loss(value)


def is_same(left: Mapping[str, float], right: Mapping[str, float] | None) -> bool:
    """Whether both hold the same numbers; NaN equals NaN."""
    if right is None or left.keys() != right.keys():
        return False
    return all(value == right[name] or (math.isnan(value) and math.isnan(right[name])) for name, value in left.items())


def last_line(error: str) -> str:
    """The line of a traceback that names the error."""
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
