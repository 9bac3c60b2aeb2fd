"""What searchers share that make rows themselves: results from good to bad, and the first row that may be proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.cube import Cube
from tunesmith.models.observations import Observations
from tunesmith.searchers.first_configs import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Places that were computed in two ways may differ by so much.
_TOLERANCE = 1e-9
#: Entries of the distance matrix that are computed at once: bounds the memory.
_N_AT_ONCE = 2_000_000


def best_first(observations: Observations) -> NDArray[np.intp]:
    """The results' places from good to bad: by loss, those that break a constraint last, by how much they break it."""
    return np.lexsort((observations.loss, violations(observations)))


def violations(observations: Observations) -> Array:
    """By how much each result breaks all constraints together, 0 if none; shape (n,)."""
    return np.asarray(np.maximum(observations.excesses, 0.0).sum(axis=1))


def first_new(task: Task, rows: Array, rng: np.random.Generator) -> Array | None:
    """The first of the rows that may be proposed: in its place of the grid, allowed, not proposed before.

    Looks at no more rows than it must: whether one is allowed may be the user's function to say.
    """
    rows = in_grid(task, rows, rng)
    taken = task.taken
    for row in rows:
        if is_among(row, taken):
            continue
        settled, is_allowed = task.cube.settle(row[None], index=task.index)
        if is_allowed[0] and not (task.cube.has_dependents and is_among(settled[0], taken)):
            return np.asarray(settled[0])
    return None


def in_grid(task: Task, rows: Array, rng: np.random.Generator) -> Array:
    """The rows with the columns that the task's place in the grid fixes."""
    if not task.fixed:
        return rows
    rows = rows.copy()
    for j, place in task.fixed.items():
        rows[:, j] = place
    return task.cube.complete(rows, rng)


def is_among(row: Array, rows: Array) -> bool:
    """Whether the row is one of these; NaN equals NaN."""
    is_same = (np.abs(rows - row) <= _TOLERANCE) | (np.isnan(rows) & np.isnan(row))
    return bool(is_same.all(axis=1).any())


def squared_distances(cube: Cube, rows: Array, others: Array) -> Array:
    """Between all rows (m, d) and others (n, d): squared differences of places, 1 for another option or activity."""
    total = np.zeros((len(rows), len(others)))
    for j in range(cube.d):
        x, y = rows[:, j, None], others[None, :, j]
        if cube.is_categorical[j]:
            total += (x != y) & ~(np.isnan(x) & np.isnan(y))
        else:
            difference = x - y
            total += np.where(np.isnan(difference), np.isnan(x) != np.isnan(y), difference * difference)
    return total


def is_next_to_failure(observations: Observations, rows: Array, *, cube: Cube) -> NDArray[np.bool_]:
    """Whether the nearest config that is over, seen from each row, is one that failed; shape (n,)."""
    failed = observations.failed
    if len(failed) == 0 or len(rows) == 0:
        return np.zeros(len(rows), bool)
    known = np.concatenate([observations.rows, failed])
    found = np.empty(len(rows), bool)
    step = max(1, _N_AT_ONCE // len(known))
    for start in range(0, len(rows), step):
        nearest = squared_distances(cube, rows[start : start + step], known).argmin(axis=1)
        found[start : start + step] = nearest >= observations.n
    return found
