"""Bayesian optimisation of several objectives, and of objectives that must keep bounds on other metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.acquisition import log_expected_improvement, log_probability_of_improvement
from tunesmith.models.candidates import CandidateSearch
from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import GaussianProcess, fit_theta, last_step
from tunesmith.models.hypervolume_gain import HypervolumeGain
from tunesmith.models.observations import Observations
from tunesmith.models.pareto import crowding_distances, is_non_dominated, non_dominated_ranks
from tunesmith.models.success import SuccessModel
from tunesmith.models.warp import log_warp
from tunesmith.searchers.first_configs import Task
from tunesmith.searchers.model_search import Knowledge, Proposer
from tunesmith.searchers.nsga import NSGAProposer
from tunesmith.searchers.ranked_rows import violations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_MAX = 400  #: results; beyond, Gaussian processes take too long for what they add
_N_AROUND = 10  #: good rows whose neighbours are tried
_PRIOR_STRENGTH = 10.0  #: beta of Hvarfner et al. 2022 (arXiv 2204.11051)
#: Points of the front that gains are counted from, by objectives: the boxes grow by its power. The lonely ones stay.
_N_FRONT = {2: 200, 3: 60, 4: 25, 5: 15}
_LEAST_FRONT = 10
_STEP = 1.0  #: sd below the best excess seen, towards a bound that no result keeps
_LEAST_SD = 0.05  #: of squashed excesses: one that hardly varies is sure to stay on its side


def has_several_targets(observations: Observations) -> bool:
    """Whether there are several objectives, or constraints."""
    return bool(observations.losses.shape[1] > 1 or observations.excesses.shape[1] > 0)


class TargetFits:
    """The fitted hyperparameters of each target of a growing history: always those that its first results give."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, Array]] = {}

    def fit(self, target: int, cube: Cube, rows: Array, y: Array) -> Array:
        """Hyperparameters for these values; shape (d + 2,). The last fit of each target is kept."""
        key = rows.tobytes() + y.tobytes()
        if target not in self._known or self._known[target][0] != key:
            self._known[target] = (key, fit_theta(cube, rows, y))
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
        n_fitted = last_step(observations.n)
        ys = warp_objectives(observations.losses, observations.is_feasible)
        first_ys = warp_objectives(observations.losses[:n_fitted], observations.is_feasible[:n_fitted])
        self._objectives = [
            GaussianProcess(cube, rows, ys[:, j], fits.fit(j, cube, rows[:n_fitted], first_ys[:, j])) for j in range(m)
        ]
        self._constraints = [
            ConstraintModel(cube, rows, excesses, fits, target=m + j)
            for j, excesses in enumerate(observations.excesses.T)
        ]
        self._success: SuccessModel | None = None
        if len(observations.failed):
            self._success = SuccessModel(cube, rows, observations.failed)
        order = _best_first(self._means(rows), violations(observations))
        self._around = rows[order[:_N_AROUND]]
        self._goals = self._means(rows[observations.is_feasible])  #: what is to be improved on
        self._believe(observations.open)
        self._n_believed = 0

    def _means(self, rows: Array) -> Array:
        """Posterior means of the objectives, shape (n, m): results themselves may be lucky."""
        return np.column_stack([model.predict(rows)[0] for model in self._objectives])

    def _believe(self, rows: Array) -> None:
        """Take the rows for results equal to their expectation: running trials are not to be proposed again."""
        if len(rows) and len(self._goals):
            is_kept = np.ones(len(rows), bool)
            for constraint in self._constraints:
                is_kept &= constraint.is_kept(rows)
            self._goals = np.concatenate([self._goals, self._means(rows[is_kept])])
        for model in (*self._objectives, *(constraint.model for constraint in self._constraints)):
            model.condition(rows)
        self._best = float(self._goals[:, 0].min(initial=np.inf))
        self._gain = self._made_gain() if len(self._goals) and self._goals.shape[1] > 1 else None

    def _made_gain(self) -> HypervolumeGain:
        front = self._goals[is_non_dominated(self._goals)]
        reference = reference_point(front, self._goals)
        lonely = np.argsort(-crowding_distances(front), kind="stable")
        return HypervolumeGain(front[lonely[: _N_FRONT.get(front.shape[1], _LEAST_FRONT)]], reference)

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        self._believe(task.proposed[self._n_believed :])
        self._n_believed = len(task.proposed)
        search = CandidateSearch(task.cube, index=task.index, fixed=task.fixed)
        row = search.find(self._score(task), rng, around=self._around, excluded=task.taken)
        return None if row is None else (row, self._words(task))

    def _score(self, task: Task) -> Callable[[Array], Array]:
        n_results, n_failed = task.observations.n, len(task.observations.failed)
        weight = _PRIOR_STRENGTH / max(n_results, 1)
        caution = (n_results + n_failed) / max(n_results, 1)  # the more fail, the more a result is worth

        def score(rows: Array) -> Array:
            found = np.zeros(len(rows))
            for constraint in self._constraints:
                found += constraint.log_probability(rows)
            if len(self._goals):
                found += self._log_improvement(rows)
            if self._success is not None:
                found += caution * self._success.log_probability(rows)
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
        if not len(self._goals):
            what = "the most likely to keep the constraints, which no result does yet"
        else:
            what = "the largest expected improvement" if m == 1 else "the largest expected gain of hypervolume"
            what += " that keeps the constraints" if k else ""
        return f"Gaussian processes of {n} results: {what}"


