"""What the objective is expected to be for pairs of values of two parameters, all others as the space draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.importance import MIN_TRIALS, Observed, observed_trials
from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.models.cube import Cube
from tunesmith.models.forest import Forest
from tunesmith.models.warp import warp_losses
from tunesmith.space import Path, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.analysis.experiment_analysis import ExperimentAnalysis

    Array = NDArray[np.float64]

_N_PLACES = 25  #: along each axis
_N_OTHERS = 48  #: draws of the other parameters at each place
_MAX_ROWS = 1000


@dataclass(frozen=True)
class Response:
    """A model's expectation over a grid of two parameters' values."""

    x: tuple[Any, ...]  #: values of the first parameter, as configs have them; options as they were written
    y: tuple[Any, ...]
    mean: Array  #: shape (len(y), len(x)), in the user's units; NaN where the two never take part together
    n_trials: int  #: that it rests on


def response(
    result: ExperimentAnalysis,
    chosen: ChosenMetric,
    paths: tuple[Path, Path],
    *,
    metric: str | None = None,
    space: Mapping[str, Any] | Space | None = None,
    seed: int = 0,
) -> Response | None:
    """The expected objective over a grid, by a forest fitted to the trials; None with fewer than 5 of them.

    Args:
        paths: of the two leaves.
        metric, space: as for `importance`.
    """
    observed = observed_trials(result, chosen, metric, space=space)
    if len(observed.losses) < MIN_TRIALS:
        return None
    rng = np.random.default_rng(seed)
    cube = observed.cube
    columns = tuple(next(j for j in range(cube.d) if cube.leaf(j).path == path) for path in paths)
    places = [_places(cube, j) for j in columns]
    rows = np.repeat(cube.sample(rng, _N_OTHERS)[None], len(places[0]) * len(places[1]), axis=0)
    grid_x, grid_y = (grid.ravel()[:, None] for grid in np.meshgrid(*places))
    rows[:, :, columns[0]], rows[:, :, columns[1]] = grid_x, grid_y
    flat = _with_parents(cube, rows.reshape(-1, cube.d), columns)
    losses = _expected_losses(observed, flat, rng).reshape(len(grid_x), _N_OTHERS)
    is_part = np.asarray(~np.isnan(flat[:, list(columns)]).any(axis=1)).reshape(losses.shape)
    n_parts = is_part.sum(axis=1)
    sums = np.where(is_part, losses, 0.0).sum(axis=1)
    mean = np.where(n_parts > 0, sums / np.maximum(n_parts, 1), np.nan)
    values = [
        tuple(cube.columns[j].decode(float(place)) for place in found) for j, found in zip(columns, places, strict=True)
    ]
    shape = (len(places[1]), len(places[0]))
    sign = chosen.mode.as_loss(1.0)
    return Response(values[0], values[1], sign * mean.reshape(shape), len(observed.losses))


def _places(cube: Cube, j: int) -> Array:
    """All places of a column with few values, and as many as are drawn of another."""
    column = cube.columns[j]
    if column.is_categorical or (column.n_values is not None and column.n_values <= _N_PLACES):
        return np.unique(column.all_places())[:_N_PLACES]
    return np.unique(column.snap(np.linspace(0.0, 1.0, _N_PLACES)))


def _with_parents(cube: Cube, rows: Array, columns: tuple[int, ...]) -> Array:
    """The rows with the choices that the columns depend on made so that these take part, where both can."""
    given = rows[:, list(columns)].copy()
    for j in columns:
        for parent, option in cube.parents(j):
            if parent not in columns:
                rows[:, parent] = option
    rows = cube.complete(rows, np.random.default_rng(0))
    is_part = ~np.isnan(rows[:, list(columns)])
    rows[:, list(columns)] = np.where(is_part, given, np.nan)
    return rows


def _expected_losses(observed: Observed, rows: Array, rng: np.random.Generator) -> Array:
    """In the units of the losses: what the model says of the drawn-in losses, read back between those seen."""
    n = len(observed.losses)
    picked = rng.permutation(n)[:_MAX_ROWS]
    losses = observed.losses[picked]
    warped = warp_losses(losses)
    means, _ = Forest(observed.cube, observed.rows[picked], warped, rng).predict(rows)
    order = np.argsort(warped, kind="stable")
    return np.asarray(np.interp(means, warped[order], losses[order]))
