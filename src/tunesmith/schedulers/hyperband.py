"""Synchronous HyperBand: brackets of successive halving, in which a rung is decided when all its trials are in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tunesmith.errors import ConfigError
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
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
from tunesmith.protocols import NextAction, StartNew
from tunesmith.schedulers.arguments import number
from tunesmith.schedulers.ladder import whole
from tunesmith.schedulers.metric_scheduler import MetricScheduler
from tunesmith.schedulers.rung import MAX_RUNGS
from tunesmith.trial import Mode, Trial, TrialStatus

_RANK = "rank {rank} of {n_seen} at rung {rung:.6g}, {n_kept} kept"
_WAITS = "waits at rung {rung:.6g}: {n_in} of {n_seen} trials are in"


@dataclass
class Bracket:
    """One run of successive halving. Scores are values with their sign turned so that larger is better.

    Args: levels: the rungs at which trials are compared, ascending; whoever passes the last one trains to the end.
    """

    number: int  #: from 0, in the order in which brackets open
    levels: tuple[float, ...]
    capacity: int
    reduction_factor: float
    n_joined: int = 0
    is_open: bool = True  #: whether further trials may join; not once it is full, or no trial will come
    rung: int = 0  #: place of the rung that fills; len(levels) when all are decided
    racing: list[int] = field(default_factory=list)  #: the trials of that rung, in the order in which they joined
    #: By trial: its score at each rung that it crossed, the lowest first; a part of those who joined.
    scores: dict[int, tuple[float, ...]] = field(default_factory=dict)
    completed: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)  #: over, and not completed: they take no place at a rung
    lost: set[int] = field(default_factory=set)  #: compared, and not kept
    ranks: dict[int, dict[str, float | int | str]] = field(default_factory=dict)  #: at the last rung that was decided

    def copy(self) -> Bracket:
        """The same, to be changed without a trace."""
        return replace(
            self,
            racing=list(self.racing),
            scores=dict(self.scores),
            completed=set(self.completed),
            dropped=set(self.dropped),
            lost=set(self.lost),
            ranks=dict(self.ranks),
        )

    # ------------------------------------------------------------ what happens

    def join(self, trial: int) -> None:
        """One more trial; the last one that fits closes the bracket for others."""
        self.racing.append(trial)
        self.n_joined += 1
        self.is_open = self.n_joined < self.capacity
        self._decide_rungs()

    def close(self) -> None:
        """No further trial joins."""
        self.is_open = False
        self._decide_rungs()

    def crosses(self, trial: int, time: float) -> bool:
        """Whether a report at this time reaches a rung for the first time."""
        n_crossed = len(self.scores.get(trial, ()))
        return n_crossed < len(self.levels) and time >= self.levels[n_crossed]

    def record(self, trial: int, time: float, score: float) -> None:
        """A report: its score counts at each rung that it is the first to reach."""
        if self.crosses(trial, time):
            before = self.scores.get(trial, ())
            n_crossed = sum(level <= time for level in self.levels)
            self.scores[trial] = before + (score,) * (n_crossed - len(before))
            self._decide_rungs()

    def leave(self, trial: int, *, is_completed: bool) -> None:
        """The trial is over; nobody waits for it."""
        (self.completed if is_completed else self.dropped).add(trial)
        self._decide_rungs()

    def _decide_rungs(self) -> None:
        while self.rung < len(self.levels) and not self.is_open and all(map(self._is_done, self.racing)):
            self._decide_rung()

    def _is_done(self, trial: int) -> bool:
        return self._is_in(trial) or trial in self.completed or trial in self.dropped

    def _is_in(self, trial: int) -> bool:
        return len(self.scores.get(trial, ())) > self.rung

    def _decide_rung(self) -> None:
        """Keep the best 1/reduction_factor of all that were to come, at least one; ties go by the order of joining."""
        level, n_seen = self.levels[self.rung], len(self.racing)
        n_kept = max(1, int(n_seen // self.reduction_factor))
        there = [trial for trial in self.racing if self._is_in(trial) and trial not in self.dropped]
        ranked = sorted(there, key=lambda trial: -self.scores[trial][self.rung])
        kept = [trial for trial in ranked[:n_kept] if self.scores[trial][self.rung] > -math.inf]
        for place, trial in enumerate(ranked):
            self.ranks[trial] = {"rank": place + 1, "n_seen": n_seen, "rung": level, "n_kept": n_kept}
        self.lost.update(set(ranked) - set(kept))
        self.rung += 1
        self.racing = kept

    # ------------------------------------------------------------ questions

    @property
    def level(self) -> float | None:
        """Where the rung lies that fills; None when all are decided."""
        return self.levels[self.rung] if self.rung < len(self.levels) else None

    @property
    def n_in(self) -> int:
        """How many trials have reached the rung that fills, or are over."""
        return sum(map(self._is_done, self.racing))

    @property
    def is_over(self) -> bool:
        """Whether all trials that it kept have ended."""
        return self.level is None and all(t in self.completed or t in self.dropped for t in self.racing)

    def is_waiting(self, trial: int) -> bool:
        """Whether the trial has reached a rung where others are still to come."""
        return self.level is not None and self._is_in(trial) and trial not in self.lost

    def check_invariants(self) -> None:
        """Assert that every sentence beside an attribute holds."""
        assert self.n_joined <= self.capacity and (not self.is_open or self.n_joined < self.capacity)
        assert self.level is None or not self.racing or self.is_open or not all(map(self._is_done, self.racing))
        assert not self.lost & set(self.racing)
        assert not self.completed & self.dropped


class HyperBandScheduler(MetricScheduler):
    """Trains many trials a little and few to the end: at each rung only the best 1/reduction_factor go on.

    Trials are shared out to brackets in the order of their start. Bracket s, from s_max = floor(log(max_t) /
    log(reduction_factor)) down to 0 and then from s_max again, takes n = ceil((s_max + 1) / (s + 1) *
    reduction_factor**s) trials. Its rungs lie at max_t / reduction_factor**s, ..., max_t / reduction_factor, and the
    best floor(n / reduction_factor) of each go on. That is algorithm 1 of the paper, rounded as there: up for the first
    rung, down for the others. For max_t=81 and reduction_factor=3 rungs hold 81, 27, 9, 3, 1 trials, then 34, 11, 3, 1,
    then 15, 5, 1, then 8, 2, then 5.

    A trial that reaches a rung is paused there until all of the rung are in; then the best are thawed, before anything
    new starts, and the others stopped. Failed and stopped trials count as in, and as the worst. Where the experiment
    has no further trial for a bracket, its first rung is decided as soon as nothing else runs. At least one trial of a
    rung goes on.

    Trials can only pause where they save checkpoints: at the first report with one from the rung on. Others train on,
    count as in with their value at the rung, and are stopped or let on at the first report after it is decided. With
    fewer workers than trials in a bracket, they then train far beyond their rung: use ASHAScheduler for these.

    Args:
        time_attr: what rungs are counted in: "training_iteration", "time_total_s", or a reported value that grows.
        metric, mode: what is compared; here or in the call that runs the experiment, not in both. Of several metrics
            the first is used.
        max_t: the end of training, in units of `time_attr`, of which the shortest training takes 1 or more.
        reduction_factor: one in so many goes on; above 1, fractions allowed.
        stop_last_trials: False lets trials train on beyond `max_t`.

    NaN, and an infinite value on the bad side, is never kept. Of equal values the trial that started first ranks first.

    On purpose unlike Ray Tune: (1) rungs lie where the paper has them, not at sums of rounded iterations; (2) a rung
    keeps its planned number when trials failed; (3) a free slot thaws the best trial of the oldest bracket, not one
    of the bracket that has trained least; (4) trials without checkpoints work, if badly; (5) a report that skips rungs
    counts at each of them; (6) a trial that repeats a rung after a restart is not compared again, its first value
    stands; (7) NaN, as above; (8) failed trials that are run again by a resume join the bracket that is open then.

    Raises: ConfigError, with the values allowed.
    Source: Li et al. 2018 (arXiv 1603.06560), algorithm 1.
    """

    _name = "HyperBand"

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: float = 81,
        reduction_factor: float = 3,
        stop_last_trials: bool = True,
    ) -> None:
        super().__init__(time_attr=time_attr, metric=metric, mode=mode, max_t=max_t)
        self._reduction_factor = whole(number("reduction_factor", reduction_factor, "above 1"))
        self._s_max = _largest_s(max_t, self._reduction_factor)
        self._completes_at_max_t = bool(stop_last_trials)
        #: Those that are not over, oldest first; at most the last one is open.
        self._brackets: list[Bracket] = []
        self._n_brackets = 0
        #: Of all and only the trials that have begun and are not over.
        self._bracket_of: dict[int, Bracket] = {}
        self._paused: set[int] = set()
        self._running: set[int] = set()
        self._n_stopped = 0
        self._late: set[int] = set()  #: trials that trained on past a rung for want of a checkpoint

    # ------------------------------------------------------------ the fold

    def observe(self, record: Record) -> None:
        """Share out trials that start, record scores, and decide the rungs that are full."""
        if isinstance(record, TrialReported):
            self._on_report(record)
        elif isinstance(record, AnswerReport):
            bracket = self._bracket_of.get(record.trial)
            if bracket is not None and record.decision.verdict is Verdict.CONTINUE and bracket.is_waiting(record.trial):
                self._late.add(record.trial)
        elif isinstance(record, StartAttempt):
            self._on_start(record.trial)
        elif isinstance(record, ConcludeAttempt):
            self._on_conclusion(record)
        elif isinstance(record, SessionStarted):
            self._running.clear()

    def _on_report(self, report: TrialReported) -> None:
        bracket, time, score = self._bracket_of.get(report.trial), self._time(report), self._score(report)
        self._n_ignored += time is None or score is None
        if bracket is not None and time is not None and score is not None:
            bracket.record(report.trial, time, score)

    def _on_start(self, trial: int) -> None:
        self._running.add(trial)
        bracket = self._bracket_of.get(trial)
        if bracket is None:
            if not self._has_room():
                self._open_bracket()
            self._bracket_of[trial] = self._brackets[-1]
            self._brackets[-1].join(trial)
        elif trial in self._paused and bracket.is_waiting(trial):
            # That is what `choose_next` names for the case that no new trial comes: nobody else joins.
            bracket.close()
        self._paused.discard(trial)

    def _on_conclusion(self, record: ConcludeAttempt) -> None:
        trial, status = record.trial, record.status
        self._running.discard(trial)
        self._paused.discard(trial)
        if status is TrialStatus.PAUSED:
            self._paused.add(trial)
        elif status.is_over and status is not TrialStatus.INTERRUPTED and trial in self._bracket_of:
            bracket = self._bracket_of.pop(trial)
            self._n_stopped += trial in bracket.lost
            bracket.leave(trial, is_completed=status is TrialStatus.COMPLETED)
            self._brackets = [bracket for bracket in self._brackets if bracket.is_open or not bracket.is_over]

    def _has_room(self) -> bool:
        return bool(self._brackets) and self._brackets[-1].is_open

    def _open_bracket(self) -> None:
        s = self._s_max - self._n_brackets % (self._s_max + 1)
        levels = tuple(self._max_t / self._reduction_factor**k for k in range(s, 0, -1))
        capacity = bracket_size(s, s_max=self._s_max, reduction_factor=self._reduction_factor)
        self._brackets.append(Bracket(self._n_brackets, levels, capacity, self._reduction_factor))
        self._n_brackets += 1

    # ------------------------------------------------------------ decisions

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE at `max_t`; PAUSE at a rung that others are still to reach, else STOP or CONTINUE by rank."""
        time, score, bracket = self._time(report), self._score(report), self._bracket_of.get(trial.index)
        completion = self._completion(report) if self._completes_at_max_t else None
        if completion is not None:
            return completion
        if bracket is None:
            return CONTINUE
        if time is not None and score is not None and bracket.crosses(trial.index, time):
            bracket = bracket.copy()
            bracket.record(trial.index, time, score)
        if trial.index in bracket.lost:
            return Decision(verdict=Verdict.STOP, reason=_RANK, numbers=bracket.ranks[trial.index])
        level = bracket.level
        if level is None or time is None or time < level or not bracket.is_waiting(trial.index):
            return CONTINUE
        numbers: dict[str, float | int | str] = {"rung": level, "n_in": bracket.n_in, "n_seen": len(bracket.racing)}
        return Decision(verdict=Verdict.PAUSE, reason=_WAITS, numbers=numbers)

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """Those that were not kept are stopped, those that were kept go on, the oldest bracket first; then new ones."""
        ready: list[tuple[int, float | int | str, int]] = []
        for trial in paused:
            bracket = self._bracket_of.get(trial.index)
            if bracket is None:
                return Thaw(trial.index, "it is paused, and at no rung")
            numbers = bracket.ranks.get(trial.index, {})
            if trial.index in bracket.lost:
                return StopPaused(trial.index, _RANK.format(**numbers))
            if not bracket.is_waiting(trial.index):
                ready.append((bracket.number, numbers.get("rank", 0), trial.index))
        if not ready:
            return StartNew(otherwise=self._without_newcomers(paused))
        index = min(ready)[2]
        numbers = self._bracket_of[index].ranks.get(index, {})
        return Thaw(index, _RANK.format(**numbers) if numbers else "its rung is still ahead")

    def _without_newcomers(self, paused: Sequence[Trial]) -> Thaw | StopPaused | None:
        """Of those that wait in the open bracket, the best as if nobody else joined; the worst, if none is kept."""
        if self._running or not paused or not self._has_room():
            return None
        closed = self._brackets[-1].copy()
        closed.close()
        waiting = [trial.index for trial in paused if trial.index in closed.ranks]
        waiting.sort(key=lambda index: (index in closed.lost, closed.ranks[index]["rank"]))
        if not waiting:
            return None
        is_any_kept = waiting[0] not in closed.lost
        index = waiting[0 if is_any_kept else -1]
        return (Thaw if is_any_kept else StopPaused)(index, _RANK.format(**closed.ranks[index]))

    def describe(self) -> Sequence[str]:
        """A line of counts as Ray Tune has it, and one for each bracket that is not over."""
        lines = [f"Using {self._name}: num_stopped={self._n_stopped} total_brackets={self._n_brackets}"]
        for bracket in self._brackets:
            size = f"Bracket {bracket.number + 1} ({bracket.n_joined} of {bracket.capacity} trials): "
            if bracket.level is None:
                lines.append(f"{size}{len(bracket.racing)} train to {self._max_t:g}")
            else:
                lines.append(f"{size}rung {bracket.level:g}: {bracket.n_in} of {len(bracket.racing)} are in")
        if self._late:
            lines.append(f"{len(self._late)} trials trained on past a rung for want of a checkpoint")
        return [*lines, *self._ignored_lines()]

    def check_invariants(self) -> None:
        """Assert that every sentence beside an attribute holds."""
        assert not any(bracket.is_open for bracket in self._brackets[:-1])
        assert all(bracket in self._brackets for bracket in self._bracket_of.values())
        assert self._paused <= set(self._bracket_of)
        for bracket in self._brackets:
            bracket.check_invariants()

    def _score(self, report: TrialReported) -> float | None:
        """The report's value, its sign turned so that larger is better; -inf for NaN, None where it has none."""
        value = self._value(report)
        if value is None:
            return None
        score = value if self._bound.mode is Mode.MAX else -value
        return -math.inf if math.isnan(score) else score


def bracket_size(s: int, *, s_max: int, reduction_factor: float) -> int:
    """How many trials begin in bracket s.

    Source: Li et al. 2018 (arXiv 1603.06560), algorithm 1, with B = (s_max + 1) R.
    """
    return math.ceil((s_max + 1) * reduction_factor**s / (s + 1))


def _largest_s(max_t: float, reduction_factor: float) -> int:
    """floor(log(max_t) / log(reduction_factor)), exact for whole numbers.

    Raises: ConfigError for numbers that make no brackets.
    """
    if reduction_factor <= 1:
        raise ConfigError(f"reduction_factor is {reduction_factor:g}. Give a number above 1.")
    if number("max_t", max_t, "of 1 or more") < 1:
        raise ConfigError(f"max_t is {max_t:g}. Give a number of 1 or more, in units of time_attr.")
    s, top = 0, reduction_factor
    while top <= max_t:
        s, top = s + 1, top * reduction_factor
        if s > MAX_RUNGS:
            raise ConfigError(f"reduction_factor {reduction_factor!r} makes more than {MAX_RUNGS} rungs. Give more.")
    return s
