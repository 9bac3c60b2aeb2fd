"""A forest of extremely randomised trees, grown breadth-first and all at once in NumPy.

For objectives with steps, and options by the hundred, where no smooth model fits; for histories too long for a Gaussian
process. Leaves of inactive columns count as -1, left of all others. Codes are split into two random halves.

Sources: Geurts et al. 2006 (Machine Learning 63); the variance between trees as uncertainty: Hutter et al. 2011 (SMAC).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.models.cube import Cube

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

_N_TREES = 40
_MAX_DEPTH = 40
_N_TRIES = 10  #: splits of a node, one for each of up to so many columns: all, as Geurts et al. advise for regression
_MORE_TRIES = 6  #: times as many where those drawn first parted nothing
_MIN_SPREAD = 1e-12  #: of the objective within a node that is still split


@dataclass
class _Nodes:
    """Arrays over all nodes of all trees; the roots come first."""

    column: Ints  #: that the node splits on, -1 for a leaf
    threshold: Array  #: places up to it go to the left; of a code column: the seed of the halves
    left: Ints  #: the left child; the right one follows it
    count: Array  #: observations in it
    mean: Array  #: of their objectives

    @classmethod
    def joined(cls, levels: Sequence[_Nodes]) -> _Nodes:
        """All levels one after the other."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(level, name) for level in levels]) for name in names))


class Forest:
    """Trees fitted to the rows of a cube, each to all of them with splits of its own."""

    def __init__(self, cube: Cube, rows: Array, y: Array, rng: np.random.Generator, *, n_trees: int = _N_TREES) -> None:
        """Args: rows: (n, d); y: (n,)."""
        self._is_code = cube.is_categorical
        self._n_trees = n_trees
        self._nodes = self._grow(_filled(rows), y, rng)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation over the trees at the rows; shape (n,) each, sd > 0."""
        means = self._nodes.mean[self._leaves(rows)]
        return means.mean(axis=0), np.sqrt(means.var(axis=0) + 1e-8)

    def condition(self, rows: Array) -> None:
        """Count further rows as observed at their predicted mean: the trees agree more around them.

        Source: kriging believer, Ginsbourger et al. 2010; here each leaf takes the prediction into its mean.
        """
        if len(rows) == 0:
            return
        nodes, leaves = self._nodes, self._leaves(rows)
        believed = np.broadcast_to(nodes.mean[leaves].mean(axis=0), leaves.shape)
        total = nodes.count * nodes.mean
        np.add.at(total, leaves, believed)
        np.add.at(nodes.count, leaves, 1.0)
        nodes.mean = total / nodes.count

    def _leaves(self, rows: Array) -> Ints:
        """The leaf of each row in each tree; shape (n_trees, n)."""
        x, nodes = _filled(rows), self._nodes
        n, d = x.shape
        at = np.repeat(np.arange(self._n_trees), n)
        first = np.tile(np.arange(n) * d, self._n_trees)  # of each row in the flat x
        going = np.arange(len(at))
        while len(going):
            here = at[going]
            column = nodes.column[here]
            is_inner = column >= 0
            going, here, column = going[is_inner], here[is_inner], column[is_inner]
            value = x.ravel()[first[going] + column]
            at[going] = nodes.left[here] + ~self._goes_left(value, column, nodes.threshold[here])
        return at.reshape(self._n_trees, n)

    def _goes_left(self, value: Array, column: Ints, threshold: Array) -> NDArray[np.bool_]:
        found = value <= threshold
        is_code = self._is_code[column]
        if is_code.any():
            found[is_code] = _half(value[is_code], threshold[is_code])
        return np.asarray(found)

    def _grow(self, x: Array, y: Array, rng: np.random.Generator) -> _Nodes:
        """All trees at once, one level after the other. The samples of a node always lie side by side."""
        sample = np.tile(np.arange(len(x)), self._n_trees)
        count = np.full(self._n_trees, len(x))
        levels: list[_Nodes] = []
        n_nodes = 0
        for depth in range(_MAX_DEPTH):
            mean = np.add.reduceat(y[sample], _starts(count)) / count
            column, threshold = self._splits(x, y, sample=sample, count=count, rng=rng)
            if depth == _MAX_DEPTH - 1:
                column[:] = -1
            is_split = column >= 0
            n_nodes += len(count)
            left = np.where(is_split, n_nodes + 2 * (np.cumsum(is_split) - 1), -1)
            levels.append(_Nodes(column, threshold, left, count.astype(float), mean))
            if not is_split.any():
                break
            sample, count = sample[np.repeat(is_split, count)], count[is_split]
            column, threshold = np.repeat(column[is_split], count), np.repeat(threshold[is_split], count)
            sample, count = _parted(sample, count, self._goes_left(_values(x, sample, column), column, threshold))
        return _Nodes.joined(levels)

    def _splits(self, x: Array, y: Array, *, sample: Ints, count: Ints, rng: np.random.Generator) -> tuple[Ints, Array]:
        """Column and threshold of the best of a few random splits of each node; column -1 where none parts it."""
        column, threshold = np.full(len(count), -1), np.zeros(len(count))
        gain = np.full(len(count), -np.inf)
        target = y[sample]
        total = np.add.reduceat(target, _starts(count))
        spread = np.add.reduceat(target * target, _starts(count)) - total * total / count
        tried = np.flatnonzero((count >= 2) & (spread > _MIN_SPREAD * count))
        n_tries = max(min(x.shape[1], _N_TRIES), int(np.ceil(np.sqrt(x.shape[1]))))
        for attempt in range(_MORE_TRIES * n_tries):
            if attempt == 1:  # all splits of two samples are equally good
                tried = tried[(column[tried] < 0) | (count[tried] > 2)]
            elif attempt >= n_tries:  # only where nothing was parted so far
                tried = tried[column[tried] < 0]
            if len(tried) == 0:
                break
            if attempt < 2 or attempt >= n_tries:
                part, totals = sample[_of_nodes(tried, count)], total[tried]
                part_target = y[part]
            new_column, new_threshold, new_gain = self._random_split(
                x, part, target=part_target, count=count[tried], total=totals, rng=rng
            )
            better = new_gain > gain[tried]
            at = tried[better]
            gain[at], column[at], threshold[at] = new_gain[better], new_column[better], new_threshold[better]
        return column, threshold

    def _random_split(
        self, x: Array, sample: Ints, *, target: Array, count: Ints, total: Array, rng: np.random.Generator
    ) -> tuple[Ints, Array, Array]:
        """One random split of each node, and its gain: the sum of squares that its parts' means explain, -inf where it
        parts nothing.

        Args: sample, target: of these nodes, side by side. count, total: of each node's targets.
        """
        starts = _starts(count)
        column = rng.integers(0, x.shape[1], len(count))
        columns = np.repeat(column, count)
        value = _values(x, sample, columns)
        low, high = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
        threshold = low + rng.random(len(count)) * (high - low)
        is_code = self._is_code[column]
        threshold[is_code] = rng.integers(1, 2**31, int(is_code.sum()))
        is_left = self._goes_left(value, columns, np.repeat(threshold, count))
        n_left = np.add.reduceat(is_left, starts, dtype=float)
        sum_left = np.add.reduceat(np.where(is_left, target, 0.0), starts)
        n_right = count - n_left
        parts = (n_left > 0) & (n_right > 0)
        gain = sum_left**2 / np.maximum(n_left, 1) + (total - sum_left) ** 2 / np.maximum(n_right, 1)
        return column, threshold, np.where(parts, gain, -np.inf)


def _starts(count: Ints) -> Ints:
    """Where each node's samples begin."""
    return np.asarray(np.cumsum(count) - count)


