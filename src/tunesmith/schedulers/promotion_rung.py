"""A rung from which trials are promoted: who was seen there, who waits there, and who is next."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import NamedTuple

from tunesmith.schedulers.rung import keep_count


class Standing(NamedTuple):
    """A trial's result at a rung. Smaller is better: a lower loss, and of equal losses the one that came first."""

    loss: float  #: infinite for NaN and infinities of either sign
    order: int  #: the number of the arrival among all
    trial: int


class Promotion(NamedTuple):
    """A trial that may go on, and the numbers that say why."""

    trial: int
    level: float
    rank: int
    n_seen: int
    n_kept: int


@dataclass
class PromotionRung:
    """All that was seen at one level of one bracket, and who of them is paused there."""

    level: float
    seen: list[Standing] = field(default_factory=list)  #: ascending; each trial once
    #: Ascending; those of `seen` that are paused at this rung. Whoever is promoted leaves it and never returns.
    paused: list[Standing] = field(default_factory=list)

    def add(self, standing: Standing) -> None:
        """Record a trial's result."""
        insort(self.seen, standing)

    def pause(self, standing: Standing) -> None:
        """The trial waits here."""
        insort(self.paused, standing)

    def release(self, standing: Standing) -> None:
        """The trial waits here no more."""
        at = bisect_left(self.paused, standing)
        assert self.paused[at] == standing
        del self.paused[at]

    def promotion(self, reduction_factor: float, newcomer: Standing | None = None) -> Promotion | None:
        """The best of those that wait, if it is among the top 1/reduction_factor of all seen here; O(log n).

        Args: newcomer: one more that waits here; it may be seen already.
        Source: Li et al. 2020 (arXiv 1810.05934), algorithm 2, get_job.
        """
        waiting = self.paused[:1] if newcomer is None else [*self.paused[:1], newcomer]
        best = min(waiting, default=None)
        if best is None or not math.isfinite(best.loss):
            return None
        found = self.place_of(best, reduction_factor, newcomer)
        return found if found.rank <= found.n_kept else None

    def place_of(self, standing: Standing, reduction_factor: float, newcomer: Standing | None = None) -> Promotion:
        """Where a trial stands here, whether it may go on or not."""
        rank = bisect_left(self.seen, standing) + 1
        n_seen = len(self.seen)
        if newcomer is not None and not self._has(newcomer):
            n_seen += 1
            rank += newcomer < standing
        return Promotion(standing.trial, self.level, rank, n_seen, keep_count(n_seen, reduction_factor))

    def _has(self, standing: Standing) -> bool:
        at = bisect_left(self.seen, standing)
        return at < len(self.seen) and self.seen[at] == standing
