"""Quasi-random points: spread more evenly over the space than random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.events import Suggestion
from tunesmith.models.candidates import RowSet
from tunesmith.models.columns import ContinuousColumn
from tunesmith.models.cube import Cube
from tunesmith.models.sobol import sobol_points
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.rng import generator
from tunesmith.searchers.given_points import GivenPoints
from tunesmith.space import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_AT_ONCE = 256
#: So many points of the sequence without one that is new and allowed, and the rest is looked for in other ways.
_N_IN_VAIN = 8_192
_N_ENUMERATED = 10_000  #: a space with no more configs is gone through for the last of them


class SobolSearch:
    """Trial i receives point i of a scrambled Sobol sequence over the whole space; each seed has another sequence.

    Points that are not allowed, or equal an earlier one, are left out, so each config of a finite space comes once.
    The cells of a grid receive the same points, so that they are compared on equal terms.

    Args:
        points_to_evaluate: configs to begin with; see GivenPoints.
    Raises: SpaceError, from `suggest`, naming the point and the field that does not fit the space.
    Sources: Sobol 1967; Owen 1995 (scrambling); see `tunesmith.models.sobol`.
    """

    uses_results = False

    def __init__(self, points_to_evaluate: Sequence[Mapping[str, Any]] | None = None) -> None:
        self.points = GivenPoints(points_to_evaluate)
        self._made: tuple[Space, int, dict[int, _Sequence]] | None = None

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """The next `n` points. Makes no use of `rng`: the sequence is the experiment's."""
        first = len(history.trials)
        found: list[Suggestion] = []
        for index in range(first, first + n):
            suggestion = self._suggestion(history, index)
            if suggestion is None:
                break
            found.append(suggestion)
        return found or Exhausted(_exhausted_words(history.space))

    def _suggestion(self, history: History, index: int) -> Suggestion | None:
        space, seed = history.space, history.seed
        given = self.points.suggestion(space, seed=seed, index=index)
        if given is not None:
            return given
        repetition, cell = divmod(index, space.n_grid)
        sequence = self._sequence(space, seed=seed, cell=cell)
        place = repetition - sequence.n_given
        row = sequence.row(place)
        where = f", grid point {cell + 1} of {space.n_grid}" if space.n_grid > 1 else ""
        if row is None and (space.n_grid > 1 or space.cardinality is None):
            # A grid is whole, and `sample_from` may return what it never did before.
            row, where = sequence.repeated(place), f"{where}, a repetition: nothing new was found"
        if row is None:
            return None
        config = sequence.cube.config(row, index=index)
        return Suggestion(config, reason=f"point {place + 1} of a Sobol sequence{where}")

    def _sequence(self, space: Space, *, seed: int, cell: int) -> _Sequence:
        made = self._made
        if made is None or made[1] != seed or not (made[0] is space or made[0].fingerprint == space.fingerprint):
            made = self._made = (space, seed, {})
        sequences = made[2]
        if cell not in sequences:
            cube = next(iter(sequences.values())).cube if sequences else Cube(space, seed=seed)
            sequences[cell] = _Sequence(cube, self._given_rows(cube, seed=seed, cell=cell), seed=seed, cell=cell)
        return sequences[cell]

    def _given_rows(self, cube: Cube, *, seed: int, cell: int) -> Array:
        """The rows of the points that are given for this cell of the grid; shape (k, d)."""
        n_grid = cube.space.n_grid
        given = [
            self.points.suggestion(cube.space, seed=seed, index=repetition * n_grid + cell)
            for repetition in range(len(self.points))
        ]
        rows = [cube.encode(suggestion.config) for suggestion in given if suggestion is not None]
        return np.array(rows).reshape(-1, cube.d)


class _Sequence:
    """The points of one cell of the grid, made as far as they were asked for; how far changes none of them."""

    def __init__(self, cube: Cube, given: Array, *, seed: int, cell: int) -> None:
        self.cube, self.n_given = cube, len(given)
        self._seed, self._cell, self._n_grid = seed, cell, cube.space.n_grid
        self._fixed = cube.grid_columns(cell) if self._n_grid > 1 else {}
        #: Whether no point can be forbidden or equal another one, so that none needs to be looked at.
        self._is_plain = not cube.has_constraints and any(
            type(column) is ContinuousColumn and column.n_values is None and not is_conditional
            for column, is_conditional in zip(cube.columns, cube.is_conditional, strict=True)
        )
        self._seen = RowSet(given)
        self._rows: list[Array] = []
        self._n_read = 0  #: points of the Sobol sequence that were looked at
        self._is_complete = False

    def row(self, place: int) -> Array | None:
        """The row at this place of the sequence, None where it has ended."""
        if self._is_plain:
            return np.asarray(self._points(place, 1)[0])
        while len(self._rows) <= place and not self._is_complete:
            self._extend()
        return self._rows[place] if place < len(self._rows) else None

    def repeated(self, place: int) -> Array | None:
        """A row again, None where no config is allowed at all."""
        return self._rows[place % len(self._rows)] if self._rows else None

    def _points(self, first: int, n: int) -> Array:
        """Points of the Sobol sequence, in this cell of the grid."""
        units = sobol_points(n, self.cube.d, generator(self._seed, "sobol"), first=first)
        for j, place in self._fixed.items():
            column = self.cube.columns[j]
            units[:, j] = (place + 0.5) / (column.n_values or 1) if column.is_categorical else place
        return self.cube.from_units(units)

    def _all_points(self) -> Array:
        """Every row of this cell, for small spaces, in an order of the seed's."""
        rows = self.cube.enumerate()
        for j, place in self._fixed.items():
            rows = rows[np.isnan(rows[:, j]) | (rows[:, j] == place)]
        return rows[generator(self._seed, "sobol rest", self._cell).permutation(len(rows))]

    def _extend(self) -> None:
        """Look at points until one is new, or none is left."""
        n_before, n_points = len(self._rows), self.cube.n_points
        for _ in range(_N_IN_VAIN // _N_AT_ONCE):
            self._take(self._points(self._n_read, _N_AT_ONCE))
            self._n_read += _N_AT_ONCE
            if len(self._rows) > n_before:
                return
            if n_points is not None and len(self._seen) >= n_points:
                break
        if n_points is not None and n_points <= _N_ENUMERATED:
            self._take(self._all_points())
        self._is_complete = True

    def _take(self, rows: Array) -> None:
        """Append those of the rows that are new and allowed."""
        for row in rows[~self._seen.contains(rows)]:
            if self._seen.contains(row[None])[0]:
                continue
            index = (self.n_given + len(self._rows)) * self._n_grid + self._cell
            if self.cube.has_constraints and not self.cube.is_allowed(row, index=index):
                continue
            self._rows.append(row)
            self._seen.add(row)


def _exhausted_words(space: Space) -> str:
    if space.cardinality is None:
        return f"no config that meets the constraints was found among {_N_IN_VAIN:,} points"
    return f"all configs of the space were proposed ({space.cardinality:,} at most)"
