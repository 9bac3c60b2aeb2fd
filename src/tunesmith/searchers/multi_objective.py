"""Bayesian optimisation of several objectives, and of objectives that must keep bounds on other metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.acquisition import log_expected_improvement, log_probability_of_improvement
from tunesmith.models.candidates import CandidateSearch
from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import GaussianProcess, fit_theta
from tunesmith.models.hypervolume_gain import HypervolumeGain
from tunesmith.models.observations import Observations
from tunesmith.models.pareto import crowding_distances, is_non_dominated, non_dominated_ranks
from tunesmith.models.success import SuccessModel
from tunesmith.models.warp import warp_losses
from tunesmith.searchers.model_search import Knowledge, Proposer, Task
from tunesmith.searchers.nsga import NSGAProposer
from tunesmith.searchers.ranked_rows import violations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_MAX = 400  #: results; beyond, Gaussian processes take too long for what they add
_N_AROUND = 10  #: good rows whose neighbours are tried
_PRIOR_STRENGTH = 10.0  #: beta of Hvarfner et al. 2022 (arXiv 2204.11051)
_REFIT_GROWTH, _N_ALWAYS_REFIT = 1.08, 100  #: as in GPSearch
_LEAST_SD = 0.05  #: of squashed excesses: one that hardly varies is sure to stay on its side


def has_several_targets(observations: Observations) -> bool:
    """Whether there are several objectives, or constraints."""
    return bool(observations.losses.shape[1] > 1 or observations.excesses.shape[1] > 0)


class TargetFits:
    """The fitted hyperparameters of each target of a growing history: always those that its first results give.

    Up to 100 results all count; beyond, as many as the last step of a growth by 8 %, so that most suggestions need no
    fit. A function of the observations, whoever asked before.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, Array]] = {}

    def fit(self, target: int, cube: Cube, rows: Array, values: Array, warp: Callable[[Array], Array]) -> Array:
        """Hyperparameters for these observations; shape (d + 2,). Args: warp: of the first of the values."""
        n = len(rows)
        if n > _N_ALWAYS_REFIT:
            n_steps = int(np.log(n / _N_ALWAYS_REFIT) / np.log(_REFIT_GROWTH))
            n = min(n, int(_N_ALWAYS_REFIT * _REFIT_GROWTH**n_steps))
        key = rows[:n].tobytes() + values[:n].tobytes()
        if target not in self._known or self._known[target][0] != key:
            self._known[target] = (key, fit_theta(cube, rows[:n], warp(values[:n])))
        return self._known[target][1]


def fit_several(knowledge: Knowledge, fits: TargetFits) -> Proposer:
    """The proposer for several objectives or constraints: Gaussian processes up to 400 results, then evolution."""
    if knowledge.observations.n > _N_MAX:
        return NSGAProposer(knowledge)
    return MultiObjectiveProposer(knowledge, fits)


