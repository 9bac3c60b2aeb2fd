"""Fewer points and lines where there are too many to be seen, the telling ones kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]


def spread(n: int, limit: int) -> Ints:
    """At most `limit` of the places 0 to n - 1, evenly spread, with the first and the last; ascending."""
    if n <= limit:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, limit).round().astype(np.int64))


def thin_line(y: Array, limit: int) -> Ints:
    """At most `limit` places of a line, at least 4, evenly spread, with its ends and its lowest and highest value."""
    n = len(y)
    if n <= limit:
        return np.arange(n)
    kept = spread(n, limit - 2)
    if np.isfinite(y).any():
        kept = np.union1d(kept, [np.nanargmin(y), np.nanargmax(y)])
    return kept


def best_and_spread(losses: Array, limit: int) -> Ints:
    """At most `limit` places: half of them the smallest losses, half spread over all others; ascending.

    Args: losses: NaN is the largest.
    """
    n = len(losses)
    if n <= limit:
        return np.arange(n)
    order = np.argsort(losses, kind="stable")  # NaN last
    n_best = limit // 2
    others = np.sort(order[n_best:])
    return np.sort(np.concatenate([order[:n_best], others[spread(len(others), limit - n_best)]]))
