"""Where a result with several losses stands among others: by Pareto fronts, and within a front by spread."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Losses = tuple[float, ...]


def rank_of_last(rows: Sequence[Losses], n_kept: int) -> int | None:
    """The rank of the last of these results, from 1; None where `n_kept` or more are in better fronts.

    Args: rows: finite losses.
    """
    import numpy as np

    from tunesmith.models.pareto import non_dominated_ranks

    losses = np.asarray(rows, float)
    if losses.shape[1] == 2:
        fronts = np.asarray(_fronts_of_two(rows), float)
        if (fronts < fronts[-1]).sum() >= max(n_kept, 1):
            return None
    else:
        fronts = non_dominated_ranks(losses, n_enough=max(n_kept, 1))
    own = fronts[-1]
    if math.isinf(own):
        return None
    n_before = int((fronts < own).sum())
    front, counts = np.unique(losses[fronts == own], axis=0, return_counts=True)
    if len(front) == 1:
        return n_before + 1
    place = int(np.flatnonzero((front == losses[-1]).all(axis=1))[0])
    for chosen in epsilon_net(front):
        if chosen == place:
            break
        n_before += int(counts[chosen])
    return n_before + 1


def epsilon_net(front: Array) -> list[int]:
    """The places of a front's points in the order in which they spread over it.

    First the one with the lowest first loss, then always the one farthest from all before, losses measured in widths of
    the front. Of equals the first.

    Args: front: shape (k, m), finite, k >= 1.
    Source: Clarkson 2005, "Nearest-neighbor searching and metric space dimensions".
    """
    import numpy as np

    widths = np.ptp(front, axis=0)
    points = front / np.where(widths > 0.0, widths, 1.0)
    order = [int(np.argmin(points[:, 0]))]
    distances = np.full(len(points), np.inf)
    while len(order) < len(points):
        distances = np.minimum(distances, np.square(points - points[order[-1]]).sum(axis=1))
        distances[order] = -1.0
        order.append(int(np.argmax(distances)))
    return order


def front_size(rows: Sequence[Losses]) -> int:
    """How many of these results no other one dominates. Args: rows: finite losses."""
    import numpy as np

    from tunesmith.models.pareto import is_non_dominated

    return int(is_non_dominated(np.asarray(rows, float)).sum()) if rows else 0


def _fronts_of_two(rows: Sequence[Losses]) -> list[int]:
    """The front of each result with two losses, from 0, in O(n log n): one sweep by the first loss.

    Source: Jensen 2003 (IEEE Trans. Evol. Comput. 7), the case of two objectives.
    """
    fronts, lowest = [0] * len(rows), list[float]()  # by front: the lowest second loss so far, rising
    before, front = None, 0
    for place in sorted(range(len(rows)), key=rows.__getitem__):
        if rows[place] != before:
            before = rows[place]
            front = bisect_right(lowest, before[1])
            lowest[front : front + 1] = [before[1]]
        fronts[place] = front
    return fronts
