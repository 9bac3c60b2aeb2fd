"""A space as the models see it: one column a leaf, NaN where a leaf takes no part in a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import SpaceError
from tunesmith.models.columns import Column, column_of, drawn_column
from tunesmith.space import Categorical, GridSearch, Leaf, Path, SampleFrom, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: How often a space with `sample_from` leaves is drawn from, to learn what their functions return.
_N_DRAWS = 128
#: Numbers of those draws: far beyond any trial's.
_FIRST_DRAW = 2**31


class Border(Enum):
    """What becomes of a step over the border of the cube."""

    REFLECTS = "reflects"  #: the border gathers no rows
    HOLDS = "holds"  #: the row lies on the border: optima often do, and no smaller step would reach it


@dataclass(frozen=True, slots=True)
class _Place:
    """A leaf's column and the option that must be chosen for it to take part."""

    leaf: Leaf
    column: Column
    parent: tuple[int, int] | None  #: index of the choice's column, number of the option


class Cube:
    """Rows of d floats for configs, d the number of leaves: places in [0, 1], codes of options, NaN for inactive.

    A `sample_from` leaf is drawn often once, and what came out is its domain. Where its function reads the rest of the
    config (`has_dependents`) its value follows from the other columns: `settle` completes such rows.
    """

    def __init__(self, space: Space, *, seed: int) -> None:
        """Args: seed: of the experiment; `sample_from` functions are called with it."""
        self.space, self._seed = space, seed
        leaves = [leaf for leaf in space.leaves if not _is_within_free(leaf, space.leaves)]
        draws, readers = _draw(space, leaves, seed)
        self._dependents = [i for i, leaf in enumerate(leaves) if leaf.path in readers]
        self._places: list[_Place] = []
        for leaf in leaves:
            column = drawn_column(draws[leaf.path]) if leaf.path in draws else column_of(leaf.domain)
            self._places.append(_Place(leaf, column, _parent(leaf, self._places)))
        self.columns: tuple[Column, ...] = tuple(place.column for place in self._places)
        self._index = {place.leaf.path: i for i, place in enumerate(self._places)}

    @property
    def d(self) -> int:
        """How many columns there are."""
        return len(self._places)

    @property
    def names(self) -> tuple[str, ...]:
        """The leaves' names, by column."""
        return tuple(place.leaf.name for place in self._places)

    def leaf(self, j: int) -> Leaf:
        """The leaf of a column."""
        return self._places[j].leaf

    def parents(self, j: int) -> list[tuple[int, float]]:
        """The choices that a column depends on, the innermost first: each one's column and the code of the option."""
        found = []
        parent = self._places[j].parent
        while parent is not None:
            found.append((parent[0], float(parent[1])))
            parent = self._places[parent[0]].parent
        return found

    @cached_property
    def is_categorical(self) -> NDArray[np.bool_]:
        """By column: codes without an order; shape (d,)."""
        return np.array([column.is_categorical for column in self.columns], bool)

    @cached_property
    def is_conditional(self) -> NDArray[np.bool_]:
        """By column: takes no part in some configs; shape (d,)."""
        return np.array([place.parent is not None for place in self._places], bool)

    @cached_property
    def branch_columns(self) -> tuple[int, ...]:
        """The choices that are always there and on which other leaves depend."""
        parents = {place.parent[0] for place in self._places if place.parent is not None}
        return tuple(sorted(j for j in parents if self._places[j].parent is None))

    @cached_property
    def n_active(self) -> float:
        """How many columns take part in a config on average, at least 1; d where no leaf is conditional."""
        if not self.is_conditional.any():
            return float(max(self.d, 1))
        rows = self.sample(np.random.default_rng(0), 512)
        return max(1.0, float((~np.isnan(rows)).sum(axis=1).mean()))

    @property
    def has_dependents(self) -> bool:
        """Whether some values follow from others, so that rows must be settled before they are scored."""
        return bool(self._dependents)

    @property
    def has_constraints(self) -> bool:
        """Whether some rows are not allowed."""
        return self.space.has_constraints

    @cached_property
    def n_points(self) -> int | None:
        """How many different configs there are, None if they cannot be counted."""
        return self.space.cardinality

    def grid_columns(self, cell: int) -> dict[int, float]:
        """The columns that point `cell` of the crossed grid fixes, with their places."""
        return {
            self._index[path]: self.columns[self._index[path]].encode(option)
            for path, option in self.space.grid_point(cell).items()
            if path in self._index
        }

    # ------------------------------------------------------------ configs and rows

    def encode(self, config: Mapping[str, Any]) -> Array:
        """The row of a config; shape (d,).

        Raises: SpaceError if it lies outside the space.
        """
        row = np.full(self.d, np.nan)
        for path, value in self.space.values(config).items():
            if path in self._index:
                row[self._index[path]] = self.columns[self._index[path]].encode(value)
        return row

    def config(self, row: Array, *, index: int) -> dict[str, Any]:
        """The config of trial `index` with this row's values; what the row does not say is drawn.

        Raises: SpaceError if it breaks a constraint.
        """
        return self.space.assemble(self._values(row), seed=self._seed, index=index)

    def is_allowed(self, row: Array, *, index: int) -> bool:
        """Whether the row's config meets the constraints; not where it cannot be told."""
        try:
            return self.space.allows(self._values(row), seed=self._seed, index=index)
        except SpaceError:
            return False

    def _values(self, row: Array) -> dict[Path, Any]:
        return {
            place.leaf.path: place.column.decode(float(row[i]))
            for i, place in enumerate(self._places)
            if row[i] == row[i] and i not in self._dependents
        }

    def settle(self, rows: Array, *, index: int) -> tuple[Array, NDArray[np.bool_]]:
        """The rows with the values that follow from others, as trial `index` would draw them, and which are allowed."""
        if not (self.has_dependents or self.has_constraints):
            return rows, np.ones(len(rows), bool)
        if not self.has_dependents:
            return rows, np.array([self.is_allowed(row, index=index) for row in rows], bool)
        settled, is_allowed = rows.copy(), np.ones(len(rows), bool)
        for i, row in enumerate(rows):
            try:
                settled[i] = self.encode(self.config(row, index=index))
            except SpaceError:
                is_allowed[i] = False
        return settled, is_allowed

    # ------------------------------------------------------------ making rows

    def from_units(self, units: Array) -> Array:
        """Rows distributed like the space for uniform numbers in [0, 1]; shape (n, d) both."""
        rows = np.empty_like(units)
        for j, column in enumerate(self.columns):
            rows[:, j] = column.from_unit(units[:, j])
        return self._masked(rows)

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Rows drawn like the space; shape (n, d)."""
        return self.from_units(rng.random((n, self.d)))

    def enumerate(self) -> Array:
        """Every row there is, for small spaces: `n_points` must be known; shape (n, d). Grids are gone through too."""
        rows = np.full((1, self.d), np.nan)
        for j, place in enumerate(self._places):
            applies = np.ones(len(rows), bool)
            if place.parent is not None:
                applies = rows[:, place.parent[0]] == place.parent[1]
            values = place.column.all_places()
            grown = np.repeat(rows[applies], len(values), axis=0)
            grown[:, j] = np.tile(values, int(applies.sum()))
            rows = np.concatenate([rows[~applies], grown])
        return rows

    def complete(self, rows: Array, rng: np.random.Generator) -> Array:
        """Rows with every number moved to a value's place, leaves that became active drawn, inactive ones NaN."""
        rows = rows.copy()
        fresh = rng.random(rows.shape) if self.is_conditional.any() else None
        for j, column in enumerate(self.columns):
            is_unknown = np.isnan(rows[:, j])
            rows[:, j] = column.snap(rows[:, j])
            if fresh is not None and is_unknown.any():
                rows[is_unknown, j] = column.from_unit(fresh[is_unknown, j])
        return self._masked(rows)

    def mutate(
        self, rows: Array, rng: np.random.Generator, *, sigma: float, rate: float, border: Border = Border.REFLECTS
    ) -> Array:
        """Each row changed in some columns, at least one: numbers by normal steps, codes drawn anew.

        Args:
            sigma: step of a number, in widths of the cube; a step shorter than a cell goes to a neighbour.
            rate: probability that a column is changed.
            border: what becomes of a step that leaves the cube.
        """
        n, d = rows.shape
        is_changed = rng.random((n, d)) < rate
        is_changed[np.arange(n), rng.integers(0, d, n)] = True
        steps = rng.normal(0.0, sigma, (n, d))
        fresh = rng.random((n, d))
        changed = rows.copy()
        for j, column in enumerate(self.columns):
            which = is_changed[:, j] & ~np.isnan(rows[:, j])
            if not which.any():
                continue
            if column.is_categorical:
                changed[which, j] = column.from_unit(fresh[which, j])
                continue
            step = steps[which, j]
            if column.n_values is not None:
                least = 1.0 / column.n_values
                step = np.where(np.abs(step) < least, np.sign(step) * least, step)
            place = rows[which, j] + step
            if border is Border.REFLECTS:
                place = np.where(place < 0.0, -place, place)
                place = np.where(place > 1.0, 2.0 - place, place)
            changed[which, j] = np.clip(place, 0.0, 1.0)
        return self.complete(changed, rng)

    def _masked(self, rows: Array) -> Array:
        """The rows with NaN wherever the option that a leaf belongs to is not chosen; parents stand before children."""
        for j, place in enumerate(self._places):
            if place.parent is not None:
                parent, option = place.parent
                rows[rows[:, parent] != option, j] = np.nan
        return rows