class ConstraintModel:
    """How likely a row is to keep one constraint, by a Gaussian process on the excesses.

    Where the bound lies far below all that was seen: how likely it is to come a step nearer to it. Else the least known
    rows would look most likely to keep it.
    """

    def __init__(self, cube: Cube, rows: Array, excesses: Array, fits: TargetFits, *, target: int) -> None:
        """Args: excesses: by how much each row breaks the bound, 0 or less where it keeps it; shape (n,)."""
        y, self._bound = standardised_excesses(excesses)
        n_fitted = last_step(len(rows))
        first_y, _ = standardised_excesses(excesses[:n_fitted])
        self.model = GaussianProcess(cube, rows, y, fits.fit(target, cube, rows[:n_fitted], first_y))
        self._threshold = self._bound if self._bound >= y.min() else max(self._bound, float(y.min()) - _STEP)

    def log_probability(self, rows: Array) -> Array:
        """Log of the probability that each row keeps the bound, or comes nearer; shape (n,)."""
        return log_probability_of_improvement(*self.model.predict(rows), self._threshold)

    def is_kept(self, rows: Array) -> NDArray[np.bool_]:
        """Which rows are expected to keep the bound; shape (n,)."""
        return np.asarray(self.model.predict(rows)[0] <= self._bound)


def standardised_excesses(excesses: Array) -> tuple[Array, float]:
    """Squashed excesses with mean 0 and sd 1, shape (n,), and where the bound lies among them."""
    squashed = squash(excesses)
    mean, sd = float(squashed.mean()), max(float(squashed.std()), _LEAST_SD)
    return (squashed - mean) / sd, -mean / sd


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


def warp_objectives(losses: Array, is_feasible: NDArray[np.bool_]) -> Array:
    """Each column's losses beyond the worst of the front drawn in by rank, the others spread by a logarithm.

    Mean 0 and sd 1, or all 0; order and ties are kept. As `warp_losses` for one loss; but one end of a front is poor in
    some loss, so that what counts as poor begins beyond it, and at the median at the earliest.

    Args: losses: shape (n, m). is_feasible: which results the front is of, all if none; shape (n,).
    """
    counted = losses[is_feasible] if is_feasible.any() else losses
    front = counted[is_non_dominated(counted)]
    knees = front.max(axis=0)
    return np.column_stack([_warp_beyond(column, knee) for column, knee in zip(losses.T, knees, strict=True)])


def _warp_beyond(losses: Array, knee: float) -> Array:
    from scipy.special import ndtri

    size = max(float(np.abs(losses).max()), 1e-300)  # squares of what remains cannot overflow
    losses, median = losses / size, float(np.median(losses / size))
    knee = max(knee / size, median)
    if np.ptp(losses) == 0.0:
        return np.zeros_like(losses)
    is_good = losses <= knee
    sd_good = float(np.sqrt(np.mean((losses[is_good] - median) ** 2))) or float(losses.std())
    unique, rank = np.unique(losses, return_inverse=True)
    n_beyond = int(np.sum(unique > knee))
    shares = 0.5 + 0.5 * (rank.reshape(-1) - (len(unique) - n_beyond) + 0.5) / max(n_beyond, 1)
    warped = losses.copy()
    warped[~is_good] = knee + sd_good * ndtri(shares[~is_good])
    y = log_warp(warped)
    sd = float(y.std())
    return (y - y.mean()) / sd if sd > 0.0 else np.zeros_like(y)


def reference_point(front: Array, losses: Array) -> Array:
    """The corner that gains of hypervolume are counted from; shape (m,).

    A tenth of the front's extent beyond its worst values, so that its ends count too (Ishibuchi et al. 2018, Evol.
    Comput. 26), and no better than the median of all losses: a front that is short yet must have room to grow.
    """
    worst, best = front.max(axis=0), front.min(axis=0)
    extent = np.where(worst > best, worst - best, np.ptp(losses, axis=0))
    return np.asarray(np.maximum(worst + 0.1 * np.maximum(extent, 1e-6), np.median(losses, axis=0)))


def _best_first(losses: Array, broken: Array) -> NDArray[np.intp]:
    """Places by rank, the lonely ones of each rank first."""
    ranks = non_dominated_ranks(losses, broken, n_enough=_N_AROUND)
    lonely = np.zeros(len(losses))
    for rank in np.unique(ranks[np.isfinite(ranks)]):
        which = ranks == rank
        lonely[which] = crowding_distances(losses[which])
    return np.lexsort((-lonely, ranks))
