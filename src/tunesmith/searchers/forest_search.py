"""Bayesian optimisation with a forest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.acquisition import log_expected_improvement
from tunesmith.models.candidates import CandidateSearch
from tunesmith.models.forest import Forest
from tunesmith.models.gaussian_process import thinned
from tunesmith.models.success import SuccessModel
from tunesmith.models.warp import warp_losses
from tunesmith.searchers.first_configs import Task
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.trust_region_search import feasible_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_MAX = 1000  #: results that the trees see; beyond, the best third and an even share of the others
_N_SUCCESS = 100  #: of those that gave a result, and that failed, for the success model: the newest
_N_AROUND = 8
_PRIOR_STRENGTH = 10.0  #: beta of Hvarfner et al. 2022 (arXiv 2204.11051)
_SHARE_AT_RANDOM = 0.05  #: of the configs: trees know nothing of where they have no result


class ForestSearch(ModelSearch):
    """Proposes where a forest of randomised trees expects the largest improvement; one in twenty is drawn at random.

    For objectives with steps and spaces with many options; slower to start than a Gaussian process on smooth ones.
    Source: Hutter et al. 2011 (SMAC, LION 5).
    """

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """See ModelSearch."""
        return _ForestProposer(knowledge, rng)


class _ForestProposer(Proposer):
    def __init__(self, knowledge: Knowledge, rng: np.random.Generator) -> None:
        observations, cube = knowledge.observations, knowledge.cube
        self._beliefs = knowledge.beliefs
        y = warp_losses(feasible_first(observations))
        used = thinned(y, _N_MAX)
        self._forest = Forest(cube, observations.rows[used], y[used], rng)
        self._forest.condition(observations.open)
        self._n_conditioned = 0
        self._best = float(y.min())
        self._around = observations.rows[np.argsort(y, kind="stable")[:_N_AROUND]]
        self._success: SuccessModel | None = None
        if len(observations.failed):
            self._success = SuccessModel(cube, observations.rows[-_N_SUCCESS:], observations.failed[-_N_SUCCESS:])

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        if rng.random() < _SHARE_AT_RANDOM:
            return None  # the spread goes on
        self._forest.condition(task.proposed[self._n_conditioned :])
        self._n_conditioned = len(task.proposed)
        search = CandidateSearch(task.cube, index=task.index, fixed=task.fixed)
        row = search.find(self._score(task), rng, around=self._around, excluded=task.taken)
        return None if row is None else (row, f"forest of {task.observations.n} results: the largest improvement")

    def _score(self, task: Task) -> Callable[[Array], Array]:
        weight = _PRIOR_STRENGTH / max(task.observations.n, 1)

        def score(rows: Array) -> Array:
            found = log_expected_improvement(*self._forest.predict(rows), self._best)
            if self._success is not None:
                found = found + self._success.log_probability(rows)
            if self._beliefs:
                found = found + weight * self._beliefs.log_density(rows)
            return found

        return score
