"""Schedulers for what the built-in ones of the campaign do not do: one that pauses, and one that clones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    CheckpointSaved,
    Clone,
    ConcludeAttempt,
    Decision,
    DeleteCheckpoint,
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


class Copying:
    """At every `every`-th step a trial becomes a clone of the best other one, if that is better; three times at most.

    The donor is not over and keeps a checkpoint that it has saved since it last was a clone itself.
    """

    def __init__(self, *, every: int = 2, max_t: int = 6) -> None:
        self.every, self.max_t = every, max_t
        self.loss: dict[int, float] = {}
        self.saved: dict[int, str] = {}
        self.configs: dict[int, dict[str, object]] = {}
        self.n_told: dict[int, int] = {}
        self.over: set[int] = set()
        self._objective: Objective | None = None

    def bind(self, objective: Objective | None) -> Objective | None:
        """See Scheduler."""
        self._objective = objective
        return objective

    def observe(self, record: Record) -> None:
        """See Scheduler."""
        if isinstance(record, StartAttempt):
            self.configs[record.trial] = record.config
            self.over.discard(record.trial)
            if record.donor is not None:
                self.saved.pop(record.trial, None)
        elif isinstance(record, TrialReported):
            assert self._objective is not None
            self.loss[record.trial] = self._objective.mode.as_loss(record.metrics[self._objective.metric])
            if record.checkpoint is not None:
                self.saved[record.trial] = record.checkpoint
        elif isinstance(record, CheckpointSaved):
            self.saved[record.trial] = record.checkpoint
        elif isinstance(record, DeleteCheckpoint):
            if self.saved.get(record.trial) == record.path:
                del self.saved[record.trial]
        elif isinstance(record, AnswerReport):
            self.n_told[record.trial] = self.n_told.get(record.trial, 0) + (record.decision.clone is not None)
        elif isinstance(record, ConcludeAttempt) and record.status.is_over:
            self.over |= set() if record.status is TrialStatus.INTERRUPTED else {record.trial}

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """See Scheduler."""
        if report.step >= self.max_t:
            return Decision(Verdict.COMPLETE, "the end")
        if report.step % self.every != 0 or self.n_told.get(trial.index, 0) >= 3:
            return CONTINUE
        assert self._objective is not None
        own = self._objective.mode.as_loss(report.metrics[self._objective.metric])
        others = [i for i in self.saved if i != trial.index and i not in self.over and math.isfinite(self.loss[i])]
        donor = min(others, key=lambda i: (self.loss[i], i), default=None)
        if donor is None or not (math.isnan(own) or self.loss[donor] < own):
            return CONTINUE
        level = self.configs[donor]["level"]
        assert isinstance(level, float)
        config = {**self.configs[donor], "level": level * 0.9}
        return Decision(Verdict.CLONE, "of {donor}", {"donor": donor}, Clone(donor, self.saved[donor], config))

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """See Scheduler."""
        return StartNew()

    def describe(self) -> Sequence[str]:
        """See Scheduler."""
        return [f"{sum(self.n_told.values())} told to clone"]
