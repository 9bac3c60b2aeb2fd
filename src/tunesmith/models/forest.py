"""A forest of extremely randomised trees, grown breadth-first and all at once in NumPy.

For objectives with steps, and options by the hundred, where no smooth model fits; for histories too long for a Gaussian
process. Leaves of inactive columns count as -1, left of all others. Codes are split into two random halves.

Sources: Geurts et al. 2006 (Machine Learning 63); the variance between trees as uncertainty: Hutter et al. 2011 (SMAC).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.models.cube import Cube

    Array = NDArray[np.float64]

_N_TREES = 40
_MAX_DEPTH = 40
_MORE_TRIES = 6  #: times as many columns as usual are tried where those drawn first are constant
_MIN_SPREAD = 1e-12  #: of the objective within a node that is still split


@dataclass
class _Nodes:
    """Arrays over all nodes of all trees."""

    column: NDArray[np.int64]  #: that the node splits on, -1 for a leaf
    threshold: Array  #: places up to it go to the left; of a code column: the seed of the halves
    left: NDArray[np.int64]  #: the left child; the right one follows it
    mean: Array


class Forest:
    """Trees fitted to the rows of a cube, each to all of them with splits of its own."""

    def __init__(self, cube: Cube, rows: Array, y: Array, rng: np.random.Generator, *, n_trees: int = _N_TREES) -> None:
        """Args: rows: (n, d); y: (n,)."""
        self._is_code = cube.is_categorical
        self._n_trees = n_trees
        self._nodes = self._grow(_filled(rows), y, rng)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation over the trees at the rows; shape (n,) each, sd > 0."""
        x, nodes = _filled(rows), self._nodes
        n = len(x)
        at = np.repeat(np.arange(self._n_trees), n)
        sample = np.tile(np.arange(n), self._n_trees)
        going = np.arange(len(at))
        while len(going):
            here = at[going]
            is_inner = nodes.column[here] >= 0
            going, here = going[is_inner], here[is_inner]
            at[going] = nodes.left[here] + ~self._goes_left(x, sample[going], nodes.column[here], nodes.threshold[here])
        means = nodes.mean[at].reshape(self._n_trees, n)
        return means.mean(axis=0), np.sqrt(means.var(axis=0) + 1e-8)

    def _goes_left(
        self, x: Array, sample: NDArray[np.int64], column: NDArray[np.int64], threshold: Array
    ) -> NDArray[np.bool_]:
        value = x[sample, column]
        found = value <= threshold
        is_code = self._is_code[column]
        if is_code.any():
            found[is_code] = _half(value[is_code], threshold[is_code])
        return np.asarray(found)

    def _grow(self, x: Array, y: Array, rng: np.random.Generator) -> _Nodes:
        """All trees at once, one level after the other."""
        n, n_trees = len(x), self._n_trees
        node = np.repeat(np.arange(n_trees), n)  # of each sample in each tree; the roots are the first nodes
        sample = np.tile(np.arange(n), n_trees)
        target = y[sample]
        columns, thresholds, lefts = [np.full(n_trees, -1)], [np.zeros(n_trees)], [np.full(n_trees, -1)]
        means = [np.full(n_trees, y.mean())]
        n_nodes, first = n_trees, 0
        for _ in range(_MAX_DEPTH):
            place, n_level = node - first, n_nodes - first
            column, threshold = self._splits(x, sample, target, place, n_level, rng)
            is_split = column >= 0
            lefts[-1][:] = -1
            columns[-1][:], thresholds[-1][:] = column, threshold
            n_new = int(is_split.sum())
            if n_new == 0:
                break
            lefts[-1][is_split] = n_nodes + 2 * np.arange(n_new)
            stays = is_split[place]
            node, sample, target, place = node[stays], sample[stays], target[stays], place[stays]
            is_left = self._goes_left(x, sample, column[place], threshold[place])
            node = lefts[-1][place] + ~is_left
            first, n_nodes = n_nodes, n_nodes + 2 * n_new
            counts = np.bincount(node - first, minlength=2 * n_new)
            means.append(np.bincount(node - first, target, minlength=2 * n_new) / np.maximum(counts, 1))
            columns.append(np.full(2 * n_new, -1))
            thresholds.append(np.zeros(2 * n_new))
            lefts.append(np.full(2 * n_new, -1))
        return _Nodes(*(np.concatenate(part) for part in (columns, thresholds, lefts, means)))

    def _splits(
        self,
        x: Array,
        sample: NDArray[np.int64],
        target: Array,
        place: NDArray[np.int64],
        n_level: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], Array]:
        """Column and threshold of the best of a few random splits of each node; column -1 where none parts it."""
        count = np.bincount(place, minlength=n_level)
        total = np.bincount(place, target, minlength=n_level)
        squares = np.bincount(place, target * target, minlength=n_level)
        spread = squares - total * total / np.maximum(count, 1)
        is_open = (count >= 2) & (spread > _MIN_SPREAD * np.maximum(count, 1))
        best_column, best_threshold = np.full(n_level, -1), np.zeros(n_level)
        best = np.full(n_level, -np.inf)
        n_tries = max(1, int(np.ceil(np.sqrt(x.shape[1]))))
        for attempt in range(_MORE_TRIES * n_tries):
            if attempt >= n_tries:  # only for nodes that no column parted so far
                is_open &= best_column < 0
                if not is_open.any():
                    break
            column = rng.integers(0, x.shape[1], n_level)
            value = x[sample, column[place]]
            low, high = np.full(n_level, np.inf), np.full(n_level, -np.inf)
            np.minimum.at(low, place, value)
            np.maximum.at(high, place, value)
            parts = is_open & (high > low)
            with np.errstate(invalid="ignore"):
                threshold = np.where(parts, low + rng.random(n_level) * (high - low), 0.0)
            is_code = self._is_code[column]
            threshold[is_code] = rng.integers(1, 2**31, int(is_code.sum()))
            is_left = self._goes_left(x, sample, column[place], threshold[place])
            n_left = np.bincount(place, is_left, minlength=n_level)
            sum_left = np.bincount(place, target * is_left, minlength=n_level)
            n_right, sum_right = count - n_left, total - sum_left
            parts &= (n_left > 0) & (n_right > 0)
            gain = sum_left**2 / np.maximum(n_left, 1) + sum_right**2 / np.maximum(n_right, 1)
            better = parts & (gain > best)
            best[better], best_column[better], best_threshold[better] = gain[better], column[better], threshold[better]
        return best_column, best_threshold


def _filled(rows: Array) -> Array:
    return np.where(np.isnan(rows), -1.0, rows)


def _half(codes: Array, seeds: Array) -> NDArray[np.bool_]:
    """A random half of all codes, by the seed of the node; a multiplicative hash (Knuth 1998, section 6.4)."""
    with np.errstate(over="ignore"):
        mixed = (codes.astype(np.int64).astype(np.uint64) + np.uint64(7)) * seeds.astype(np.uint64)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((mixed >> np.uint64(63)).astype(bool))
