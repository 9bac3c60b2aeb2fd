"""Configs that the user wants tried first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import ConfigError, SpaceError
from tunesmith.events import Suggestion
from tunesmith.space import GridSearch, Leaf, Path, Space


class GivenPoints:
    """Configs to begin with, the first in place of sample 0.

    What a point leaves out is drawn; an option of a `choice` that holds domains is given whole. Where the space has a
    grid, a sample is a whole grid: the point takes the place of the grid's points that agree with it, so that none is
    lost.
    """

    def __init__(
        self,
        points: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
        rewards: Sequence[float] | None = None,
    ) -> None:
        """Args:
            rewards: objective of each of the first points, known from elsewhere; those are not tried again.
        Raises: SpaceError, ConfigError.
        """
        given = [points] if isinstance(points, Mapping) else list(points or ())
        for i, point in enumerate(given):
            if not isinstance(point, Mapping):
                raise SpaceError(f"points_to_evaluate[{i}] is {point!r}. Give a dict from names to values.")
        known = _checked_rewards(rewards, len(given))
        #: Points whose objective is known, with it in the user's sign.
        self.rewarded: tuple[tuple[dict[str, Any], float], ...] = tuple(
            (dict(point), reward) for point, reward in zip(given, known, strict=False)
        )
        self._points: tuple[dict[str, Any], ...] = tuple(dict(point) for point in given[len(known) :])

    @property
    def to_try(self) -> Sequence[Mapping[str, Any]]:
        """The points that are still to be tried."""
        return self._points

    def __len__(self) -> int:
        """How many points are still to be tried."""
        return len(self._points)

    def check(self, space: Space, *, seed: int = 0) -> None:
        """Raise SpaceError if a point does not fit the space; also useful before anything starts."""
        for number, point in enumerate(self._points):
            _values_given(space, point, f"points_to_evaluate[{len(self.rewarded) + number}]", seed=seed)
        for number, (point, _) in enumerate(self.rewarded):
            _values_given(space, point, f"points_to_evaluate[{number}]", seed=seed)

    def suggestion(self, space: Space, *, seed: int, index: int) -> Suggestion | None:
        """What trial `index` receives, None if no point is meant for it.

        Raises: SpaceError, naming the point and the field that does not fit the space.
        """
        repetition, cell = divmod(index, space.n_grid)
        if repetition >= len(self._points):
            return None
        words = f"points_to_evaluate[{len(self.rewarded) + repetition}]"
        given, grid = _values_given(space, self._points[repetition], words, seed=seed), space.grid_point(cell)
        if not _agree(space, given, grid):
            return None
        config = space.assemble({**grid, **given}, seed=seed, index=index)
        return Suggestion(config, reason=f"point {repetition + 1} of {len(self._points)} to evaluate")


def completed_config(space: Space, point: Mapping[str, Any], *, seed: int, index: int) -> dict[str, Any]:
    """A whole config of the space with the point's values; what the point leaves out is drawn as for trial `index`.

    Raises: SpaceError naming the field that does not fit the space.
    """
    return space.assemble(_values_given(space, point, "the point", seed=seed), seed=seed, index=index)


def _checked_rewards(rewards: Sequence[float] | None, n_points: int) -> list[float]:
    known = list(rewards or ())
    if len(known) > n_points:
        raise ConfigError(
            f"evaluated_rewards has {len(known)} values for {n_points} points_to_evaluate. Give at most one for each."
        )
    for i, reward in enumerate(known):
        if isinstance(reward, bool) or not isinstance(reward, int | float) or not math.isfinite(reward):
            raise ConfigError(f"evaluated_rewards[{i}] is {reward!r}. Give a finite number: the metric's value.")
    return [float(reward) for reward in known]


def _values_given(space: Space, point: Mapping[str, Any], words: str, *, seed: int) -> dict[Path, Any]:
    """What the point says about the leaves, by path."""
    outer = {leaf.path for leaf in _outer_leaves(space)}
    whole = _overlay(space.sample(seed, 0), point, (), outer)
    try:
        values = space.values(whole)
    except SpaceError as error:
        raise SpaceError(f"{words}: {error}") from None
    given = {path for path in outer if _says(point, path)}
    return {path: value for path, value in values.items() if any(path[: len(top)] == top for top in given)}


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
