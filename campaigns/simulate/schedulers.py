"""A scheduler that pauses: trials rest at each rung until nothing runs; then the worst of the rung is stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunesmith.events import (
    CONTINUE,
    ConcludeAttempt,
    Decision,
    Record,
    SessionStarted,
    StartAttempt,
    StopPaused,
    Thaw,
    TrialReported,
    Verdict,
)
from tunesmith.protocols import Hold, NextAction, StartNew
from tunesmith.trial import Objective, Trial, TrialStatus


class Synchronous:
    """At every `every`-th step a trial is paused; when all are as far, one is stopped, and the others go on in turn.

    Args: holds: never thaw anything, as a scheduler that is stuck.
    """

    def __init__(self, *, every: int = 2, max_t: int = 6, n_at_once: int = 4, holds: bool = False) -> None:
        self.every, self.max_t, self.n_at_once, self.holds = every, max_t, n_at_once, holds
        self.loss: dict[int, float] = {}
        self.running: set[int] = set()
        self.n_new = self.n_stopped = 0
        self._objective: Objective | None = None

    def bind(self, objective: Objective | None) -> Objective | None:
        """See Scheduler."""
        self._objective = objective
        return objective

    def observe(self, record: Record) -> None:
        """See Scheduler."""
        if isinstance(record, SessionStarted):
            self.running.clear()
        elif isinstance(record, StartAttempt):
            self.running.add(record.trial)
            self.n_new += record.attempt == 1
        elif isinstance(record, TrialReported):
            assert self._objective is not None
            value = self._objective.mode.as_loss(record.metrics[self._objective.metric])
            self.loss[record.trial] = math.inf if math.isnan(value) else value
        elif isinstance(record, ConcludeAttempt):
            self.running.discard(record.trial)
            self.n_stopped += record.status is TrialStatus.STOPPED

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """See Scheduler."""
        if report.step >= self.max_t:
            return Decision(Verdict.COMPLETE, "the end")
        if report.step % self.every == 0 and report.checkpoint is not None:
            return Decision(Verdict.PAUSE, "rung {rung}", {"rung": report.step})
        return CONTINUE

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """See Scheduler."""
        if self.n_new < self.n_at_once:
            return StartNew()
        if self.holds or self.running:
            return Hold()
        if not paused:
            return StartNew()
        lowest = min(trial.step for trial in paused)
        ready = [trial for trial in paused if trial.step == lowest]
        if len(ready) == len(paused) > 1 and self.n_stopped < lowest // self.every:
            worst = max(ready, key=lambda trial: (self.loss[trial.index], trial.index))
            return StopPaused(worst.index, "worst of its rung")
        return Thaw(min(trial.index for trial in ready), "its turn")

    def describe(self) -> Sequence[str]:
        """See Scheduler."""
        return [f"{self.n_stopped} stopped"]
