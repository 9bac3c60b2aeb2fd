"""What population based training knows of its trials: a fold of the log, and who should copy whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    CheckpointSaved,
    ConcludeAttempt,
    ConfigsSuggested,
    DeleteCheckpoint,
    Record,
    StartAttempt,
    TrialReported,
    Verdict,
)
from tunesmith.schedulers.arguments import time_of, value_of
from tunesmith.trial import AttemptOutcome, Mode, Objective, TrialStatus

#: Answers after which nothing is left to train, though the attempt has yet to end.
_ENDS = {Verdict.STOP, Verdict.COMPLETE, Verdict.REFUSE}
_N_MARKS = 2  #: of a trial: nobody waits for one that is further back


class Saved(NamedTuple):
    """A checkpoint that a trial saved itself and keeps."""

    path: str
    time: float  #: of the report that it came with


@dataclass
class Member:
    """One trial of the population."""

    config: dict[str, Any] = field(default_factory=dict)
    is_over: bool = False
    is_paused: bool = False
    time: float = 0.0  #: of the last report
    marked_at: float = 0.0  #: the time at which its last interval ended; -inf: the next report ends one
    n_intervals: int = 0
    #: Score at the end of each of its last intervals, by their number; larger is better, -inf for NaN.
    marks: dict[int, float] = field(default_factory=dict)
    saved: Saved | None = None  #: its newest own checkpoint, since it last was a clone
    is_told_to_clone: bool = False  #: and has not started since
    owes_turn: bool = False  #: its interval ended, and it runs on

    @property
    def score(self) -> float | None:
        """At the end of its last interval."""
        return self.marks.get(self.n_intervals)


class Ranked(NamedTuple):
    """Where a trial stands among those that it is compared with."""

    rank: int  #: from 1, the best
    n: int
    donors: tuple[int, ...]  #: whom it may copy, best first; empty for one that is not at the bottom


class Population:
    """All trials, by index.

    Args:
        interval: how much time, in units of `time_attr`, lies between two comparisons of a trial.
        frequencies: trial i belongs to sub-population i modulo their number, whose interval is that many times longer.
        is_synchronous: whether an interval ends at a report with a checkpoint only, since the trial then waits.
    """

    def __init__(
        self,
        *,
        time_attr: str,
        interval: float,
        burn_in: float,
        quantile_fraction: float,
        frequencies: Sequence[float],
        is_synchronous: bool,
    ) -> None:
        self._time_attr, self.interval, self._burn_in = time_attr, interval, burn_in
        self._quantile_fraction, self._frequencies = quantile_fraction, tuple(frequencies)
        self._is_synchronous = is_synchronous
        self.members: dict[int, Member] = {}  #: of the trials that have begun
        self.n_suggested = self.n_begun = 0
        self.n_clones = 0  #: starts from another trial's checkpoint
        self.n_ignored = 0  #: reports without a metric or a time that could be used

    # ------------------------------------------------------------ the fold

    def observe(self, record: Record, objective: Objective) -> None:
        """Fold one record."""
        if isinstance(record, TrialReported):
            self._on_report(record, objective)
        elif isinstance(record, StartAttempt):
            self._on_start(record)
        elif isinstance(record, ConcludeAttempt):
            member = self._member(record.trial)
            member.is_paused = record.status is TrialStatus.PAUSED
            member.is_over = record.status.is_over and record.status is not TrialStatus.INTERRUPTED
        elif isinstance(record, AttemptEnded):
            if record.outcome is AttemptOutcome.NO_CHECKPOINT:  # it copies somebody else at its next report (F86)
                self._member(record.trial).marked_at = -math.inf
        elif isinstance(record, AnswerReport):
            member = self._member(record.trial)
            if record.decision.clone is not None:
                member.is_told_to_clone = True
            elif record.decision.verdict in _ENDS:
                member.is_over = True
        elif isinstance(record, CheckpointSaved):
            member = self._member(record.trial)
            member.saved = Saved(record.checkpoint, member.time)
        elif isinstance(record, DeleteCheckpoint):
            member = self._member(record.trial)
            if member.saved is not None and member.saved.path == record.path:
                member.saved = None
        elif isinstance(record, ConfigsSuggested):
            self.n_suggested += len(record.suggestions)

    def _on_report(self, report: TrialReported, objective: Objective) -> None:
        member = self._member(report.trial)
        time, score = self.time(report), score_of(report, objective)
        self.n_ignored += time is None or score is None
        if time is None:
            return
        member.time = time
        if report.checkpoint is not None:
            member.saved = Saved(report.checkpoint, time)
        if score is not None and self.ends_interval(report):
            member.marked_at = time
            member.n_intervals += 1
            member.marks[member.n_intervals] = score
            member.marks.pop(member.n_intervals - _N_MARKS, None)
            member.owes_turn = True

    def _on_start(self, record: StartAttempt) -> None:
        member = self._member(record.trial)
        self.n_begun += record.attempt == 1
        member.config, member.is_over, member.is_paused, member.owes_turn = record.config, False, False, False
        if record.donor is not None:
            lent = self._member(record.donor).saved
            starts_at = {"training_iteration": float(record.start_step), "time_total_s": record.start_time_s}
            member.marked_at = starts_at.get(self._time_attr, lent.time if lent else member.time)
            if record.donor != record.trial:
                member.saved = None
                self.n_clones += 1
        elif member.is_told_to_clone:  # the donor's checkpoint was gone: it copies somebody else (F86)
            member.marked_at = -math.inf
        member.is_told_to_clone = False

    def _member(self, trial: int) -> Member:
        return self.members.setdefault(trial, Member())

    # ------------------------------------------------------------ questions

    def of(self, trial: int) -> Member:
        """The member of this index; a new one where the trial has not begun."""
        return self.members.get(trial) or Member()

    def time(self, report: TrialReported) -> float | None:
        """The report's time; None where it has none."""
        return time_of(report, self._time_attr)

    def scores(self) -> dict[int, float]:
        """Of the trials that are not over, at the end of their last intervals; larger is better."""
        return {i: m.score for i, m in self.members.items() if m.score is not None and not m.is_over}

    def frequency(self, trial: int) -> float:
        """How many times longer than the shortest the trial's interval is."""
        return self._frequencies[trial % len(self._frequencies)]

    def ends_interval(self, report: TrialReported) -> bool:
        """Whether this report, not yet observed, is the one at which its trial is compared with the others."""
        time = self.time(report)
        if time is None or time < self._burn_in or (self._is_synchronous and report.checkpoint is None):
            return False
        length = self.interval * (1 if self._is_synchronous else self.frequency(report.trial))
        return time - self.of(report.trial).marked_at >= length

    def others_are_open(self, trial: int) -> bool:
        """Whether there is another trial that is not over."""
        return self.n_suggested > self.n_begun or any(
            not member.is_over for index, member in self.members.items() if index != trial
        )

    def others_wait(self, trial: int, time: float) -> bool:
        """Whether a trial that has trained for less time waits for a slot."""
        if self.n_suggested > self.n_begun:
            return time > 0
        return any(m.is_paused and m.time < time for index, m in self.members.items() if index != trial)

    def ranked(self, trial: int, scores: Mapping[int, float]) -> Ranked:
        """Where the trial stands in its sub-population, and whom it may copy if that is at the bottom.

        Donors are at the top of its own and the slower sub-populations together, better than the trial, and keep a
        checkpoint. A slower one never copies a faster one, whose lead may be short-lived.

        Args: scores: of all that are compared, the trial among them; larger is better, -inf is none at all.
        """
        pace = self.frequency(trial)
        own = sorted((i for i in scores if self.frequency(i) == pace), key=lambda i: (-scores[i], i))
        rank = own.index(trial) + 1
        if rank <= len(own) - self._n_in_quantile(len(own)):
            return Ranked(rank, len(own), ())
        pool = sorted((i for i in scores if self.frequency(i) >= pace), key=lambda i: (-scores[i], i))
        top = pool[: self._n_in_quantile(len(pool))]
        return Ranked(rank, len(own), tuple(i for i in top if scores[i] > scores[trial] and self._can_lend(i)))

    def _n_in_quantile(self, n: int) -> int:
        """How many of n trials are at the bottom, and at the top: at least one, and never more than half."""
        return min(math.ceil(n * self._quantile_fraction), n // 2)

    def _can_lend(self, index: int) -> bool:
        member = self.members[index]
        return member.saved is not None and not member.is_over


def score_of(report: TrialReported, objective: Objective) -> float | None:
    """The report's value, its sign turned so that larger is better; -inf for NaN, None where it has none."""
    value = value_of(report, objective)
    if value is None:
        return None
    return -math.inf if math.isnan(value) else (value if objective.mode is Mode.MAX else -value)