class MultiObjectiveProposer(Proposer):
    """A Gaussian process for each objective and for each constraint.

    With several objectives the row of the largest expected gain of hypervolume is proposed, with one that of the
    largest expected improvement on the best result that keeps the constraints; both times the probability of keeping
    them. Before any result keeps them, the row that most probably does.

    Sources: constrained expected improvement: Gardner et al. 2014 (ICML 31); both in logarithms: Ament et al. 2023
    (arXiv 2310.20708).
    """

    def __init__(self, knowledge: Knowledge, fits: TargetFits) -> None:
        observations, cube = knowledge.observations, knowledge.cube
        rows, m = observations.rows, observations.losses.shape[1]
        self._beliefs = knowledge.beliefs
        self._objectives: list[GaussianProcess] = []
        for j in range(m):
            losses = observations.losses[:, j]
            theta = fits.fit(j, cube, rows, losses, warp_losses)
            self._objectives.append(GaussianProcess(cube, rows, warp_losses(losses), theta))
        self._constraints = [
            ConstraintModel(cube, rows, excesses, fits, target=m + j)
            for j, excesses in enumerate(observations.excesses.T)
        ]
        self._success: SuccessModel | None = None
        if len(observations.failed):
            self._success = SuccessModel(cube, rows, observations.failed)
        self._condition(observations.open)
        self._n_conditioned = 0
        self._set_goal(observations)

    def _set_goal(self, observations: Observations) -> None:
        """What is to be improved on: posterior means at the rows of the results, since results may be lucky."""
        is_feasible = observations.is_feasible
        means = np.column_stack([model.predict(observations.rows)[0] for model in self._objectives])
        order = _best_first(means, violations(observations))
        self._around = observations.rows[order[:_N_AROUND]]
        self._has_feasible = bool(is_feasible.any())
        self._best = float(means[is_feasible, 0].min(initial=np.inf))
        self._gain: HypervolumeGain | None = None
        if self._has_feasible and means.shape[1] > 1:
            front = means[is_feasible]
            front = front[is_non_dominated(front)]
            self._gain = HypervolumeGain(front, reference_point(front, means))

    def _condition(self, rows: Array) -> None:
        for model in (*self._objectives, *(constraint.model for constraint in self._constraints)):
            model.condition(rows)

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        self._condition(task.proposed[self._n_conditioned :])
        self._n_conditioned = len(task.proposed)
        search = CandidateSearch(task.cube, index=task.index, fixed=task.fixed)
        row = search.find(self._score(task), rng, around=self._around, excluded=task.taken)
        return None if row is None else (row, self._words(task))

    def _score(self, task: Task) -> Callable[[Array], Array]:
        weight = _PRIOR_STRENGTH / max(task.observations.n, 1)

        def score(rows: Array) -> Array:
            found = np.zeros(len(rows))
            for constraint in self._constraints:
                found += constraint.log_probability(rows)
            if self._has_feasible:
                found += self._log_improvement(rows)
            if self._success is not None:
                found += self._success.log_probability(rows)
            if self._beliefs:
                found += weight * self._beliefs.log_density(rows)
            return found

        return score

    def _log_improvement(self, rows: Array) -> Array:
        predictions = [model.predict(rows) for model in self._objectives]
        if self._gain is None:
            return log_expected_improvement(*predictions[0], self._best)
        means, sds = (np.column_stack(columns) for columns in zip(*predictions, strict=True))
        return self._gain.log_expected(means, sds)

    def _words(self, task: Task) -> str:
        n, m, k = task.observations.n, len(self._objectives), len(self._constraints)
        if not self._has_feasible:
            what = "the most likely to keep the constraints, which no result does yet"
        else:
            what = "the largest expected improvement" if m == 1 else "the largest expected gain of hypervolume"
            what += " that keeps the constraints" if k else ""
        return f"Gaussian processes of {n} results: {what}"


class ConstraintModel:
    """How likely a row is to keep one constraint, by a Gaussian process on the excesses."""

    def __init__(self, cube: Cube, rows: Array, excesses: Array, fits: TargetFits, *, target: int) -> None:
        """Args: excesses: by how much each row breaks the bound, 0 or less where it keeps it; shape (n,)."""
        self._mean, self._sd = 0.0, 1.0
        squashed = squash(excesses)
        self._mean, self._sd = float(squashed.mean()), max(float(squashed.std()), _LEAST_SD)
        theta = fits.fit(target, cube, rows, excesses, lambda first: self._standardised(squash(first)))
        self.model = GaussianProcess(cube, rows, self._standardised(squashed), theta)

    def log_probability(self, rows: Array) -> Array:
        """Log of the probability that each row keeps the bound; shape (n,)."""
        mean, sd = self.model.predict(rows)
        return log_probability_of_improvement(mean, sd, float(self._standardised(np.zeros(1))[0]))

    def _standardised(self, squashed: Array) -> Array:
        return (squashed - self._mean) / self._sd


def squash(excesses: Array) -> Array:
    """Excesses brought between -1 and 1, infinite ones too; 0 stays 0 and the order is kept. Shape (n,).

    Where the bound is matters; how far beyond it a metric exploded does not.
    """
    sizes = np.sort(np.abs(excesses[np.isfinite(excesses) & (excesses != 0.0)]))
    scale = float(sizes[len(sizes) // 2]) if len(sizes) else 1.0
    with np.errstate(over="ignore"):
        shares = excesses / scale
    is_huge = np.isinf(shares)
    shares[is_huge] = np.sign(shares[is_huge])
    return np.asarray(np.where(is_huge, shares, shares / (1.0 + np.abs(shares))))


def reference_point(front: Array, losses: Array) -> Array:
    """The corner that gains of hypervolume are counted from: a tenth of the front's extent beyond its worst values.

    Of a front of one point, the extent is that of all losses. Source: Ishibuchi et al. 2018 (Evol. Comput. 26), on why
    not nearer.
    """
    worst, best = front.max(axis=0), front.min(axis=0)
    extent = np.where(worst > best, worst - best, np.ptp(losses, axis=0))
    return np.asarray(worst + 0.1 * np.maximum(extent, 1e-6))


def _best_first(losses: Array, broken: Array) -> NDArray[np.intp]:
    """Places by rank, the lonely ones of each rank first."""
    ranks = non_dominated_ranks(losses, broken, n_enough=_N_AROUND)
    lonely = np.zeros(len(losses))
    for rank in np.unique(ranks[np.isfinite(ranks)]):
        which = ranks == rank
        lonely[which] = crowding_distances(losses[which])
    return np.lexsort((-lonely, ranks))
