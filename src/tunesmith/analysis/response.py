"""What the objective is expected to be for pairs of values of two parameters, all others as the space draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.importance import MIN_TRIALS
from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.model_rows import ModelRows, model_rows
from tunesmith.errors import TuneError
from tunesmith.models.cube import Cube
from tunesmith.models.forest import Forest
from tunesmith.space import Categorical, Path, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.analysis.experiment_analysis import ExperimentAnalysis

    Array = NDArray[np.float64]

_N_PLACES = 25  #: along the axis of a number
_MAX_PLACES = 20_000  #: in all: options of a choice are never left out
_N_OTHERS = 48  #: draws of the other parameters at each place
_LEAST_OTHERS = 8  #: of these, where there are many places
_MAX_POINTS = 30_000  #: places times draws
_MAX_ROWS = 1000


@dataclass(frozen=True)
class Response:
    """A model's expectation over a grid of two parameters' values."""

    x: tuple[Any, ...]  #: values of the first parameter, as configs have them; options as they were written
    y: tuple[Any, ...]
    mean: Array  #: shape (len(y), len(x)), in the user's units; NaN where the two never take part together
    n_trials: int  #: that it rests on
    n_diverged: int  #: of these, that failed or reported only NaN: they count as the worst of the others


def response(
    result: ExperimentAnalysis,
    chosen: ChosenMetric,
    paths: tuple[Path, Path],
    *,
    space: Mapping[str, Any] | Space | None = None,
    seed: int = 0,
) -> Response:
    """The expected objective over a grid, by a forest fitted to the trials.

    Args:
        paths: of the two leaves.
        space: as for `importance`.
    Raises: TuneError with fewer than 5 trials that have a value, or for choices with thousands of options.
    """
    data = model_rows(result.reader, chosen, space=space)
    if len(data.losses) - data.n_diverged < MIN_TRIALS:
        raise TuneError("too few trials for a surface")
    rng = np.random.default_rng(seed)
    cube = data.cube
    columns = (_column(cube, paths[0]), _column(cube, paths[1]))
    places = [_places(cube, j) for j in columns]
    n_places = len(places[0]) * len(places[1])
    if n_places > _MAX_PLACES:
        raise TuneError(f"too many options for a surface: {len(places[0]):,} by {len(places[1]):,}")
    n_others = min(_N_OTHERS, max(_LEAST_OTHERS, _MAX_POINTS // n_places))
    rows = np.repeat(cube.sample(rng, n_others)[None], n_places, axis=0)
    grid_x, grid_y = (grid.ravel()[:, None] for grid in np.meshgrid(*places))
    rows[:, :, columns[0]], rows[:, :, columns[1]] = grid_x, grid_y
    flat = _with_parents(cube, rows.reshape(-1, cube.d), columns)
    losses = _expected_losses(data, flat, rng).reshape(len(grid_x), n_others)
    is_part = np.asarray(~np.isnan(flat[:, list(columns)]).any(axis=1)).reshape(losses.shape)
    n_parts = is_part.sum(axis=1)
    sums = np.where(is_part, losses, 0.0).sum(axis=1)
    mean = np.where(n_parts > 0, sums / np.maximum(n_parts, 1), np.nan)
    values = [
        tuple(cube.columns[j].decode(float(place)) for place in found) for j, found in zip(columns, places, strict=True)
    ]
    shape = (len(places[1]), len(places[0]))
    sign = chosen.mode.as_loss(1.0)
    return Response(values[0], values[1], sign * mean.reshape(shape), len(data.losses), data.n_diverged)


def _column(cube: Cube, path: Path) -> int:
    return next(j for j in range(cube.d) if cube.leaf(j).path == path)


def _places(cube: Cube, j: int) -> Array:
    """All places of a choice and of a number with few values, and as many as are drawn of another."""
    column = cube.columns[j]
    is_choice = column.is_categorical or isinstance(cube.leaf(j).domain, Categorical)
    if is_choice or (column.n_values is not None and column.n_values <= _N_PLACES):
        return np.unique(column.all_places())
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


def _expected_losses(data: ModelRows, rows: Array, rng: np.random.Generator) -> Array:
    """In the units of the losses: what the model says of the targets, read back between those seen."""
    picked = rng.permutation(len(data.targets))[:_MAX_ROWS]
    losses, targets = data.losses[picked], data.targets[picked]
    means, _ = Forest(data.cube, data.rows[picked], targets, rng).predict(rows)
    order = np.argsort(targets, kind="stable")
    return np.asarray(np.interp(means, targets[order], losses[order]))
