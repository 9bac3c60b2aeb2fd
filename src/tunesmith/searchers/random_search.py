"""Independent random samples, and every point of the space's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.errors import SpaceError
from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.space import GridSearch, Leaf, Path, Space

if TYPE_CHECKING:
    import numpy as np


class RandomSearch:
    """Trial i receives sample i of the space: random leaves drawn anew, `grid_search` leaves crossed.

    Never exhausted: how many trials there are is the experiment's to say. A space with few points is drawn from with
    replacement, since trials with one config differ by their seeds.

    Args:
        points_to_evaluate: configs to begin with, the first in place of sample 0. What a point leaves out is drawn;
            an option of a `choice` that holds domains is given whole. Where the space has a grid, a sample is a whole
            grid: the point takes the place of the grid's points that agree with it, so that none is lost.
    Raises: SpaceError, from `suggest`, naming the point and the field that does not fit the space.
    Source: Bergstra and Bengio 2012 (JMLR 13).
    """

    uses_results = False

    def __init__(self, points_to_evaluate: Sequence[Mapping[str, Any]] | None = None) -> None:
        points = [points_to_evaluate] if isinstance(points_to_evaluate, Mapping) else list(points_to_evaluate or ())
        for i, point in enumerate(points):
            if not isinstance(point, Mapping):
                raise SpaceError(f"points_to_evaluate[{i}] is {point!r}. Give a dict from names to values.")
        self._points: tuple[dict[str, Any], ...] = tuple(dict(point) for point in points)

    @property
    def has_points(self) -> bool:
        """Whether it was given points to begin with."""
        return bool(self._points)

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """The next `n` samples. Makes no use of `rng`: each sample has its own generator."""
        first = len(history.trials)
        if self._points and first < len(self._points) * history.space.n_grid:
            self.check_points(history.space, seed=history.seed)
        return [self._sample(history.space, seed=history.seed, index=first + i) for i in range(n)]

    def check_points(self, space: Space, *, seed: int = 0) -> None:
        """Raise SpaceError if a point does not fit the space; also useful before anything starts."""
        for number in range(len(self._points)):
            self._values_given(space, number, seed=seed)

    def _sample(self, space: Space, *, seed: int, index: int) -> Suggestion:
        repetition, cell = divmod(index, space.n_grid)
        if repetition < len(self._points):
            given, grid = self._values_given(space, repetition, seed=seed), space.grid_point(cell)
            if _agree(space, given, grid):
                config = space.assemble({**grid, **given}, seed=seed, index=index)
                return Suggestion(config, reason=f"point {repetition + 1} of {len(self._points)} to evaluate")
        place = f", grid point {cell + 1} of {space.n_grid}" if space.n_grid > 1 else ""
        return Suggestion(space.sample(seed, index), reason=f"random sample {index}{place}")

    def _values_given(self, space: Space, number: int, *, seed: int) -> dict[Path, Any]:
        """What the point says about the leaves, by path."""
        point = self._points[number]
        outer = {leaf.path for leaf in _outer_leaves(space)}
        whole = _overlay(space.sample(seed, number * space.n_grid), point, (), outer)
        try:
            values = space.values(whole)
        except SpaceError as error:
            raise SpaceError(f"points_to_evaluate[{number}]: {error}") from None
        given = {path for path in outer if _says(point, path)}
        return {path: value for path, value in values.items() if any(path[: len(top)] == top for top in given)}


#: Ray Tune's name for it.
BasicVariantGenerator = RandomSearch


def _outer_leaves(space: Space) -> list[Leaf]:
    """The leaves that lie within no option of another: their path is their place in every config."""
    outer: list[Leaf] = []
    for leaf in space.leaves:  # those within options follow their choice
        if not outer or leaf.path[: len(outer[-1].path)] != outer[-1].path:
            outer.append(leaf)
    return outer


def _overlay(base: Any, point: Any, path: Path, leaves: set[Path]) -> Any:
    """`base` with everything that the point says in its place; dicts are merged down to the leaves."""
    if path in leaves or not isinstance(base, Mapping) or not isinstance(point, Mapping):
        return point
    merged = dict(base)
    for key, value in point.items():
        merged[key] = _overlay(base[key], value, (*path, key), leaves) if key in base else value
    return merged


def _says(point: Any, path: Path) -> bool:
    """Whether the point has something at this path."""
    for key in path:
        try:
            point = point[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _agree(space: Space, given: Mapping[Path, Any], grid: Mapping[Path, Any]) -> bool:
    """Whether the grid leaves among the given ones have the values of this point of the grid."""
    domains = {leaf.path: leaf.domain for leaf in space.leaves if leaf.path in grid and leaf.path in given}
    return all(
        isinstance(domain, GridSearch) and domain.index(given[path]) == domain.index(grid[path])
        for path, domain in domains.items()
    )
