"""Plays reports to a stopper as the experiment does: decide, observe the report."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from tunesmith.events import Decision, TrialReported
from tunesmith.protocols import Stopper
from tunesmith.trial import Trial, TrialStatus


def make_trial(report: TrialReported, *, n_reports: int | None = None) -> Trial:
    return Trial(
        index=report.trial,
        trial_id=f"t{report.trial:05d}",
        config={"lr": 0.1},
        status=TrialStatus.RUNNING,
        attempt=report.attempt,
        n_reports=report.step if n_reports is None else n_reports,
        step=report.step,
        metrics=report.metrics,
        time_total_s=report.time_total_s,
    )


def make_report(
    trial: int, step: int, *, time_total_s: float = 0.0, at: float = 1000.0, **metrics: float
) -> TrialReported:
    return TrialReported(trial=trial, attempt=1, step=step, metrics=metrics, time_total_s=time_total_s, at=at)


def hand_over(stopper: Stopper, report: TrialReported) -> Decision:
    """The decision, taken twice and without a trace, before the report is observed."""
    trial, before = make_trial(report), copy.deepcopy(vars(stopper))
    decision = stopper.decide(trial, report)
    assert stopper.decide(trial, report) == decision
    assert vars(stopper) == before
    stopper.observe(report)
    return decision


def play(stopper: Stopper, reports: Iterable[TrialReported]) -> list[str]:
    """The verdicts on all reports, each as its word."""
    return [hand_over(stopper, report).verdict.value for report in reports]
