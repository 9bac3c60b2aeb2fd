"""The arithmetic of successive halving: where rungs lie, and where a newcomer stands among those seen at one.

Scores are values with their sign turned so that larger is better.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

#: More rungs than this only come from a reduction factor that is 1 by mistake.
MAX_RUNGS = 1000


def rung_levels(grace_period: float, max_t: float, reduction_factor: float) -> tuple[float, ...]:
    """grace_period * reduction_factor**k for k = 0, 1, ..., as long as it is at most `max_t`; at most MAX_RUNGS + 1.

    Integers stay integers, so that 243 / 3 and 1000 / 10 do not lose their top rung to a rounded logarithm. Others are
    rounded to 12 digits, so that a trial that reports the fraction 0.3 of its data reaches the rung 3 * 0.1.
    """
    levels: list[float] = []
    level = grace_period
    while level <= max_t and len(levels) <= MAX_RUNGS:
        levels.append(level)
        level = level * reduction_factor
        level = level if isinstance(level, int) else float(f"{level:.12g}")
    return tuple(levels)


def keep_count(n_seen: int, reduction_factor: float) -> int:
    """How many of the trials seen at a rung may go on: the top 1/reduction_factor, rounded down, so none at first.

    Source: Li et al. 2020 (arXiv 1810.05934), algorithm 2.
    """
    return int(n_seen // reduction_factor)


def upper_quantile(ascending: list[float], reduction_factor: float) -> float:
    """The (1 - 1/reduction_factor) quantile of one or more finite values by linear interpolation.

    Takes NumPy's steps in NumPy's order, so that ties with the quantile fall as they do there:
    `test_quantile_is_bit_for_bit_that_of_numpy`.
    """
    position = (len(ascending) - 1) * ((1 - 1 / reduction_factor) * 100 / 100)
    below = math.floor(position)
    low, high, share = ascending[below], ascending[min(below + 1, len(ascending) - 1)], position - below
    gap = high - low
    if math.isinf(gap):
        return low * (1 - share) + high * share
    return high - gap * (1 - share) if share >= 0.5 else low + gap * share


@dataclass
class Rung:
    """All that was seen at one level of one bracket, each trial once."""

    level: float
    scores: list[float] = field(default_factory=list)  #: finite, ascending
    n_worst: int = 0  #: NaN and infinities of either sign: worse than all of `scores`

    @property
    def n_seen(self) -> int:
        """How many trials were seen here."""
        return len(self.scores) + self.n_worst

    def add(self, score: float) -> None:
        """Record a trial's score."""
        if math.isfinite(score):
            insort(self.scores, score)
        else:
            self.n_worst += 1

    def rank_of(self, score: float) -> int:
        """1 + the number of trials seen here that are strictly better; equals share the better rank, what is not
        finite is last.
        """
        if not math.isfinite(score):
            return len(self.scores) + 1
        return 1 + len(self.scores) - bisect_right(self.scores, score)

    def n_at_least(self, score: float) -> int:
        """How many trials seen here have this finite score or a better one."""
        return len(self.scores) - bisect_left(self.scores, score)

    def cutoff(self, reduction_factor: float) -> float | None:
        """The score that separates the top 1/reduction_factor of the finite ones; None where there are none."""
        return upper_quantile(self.scores, reduction_factor) if self.scores else None
