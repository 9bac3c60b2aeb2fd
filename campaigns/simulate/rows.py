"""What the log says about each trial, folded apart from the state machine: the witness's own books."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from tunesmith.events import AttemptEnded, Clone, StopAttempt, Verdict
from tunesmith.resources import Placement
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import AttemptOutcome, Mode, TrialStatus

MAX_LOSSES = 3  #: without coming further, before a trial counts as failed
MAX_CRASHES = 1  #: further attempts after deaths by a signal

_STATUS_AFTER = {
    Verdict.COMPLETE: TrialStatus.COMPLETED,
    Verdict.STOP: TrialStatus.STOPPED,
    Verdict.PAUSE: TrialStatus.PAUSED,
    Verdict.CLONE: TrialStatus.PENDING,
}


@dataclass
class Row:
    """One trial."""

    config: dict[str, Any]
    status: TrialStatus = TrialStatus.PENDING
    attempt: int = 0
    placement: Placement | None = None
    #: The results that are not superseded, (attempt, step, metrics), and the folders saved for them, (step, path).
    results: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)
    checkpoints: list[tuple[int, str]] = field(default_factory=list)
    borrowed: str | None = None  #: the last of these, where another trial saved it
    clone: Clone | None = None  #: what it is to start with next, told so
    clone_step: int = 0  #: of the checkpoint in that
    start_step: int = 0  #: of the last attempt
    has_gone_back: bool = False  #: as a clone, below what it had reached
    n_clones: int = 0  #: so often it was told to be one
    last_value: float | None = None  #: of the last report, superseded or not
    may_lend: bool = False  #: it has saved a checkpoint since it last was a clone
    max_t: float = 0.0  #: to where the searcher wants it trained
    is_wanted: bool = False  #: a paused one, by a searcher that says which go on
    given_up: str | None = None  #: why that searcher wants it to end
    started_from: str | None = None
    told: Verdict | None = None  #: the answer that ends the running attempt
    is_told_by_stop: bool = False  #: that answer has no other reason than the command to end
    stop: StopAttempt | None = None  #: the first command to end the running attempt
    ended: AttemptEnded | None = None  #: the end of the attempt, until it is concluded
    is_node_lost: bool = False
    is_node_to_blame: bool = False  #: its attempt failed, and the node it ran on is suspected
    is_left_over: bool = False  #: it had been told to end by a driver that is gone
    n_failures: int = 0
    n_crashes: int = 0  #: of these, by a signal
    n_reports: int = 0  #: superseded ones included
    n_lost: int = 0  #: since it last came further
    lost_at: int = -1  #: the highest step that any of these had reached
    not_before: float = -math.inf
    heard_at: float = math.inf  #: when the running attempt started or last reported; infinity if it does not count
    has_reported: bool = False  #: the running attempt

    @property
    def step(self) -> int:
        """The last step of the running or last attempt; where that reported none, the one that it began at."""
        is_fresh = not self.results or self.results[-1][0] < self.attempt
        return self.start_step if is_fresh else self.results[-1][1]

    @property
    def is_fresh_clone(self) -> bool:
        """Whether it runs, or ran last, from what is another's, and has reported nothing since."""
        is_fresh = not self.results or self.results[-1][0] < self.attempt
        return is_fresh and self.borrowed is not None and self.start_step == self.checkpoints[-1][0]

    @property
    def newest(self) -> tuple[int, str] | None:
        """The checkpoint that a restart begins from."""
        return self.checkpoints[-1] if self.checkpoints else None

    def best(self, mode: Mode) -> tuple[float | None, int | None]:
        """The best value that is not superseded, and its step; NaN is none, the first of equals counts."""
        usable = [(mode.as_loss(m["score"]), step, m["score"]) for _, step, m in self.results]
        usable = [entry for entry in usable if math.isfinite(entry[0])]
        if not usable:
            return None, None
        _, step, value = min(usable, key=lambda entry: entry[:2])
        return value, step

    def add_checkpoint(self, step: int, path: str) -> None:
        """It takes the place of another one of its step, and of what it had borrowed."""
        self.return_loan()
        self.may_lend = True
        self.checkpoints = [other for other in self.checkpoints if other[0] != step] + [(step, path)]

    def return_loan(self) -> None:
        """What another one saved is not needed any more."""
        self.checkpoints = [saved for saved in self.checkpoints if saved[1] != self.borrowed]
        self.borrowed = None

    def status_told(self) -> TrialStatus | None:
        """Where what it was told leaves it; None if it was told nothing."""
        if self.told is None:
            return self.stop.status_after if self.stop is not None else None
        if self.is_told_by_stop and self.stop is not None:
            return self.stop.status_after
        return _STATUS_AFTER[self.told]

    def is_given_up(self) -> bool:
        """Whether it was ended for its silence, and did not return before it heard so."""
        has_returned = self.told is None and self.ended is not None and self.ended.outcome is AttemptOutcome.RETURNED
        return self.status_told() is TrialStatus.FAILED and not has_returned

    def silent_at(self, spec: ExperimentSpec) -> float:
        """When its attempt has been silent for too long."""
        limit_s = spec.report_timeout_s if self.has_reported else spec.first_report_timeout_s
        is_watched = self.told is None and self.stop is None and limit_s is not None
        return self.heard_at + limit_s if is_watched and limit_s is not None else math.inf

    def count_loss(self) -> None:
        """Its attempt vanished."""
        self.n_lost, self.lost_at = self.n_lost + 1, max(self.lost_at, self.step)

    def forgive_losses(self) -> None:
        """It came further, is over, or another driver begins."""
        self.n_lost, self.lost_at = 0, -1

    def forget_attempt(self) -> None:
        """Nothing is left of the attempt that ran."""
        self.placement, self.started_from = None, None
        self.told, self.stop, self.ended = None, None, None
        self.heard_at, self.has_reported = math.inf, False
        self.is_node_lost = self.is_left_over = self.is_told_by_stop = self.is_node_to_blame = False


def status_after_end(row: Row, max_failures: int) -> TrialStatus:
    """Where a trial stands after an attempt that had not been told to end, by how it ended."""
    outcome = AttemptOutcome.LOST if row.ended is None else row.ended.outcome
    if row.is_given_up() and outcome is not AttemptOutcome.SIGNALLED:
        outcome = AttemptOutcome.EXITED  # it counts as a failure, however it ended
    if outcome is AttemptOutcome.RETURNED:
        return TrialStatus.COMPLETED
    if outcome in (AttemptOutcome.LOST, AttemptOutcome.PREEMPTED, AttemptOutcome.STOPPED):
        return TrialStatus.FAILED if row.n_lost > MAX_LOSSES else TrialStatus.PENDING
    if outcome is AttemptOutcome.SIGNALLED and row.n_crashes > MAX_CRASHES:
        return TrialStatus.FAILED
    return TrialStatus.PENDING if max_failures < 0 or row.n_failures <= max_failures else TrialStatus.FAILED
