"""Asynchronous successive halving as in the paper: trials pause at their rungs, and the best are promoted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    CheckpointSaved,
    ConcludeAttempt,
    Decision,
    Record,
    StartAttempt,
    StopPaused,
    Thaw,
    TrialReported,
    Verdict,
)
from tunesmith.protocols import NextAction, StartNew
from tunesmith.schedulers.asha import AsyncHyperBandScheduler
from tunesmith.schedulers.ladder import Place, make_ladder, whole
from tunesmith.schedulers.metric_scheduler import MetricScheduler
from tunesmith.schedulers.promotion_rung import Promotion, PromotionRung, Standing
from tunesmith.trial import Objective, Trial, TrialStatus

_PAUSED = "rank {rank} of {n_seen} at rung {rung}, of which {n_kept} go on"
_BEHIND = _PAUSED + "; trial {first} goes first"
_PROMOTED = "rank {rank} of {n_seen} at rung {rung}, of which {n_kept} go on: without a pause"
_NO_CHECKPOINT = "it has saved no checkpoint, so it cannot pause at rung {rung}, and the stopping rule keeps it"
_NO_NEWCOMERS = "no new trial will come, and it is rank {rank} of {n_seen} at rung {rung}, of which {n_kept} go on"


class ASHAPromotionScheduler(MetricScheduler):
    """Pauses every trial at its rung; a free slot goes to the best promotable trial, or else to a new one.

    Promotable is who is paused at a rung and among the top floor(n / reduction_factor) of all n seen there. The highest
    rung with such a trial goes first. Rungs lie at grace_period * reduction_factor**k below `max_t`; whoever reaches
    `max_t` is completed. Needs trials that save checkpoints and start from them.

    Args:
        time_attr: what rungs are counted in: "training_iteration", "time_total_s", or a reported value that grows.
        metric, mode: what is compared; here or in the call that runs the experiment, not in both. Of several metrics
            the first is used.
        max_t, grace_period: the end of training and the first rung, in units of `time_attr`.
        reduction_factor: one in so many is promoted; above 1, fractions allowed.
        brackets: with n of them, bracket s lacks the s lowest rungs; see AsyncHyperBandScheduler.

    Of equal values the one that came first ranks first. NaN and infinities count as seen, rank last and are never
    promoted. A report that crosses several rungs counts at the highest. A trial that is the next to be promoted when it
    arrives goes on in its process, which is what the algorithm would give its slot to. One that saves checkpoints, but
    none with the report that reaches the rung, pauses at its next report that carries one.

    A trial that has saved no checkpoint when it reaches a rung cannot pause: it is judged there by the stopping variant
    (AsyncHyperBandScheduler with its default rule) and trains on or is stopped; `describe()` counts such arrivals.

    When no new trial will come, none runs and none is promotable, the trials that are left paused are stopped.

    Ray Tune has no such scheduler. Unlike the paper's: ties and the checkpoint rules as above; every trial that is
    paused elsewhere than at a rung goes on first.

    Raises: ConfigError, with the values allowed.
    Source: Li et al. 2020 (arXiv 1810.05934), algorithm 2.
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
    ) -> None:
        super().__init__(time_attr=time_attr, metric=metric, mode=mode, max_t=max_t)
        self._ladder = make_ladder(
            grace_period=grace_period, max_t=max_t, reduction_factor=reduction_factor, brackets=brackets
        )
        #: Judges trials that cannot pause; it sees every report.
        self._stopping = AsyncHyperBandScheduler(
            time_attr, metric, mode, max_t, grace_period, reduction_factor, brackets
        )
        self._reduction_factor = whole(reduction_factor)
        self._rungs = tuple(tuple(map(PromotionRung, levels)) for levels in self._ladder.levels)
        #: All places, the highest level first.
        self._places = sorted(
            (Place(bracket, k) for bracket, rungs in enumerate(self._rungs) for k in range(len(rungs))),
            key=lambda place: (-self._rung(place).level, place.bracket),
        )
        #: Trial -> its standing at the highest rung it was seen at; keys are those of the ladder's `highest`.
        self._standings: dict[int, Standing] = {}
        #: Trial -> the rung from which it was allowed to go on last.
        self._passed: dict[int, int] = {}
        self._waiting: set[int] = set()  #: trials that are paused at their rung: all and only those in `paused` of one
        #: Trials that are paused, but not for a rung that they have not passed yet; in the order of their pauses.
        self._paused_elsewhere: dict[int, None] = {}
        self._savers: set[int] = set()  #: trials that have saved a checkpoint
        self._running: set[int] = set()
        self._n_arrivals = 0
        self._n_promoted = 0
        self._n_unpaused = 0  #: arrivals of trials that could not pause

    def bind(self, objective: Objective | None) -> Objective | None:
        """Take the experiment's objective unless this scheduler was given its own; return the one it will use."""
        self._objective = self._stopping.bind(objective)
        return self._objective

    # ------------------------------------------------------------ the fold

    def observe(self, record: Record) -> None:
        """Record results at rungs, and who is paused there."""
        if isinstance(record, TrialReported):
            self._note_report(record)
        elif isinstance(record, AnswerReport):
            numbers = record.decision.numbers
            if record.decision.verdict is Verdict.CONTINUE and "rung" in numbers and record.trial in self._standings:
                self._n_promoted += "rank" in numbers
                self._passed[record.trial] = self._ladder.highest[record.trial]
        elif isinstance(record, CheckpointSaved):
            self._savers.add(record.trial)
        elif isinstance(record, StartAttempt):
            self._note_start(record.trial)
        elif isinstance(record, ConcludeAttempt):
            self._note_conclusion(record)
        self._stopping.observe(record)

    def _note_report(self, report: TrialReported) -> None:
        if report.checkpoint is not None:
            self._savers.add(report.trial)
        arrival = self._arrival(report)
        if arrival is None:
            return
        place, standing = arrival
        self._n_unpaused += report.trial not in self._savers
        self._n_arrivals += 1
        self._ladder.highest[report.trial] = place.rung
        self._standings[report.trial] = standing
        self._rung(place).add(standing)

    def _note_start(self, trial: int) -> None:
        self._running.add(trial)
        if trial in self._waiting:
            self._n_promoted += 1
            self._passed[trial] = self._ladder.highest[trial]
        self._leave(trial)

    def _note_conclusion(self, command: ConcludeAttempt) -> None:
        trial = command.trial
        self._running.discard(trial)
        self._leave(trial)
        if command.status is not TrialStatus.PAUSED:
            return
        if self._is_due(trial):
            self._waiting.add(trial)
            self._rung(self._place_of(trial)).pause(self._standings[trial])
        else:
            self._paused_elsewhere[trial] = None

    def _leave(self, trial: int) -> None:
        """The trial is not paused any more."""
        if trial in self._waiting:
            self._waiting.discard(trial)
            self._rung(self._place_of(trial)).release(self._standings[trial])
        self._paused_elsewhere.pop(trial, None)

    # ------------------------------------------------------------ decisions

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE at `max_t`; at a rung PAUSE, or CONTINUE if it is promoted at once."""
        completion = self._completion(report)
        if completion is not None:
            return completion
        arrival = self._arrival(report)
        if arrival is None:
            if not self._is_due(report.trial):
                return CONTINUE
            place, standing = self._place_of(report.trial), self._standings[report.trial]
        elif report.checkpoint is None and report.trial not in self._savers:
            decision, level = self._stopping.decide(trial, report), self._rung(arrival[0]).level
            is_kept = decision.verdict is Verdict.CONTINUE
            return Decision(Verdict.CONTINUE, _NO_CHECKPOINT, {"rung": level}) if is_kept else decision
        else:
            place, standing = arrival
        return self._judge(report, place, standing)

    def _judge(self, report: TrialReported, place: Place, standing: Standing) -> Decision:
        """Of a trial that has reached a rung and may not simply pass it."""
        own, numbers = self._place_words(place, standing)
        promotion = self._promotion((place, standing))
        if promotion is not None and promotion.trial == report.trial:
            return Decision(Verdict.CONTINUE, _PROMOTED, numbers)
        if report.checkpoint is None:
            return CONTINUE
        if promotion is not None and own.rank <= own.n_kept:
            return Decision(Verdict.PAUSE, _BEHIND, {**numbers, "first": promotion.trial})
        return Decision(Verdict.PAUSE, _PAUSED, numbers)

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """The best promotable trial of the highest rung, else a new one, else the worst of the lowest ends."""
        if self._paused_elsewhere:
            return Thaw(next(iter(self._paused_elsewhere)), "it was paused, but not by a rung")
        promotion = self._promotion()
        if promotion is not None:
            words = "rank {rank} of {n_seen} at rung {level}, of which {n_kept} go on".format(**promotion._asdict())
            return Thaw(promotion.trial, words)
        if self._running or not self._waiting:
            return StartNew()
        place = next(place for place in reversed(self._places) if self._rung(place).paused)
        standing = self._rung(place).paused[-1]
        words = _NO_NEWCOMERS.format(**self._place_words(place, standing)[1])
        return StartNew(otherwise=StopPaused(standing.trial, words))

    def describe(self) -> Sequence[str]:
        """Of each bracket's rungs how many were seen and wait there, the highest first."""
        lines = [f"Using ASHA with promotions: num_promoted={self._n_promoted}, num_paused={len(self._waiting)}"]
        for rungs in filter(None, self._rungs):
            words = (f"Iter {rung.level:.3f}: {len(rung.paused)} of {len(rung.seen)} wait" for rung in reversed(rungs))
            lines.append("Bracket: " + " | ".join(words))
        if self._n_unpaused:
            lines.append(
                f"{self._n_unpaused} times a trial reached a rung without having saved a checkpoint: "
                "it could not pause and was judged by the stopping rule"
            )
        return lines + list(self._stopping.describe())[1 + sum(map(bool, self._rungs)) :]

    def check_invariants(self) -> None:
        """Every sentence beside an attribute above holds."""
        assert self._standings.keys() == self._ladder.highest.keys()
        paused = [standing.trial for rungs in self._rungs for rung in rungs for standing in rung.paused]
        assert sorted(paused) == sorted(self._waiting)
        assert not self._waiting & self._paused_elsewhere.keys()
        for rungs in self._rungs:
            for rung in rungs:
                assert rung.seen == sorted(rung.seen) and rung.paused == sorted(rung.paused)
                assert set(rung.paused) <= set(rung.seen)

    # ------------------------------------------------------------ helpers

    def _promotion(self, newcomer: tuple[Place, Standing] | None = None) -> Promotion | None:
        """The trial that goes first, if any may; as if `newcomer` were paused at its place."""
        for place in self._places:
            if self._promotes(place):
                own = newcomer[1] if newcomer is not None and newcomer[0] == place else None
                found = self._rung(place).promotion(self._reduction_factor, own)
                if found is not None:
                    return found
        return None

    def _promotes(self, place: Place) -> bool:
        """Whether any trial may go on from this rung."""
        return True

    def _place_words(self, place: Place, standing: Standing) -> tuple[Promotion, dict[str, float | int | str]]:
        """How a trial stands at a rung, seen there or just arriving; also as the numbers of a decision."""
        own = self._rung(place).place_of(standing, self._reduction_factor, standing)
        return own, {"rank": own.rank, "n_seen": own.n_seen, "rung": own.level, "n_kept": own.n_kept}

    def _is_due(self, trial: int) -> bool:
        """Whether the trial has reached a rung that it was not allowed to pass."""
        return self._ladder.highest.get(trial, -1) > self._passed.get(trial, -1)

    def _arrival(self, report: TrialReported) -> tuple[Place, Standing] | None:
        """Where the report arrives for the first time, and how its trial would stand there."""
        time, value = self._time(report), self._value(report)
        if time is None or value is None or time >= self._max_t:
            return None
        place = self._ladder.arrival(report.trial, time)
        if place is None:
            return None
        loss = self._bound.mode.as_loss(value) if math.isfinite(value) else math.inf
        return place, Standing(loss, self._n_arrivals, report.trial)

    def _place_of(self, trial: int) -> Place:
        return Place(self._ladder.bracket_of(trial), self._ladder.highest[trial])

    def _rung(self, place: Place) -> PromotionRung:
        return self._rungs[place.bracket][place.rung]
