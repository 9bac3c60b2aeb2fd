"""Do two rungs rank their trials alike, but for noise? The soft ranking of PASHA.

Symbols: the trials of a rung stand in the order of their losses; `epsilon` is how far apart two losses may be and still
count as equal.

Source: Bohdal et al. 2023 (arXiv 2207.06940), section 4.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tunesmith.schedulers.rung import upper_quantile


@dataclass
class LearningCurve:
    """What a trial reported: losses over rising times."""

    times: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def add(self, time: float, loss: float) -> None:
        """Append a report; what was reported for this time or a later one before a restart is superseded."""
        while self.times and self.times[-1] >= time:
            self.times.pop()
            self.losses.pop()
        self.times.append(time)
        self.losses.append(loss)


def rank_swap_distance(one: LearningCurve, other: LearningCurve) -> float | None:
    """How far apart two curves are at the last time that both have, if they swapped ranks and swapped back; else None.

    Times that only one has, ties and values that are not finite are passed over.
    """
    other_at = dict(zip(other.times, other.losses, strict=True))
    gaps = [loss - other_at[time] for time, loss in zip(one.times, one.losses, strict=True) if time in other_at]
    signs = [gap > 0 for gap in gaps if gap != 0 and math.isfinite(gap)]
    n_swaps = sum(before is not after for before, after in pairwise(signs))
    return abs(gaps[-1]) if n_swaps >= 2 and math.isfinite(gaps[-1]) else None


def is_ranking_stable(top: Mapping[int, float], before: Mapping[int, float], epsilon: float) -> bool:
    """Whether each place of the ranking at the top rung is held by a trial that is within epsilon of the one that held
    the place at the rung before.

    Args: top, before: trial -> finite loss, at both rungs of the same trials; of equal losses the first comes first.
    """
    ranked_before = sorted(before, key=before.__getitem__)
    ranked = sorted(top, key=top.__getitem__)
    return all(abs(before[one] - before[other]) <= epsilon for one, other in zip(ranked, ranked_before, strict=True))


@dataclass
class RankNoise:
    """The estimate of epsilon: a percentile of the distances of curves that swapped ranks back and forth."""

    epsilon: float = 0.0
    _distances: list[float] = field(default_factory=list)  #: ascending

    def add(self, newcomer: LearningCurve, others: Sequence[LearningCurve]) -> None:
        """Compare a curve that has become long enough with those that were before."""
        for other in others:
            distance = rank_swap_distance(newcomer, other)
            if distance is not None:
                insort(self._distances, distance)
        if self._distances:
            self.epsilon = upper_quantile(self._distances, 10)  # the 90th percentile

    def start_over(self) -> None:
        """Forget the distances, and keep epsilon until there are new ones."""
        self._distances.clear()
