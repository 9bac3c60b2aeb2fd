"""The search of the cube for the rows that score best: a wide pool, then mutations of the best of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.cube import Border, Cube
from tunesmith.models.sobol import sobol_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Effort:
    """How thoroughly the cube is searched."""

    n_pool: int = 1024  #: rows spread over the cube
    n_near: int = 24  #: mutations of each row that is good already
    n_starts: int = 12  #: best rows that are mutated further
    n_mutations: int = 16  #: of each, in each round
    n_rounds: int = 12
    shrink: float = 0.75  #: of the mutations' steps, from round to round

    @classmethod
    def for_cube(cls, cube: Cube) -> Effort:
        """Less where each row is completed by calling the user's functions."""
        return cls(n_pool=128, n_near=8, n_starts=6, n_mutations=8, n_rounds=4) if cube.has_dependents else cls()


class CandidateSearch:
    """Finds rows with a high score. Each that it returns can be run: rounded, allowed, and not excluded."""

    def __init__(
        self,
        cube: Cube,
        *,
        index: int,
        fixed: dict[int, float],
        effort: Effort | None = None,
        border: Border = Border.REFLECTS,
    ) -> None:
        """Args:
        index: number of the trial that the row is for; what `sample_from` draws depends on it.
        fixed: columns that are given, with their places: those of a grid.
        border: whether rows on the border of the cube are looked for.
        """
        self._cube, self._index, self._fixed, self._border = cube, index, fixed, border
        self._effort = effort or Effort.for_cube(cube)

    def find(
        self,
        score: Callable[[Array], Array],
        rng: np.random.Generator,
        *,
        around: Array,
        excluded: Array,
    ) -> Array | None:
        """The best row found, shape (d,); None if every row that was tried is excluded or not allowed.

        Args:
            score: of rows (n, d), larger is better; shape (n,).
            around: rows that are good already; neighbours of them are tried too.
            excluded: rows that must not be proposed again.
        """
        cube, effort, taken = self._cube, self._effort, RowSet(excluded)
        rows, scores = self._best(self._pool(rng, around), rng, score, taken)
        sigma = _FIRST_SIGMA
        for _ in range(effort.n_rounds if len(rows) and not self._is_small else 0):
            parents = np.repeat(rows, effort.n_mutations, axis=0)
            mutated = cube.mutate(parents, rng, sigma=sigma, rate=mutation_rate(cube.d), border=self._border)
            new_rows, new_scores = self._best(mutated, rng, score, taken)
            rows, scores = np.concatenate([rows, new_rows]), np.concatenate([scores, new_scores])
            top = np.argsort(-scores, kind="stable")[: effort.n_starts]
            rows, scores = rows[top], scores[top]
            sigma *= effort.shrink
        return np.asarray(rows[0]) if len(rows) else None

    @property
    def _is_small(self) -> bool:
        """Whether every config there is fits into the pool."""
        n_points = self._cube.n_points
        return n_points is not None and n_points <= self._effort.n_pool

    def _pool(self, rng: np.random.Generator, around: Array) -> Array:
        cube, effort = self._cube, self._effort
        if self._is_small:
            return cube.enumerate()
        wide = cube.from_units(sobol_points(effort.n_pool, cube.d, rng))
        if len(around) == 0:
            return wide
        parents = np.repeat(around, effort.n_near, axis=0)
        near = cube.mutate(parents, rng, sigma=_NEAR_SIGMA, rate=mutation_rate(cube.d), border=self._border)
        return np.concatenate([wide, near])

    def _best(
        self, rows: Array, rng: np.random.Generator, score: Callable[[Array], Array], taken: RowSet
    ) -> tuple[Array, Array]:
        """The best of the rows that may be proposed, best first, with their scores; at most `n_starts`."""
        if self._fixed:
            for j, place in self._fixed.items():
                rows[:, j] = place
            rows = self._cube.complete(rows, rng)
        if self._cube.has_dependents:
            rows, is_allowed = self._cube.settle(rows, index=self._index)
            rows = rows[is_allowed]
        rows = rows[~taken.contains(rows)]
        if len(rows) == 0:
            return rows, np.empty(0)
        scores = score(rows)
        order = np.argsort(-scores, kind="stable")
        if self._cube.has_constraints and not self._cube.has_dependents:
            order = self._first_allowed(rows, order)
        top = order[: self._effort.n_starts]
        return rows[top], scores[top]

    def _first_allowed(self, rows: Array, order: NDArray[np.intp]) -> NDArray[np.intp]:
        """The first places of the order whose rows meet the constraints: asking the user's functions takes long."""
        found: list[int] = []
        for i in order:
            if self._cube.is_allowed(rows[i], index=self._index):
                found.append(int(i))
                if len(found) == self._effort.n_starts:
                    break
        return np.array(found, np.intp)


_NEAR_SIGMA = 0.1  #: steps around rows that are good already, in widths of the cube
_FIRST_SIGMA = 0.15  #: steps of the first round


def mutation_rate(d: int) -> float:
    """The probability that a mutation changes a column: several at a time in small spaces, a few in large ones."""
    return max(1.0 / max(d, 1), 0.3 if d <= 20 else 6.0 / d)


class RowSet:
    """Rows to look others up in, equal to the last bit; NaN equals NaN."""

    def __init__(self, rows: Array) -> None:
        self._known = {row.tobytes() for row in _canonical(rows)}

    def contains(self, rows: Array) -> NDArray[np.bool_]:
        """Which of the rows are in the set; shape (n,)."""
        if not self._known:
            return np.zeros(len(rows), bool)
        return np.array([row.tobytes() in self._known for row in _canonical(rows)], bool)

    def add(self, row: Array) -> None:
        """Put one row into the set."""
        self._known.add(_canonical(row[None])[0].tobytes())

    def __len__(self) -> int:
        return len(self._known)


def _canonical(rows: Array) -> Array:
    # Places that were computed in two ways may differ in the last bits.
    return np.asarray(np.round(np.where(np.isnan(rows), -9.0, rows), 9) + 0.0, float)
