"""Every point of a full grid over the whole space, once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ConfigError, SpaceError
from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.space import Categorical, Domain, Leaf, Path, SampleFrom, Scale, Space, Stepped

if TYPE_CHECKING:
    import numpy as np


_MAX_PASSED = 2_000  #: points in a row that break a constraint before the rest is given up


class GridSearch:
    """Each point of a full grid over all leaves, in a fixed order with the first leaf varying fastest, then no more.

    A choice gives all its options, and each option that holds domains a grid of its own; a numeric domain with at most
    `max_values` values gives all of them; any other gives the middles of `n_points` equally likely cells. What
    `sample_from` returns is no axis: it is called for each point, with the values of the point.

    Points that break a constraint of the space are passed over. Such a grid of more than 2,000 points is gone through
    in leaps, since its neighbours mostly break the same one.

    Args:
        n_points: cells for each domain that is too large to go through; 1 or more.
        max_values: largest number of values of a numeric domain that are all gone through; 1 or more.
    Raises: ConfigError.
    """

    uses_results = False

    def __init__(self, n_points: int = 5, *, max_values: int = 20) -> None:
        for name, value in (("n_points", n_points), ("max_values", max_values)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value!r}. Give a whole number of 1 or more.")
        self._n_points, self._max_values = n_points, max_values

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """The next `n` points, or what is left of them. Makes no use of `rng`."""
        axes = self._axes(history.space.leaves)
        n_total, first = _count(axes), len(history.trials)
        found: list[Suggestion] = []
        index = n_looked_at = 0
        if not history.space.has_constraints:
            index = n_looked_at = min(first, n_total)
        stride = _stride(n_total) if history.space.has_constraints else 1
        n_passed = 0
        while n_looked_at < n_total and len(found) < n:
            place = n_looked_at * stride % n_total
            config = _config(history, axes, place=place, index=index)
            n_looked_at += 1
            n_passed = 0 if config is not None else n_passed + 1
            if n_passed == _MAX_PASSED:
                return found or Exhausted(f"of {n_passed} points of the grid in a row none meets the constraints")
            if config is None:
                continue
            if index >= first:
                found.append(Suggestion(config, reason=f"grid point {place + 1} of {n_total}"))
            index += 1
        return found or Exhausted(f"all {index} points of the grid were proposed")

    def count(self, space: Space) -> int:
        """How many points the grid over this space has."""
        return _count(self._axes(space.leaves))

    def _axes(self, leaves: Sequence[Leaf]) -> list[_Axis]:
        """One axis for each leaf that lies within no option of the others; leaves within options follow theirs."""
        axes: list[_Axis] = []
        start = 0
        while start < len(leaves):
            leaf, depth = leaves[start], len(leaves[start].path)
            end = start + 1
            while end < len(leaves) and leaves[end].path[:depth] == leaf.path:
                end += 1
            if not isinstance(leaf.domain, SampleFrom):
                axes.append(self._axis(leaf, leaves[start + 1 : end]))
            start = end
        return axes

    def _axis(self, leaf: Leaf, within: Sequence[Leaf]) -> _Axis:
        if not isinstance(leaf.domain, Categorical):
            return _Axis(leaf.path, self._values(leaf.domain), branches={})
        of_option: dict[int, list[Leaf]] = {}
        for inner in within:
            of_option.setdefault(int(inner.path[len(leaf.path)]), []).append(inner)
        branches = {option: self._axes(inner) for option, inner in of_option.items()}
        return _Axis(leaf.path, leaf.domain.options, branches)

    def _values(self, domain: Domain) -> tuple[Any, ...]:
        n_values = domain.cardinality
        if isinstance(domain, Stepped) and n_values is not None and n_values <= self._max_values:
            even = dataclasses.replace(domain, scale=Scale.LINEAR)  # its cells are equally wide
            return tuple(even.decode((i + 0.5) / n_values) for i in range(n_values))
        cells = (domain.decode((i + 0.5) / self._n_points) for i in range(self._n_points))
        return tuple(dict.fromkeys(cells))


@dataclasses.dataclass(frozen=True)
class _Axis:
    """The values of one leaf; at an option that holds domains, the axes of those."""

    path: Path
    values: tuple[Any, ...]
    branches: Mapping[int, Sequence[_Axis]]

    def count(self) -> int:
        """How many points lie along it."""
        return len(self.values) + sum(_count(axes) - 1 for axes in self.branches.values())

    def point(self, i: int) -> dict[Path, Any]:
        """The values at point `i`, by path."""
        if not self.branches:
            return {self.path: self.values[i]}
        for option, value in enumerate(self.values):
            axes = self.branches.get(option, ())
            if i < _count(axes):
                return {self.path: value, **_point(axes, i)}
            i -= _count(axes)
        raise IndexError(i)


def _stride(n_total: int) -> int:
    """From point to point: 1 in a small grid; else so wide that all its axes change, and every point comes once."""
    if n_total <= _MAX_PASSED:
        return 1
    stride = n_total * 618_033_988_749 // 10**12  # the golden ratio spreads any number of points evenly
    while math.gcd(stride, n_total) != 1:
        stride += 1
    return stride


def _config(history: History, axes: Sequence[_Axis], *, place: int, index: int) -> dict[str, Any] | None:
    """The point of this place, for the trial of this index; None if it breaks a constraint of the space."""
    space = history.space
    try:
        return space.assemble(_point(axes, place), seed=history.seed, index=index)
    except SpaceError:
        if not space.has_constraints:
            raise
        return None


def _count(axes: Sequence[_Axis]) -> int:
    total = 1
    for axis in axes:
        total *= axis.count()
    return total


def _point(axes: Sequence[_Axis], i: int) -> dict[Path, Any]:
    point: dict[Path, Any] = {}
    for axis in axes:
        i, along = divmod(i, axis.count())
        point.update(axis.point(along))
    return point
