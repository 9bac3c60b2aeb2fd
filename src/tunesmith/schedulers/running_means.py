"""What each trial's running mean was at any time, and the median over trials."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from dataclasses import dataclass, field


def _floats() -> array[float]:
    return array("d")


@dataclass
class _Curve:
    """A trial's reports by rising time; all five are of one length."""

    times: array[float] = field(default_factory=_floats)
    steps: array[float] = field(default_factory=_floats)
    #: Of the finite losses since the grace period up to each time: their sum and number.
    sums: array[float] = field(default_factory=_floats)
    counts: array[float] = field(default_factory=_floats)
    bests: array[float] = field(default_factory=_floats)  #: lowest finite loss up to each time; infinite if none

    def mean_at(self, time: float) -> float | None:
        """The running mean up to this time; None where there is nothing to take it of."""
        at = bisect_right(self.times, time) - 1
        return self.sums[at] / self.counts[at] if at >= 0 and self.counts[at] else None


#: Where trials report at times of their own, the median is of so many of them at most: each must be looked up.
_MAX_LOOKED_UP = 200


@dataclass
class RunningMeans:
    """Folds reports. A median takes O(log n) where all trials report at the same whole times, else a bounded time."""

    grace_period: float  #: means are of reports from this time on
    _curves: defaultdict[int, _Curve] = field(default_factory=lambda: defaultdict(_Curve))
    _last_times: list[tuple[float, int]] = field(
        default_factory=list
    )  #: with the trial: of all with reports, ascending
    #: By whole time: the means of all and only the trials that reported at just this time, ascending.
    _means_at: defaultdict[float, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, trial: int, *, step: int, time: float, loss: float) -> None:
        """Append a report; what the trial had reported for this time or a later one is superseded."""
        curve = self._curves[trial]
        self._drop(trial, bisect_left(curve.times, time))
        counts = math.isfinite(loss) and time >= self.grace_period
        if curve.times:
            self._forget_last(trial)
        curve.sums.append((curve.sums[-1] if curve.sums else 0.0) + (loss if counts else 0.0))
        curve.counts.append((curve.counts[-1] if curve.counts else 0.0) + counts)
        curve.times.append(time)
        curve.steps.append(step)
        curve.bests.append(min(curve.bests[-1] if curve.bests else math.inf, loss if math.isfinite(loss) else math.inf))
        insort(self._last_times, (time, trial))
        if curve.counts[-1] and time == math.floor(time):
            insort(self._means_at[time], curve.sums[-1] / curve.counts[-1])

    def rewind(self, trial: int, step: int) -> None:
        """The trial starts again from this step: what it reported beyond it is superseded."""
        if trial in self._curves:
            self._drop(trial, bisect_right(self._curves[trial].steps, step))

    def best(self, trial: int) -> float:
        """The lowest finite loss of the trial, infinite where it has none."""
        curve = self._curves.get(trial)
        return curve.bests[-1] if curve is not None and curve.bests else math.inf

    def median_of_others(self, trial: int, time: float) -> tuple[float, int] | None:
        """The median of the running means up to `time` of the other trials that have come as far, and their number.

        None where there is none.
        """
        means = self._means_at.get(time, [])
        own = self._curves.get(trial)
        is_own_as_far = own is not None and bool(own.times) and own.times[-1] >= time
        first = bisect_left(self._last_times, (time, -1))
        n_as_far = len(self._last_times) - first
        if is_own_as_far or len(means) != n_as_far:
            # Evenly spaced by how far they have come: those that came farthest are the better ones.
            chosen = self._last_times[first :: 1 + n_as_far // _MAX_LOOKED_UP]
            found = (self._curves[other].mean_at(time) for _, other in chosen if other != trial)
            means = sorted(mean for mean in found if mean is not None)
        if not means:
            return None
        middle = len(means) // 2
        return (means[middle] + means[-1 - middle]) / 2, len(means)

    def _drop(self, trial: int, length: int) -> None:
        """Forget all reports of the trial but the first `length`."""
        curve = self._curves[trial]
        if len(curve.times) <= length:
            return
        self._forget_last(trial)
        for at in range(length, len(curve.times)):
            if curve.counts[at] and curve.times[at] in self._means_at:
                means = self._means_at[curve.times[at]]
                del means[bisect_left(means, curve.sums[at] / curve.counts[at])]
        for column in (curve.times, curve.steps, curve.sums, curve.counts, curve.bests):
            del column[length:]
        if curve.times:
            insort(self._last_times, (curve.times[-1], trial))

    def _forget_last(self, trial: int) -> None:
        del self._last_times[bisect_left(self._last_times, (self._curves[trial].times[-1], trial))]