def _draw(space: Space, leaves: Sequence[Leaf], seed: int) -> tuple[dict[Path, list[Any]], set[Path]]:
    """What each `sample_from` leaf returned in many draws, and those whose functions read the config."""
    free = {leaf.path for leaf in leaves if isinstance(leaf.domain, SampleFrom)}
    if not free:
        return {}, set()
    draws: dict[Path, list[Any]] = {path: [] for path in free}
    readers: set[Path] = set()
    for i in range(_N_DRAWS):
        config, read = space.draw(seed, _FIRST_DRAW + i)
        readers |= read
        for path, value in space.values(config).items():
            if path in free:
                draws[path].append(value)
    return {path: values or [None] for path, values in draws.items()}, readers & free


def _parent(leaf: Leaf, before: Sequence[_Place]) -> tuple[int, int] | None:
    """The innermost choice around the leaf, and the option that it lies in."""
    for i in range(len(before) - 1, -1, -1):
        outer = before[i].leaf
        if isinstance(outer.domain, Categorical) and leaf.path[: len(outer.path)] == outer.path:
            return i, int(leaf.path[len(outer.path)])
    return None


def _is_within_free(leaf: Leaf, leaves: Sequence[Leaf]) -> bool:
    return any(
        isinstance(outer.domain, SampleFrom) and outer is not leaf and leaf.path[: len(outer.path)] == outer.path
        for outer in leaves
    )


def has_grid(space: Space) -> bool:
    """Whether trials are bound to the points of a grid, one after the other."""
    return any(isinstance(leaf.domain, GridSearch) for leaf in space.leaves)
