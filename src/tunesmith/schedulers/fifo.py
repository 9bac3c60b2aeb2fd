"""First come, first served."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.events import CONTINUE, Decision, Record, Thaw, TrialReported
from tunesmith.protocols import NextAction, StartNew
from tunesmith.trial import Objective, Trial


class FIFOScheduler:
    """Runs trials in the order in which they were proposed, each to its own end. Needs no metric."""

    def bind(self, objective: Objective | None) -> Objective | None:
        """The experiment's objective, unchanged."""
        return objective

    def observe(self, record: Record) -> None:
        """Nothing is remembered."""

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """Always to continue."""
        return CONTINUE

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """What was paused goes on before anything new starts."""
        return first_come(paused)

    def describe(self) -> Sequence[str]:
        """One line, as Ray Tune words it."""
        return ["Using FIFO scheduling algorithm."]


def first_come(paused: Sequence[Trial]) -> NextAction:
    """The choice of a scheduler that pauses nothing itself: the oldest trial that somebody paused, else a new one."""
    if not paused:
        return StartNew()
    return Thaw(trial=min(trial.index for trial in paused), reason="the oldest paused trial goes first")
