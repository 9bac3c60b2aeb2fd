"""ASHA for several objectives: a trial's rank at a rung is that of its Pareto front."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tunesmith.events import CONTINUE, AnswerReport, Decision, Record, TrialReported, Verdict
from tunesmith.schedulers.fronts import Losses, front_size, rank_of_last
from tunesmith.schedulers.ladder import Place, make_ladder, whole
from tunesmith.schedulers.metric_scheduler import MetricScheduler
from tunesmith.schedulers.rung import keep_count
from tunesmith.trial import Trial, metric_value, parse_objective

#: A newcomer is ranked among so many that were at the rung last: a report costs the same however many there are.
_MAX_COMPARED = 500
_RANK = "rank {rank} of {n_seen} at rung {rung}, {n_kept} kept: {values}"
_FRONT = "{n_kept} of {n_seen} at rung {rung} kept, and so many or more are in better fronts: {values}"
_NOT_A_NUMBER = "not finite at rung {rung}, where others are: {values}"


class _Arrival(NamedTuple):
    place: Place
    losses: Losses


@dataclass
class _Rung:
    level: float
    recent: deque[Losses] = field(default_factory=lambda: deque(maxlen=_MAX_COMPARED))  #: latest last


class MultiObjectiveASHA(MetricScheduler):
    """Stops a trial at a rung unless its losses are among the best 1/reduction_factor of all seen there.

    Best are those of the first Pareto front, then those of the second, and so on. Within the front that is cut, those
    go on that spread over it: the one with the lowest first loss, then always the one farthest from all before (an
    epsilon-net), where each loss is measured in widths of the front. Equal results share the better rank. With one
    metric this is ASHAScheduler(first_arrivals="rank"), but for the first arrivals and the 500 below.

    Args:
        time_attr: what rungs are counted in: "training_iteration", "time_total_s", or a reported value that grows.
        metric, mode: lists of what is compared, or one of each; here or in the call that runs the experiment.
        max_t, grace_period, reduction_factor, brackets: as of AsyncHyperBandScheduler.

    The newcomer counts itself, and one of those seen is always kept: the first trial at a rung goes on, the next ones
    if they rank first. A newcomer is compared with the 500 that were at the rung last. A report that lacks one of the
    metrics is ignored and counted. NaN and infinities count as seen and rank last. Constraints of the objective are not
    looked at.

    Ray Tune has no such scheduler. Unlike the authors' code: distances are scaled by the front, the seed of the net is
    not drawn, and the comparison is bounded.

    Raises: ConfigError, with the values allowed.
    Sources: Schmucker et al. 2021 (arXiv 2106.12639); Salinas et al. 2021 (arXiv 2106.05680) for the epsilon-net.
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | Sequence[str] | None = None,
        mode: str | Sequence[str] | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
    ) -> None:
        super().__init__(time_attr=time_attr, metric=None, mode=None, max_t=max_t)
        if metric is not None and mode is not None:
            parse_objective(metric, mode)
        self._ladder = make_ladder(
            grace_period=grace_period, max_t=max_t, reduction_factor=reduction_factor, brackets=brackets
        )
        self._metric: Any = metric
        self._mode: Any = mode
        self._reduction_factor = whole(reduction_factor)
        self._rungs = tuple(tuple(map(_Rung, levels)) for levels in self._ladder.levels)
        self._n_stopped = 0

    def observe(self, record: Record) -> None:
        """Record the losses at the rung they reached, and count what was stopped here."""
        if isinstance(record, AnswerReport):
            self._n_stopped += record.decision.verdict is Verdict.STOP and "rung" in record.decision.numbers
        elif isinstance(record, TrialReported):
            self._n_ignored += self._time(record) is None or self._losses(record) is None
            arrival = self._arrival(record)
            if arrival is not None:
                self._rung(arrival.place).recent.append(arrival.losses)
                self._ladder.highest[record.trial] = arrival.place.rung

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE at `max_t`, STOP at a rung where it is not among those kept, else CONTINUE."""
        completion = self._completion(report)
        if completion is not None:
            return completion
        arrival = self._arrival(report)
        return CONTINUE if arrival is None else self._judge(arrival)

    def describe(self) -> Sequence[str]:
        """How many were stopped, and how many of the latest at each rung are in its Pareto front."""
        lines = [f"Using multi-objective ASHA: num_stopped={self._n_stopped}"]
        for rungs in filter(None, self._rungs):
            sizes = [(rung, front_size([*filter(_is_finite, rung.recent)])) for rung in reversed(rungs)]
            words = (f"Iter {rung.level:.3f}: {size} of {len(rung.recent)} not dominated" for rung, size in sizes)
            lines.append("Bracket: " + " | ".join(words))
        return [*lines, *self._ignored_lines()]

    def _names(self) -> Sequence[str]:
        return self._bound.metrics

    def _judge(self, arrival: _Arrival) -> Decision:
        rung = self._rung(arrival.place)
        finite = [losses for losses in rung.recent if _is_finite(losses)]
        n_seen = len(rung.recent) + 1
        n_kept = max(1, keep_count(n_seen, self._reduction_factor))
        pairs = zip(self._bound.metrics, self._bound.modes, arrival.losses, strict=True)
        numbers: dict[str, float | int | str] = {
            "n_seen": n_seen,
            "rung": rung.level,
            "n_kept": n_kept,
            "values": ", ".join(f"{metric} {mode.as_loss(loss):.6g}" for metric, mode, loss in pairs),
        }
        if not _is_finite(arrival.losses):
            if finite:
                return Decision(Verdict.STOP, _NOT_A_NUMBER, numbers)
            rank: int | None = 1
        else:
            rank = rank_of_last([*finite, arrival.losses], n_kept)
        if rank is None:
            return Decision(Verdict.STOP, _FRONT, numbers)
        return CONTINUE if rank <= n_kept else Decision(Verdict.STOP, _RANK, {**numbers, "rank": rank})

    def _arrival(self, report: TrialReported) -> _Arrival | None:
        time, losses = self._time(report), self._losses(report)
        if time is None or losses is None or self._completion(report) is not None:
            return None
        place = self._ladder.arrival(report.trial, time)
        return None if place is None else _Arrival(place, losses)

    def _losses(self, report: TrialReported) -> Losses | None:
        losses = []
        for metric, mode in zip(self._bound.metrics, self._bound.modes, strict=True):
            value = metric_value(report.metrics, report.step, report.time_total_s, metric)
            if value is None:
                return None
            losses.append(mode.as_loss(value))
        return tuple(losses)

    def _rung(self, place: Place) -> _Rung:
        return self._rungs[place.bracket][place.rung]


def _is_finite(losses: Losses) -> bool:
    return all(map(math.isfinite, losses))
