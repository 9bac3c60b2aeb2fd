"""A report in the form in which users' own stoppers receive it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tunesmith.events import TrialReported
from tunesmith.trial import Trial


def result_dict(trial: Trial, report: TrialReported, *, previous_time_s: float | None = None) -> dict[str, Any]:
    """The metrics with the keys that Ray Tune fills in; where the user reported one of these, the user's value stands.

    Args:
        previous_time_s: the trial's training time up to its report before this one; without it `time_this_iter_s` is
            left out. `date` is local time.
    """
    filled_in: dict[str, Any] = {
        "training_iteration": report.step,
        "time_total_s": report.time_total_s,
        "timestamp": int(report.at),
        "date": datetime.fromtimestamp(report.at).strftime("%Y-%m-%d_%H-%M-%S"),
        "trial_id": trial.trial_id,
        "config": trial.config,
        "done": report.is_last,
    }
    if previous_time_s is not None:
        filled_in["time_this_iter_s"] = report.time_total_s - previous_time_s
    return {**filled_in, **report.metrics}
