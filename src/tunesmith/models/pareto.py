"""Several losses at once: which results are not dominated, and the hypervolume that they dominate.

Symbols, with n results and m losses, all to be minimised:
    losses     shape (n, m)
    reference  the corner that hypervolume is measured from: the worst that still counts, shape (m,)
    front      the losses of a set of results of which none dominates another, shape (k, m)

One result dominates another if it is nowhere worse and somewhere better; equal ones do not dominate each other.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def is_non_dominated(losses: Array) -> NDArray[np.bool_]:
    """Which results no other one dominates; shape (n,). Takes O(n log n) for two losses, O(n k) for more.

    Args: losses: shape (n, m), no NaN; infinities compare as they should.
    """
    n, m = losses.shape
    if n == 0 or m == 0:
        return np.ones(n, bool)
    if m == 1:
        return np.asarray(losses[:, 0] == losses.min())
    unique, place = np.unique(losses, axis=0, return_inverse=True)  # sorted by the first loss, then by the next
    place = place.reshape(-1)
    if m == 2:
        best_before = np.minimum.accumulate(np.concatenate([[np.inf], unique[:-1, 1]]))
        kept = unique[:, 1] < best_before
        kept[0] = True  # also where its second loss is infinite
        return np.asarray(kept[place])
    kept = np.zeros(len(unique), bool)
    left = np.arange(len(unique))
    while len(left):
        # The first in lexical order cannot be dominated by a later one; whatever it dominates is done with.
        first = left[0]
        kept[first] = True
        left = left[1:]
        left = left[(unique[left] < unique[first]).any(axis=1)]
    return np.asarray(kept[place])


def pareto_places(losses: Array, violations: Array) -> NDArray[np.intp]:
    """Places of the Pareto set: results that keep every constraint and that no other such result dominates.

    Where none keeps them all: those that come closest, beaten by no other in every violation. Sorted by the first loss,
    then by the next; equal ones as they came.

    Args: violations: by how much each result breaks each constraint, 0 if it keeps it; shape (n, k).
    """
    is_feasible = (violations == 0.0).all(axis=1)
    if is_feasible.any():
        places = np.flatnonzero(is_feasible)
        places = places[is_non_dominated(losses[places])]
    else:
        places = np.flatnonzero(is_non_dominated(violations))
    return np.asarray(places[np.lexsort(losses[places].T[::-1])])


def non_dominated_ranks(losses: Array, violations: Array | None = None, *, n_enough: int | None = None) -> Array:
    """0 for results that none dominates, 1 for those that only these dominate, and so on; shape (n,).

    Results that break a constraint come after all that keep every one, by how much they break them together.

    Args:
        violations: by how much each breaks the constraints, 0 if it keeps them all; shape (n,).
        n_enough: once so many are ranked, the others are infinitely far back.
    Source: Deb et al. 2002 (IEEE Trans. Evol. Comput. 6), sections III.A and VI.
    """
    n = len(losses)
    ranks = np.full(n, np.inf)
    broken = np.zeros(n) if violations is None else violations
    left = np.flatnonzero(broken <= 0.0)
    n_enough = n if n_enough is None else n_enough
    rank = n_ranked = 0
    while len(left) and n_ranked < n_enough:
        is_next = is_non_dominated(losses[left])
        ranks[left[is_next]] = rank
        n_ranked += int(is_next.sum())
        left = left[~is_next]
        rank += 1
    if n_ranked < n_enough:
        bad = np.flatnonzero(broken > 0.0)
        ranks[bad] = rank + np.unique(broken[bad], return_inverse=True)[1].reshape(-1)
    return ranks


def crowding_distances(front: Array) -> Array:
    """How lonely each point of a front is: its neighbours' distance in each loss, added up; shape (k,).

    Infinite at both ends of each loss. Losses are measured in widths of the front.
    Source: Deb et al. 2002 (IEEE Trans. Evol. Comput. 6), section III.B.
    """
    k, m = front.shape
    found = np.zeros(k)
    for j in range(m):
        order = np.argsort(front[:, j], kind="stable")
        column = front[order, j]
        width = column[-1] - column[0] if k else 0.0
        if not 0.0 < width < np.inf:
            continue
        gaps = np.full(k, np.inf)
        gaps[1:-1] = (column[2:] - column[:-2]) / width
        found[order] += gaps
    return found


def hypervolume(losses: Array, reference: Array) -> float:
    """The volume between the results and the reference point, exact for any number of losses.

    Results that are not better than the reference in every loss add nothing.

    Sources: a sweep for two losses; slices for three; While et al. 2012 (IEEE Trans. Evol. Comput. 16), "WFG", for
    more.
    """
    counted = losses[(losses < reference).all(axis=1)]
    if len(counted) == 0:
        return 0.0
    counted = np.unique(counted[is_non_dominated(counted)], axis=0)
    return _volume(counted, reference)


def hypervolume_contributions(losses: Array, reference: Array) -> Array:
    """By how much the hypervolume would shrink without each result; shape (n,). 0 for equal ones and dominated ones.

    Source: While et al. 2012, exclusive hypervolume.
    """
    found = np.zeros(len(losses))
    counted = np.flatnonzero((losses < reference).all(axis=1))
    inside = losses[counted]
    for i in np.flatnonzero(is_non_dominated(inside)):
        own = inside[i]
        shared = np.maximum(np.delete(inside, i, axis=0), own)  # what others dominate of its own share
        found[counted[i]] = float(np.prod(reference - own)) - hypervolume(shared, reference)
    return np.maximum(found, 0.0)


def _volume(front: Array, reference: Array) -> float:
    """Of points better than the reference, in lexical order, none dominated or equal."""
    k, m = front.shape
    if k == 1:
        return float(np.prod(reference - front[0]))
    if m == 1:
        return float(reference[0] - front[0, 0])
    if m == 2:  # the second loss falls as the first one grows
        tops = np.concatenate([[reference[1]], front[:-1, 1]])
        return float(np.sum((reference[0] - front[:, 0]) * (tops - front[:, 1])))
    if m == 3:
        front = front[np.argsort(front[:, 2], kind="stable")]
        edges = np.append(front[1:, 2], reference[2]) - front[:, 2]
        slices = [hypervolume(front[: i + 1, :2], reference[:2]) if edge > 0.0 else 0.0 for i, edge in enumerate(edges)]
        return float(np.dot(edges, slices))
    total = 0.0
    for i, own in enumerate(front):
        total += float(np.prod(reference - own)) - hypervolume(np.maximum(front[i + 1 :], own), reference)
    return total


def improving_boxes(front: Array, reference: Array) -> tuple[Array, Array]:
    """The losses that would enlarge the hypervolume, cut into boxes without overlap: lower and upper corners, (b, m).

    Lower corners may be minus infinity. k + 1 boxes for two losses, O(k^(m - 1)) for m.
    """
    m = len(reference)
    front = front[(front < reference).all(axis=1)]
    front = np.unique(front[is_non_dominated(front)], axis=0)
    if m == 1:
        return np.full((1, 1), -np.inf), np.minimum(front.min(axis=0, initial=np.inf), reference)[None]
    edges = np.concatenate([[-np.inf], np.unique(front[:, -1]), reference[-1:]])
    lows, highs = [], []
    for low, high in pairwise(edges):
        # Within the slab only the points at or below its floor forbid anything.
        inner_lows, inner_highs = improving_boxes(front[front[:, -1] <= low][:, :-1], reference[:-1])
        lows.append(np.column_stack([inner_lows, np.full(len(inner_lows), low)]))
        highs.append(np.column_stack([inner_highs, np.full(len(inner_highs), high)]))
    return np.concatenate(lows), np.concatenate(highs)
