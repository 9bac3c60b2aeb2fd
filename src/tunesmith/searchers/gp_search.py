"""Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.acquisition import log_expected_improvement, optimism
from tunesmith.models.candidates import CandidateSearch
from tunesmith.models.gaussian_process import GaussianProcess, fit_theta
from tunesmith.models.success import SuccessModel
from tunesmith.models.warp import warp_losses
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_SD = 1.8  #: of the optimism; Song et al. 2024 (arXiv 2408.11527)
_PRIOR_STRENGTH = 10.0  #: beta of Hvarfner et al. 2022 (arXiv 2204.11051)
_N_AROUND = 8  #: good rows whose neighbours are tried


class GPSearch(ModelSearch):
    """Proposes where a Gaussian process over all results promises most; every other time by another measure of it.

    Works on every space: numbers, options, conditional leaves, `sample_from`. Meant for up to some hundred results.

    Sources: half-rank and log warp, optimism of 1.8 sd: Song et al. 2024 (arXiv 2408.11527); log expected improvement:
    Ament et al. 2023 (arXiv 2310.20708); priors of the length scales: Hvarfner et al. 2024 (arXiv 2402.02229).
    """

    def _fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        return GPProposer(knowledge)


class GPProposer(Proposer):
    """The posterior of one history."""

    def __init__(self, knowledge: Knowledge) -> None:
        observations = knowledge.observations
        self._beliefs = knowledge.beliefs
        y = warp_losses(observations.loss)
        theta = fit_theta(knowledge.cube, observations.rows, y)
        self._model = GaussianProcess(knowledge.cube, observations.rows, y, theta)
        self._model.condition(observations.open)
        means, _ = self._model.predict(observations.rows)
        self._best = float(means.min())
        self._around = observations.rows[np.argsort(means, kind="stable")[:_N_AROUND]]
        self._n_conditioned = 0
        self._success: SuccessModel | None = None
        if len(observations.failed):
            self._success = SuccessModel(knowledge.cube, observations.rows, observations.failed)

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        self._model.condition(task.proposed[self._n_conditioned :])
        self._n_conditioned = len(task.proposed)
        is_optimistic = task.index % 2 == 0
        search = CandidateSearch(task.cube, index=task.index, fixed=task.fixed)
        row = search.find(self._score(task, is_optimistic=is_optimistic), rng, around=self._around, excluded=task.taken)
        if row is None:
            return None
        what = "the lowest confidence bound" if is_optimistic else "the largest expected improvement"
        return row, f"Gaussian process of {task.observations.n} results: {what}"

    def _score(self, task: Task, *, is_optimistic: bool) -> Callable[[Array], Array]:
        weight = _PRIOR_STRENGTH / max(task.observations.n, 1)

        def score(rows: Array) -> Array:
            mean, sd = self._model.predict(rows)
            found = log_expected_improvement(mean, sd, self._best)
            if is_optimistic:
                found = optimism(mean, sd, _N_SD)
            if self._success is not None:
                found = found + self._success.log_probability(rows)
            if self._beliefs:
                found = found + weight * self._beliefs.log_density(rows)
            return found

        return score
