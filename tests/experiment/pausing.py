"""A tiny scheduler that pauses: trials rest at each rung until nothing runs; then the worst of the rung is stopped."""

from __future__ import annotations

from tunesmith.events import CONTINUE, ConcludeAttempt, Decision, SessionStarted, StartAttempt, TrialReported, Verdict
from tunesmith.protocols import Hold, StartNew, StopPaused, Thaw
from tunesmith.trial import TrialStatus


class Synchronous:
    """At every `every`-th step a trial is paused; when all are as far, one is stopped, and the others go on in turn.

    Args: holds: never thaw anything: for the test of a scheduler that is stuck.
    """

    def __init__(self, *, every=2, max_t=6, n_at_once=4, holds=False):
        self.every, self.max_t, self.n_at_once, self.holds = every, max_t, n_at_once, holds
        self.loss: dict[int, float] = {}
        self.running: set[int] = set()
        self.n_new = 0
        self.n_stopped = 0

    def bind(self, objective):
        return objective

    def observe(self, record):
        if isinstance(record, SessionStarted):
            self.running.clear()
        elif isinstance(record, StartAttempt):
            self.running.add(record.trial)
            self.n_new += record.attempt == 1
        elif isinstance(record, TrialReported):
            self.loss[record.trial] = record.metrics.get("loss", 0.0)
        elif isinstance(record, ConcludeAttempt):
            self.running.discard(record.trial)
            self.n_stopped += record.status is TrialStatus.STOPPED

    def decide(self, trial, report):
        if report.step >= self.max_t:
            return Decision(Verdict.COMPLETE, "the end")
        if report.step % self.every == 0 and report.checkpoint is not None:
            return Decision(Verdict.PAUSE, "rung {rung}", {"rung": report.step})
        return CONTINUE

    def choose_next(self, paused):
        if self.n_new < self.n_at_once:
            return StartNew()
        if self.holds or self.running:
            return Hold()
        if not paused:
            return StartNew()
        lowest = min(trial.step for trial in paused)
        ready = sorted((trial for trial in paused if trial.step == lowest), key=lambda trial: trial.index)
        if len(ready) == len(paused) > 1 and self.n_stopped < lowest // self.every:
            worst = max(ready, key=lambda trial: (self.loss.get(trial.index, 0.0), trial.index))
            return StopPaused(worst.index, "worst of its rung")
        return Thaw(ready[0].index, "its turn")

    def describe(self):
        return [f"{self.n_stopped} stopped"]