def _of_nodes(nodes: Ints, count: Ints) -> NDArray[np.bool_]:
    """Which samples are in these nodes."""
    is_meant = np.zeros(len(count), bool)
    is_meant[nodes] = True
    return np.repeat(is_meant, count)


def _values(x: Array, sample: Ints, column: Ints) -> Array:
    return np.asarray(x.ravel()[sample * x.shape[1] + column])


def _parted(sample: Ints, count: Ints, is_left: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The samples with those of each node's left child before those of its right one, and the children's counts."""
    starts = _starts(count)
    n_left = np.add.reduceat(is_left, starts, dtype=np.int64)
    counts = np.stack([n_left, count - n_left], axis=1).ravel()
    child = np.repeat(2 * np.arange(len(count)), count) + ~is_left
    # Left ones in the order in which they stand, then the right ones: a stable sort by child, from two running counts.
    before = np.where(is_left, np.cumsum(is_left), np.cumsum(~is_left)) - 1
    offset = _starts(counts)
    first = np.stack([np.cumsum(n_left) - n_left, _starts(count - n_left)], axis=1).ravel()
    place = (offset - first)[child] + before
    parted = np.empty_like(sample)
    parted[place] = sample
    return parted, counts


def _filled(rows: Array) -> Array:
    return np.where(np.isnan(rows), -1.0, rows)


def _half(codes: Array, seeds: Array) -> NDArray[np.bool_]:
    """A random half of all codes, by the seed of the node; a multiplicative hash (Knuth 1998, section 6.4)."""
    with np.errstate(over="ignore"):
        mixed = (codes.astype(np.int64).astype(np.uint64) + np.uint64(7)) * seeds.astype(np.uint64)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((mixed >> np.uint64(63)).astype(bool))
