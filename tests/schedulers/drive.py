"""Plays reports to a scheduler as the experiment does: decide, observe the report, observe the answer."""

from __future__ import annotations

from collections.abc import Iterable

from tunesmith.events import AnswerReport, Decision, Record, TrialReported, Verdict
from tunesmith.protocols import Scheduler
from tunesmith.trial import Trial, TrialStatus


def make_trial(report: TrialReported) -> Trial:
    return Trial(
        index=report.trial,
        trial_id=f"t{report.trial:05d}",
        config={},
        status=TrialStatus.RUNNING,
        attempt=report.attempt,
        step=report.step,
        metrics=report.metrics,
        time_total_s=report.time_total_s,
    )


def make_report(
    trial: int, step: int, *, attempt: int = 1, time_total_s: float = 0.0, **metrics: float
) -> TrialReported:
    return TrialReported(
        trial=trial, attempt=attempt, step=step, metrics=metrics, time_total_s=time_total_s, at=1000.0 + step
    )


def hand_over(scheduler: Scheduler, report: TrialReported) -> tuple[Decision, list[Record]]:
    """The decision on one report, and the two records that the log gets."""
    decision = scheduler.decide(make_trial(report), report)
    answer = AnswerReport(trial=report.trial, attempt=report.attempt, step=report.step, decision=decision)
    scheduler.observe(report)
    scheduler.observe(answer)
    return decision, [report, answer]


def play(
    scheduler: Scheduler, reports: Iterable[TrialReported]
) -> tuple[list[tuple[int, int, Decision]], list[Record]]:
    """Every decision as (trial, step, decision), and the log. A trial that was ended reports nothing more."""
    decisions: list[tuple[int, int, Decision]] = []
    log: list[Record] = []
    ended: set[int] = set()
    for report in reports:
        if report.trial in ended:
            continue
        decision, records = hand_over(scheduler, report)
        decisions.append((report.trial, report.step, decision))
        log.extend(records)
        if decision.verdict is not Verdict.CONTINUE:
            ended.add(report.trial)
    return decisions, log
