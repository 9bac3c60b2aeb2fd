"""A floor of workers for schedulers that pause: reports, answers, pauses and starts, as an experiment records them."""

from __future__ import annotations

from collections import Counter

from tunesmith.events import (
    AnswerReport,
    ConcludeAttempt,
    Decision,
    Record,
    StartAttempt,
    TrialReported,
    Verdict,
)
from tunesmith.protocols import Scheduler
from tunesmith.resources import Placement, Resources
from tunesmith.testing.simulation import Simulation
from tunesmith.trial import TrialStatus

from .drive import make_trial

_AFTER = {
    Verdict.PAUSE: TrialStatus.PAUSED,
    Verdict.STOP: TrialStatus.STOPPED,
    Verdict.COMPLETE: TrialStatus.COMPLETED,
}


def wasted_starts(found: Simulation) -> list[int]:
    """Paused trials that were started again only to be stopped at the first report of that attempt."""
    reports: Counter[tuple[int, int]] = Counter()
    wasted = []
    for record in found.log:
        if isinstance(record, AnswerReport) and record.attempt > 1:
            reports[record.trial, record.attempt] += 1
            if record.decision.verdict is Verdict.STOP and reports[record.trial, record.attempt] == 1:
                wasted.append(record.trial)
    return wasted


class Floor:
    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.log: list[Record] = []
        self.attempts: dict[int, int] = {}

    def record(self, record: Record) -> None:
        self.log.append(record)
        self.scheduler.observe(record)

    def start(self, trial: int, *, start_step: int = 0) -> None:
        self.attempts[trial] = self.attempts.get(trial, 0) + 1
        placement = Placement("here", Resources())
        self.record(StartAttempt(trial, self.attempts[trial], placement, start_step=start_step))

    def conclude(self, trial: int, status: TrialStatus) -> None:
        self.record(ConcludeAttempt(trial, self.attempts[trial], status))

    def report(
        self, trial: int, step: int, *, saves: bool = True, time_total_s: float = 0.0, **metrics: float
    ) -> Decision:
        """One report of a running trial, and what it was told; who is told to end has ended."""
        if trial not in self.attempts:
            self.start(trial)
        attempt = self.attempts[trial]
        checkpoint = f"t{trial}/{step}" if saves else None
        report = TrialReported(trial, attempt, step, metrics, time_total_s, 1000.0 + step, checkpoint)
        decision = self.scheduler.decide(make_trial(report), report)
        if decision.verdict is Verdict.PAUSE and not saves:
            decision = Decision()
        self.record(report)
        self.record(AnswerReport(trial, attempt, step, decision))
        if decision.verdict in _AFTER:
            self.conclude(trial, _AFTER[decision.verdict])
        return decision
