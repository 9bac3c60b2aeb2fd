"""Asynchronous successive halving, in the variant that stops trials and never pauses them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, AnswerReport, Decision, Record, TrialReported, Verdict
from tunesmith.schedulers.ladder import make_ladder, whole
from tunesmith.schedulers.metric_scheduler import MetricScheduler
from tunesmith.schedulers.rung import Rung, keep_count
from tunesmith.trial import Mode, Trial

_RANK = "rank {rank} of {n_seen} at rung {rung}, {n_kept} kept"
_VALUE = ": {metric} is {value:.6g}"
_CUTOFF = ", the cutoff {cutoff:.6g}"
_NOT_A_NUMBER = "rank {rank} of {n_seen} at rung {rung}: {metric} is {value}, and others have a number there"


class FirstArrivals(StrEnum):
    """What happens to a trial that reaches a rung where too few have been to compare it with."""

    PASS = "pass"  #: Ray Tune's rule: compared with those before it, so the first one goes on
    RANK = "rank"  #: the paper's rule: must be in the top 1/reduction_factor of all seen, itself included


class _Arrival(NamedTuple):
    """A report that reaches a rung of its trial's bracket for the first time."""

    bracket: int
    rung: int  #: place among the bracket's rungs, lowest first
    value: float  #: in the user's sign
    score: float  #: larger is better


