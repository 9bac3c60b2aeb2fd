"""The search that people do by hand: spread some configs, then a grid around the best one, then a finer grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.candidates import mutation_rate
from tunesmith.models.columns import Column
from tunesmith.models.cube import Cube
from tunesmith.models.observations import Observations
from tunesmith.searchers.first_configs import Task
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.ranked_rows import best_first, first_new, in_grid, is_next_to_failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_WHOLE = 27  #: a grid with no more nodes is tried whole: three numbers; of larger ones so many nodes are tried
_N_DRAWN = 128  #: nodes of a larger grid that one is picked from
_N_BEST = 3  #: configs whose options are tried in every round; of the others a third as many in each further one
_LAST_ROUND = 7  #: its cells are a two-thousandth of the range wide: nobody turns a knob by less
_REGION_ROUND = 2  #: its box is what "elsewhere" lies outside of, when the search starts again
_N_REGIONS = 8  #: that it starts again in: beyond, configs are spread until one is better than those
_N_BOXES = 16  #: that are looked at for a new config, until one is spread over the whole space
_N_NAMED = 3  #: leaves that a reason names
_TOLERANCE = 1e-9  #: places that were computed in two ways may differ by so much


class ZoomSearch(ModelSearch):
    """Begins evenly spread; then, round by round, tries a grid of three values a number around the best config.

    The grid of the first round spans the space, each further one is a third as wide. It goes with the best config; once
    it was tried the next one begins. After the last round it starts again from the best config elsewhere. Nodes are the
    middles of cells that are cut into three each round, so what was tried in one round serves the next.

    A baseline, and a search whose every step can be followed. Quick on smooth objectives; it may settle for a poor
    option of a choice, since it seldom looks back.
    """

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """See ModelSearch."""
        return ZoomProposer(knowledge)


@dataclass(frozen=True)
class Box:
    """Where a round looks: three cells of each column of numbers, and the options that good configs have."""

    round: int
    nodes: tuple[Array, ...]  #: what is tried, by column: the values nearest to the cells' middles, or codes of options
    low: Array  #: the least value of each column of numbers that lies within; shape (d,), as `high`
    high: Array
    best: Array  #: the nodes nearest to the best config; where it has no value, to the next best that has; shape (d,)
    width: float  #: of the three cells, in widths of the cube

    @property
    def n_nodes(self) -> float:
        """How many nodes the whole grid has: more than can be tried in large spaces."""
        return math.prod(float(len(nodes)) for nodes in self.nodes)

    def contains(self, rows: Array, *, cube: Cube) -> NDArray[np.bool_]:
        """Which rows lie within; what takes no part in a row says nothing. Shape (n,)."""
        is_outside = (rows < self.low - _TOLERANCE) | (rows > self.high + _TOLERANCE)
        for j in np.flatnonzero(cube.is_categorical):  # whose bounds mean nothing
            is_outside[:, j] = ~np.isin(rows[:, j], self.nodes[j]) & ~np.isnan(rows[:, j])
        return np.asarray(~is_outside.any(axis=1))

    def grid(self, rng: np.random.Generator) -> Array:
        """The nodes in random order; of a large grid some that differ from the best in a few columns; shape (k, d)."""
        if self.n_nodes <= _N_WHOLE:
            return rng.permutation(np.array(list(product(*self.nodes))))
        rows = np.tile(self.best, (_N_DRAWN, 1))
        is_moved = rng.random(rows.shape) < mutation_rate(rows.shape[1])
        for j, nodes in enumerate(self.nodes):
            rows[is_moved[:, j], j] = rng.choice(nodes, int(is_moved[:, j].sum()))
        return rows


class Region:
    """The surroundings of the first of these rows, which go from good to bad; its boxes are nested, nearly."""

    def __init__(self, cube: Cube, rows: Array) -> None:
        self._cube = cube
        is_active = ~np.isnan(rows)
        place = rows[is_active.argmax(axis=0), np.arange(cube.d)]
        self._best = np.where(is_active.any(axis=0), place, 0.5)
        self._options = {
            int(j): _ranked_options(rows[:, j], cube.columns[j]) for j in np.flatnonzero(cube.is_categorical)
        }

    def box(self, n_round: int) -> Box:
        """The box of a round; it lies within the cube."""
        n_cells = 3**n_round
        best = self._best.copy()
        cell = np.clip(np.floor(best * n_cells), 0, n_cells - 1)
        middle = np.clip(cell, 1, n_cells - 2)
        # Three nodes, the borders, the best one: all moved to the nearest values, so that no node lies outside.
        places = np.stack([middle - 0.5, middle + 0.5, middle + 1.5, middle - 1.0, middle + 2.0, cell + 0.5]) / n_cells
        nodes: list[Array] = []
        for j, column in enumerate(self._cube.columns):
            if j in self._options:
                ranked, n_always = self._options[j]
                nodes.append(ranked[: max(n_always, math.ceil(3.0 * len(ranked) / n_cells))])
                best[j] = nodes[j][0]
            else:
                places[:, j] = column.snap(places[:, j])
                values = places[:3, j]
                nodes.append(values[[True, values[1] > values[0], values[2] > values[1]]])
                best[j] = places[5, j]
        return Box(n_round, tuple(nodes), places[3], places[4], best, 3.0 / n_cells)


def _ranked_options(codes: Array, column: Column) -> tuple[Array, int]:
    """All options by the best config of each, those without one last; and how many are among the best few configs.

    Args: codes: of configs from good to bad; NaN where the column takes no part. Shape (n,).
    """
    known, first = np.unique(codes[~np.isnan(codes)], return_index=True)
    ranked = known[np.argsort(first, kind="stable")]
    among_best = codes[:_N_BEST]
    n_always = len(np.unique(among_best[~np.isnan(among_best)]))
    return np.concatenate([ranked, np.setdiff1d(column.all_places(), ranked)]), n_always


def boxes_to_try(cube: Cube, observations: Observations) -> Iterator[Box]:
    """Boxes around the best config that were not tried yet, from coarse to fine; then around the best elsewhere.

    A box counts as tried when it holds as many configs that are over as its grid has nodes, or 27.
    """
    rows = observations.rows[best_first(observations)]
    over = np.concatenate([rows, observations.failed])
    for _ in range(_N_REGIONS):
        if len(rows) == 0:
            return
        region = Region(cube, rows)
        for n_round in range(1, _LAST_ROUND + 1):
            box = region.box(n_round)
            if box.contains(over, cube=cube).sum() < min(box.n_nodes, _N_WHOLE):
                yield box
        rows = rows[1:]
        rows = rows[~region.box(_REGION_ROUND).contains(rows, cube=cube)]


class ZoomProposer(Proposer):
    """The boxes that one history leads to."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._cube, self._observations = knowledge.cube, knowledge.observations

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer. A box whose nodes all run or are forbidden is passed over: no worker waits for another."""
        for box in islice(boxes_to_try(self._cube, self._observations), _N_BOXES):
            rows = in_grid(task, task.cube.complete(box.grid(rng), rng), rng)
            is_risky = is_next_to_failure(task.observations, rows, cube=task.cube)
            row = first_new(task, rows[np.argsort(is_risky, kind="stable")], rng)
            if row is not None:
                return row, _words(self._cube, box)
        return None


def _words(cube: Cube, box: Box) -> str:
    numbers = np.flatnonzero(~cube.is_categorical)
    size = " x ".join(str(len(nodes)) for nodes in box.nodes) if cube.d <= _N_NAMED else "3 values a number"
    around = [f"{cube.names[j]}={_value(cube, j, box.best[j])}" for j in numbers[:_N_NAMED]]
    more = ", ..." if len(numbers) > _N_NAMED else ""
    where = f" around {', '.join(around)}{more}, {box.width:.2%} of the range wide" if around else ""
    return f"round {box.round}: grid of {size}{where}"


def _value(cube: Cube, j: int, place: float) -> str:
    value = cube.columns[j].decode(place)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
