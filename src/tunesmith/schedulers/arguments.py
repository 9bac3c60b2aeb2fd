"""What most schedulers take and read: the names of time and metric, numbers, the experiment's objective."""

from __future__ import annotations

import math

from tunesmith.errors import ConfigError
from tunesmith.events import TrialReported
from tunesmith.trial import Objective, metric_value, parse_objective


def check_names(*, time_attr: object, metric: object, mode: object) -> None:
    """Raise ConfigError unless these can be the names of a time and a metric, and a mode."""
    if not isinstance(time_attr, str):
        raise ConfigError(f"time_attr is {time_attr!r}. Give the name of a reported value, e.g. 'training_iteration'.")
    if metric is not None and not isinstance(metric, str):
        raise ConfigError(f"metric is {metric!r}. Give the name of one reported value.")
    if mode not in (None, "min", "max"):
        raise ConfigError(f"mode is {mode!r}. Give 'min' or 'max'.")


def number(name: str, value: object, allowed: str) -> float:
    """The argument as a finite number.

    Args: allowed: ends the message "Give a number ...".
    Raises: ConfigError if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name} is {value!r}. Give a number {allowed}.")
    return value


def positive(name: str, value: object) -> float:
    """The argument as a finite number above 0. Raises: ConfigError if it is none."""
    found = number(name, value, "above 0")
    if found <= 0:
        raise ConfigError(f"{name} is {value!r}. Give a number above 0.")
    return found


def bound_objective(
    kind: str, objective: Objective | None, *, metric: str | None, mode: str | None, needs_one: bool = True
) -> Objective | None:
    """The experiment's objective, or the one that the scheduler was given.

    Args: kind: the scheduler's name, for messages; needs_one: whether it cannot do without.
    Raises: ConfigError if both have one, or neither has and one is needed.
    """
    if objective is not None and (metric, mode) != (None, None):
        raise ConfigError(
            f"The scheduler has metric={metric!r}, mode={mode!r}, and the experiment has "
            f"metric={objective.metric!r}, mode={objective.mode.value!r}. Give both in one of the two places only."
        )
    found = objective or parse_objective(metric, mode)
    if found is None and needs_one:
        raise ConfigError(
            f"{kind} has no metric to compare trials by. Give metric= and mode='min' or 'max', "
            "to it or to the call that runs the experiment."
        )
    return found


def time_of(report: TrialReported, time_attr: str) -> float | None:
    """The report's time; None where it has none."""
    time = metric_value(report.metrics, report.step, report.time_total_s, time_attr)
    return None if time is None or math.isnan(time) else time


def value_of(report: TrialReported, objective: Objective) -> float | None:
    """The report's value of the first metric, NaN and infinities included; None where it has none."""
    return metric_value(report.metrics, report.step, report.time_total_s, objective.metric)