class AsyncHyperBandScheduler(MetricScheduler):
    """Stops a trial at a rung unless it is among the top 1/reduction_factor of those seen there before it.

    Rungs lie at grace_period * reduction_factor**k below `max_t`; whoever reaches `max_t` is completed. `ASHAScheduler`
    is the same class.

    Args:
        time_attr: what rungs are counted in: "training_iteration", "time_total_s", or a reported value that grows.
        metric, mode: what is compared; here or in the call that runs the experiment, not in both. Of several metrics
            the first is used.
        max_t: the end of training, in units of `time_attr`.
        grace_period: the first rung; no trial is stopped before it.
        reduction_factor: one in so many goes on; above 1, fractions allowed.
        brackets: with n of them, a trial belongs to bracket s, whose first rung is grace_period * reduction_factor**s,
            with probability proportional to exp(number of rungs); drawn from the trial's index alone.
        stop_last_trials: False lets trials train on beyond `max_t`, which then is a rung like the others if it is one.
        first_arrivals: "pass": the first trial at each rung goes on, and the cutoff is interpolated between values
            recorded before, as in Ray Tune. "rank": the paper's stricter rule, only the top
            floor(n / reduction_factor) of all n seen at the rung go on, the newcomer included, so at first none.

    Equal values share the better rank, so a trial is never stopped by its equals alone; if all values are equal,
    "pass" stops nobody. NaN, and infinite values of either sign, count as seen but enter no quantile: such a trial is
    stopped as soon as the rung has one usable value, and until then they are equals among themselves, so that with
    nothing but NaN "pass" trains everything to `max_t` (a stopper's business).

    On purpose unlike Ray Tune: (1) a report that skips rungs is decided once, at the highest it crossed, and is never
    written into a lower one later; (2) NaN and infinities as above, there NaN passes every rung and an infinite value
    makes the cutoff infinite; (3) rungs are exact where the arguments are whole numbers; (4) reaching `max_t`
    completes a trial, also when that report lacks the metric, and is not counted in `num_stopped`; (5) brackets are
    drawn from the trial's index, not from NumPy's global state; (6) a trial that repeats a rung after a restart is
    not decided there again, and its first value stands; (7) a trial's last report is not recorded a second time when
    it ends; (8) reports without the metric or `time_attr` are counted and shown.

    Raises: ConfigError, with the values allowed.
    Source: Li et al. 2020 (arXiv 1810.05934); the stopping variant and its cutoff as in Ray Tune.
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
        stop_last_trials: bool = True,
        *,
        first_arrivals: str = "pass",
    ) -> None:
        super().__init__(time_attr=time_attr, metric=metric, mode=mode, max_t=max_t)
        if first_arrivals not in ("pass", "rank"):
            raise ConfigError(f"first_arrivals is {first_arrivals!r}. Give 'pass' or 'rank'.")
        self._ladder = make_ladder(
            grace_period=grace_period,
            max_t=max_t,
            reduction_factor=reduction_factor,
            brackets=brackets,
            is_max_t_a_rung=not stop_last_trials,
        )
        self._reduction_factor = whole(reduction_factor)
        self._completes_at_max_t = bool(stop_last_trials)
        self._first_arrivals = FirstArrivals(first_arrivals)
        #: Of each bracket, lowest rung first. A trial is recorded in one bracket only, and at most once at each rung.
        self._brackets = tuple(tuple(map(Rung, levels)) for levels in self._ladder.levels)
        self._n_stopped = 0

    def observe(self, record: Record) -> None:
        """Record each value at the rung it reached, and count what was stopped here."""
        if isinstance(record, AnswerReport):
            self._n_stopped += record.decision.verdict is Verdict.STOP and "rung" in record.decision.numbers
        elif isinstance(record, TrialReported):
            self._n_ignored += self._time(record) is None or self._value(record) is None
            arrival = self._arrival(record)
            if arrival is not None:
                self._brackets[arrival.bracket][arrival.rung].add(arrival.score)
                self._ladder.highest[record.trial] = arrival.rung

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE at `max_t`, STOP below the cutoff of a rung that is reached for the first time, else CONTINUE."""
        completion = self._completion(report) if self._completes_at_max_t else None
        if completion is not None:
            return completion
        arrival = self._arrival(report)
        return CONTINUE if arrival is None else self._judge(arrival)

    def describe(self) -> Sequence[str]:
        """Lines as Ray Tune words them: cutoffs with the highest rung first, the sign turned where mode is "min"."""
        lines = [f"Using AsyncHyperBand: num_stopped={self._n_stopped}"]
        for rungs in filter(None, self._brackets):
            cutoffs = ((rung.level, rung.cutoff(self._reduction_factor)) for rung in reversed(rungs))
            words = (
                f"Iter {at:.3f}: {None if cutoff is None else float(format(cutoff, '.5g'))}" for at, cutoff in cutoffs
            )
            lines.append("Bracket: " + " | ".join(words))
        return [*lines, *self._ignored_lines()]

    def check_invariants(self) -> None:
        """Assert that every trial's highest rung exists, and that all seen somewhere have one."""
        highest, bracket_of = self._ladder.highest, self._ladder.bracket_of
        assert all(0 <= rung < len(self._brackets[bracket_of(t)]) for t, rung in highest.items())
        assert sum(rung.n_seen for rungs in self._brackets for rung in rungs[:1]) <= len(highest)
        assert all(rung.scores == sorted(rung.scores) for rungs in self._brackets for rung in rungs)

    def _judge(self, arrival: _Arrival) -> Decision:
        rung = self._brackets[arrival.bracket][arrival.rung]
        is_worst = not math.isfinite(arrival.score)
        if is_worst and rung.scores:
            return self._stop(_NOT_A_NUMBER, arrival, cutoff=None, n_kept=None)
        if self._first_arrivals is FirstArrivals.RANK:
            n_kept = keep_count(rung.n_seen + 1, self._reduction_factor)
            is_kept = rung.rank_of(arrival.score) <= n_kept
            reason = _RANK + _VALUE if math.isfinite(arrival.value) else _RANK
            return CONTINUE if is_kept else self._stop(reason, arrival, cutoff=None, n_kept=n_kept)
        cutoff = rung.cutoff(self._reduction_factor)
        if is_worst or cutoff is None or arrival.score >= cutoff:
            return CONTINUE
        return self._stop(_RANK + _VALUE + _CUTOFF, arrival, cutoff=cutoff, n_kept=rung.n_at_least(cutoff))

    def _stop(self, reason: str, arrival: _Arrival, *, cutoff: float | None, n_kept: int | None) -> Decision:
        assert self._objective is not None
        rung = self._brackets[arrival.bracket][arrival.rung]
        numbers: dict[str, float | int | str] = {
            "rank": rung.rank_of(arrival.score),
            "n_seen": rung.n_seen + 1,
            "rung": rung.level,
            "metric": self._objective.metric,
            "value": arrival.value if math.isfinite(arrival.value) else str(arrival.value),  # JSON has no NaN
        }
        if n_kept is not None:
            numbers["n_kept"] = n_kept
        if cutoff is not None:
            numbers["cutoff"] = cutoff if self._objective.mode is Mode.MAX else -cutoff
        return Decision(verdict=Verdict.STOP, reason=reason, numbers=numbers)

    def _arrival(self, report: TrialReported) -> _Arrival | None:
        """Where the report arrives: at the highest rung it crosses, if its trial was not recorded there or above."""
        time, value = self._time(report), self._value(report)
        if time is None or value is None:
            return None
        if self._completes_at_max_t and self._completion(report) is not None:
            return None
        place = self._ladder.arrival(report.trial, time)
        if place is None:
            return None
        return _Arrival(*place, value=value, score=-self._bound.mode.as_loss(value))


#: As the paper calls it.
ASHAScheduler = AsyncHyperBandScheduler
