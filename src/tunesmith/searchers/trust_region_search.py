"""Bayesian optimisation within a trust region: a local Gaussian process for many columns and some thousand results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.acquisition import log_expected_improvement
from tunesmith.models.candidates import RowSet
from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import GaussianProcess, fit_theta
from tunesmith.models.observations import Observations
from tunesmith.models.sobol import sobol_points
from tunesmith.models.success import SuccessModel
from tunesmith.models.warp import warp_losses
from tunesmith.searchers.first_configs import Task, initial_size
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.ranked_rows import best_first, first_new, in_grid, squared_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_FIRST_SIDE, _LARGEST_SIDE, _SMALLEST_SIDE = 0.8, 1.6, 0.5**7  #: Eriksson et al. 2019, section 2, as the next two
_N_SUCCESSES = 3  #: in a row, to double the side
_N_PERTURBED = 20  #: columns that a candidate changes on average, where there are more
_N_NEAREST = 200  #: results that the local model sees: a fit takes 0.1 s
_MAX_FIT = 2_000  #: columns times iterations of a fit: bounds its time where there are many
_N_FAILED = 100  #: failed trials that it sees
_N_CANDIDATES = 2_000  #: the source takes 100 d, 5,000 at most; the time of a suggestion is bounded here
_N_SETTLED = 128  #: where each candidate is completed by calling the user's functions
_N_ENUMERATED = 1_024  #: a space with no more configs is looked at whole
_N_ROUNDS, _N_STARTS, _N_EACH = 2, 8, 24  #: of refinement: 8 best candidates, 24 drawn around each
_LEAST_GAIN = 1e-3  #: of what recent results lack of the best: a smaller step is no success
_PRIOR_STRENGTH = 10.0  #: beta of Hvarfner et al. 2022 (arXiv 2204.11051)
_CHUNK = 256


@dataclass(frozen=True)
class Region:
    """Where the search stands after a sequence of results."""

    side: float  #: of the box before it is stretched by the length scales
    center: int | None  #: place of the region's best result; None before its first
    n_results: int  #: since the region was begun
    n_restarts: int


class TrustRegionSearch(ModelSearch):
    """Proposes the largest expected improvement within a box around the best result, by a model of its neighbourhood.

    The box doubles after 3 improvements in a row and halves after max(4, d) results without one; where it collapses,
    the search begins again elsewhere. For more than ten columns and up to some thousand results.

    Nothing is remembered: the box follows from the sequence of results. One outside the box says nothing about it,
    unless it is the best so far; so the search may share a history with others.

    Source: Eriksson et al. 2019 (arXiv 1910.01739), TuRBO-1; expected improvement instead of Thompson sampling, and
    results of earlier regions near the new one count.
    """

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """See ModelSearch."""
        n_initial = initial_size(knowledge.cube.d) if self._n_initial is None else self._n_initial
        return _LocalProposer(knowledge, n_initial=n_initial)


class _LocalProposer(Proposer):
    """The local model of one history."""

    def __init__(self, knowledge: Knowledge, *, n_initial: int) -> None:
        self._observations, self._cube, self._beliefs = knowledge.observations, knowledge.cube, knowledge.beliefs
        losses = feasible_first(self._observations)
        self.region = replay(self._cube, self._observations.rows, losses, n_initial=n_initial)
        self._n_initial = n_initial
        self._model: GaussianProcess | None = None
        if self.region.center is not None:
            self._fit(losses, self.region.center)

    def _fit(self, losses: Array, center: int) -> None:
        rows, cube = self._observations.rows, self._cube
        self._center = rows[center]
        near = _nearest(cube, rows, self._center, n=_N_NEAREST)
        self._n_near = len(near)
        y = warp_losses(losses[near])
        theta = fit_theta(cube, rows[near], y, max_iterations=max(10, min(40, _MAX_FIT // max(cube.d, 1))))
        self._model = GaussianProcess(cube, rows[near], y, theta)
        self._best = float(self._model.predict(rows[near])[0].min())
        self._scales = np.exp(theta[:-2])
        self._model.condition(self._observations.open)
        self._n_conditioned = 0
        failed, self._success = self._observations.failed, None
        if len(failed):
            failed = failed[_nearest(cube, failed, self._center, n=_N_FAILED)]
            self._success = SuccessModel(cube, rows[near[:_N_FAILED]], failed)

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        n_begun = self.region.n_results + len(task.observations.open) + len(task.proposed)
        if self._model is None or n_begun < self._n_initial:
            return None  # a new region begins with an even spread
        self._model.condition(task.proposed[self._n_conditioned :])
        self._n_conditioned = len(task.proposed)
        row = first_new(task, self._best_rows(task, rng), rng)
        if row is None:
            return None
        where = int(self._observations.indices[self.region.center or 0])
        name = f"trial {where}" if where >= 0 else "a point with a known reward"
        return row, f"trust region of side {self.region.side:.3g} around {name}: a model of {self._n_near} results near"

    def _best_rows(self, task: Task, rng: np.random.Generator) -> Array:
        """Rows of the box, best first: spread over it, then drawn from ever smaller boxes around the best of them."""
        cube, taken = task.cube, RowSet(task.taken)
        if cube.n_points is not None and cube.n_points <= _N_ENUMERATED:
            return self._ranked(task, cube.enumerate(), rng, taken)[0]
        n = _N_SETTLED if cube.has_dependents else min(100 * max(cube.d, 10), _N_CANDIDATES)
        side = self.region.side
        half = half_widths(cube, self._scales, side)
        box = self._center - half, self._center + half
        rows, scores = self._ranked(
            task, candidates_in_box(cube, np.tile(self._center, (n, 1)), half, rng, side=side, box=box), rng, taken
        )
        for _ in range(0 if cube.has_dependents else _N_ROUNDS):
            half, side = 0.5 * half, 0.5 * side
            starts = np.repeat(rows[:_N_STARTS], _N_EACH, axis=0)
            more, more_scores = self._ranked(
                task, candidates_in_box(cube, starts, half, rng, side=side, box=box), rng, taken
            )
            rows, scores = np.concatenate([rows, more]), np.concatenate([scores, more_scores])
            order = np.argsort(-scores, kind="stable")
            rows, scores = rows[order], scores[order]
        return rows

    def _ranked(self, task: Task, rows: Array, rng: np.random.Generator, taken: RowSet) -> tuple[Array, Array]:
        """The rows that are new, best first, and their scores."""
        rows = in_grid(task, rows, rng)
        if task.cube.has_dependents:
            rows, is_allowed = task.cube.settle(rows, index=task.index)
            rows = rows[is_allowed]
        rows = rows[~taken.contains(rows)]
        scores = self._score(task, rows)
        order = np.argsort(-scores, kind="stable")
        return rows[order], scores[order]

    def _score(self, task: Task, rows: Array) -> Array:
        assert self._model is not None
        found = log_expected_improvement(*self._model.predict(rows), self._best)
        if self._success is not None:
            n_results, n_failed = task.observations.n, len(task.observations.failed)
            caution = (n_results + n_failed) / n_results  # the more fail, the more a result is worth
            found = found + caution * self._success.log_probability(rows)
        if self._beliefs:
            found = found + _PRIOR_STRENGTH / task.observations.n * self._beliefs.log_density(rows)
        return found


def replay(cube: Cube, rows: Array, losses: Array, *, n_initial: int) -> Region:
    """The region after these results, one by one.

    Args: rows: (n, d); losses: (n,). n_initial: results at the beginning of a region that do not change its side.
    """
    n_failures = max(4, cube.d)
    first, place, n_restarts = 0, 0, 0  # of the region, of the next result
    side, n_better, n_worse = _FIRST_SIDE, 0, 0
    while place < len(rows):
        if place - first < n_initial:
            place = min(first + n_initial, len(rows))
            center = first + int(np.argmin(losses[first:place]))
            continue
        stop = min(place + _CHUNK, len(rows))
        distances = middle_distances(cube, rows[place:stop], rows[center])
        for distance, loss in zip(distances.tolist(), losses[place:stop].tolist(), strict=True):
            place += 1
            if loss < losses[center]:
                recent = float(np.median(losses[max(first, place - 1 - n_failures) : place - 1]))
                enough = losses[center] - _LEAST_GAIN * (recent - losses[center])
                n_better, n_worse = (n_better + 1, 0) if loss < enough else (0, n_worse + 1)
                center = place - 1
            elif distance <= 0.5 * side:
                n_better, n_worse = 0, n_worse + 1
            if n_better == _N_SUCCESSES:
                side, n_better = min(2.0 * side, _LARGEST_SIDE), 0
            elif n_worse == n_failures:
                side, n_worse = 0.5 * side, 0
            if side < _SMALLEST_SIDE:
                first, side, n_restarts = place, _FIRST_SIDE, n_restarts + 1
                n_better = n_worse = 0
                break
            if center == place - 1:
                break  # distances are from another center now
    return Region(side, center if first < len(rows) else None, len(rows) - first, n_restarts)


def middle_distances(cube: Cube, rows: Array, center: Array) -> Array:
    """The geometric mean over the columns of numbers of each row's distance from the center; shape (n,).

    Half the side or less for every row of a box of that side, however its length scales have stretched it: their
    geometric mean is 1. Columns that take no part in one of the two are left out; 0 where all are.
    """
    gaps = np.abs(rows - center)[:, ~cube.is_categorical]
    is_known = ~np.isnan(gaps)
    logs = np.log(np.where(is_known, np.maximum(gaps, 1e-12), 1.0))
    n_known = is_known.sum(axis=1)
    return np.where(n_known > 0, np.exp(logs.sum(axis=1) / np.maximum(n_known, 1)), 0.0)


def half_widths(cube: Cube, scales: Array, side: float) -> Array:
    """Half the box's extent in each column: the side times the length scale by the scales' geometric mean; shape (d,).

    At least one value to either side where they can be counted.
    """
    numbers = scales[~cube.is_categorical]
    mean = float(np.exp(np.log(numbers).mean())) if len(numbers) else 1.0
    least = np.array([0.0 if column.n_values is None else 1.5 / column.n_values for column in cube.columns])
    return np.asarray(np.maximum(0.5 * side * scales / mean, least))


def candidates_in_box(
    cube: Cube, centers: Array, half: Array, rng: np.random.Generator, *, side: float, box: tuple[Array, Array]
) -> Array:
    """One row for each center that differs from it in some columns, at least one: numbers by up to half the extent of
    a box, codes drawn anew. Of the codes a share between 0 and the side is drawn, so the box shrinks in options too.

    Args: centers: (n, d). half: half the box's extent, shape (d,). box: bounds that no number leaves, shape (d,) each.
    Returns: shape (n, d).
    Source: Eriksson et al. 2019, supplement D (perturbation of each column with probability 20 / d); the share of
    codes: after Wan et al. 2021 (arXiv 2102.07188), who bound the Hamming distance.
    """
    n, d = centers.shape
    units = sobol_points(n, d, rng)
    fresh = cube.from_units(units)
    low = np.maximum(centers - half, np.maximum(box[0], 0.0))
    high = np.minimum(centers + half, np.minimum(box[1], 1.0))
    fresh = np.where(cube.is_categorical, fresh, low + units * (high - low))
    rate = np.full((n, d), min(1.0, _N_PERTURBED / max(d, 1)))
    rate[:, cube.is_categorical] *= min(side, 1.0) * rng.random((n, 1))
    is_changed = rng.random((n, d)) < rate
    is_changed[np.arange(n), rng.integers(0, d, n)] = True
    return cube.complete(np.where(is_changed, fresh, centers), rng)


def feasible_first(observations: Observations) -> Array:
    """The losses; where the objective has constraints, places in the order from good to bad instead; shape (n,)."""
    if observations.is_feasible.all():
        return observations.loss
    places = np.empty(observations.n)
    places[best_first(observations)] = np.arange(float(observations.n))
    return places


def _nearest(cube: Cube, rows: Array, center: Array, *, n: int) -> NDArray[np.intp]:
    """The places of the n rows nearest to the center, nearest first."""
    distances = squared_distances(cube, center[None], rows)[0]
    return np.argsort(distances, kind="stable")[:n]
