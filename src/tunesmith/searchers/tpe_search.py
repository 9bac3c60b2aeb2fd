"""Tree-structured Parzen estimator: where good configs are dense and others are not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.candidates import mutation_rate
from tunesmith.models.cube import Cube
from tunesmith.models.observations import Observations
from tunesmith.models.parzen import MIN_WIDTH, ParzenDensity, evenly_thinned
from tunesmith.searchers.first_configs import Task
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.ranked_rows import best_first, first_new, in_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_GOOD_SHARE = 0.1  #: of the results are good; Bergstra et al. 2011 and Optuna's default
_N_GOOD_MAX = 25  #: and no more than these; Optuna's default
_N_KERNELS = 1_000  #: of one density at most: bounds what a suggestion costs
_N_CANDIDATES = 128
_N_ENUMERATED = 1_024  #: a space with no more configs is looked at whole
_N_STARTS, _N_MUTATIONS = 8, 8  #: best candidates, and mutations of each
_LEAST_SUCCESS = 0.05
_PRIOR_STRENGTH = 10.0  #: beta of Hvarfner et al. 2022 (arXiv 2204.11051)


class TPESearch(ModelSearch):
    """Proposes where the density of good configs is large against that of all others.

    Works on every space, conditional ones above all, and costs little with thousands of results. Failed and running
    configs count among the others, so workers that ask together get different configs.

    Sources: Bergstra et al. 2011 (NeurIPS 24); kernels, share and weights: Watanabe 2023 (arXiv 2304.11127).
    """

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """See ModelSearch."""
        return TPEProposer(knowledge)


class TPEProposer(Proposer):
    """Two densities of one history."""

    def __init__(self, knowledge: Knowledge) -> None:
        observations = knowledge.observations
        order = best_first(observations)
        self._n_good = good_count(len(order))
        good = observations.rows[order[: self._n_good]]
        others = np.delete(observations.rows, order[: self._n_good], axis=0)
        self._good = ParzenDensity(knowledge.cube, good, rank_weights(len(good)))
        # In the order of the trials: an even choice of them.
        self._others = evenly_thinned(np.concatenate([others, observations.failed]), _N_KERNELS)
        self._open = evenly_thinned(observations.open, _N_KERNELS)
        self._success = ParzenSuccess(knowledge.cube, observations) if len(observations.failed) else None
        self._beliefs = knowledge.beliefs

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        others = ParzenDensity(task.cube, np.concatenate([self._others, self._open, task.proposed]))
        rows, ratios = self._scored(task, self._candidates(task, rng), others)
        if len(rows) and not _is_small(task):
            parents = rows[np.argsort(-ratios, kind="stable")[:_N_STARTS]]
            mutated = task.cube.mutate(
                np.repeat(parents, _N_MUTATIONS, axis=0), rng, sigma=MIN_WIDTH, rate=mutation_rate(task.cube.d)
            )
            more_rows, more_ratios = self._scored(task, in_grid(task, mutated, rng), others)
            rows, ratios = np.concatenate([rows, more_rows]), np.concatenate([ratios, more_ratios])
        row = first_new(task, rows[np.argsort(-ratios, kind="stable")], rng)
        if row is None:
            return None
        n_others = task.observations.n - self._n_good + len(task.observations.failed)
        return row, f"tree-structured Parzen estimator: like the {self._n_good} best, unlike {n_others} others"

    def _candidates(self, task: Task, rng: np.random.Generator) -> Array:
        if _is_small(task):
            return in_grid(task, task.cube.enumerate(), rng)
        units = rng.random((_N_CANDIDATES, task.cube.d))
        even = self._beliefs.draw(units, rng) if self._beliefs else task.cube.from_units(units)
        return in_grid(task, self._good.sample(even, rng), rng)

    def _scored(self, task: Task, rows: Array, others: ParzenDensity) -> tuple[Array, Array]:
        """The rows with the values that follow from others, and the logarithms of their ratios of densities."""
        if task.cube.has_dependents:
            rows, is_allowed = task.cube.settle(rows, index=task.index)
            rows = rows[is_allowed]
        ratios = self._good.log_density(rows) - others.log_density(rows)
        if self._success is not None:
            ratios = ratios + self._success.log_probability(rows)
        if self._beliefs:
            ratios = ratios + _PRIOR_STRENGTH / max(task.observations.n, 1) * self._beliefs.log_density(rows)
        return rows, ratios


class ParzenSuccess:
    """How likely a config is to give a result: Bayes' rule on the densities of those that did and those that failed.

    The Gaussian process of `tunesmith.models.success` is sharper, and too slow for thousands of results.
    Source: the product with this probability: Watanabe and Hutter 2023 (arXiv 2211.14411), c-TPE.
    """

    def __init__(self, cube: Cube, observations: Observations) -> None:
        """Args: observations: with one failure at least."""
        self._n_succeeded, self._n_failed = observations.n, len(observations.failed)
        self._succeeded = ParzenDensity(cube, evenly_thinned(observations.rows, _N_KERNELS))
        self._failed = ParzenDensity(cube, evenly_thinned(observations.failed, _N_KERNELS))

    def log_probability(self, rows: Array) -> Array:
        """Log of the probability at each row, shape (n,); 0.05 at least: failures may have had another cause."""
        odds = self._failed.log_density(rows) - self._succeeded.log_density(rows)
        odds += math.log(self._n_failed) - math.log(max(self._n_succeeded, 1))
        return np.asarray(np.maximum(-np.logaddexp(0.0, odds), math.log(_LEAST_SUCCESS)))


def good_count(n: int) -> int:
    """How many of n results count as good: a tenth, rounded up, at most 25."""
    return min(math.ceil(_GOOD_SHARE * n), _N_GOOD_MAX)


def rank_weights(n: int) -> Array:
    """Weights of n configs from best to worst, mean 1: proportional to ln(n + 1) - ln(rank); shape (n,).

    Source: Hansen 2016 (arXiv 1604.00772), equation 49.
    """
    weights = np.log(n + 1.0) - np.log(np.arange(1.0, n + 1.0))
    return np.asarray(weights / weights.mean()) if n else weights


def _is_small(task: Task) -> bool:
    n_points = task.cube.n_points
    return n_points is not None and n_points <= _N_ENUMERATED
