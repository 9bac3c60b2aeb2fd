"""Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import ConfigError
from tunesmith.models.acquisition import log_expected_improvement, optimism
from tunesmith.models.beliefs import Beliefs
from tunesmith.models.candidates import CandidateSearch
from tunesmith.models.cube import Border, Cube
from tunesmith.models.gaussian_process import GaussianProcess, fit_theta, last_step, thinned
from tunesmith.models.input_warp import InputWarp, find_warp
from tunesmith.models.observations import Observations
from tunesmith.models.success import SuccessModel
from tunesmith.models.warp import warp_losses
from tunesmith.searchers.earlier_runs import EarlierRuns, EarlierTrend
from tunesmith.searchers.first_configs import Task
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.multi_objective import TargetFits, fit_several, has_several_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_SD = 1.8  #: of the optimism; Song et al. 2024 (arXiv 2408.11527)
_PRIOR_STRENGTH = 10.0  #: beta of Hvarfner et al. 2022 (arXiv 2204.11051)
_N_AROUND = 8  #: good rows whose neighbours are tried
_N_MAX_RESULTS = 500  #: that a posterior rests on; beyond, the best of them and an even share of the others
_N_WARPED = 2  #: results for each leaf before a column is bent
#: The input warp is chosen anew with each of the first results, then when there are so many times more.
_N_ALWAYS_REWARP, _REWARP_GROWTH = 20, 1.1
_N_MAX_WARP = 300  #: results that the warp is chosen by


class GPSearch(ModelSearch):
    """Proposes where a Gaussian process over all results promises most; every other time by another measure of it.

    Works on every space: numbers, options, conditional leaves, `sample_from`. Meant for up to some hundred results;
    beyond 500 it sees the best third and an even share of the others.

    Sources: half-rank and log warp, optimism of 1.8 sd: Song et al. 2024 (arXiv 2408.11527); log expected improvement:
    Ament et al. 2023 (arXiv 2310.20708); priors of the length scales: Hvarfner et al. 2024 (arXiv 2402.02229).
    """

    def __init__(
        self,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        priors: Mapping[str, Any] | None = None,
        warm_start: EarlierRuns | None = None,
        n_initial: int | None = None,
        repeats: float = 0.0,
    ) -> None:
        """Args:
            repeats: share of the trials that repeat the config with the best posterior mean, up to three times each, so
                that a noisy objective's luckiest result is not taken for its best config; 0.1 serves.
        Raises: ConfigError.
        """
        super().__init__(
            points_to_evaluate=points_to_evaluate,
            evaluated_rewards=evaluated_rewards,
            priors=priors,
            warm_start=warm_start,
            n_initial=n_initial,
        )
        if isinstance(repeats, bool) or not isinstance(repeats, int | float) or not 0.0 <= repeats < 1.0:
            raise ConfigError(f"repeats is {repeats!r}. Give a share of the trials, from 0 up to 1.")
        self._repeats = float(repeats)
        self._hyperparameters = Hyperparameters()
        self._target_fits = TargetFits()

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """See ModelSearch."""
        if has_several_targets(knowledge.observations):
            return fit_several(knowledge, self._target_fits)
        return GPProposer(knowledge, self._hyperparameters, repeats=self._repeats)


class Hyperparameters:
    """The fitted hyperparameters and input warp of a growing history: always those that its first results give.

    Up to 100 results all count; beyond, as many as the last step of a growth by 8 %, so that most suggestions need no
    fit. The warp moves more slowly. A function of the observations, whoever asked before.
    """

    def __init__(self) -> None:
        self._thetas: dict[bytes, Array] = {}
        self._warps: dict[bytes, InputWarp] = {}

    def fit(self, cube: Cube, rows: Array, losses: Array) -> tuple[Array, InputWarp]:
        """Hyperparameters, shape (d + 2,), and input warp for these observations."""
        warp = self._warp(cube, rows, losses)
        n = last_step(len(rows))
        key = rows[:n].tobytes() + losses[:n].tobytes()
        if key not in self._thetas:
            self._thetas = {key: fit_theta(cube, warp(rows[:n]), warp_losses(losses[:n]))}
        return self._thetas[key], warp

    def _warp(self, cube: Cube, rows: Array, losses: Array) -> InputWarp:
        if len(rows) < _N_WARPED * cube.d:
            return InputWarp()
        n = min(last_step(len(rows), start=_N_ALWAYS_REWARP, growth=_REWARP_GROWTH), _N_MAX_WARP)
        key = rows[:n].tobytes() + losses[:n].tobytes()
        if key not in self._warps:
            y = warp_losses(losses[:n])
            self._warps = {key: find_warp(cube, rows[:n], y, fit_theta(cube, rows[:n], y))}
        return self._warps[key]


class GPProposer(Proposer):
    """The posterior of one history."""

    def __init__(self, knowledge: Knowledge, hyperparameters: Hyperparameters, *, repeats: float = 0.0) -> None:
        observations, cube = knowledge.observations, knowledge.cube
        self._repeats = repeats
        y = warp_losses(observations.loss)
        self._beliefs = knowledge.beliefs if _do_beliefs_hold(knowledge.beliefs, observations.rows, y) else None
        self._trend = EarlierTrend(cube, knowledge.earlier, observations.rows, y) if knowledge.earlier else None
        if self._trend is not None:
            y = y - self._trend.predict(observations.rows)
        theta, self._warp = hyperparameters.fit(cube, observations.rows, observations.loss)
        used = thinned(y, _N_MAX_RESULTS)
        self._model = GaussianProcess(cube, self._warp(observations.rows[used]), y[used], theta)
        self._model.condition(self._warp(observations.open))
        self.means, self.sds = self.predict(observations.rows)
        self._best = float(self.means.min())
        self._around = observations.rows[np.argsort(self.means, kind="stable")[:_N_AROUND]]
        self._n_conditioned = 0
        self._success: SuccessModel | None = None
        if len(observations.failed):
            self._success = SuccessModel(cube, observations.rows, observations.failed)
        #: What was gone through to the end: exploration looks elsewhere.
        self._exhausted = observations.rows[np.argmin(observations.loss)] if _has_stalled(cube, observations) else None

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the warped loss at the rows; shape (n,) each."""
        mean, sd = self._model.predict(self._warp(rows))
        return (mean, sd) if self._trend is None else (mean + self._trend.predict(rows), sd)

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        if (again := self._repetition(task)) is not None:
            return again, "a repetition of the config with the best posterior mean"
        self._model.condition(self._warp(task.proposed[self._n_conditioned :]))
        self._n_conditioned = len(task.proposed)
        is_optimistic = task.index % 2 == 0
        # Exploitation goes on to the very border, where optima often lie; exploration learns more inside.
        border = Border.REFLECTS if is_optimistic else Border.HOLDS
        branch = self._branch_to_explore(task) if is_optimistic else {}
        search = CandidateSearch(task.cube, index=task.index, fixed={**branch, **task.fixed}, border=border)
        row = search.find(self._score(task, is_optimistic=is_optimistic), rng, around=self._around, excluded=task.taken)
        if row is None:
            return None
        what = "the lowest confidence bound" if is_optimistic else "the largest expected improvement"
        what += " in the branch tried least" if branch else ""
        return row, f"Gaussian process of {task.observations.n} results: {what}"

    def _branch_to_explore(self, task: Task) -> dict[int, float]:
        """The column and option of the branch tried least, every other time that the search has stalled; else nothing.

        What is deep within a branch cannot be seen from a few poor results in it.
        """
        columns = task.cube.branch_columns
        if self._exhausted is None or not columns or (task.index // 2) % 2:
            return {}
        column = columns[(task.index // 4) % len(columns)]
        n_options = task.cube.columns[column].n_values or 1
        counts = np.bincount(task.taken[:, column].astype(int), minlength=n_options)
        return {column: float(np.argmin(counts[:n_options]))}

    def _score(self, task: Task, *, is_optimistic: bool) -> Callable[[Array], Array]:
        n_results, n_failed = task.observations.n, len(task.observations.failed)
        weight = _PRIOR_STRENGTH / max(n_results, 1)
        caution = (n_results + n_failed) / max(n_results, 1)  # the more fail, the more a result is worth

        def score(rows: Array) -> Array:
            mean, sd = self.predict(rows)
            found = log_expected_improvement(mean, sd, self._best)
            if is_optimistic:
                found = optimism(mean, sd, _N_SD)
                if self._exhausted is not None:
                    found = found - _FAR_BELOW * _is_near(task.cube, rows, self._exhausted)
            if self._success is not None:
                if is_optimistic:  # as a log, like the other: else a large hope would outweigh any certainty to fail
                    found = np.log(np.logaddexp(0.0, found + self._best))
                found = found + caution * self._success.log_probability(rows)
            if self._beliefs:
                found = found + weight * self._beliefs.log_density(rows)
            return found

        return score

    def _repetition(self, task: Task) -> Array | None:
        """The row to be tried again, None where it is no time for that."""
        if self._repeats == 0.0 or task.fixed:
            return None
        rows, taken = task.observations.rows, task.taken
        n_repeated = len(taken) - len(np.unique(np.nan_to_num(taken, nan=-9.0), axis=0))
        if n_repeated + 1 > self._repeats * len(taken):
            return None
        best = rows[int(np.argmin(self.means))]
        n_times = int(np.sum(np.all((taken == best) | (np.isnan(taken) & np.isnan(best)), axis=1)))
        return best if n_times < _MAX_TIMES else None


_MAX_TIMES = 3  #: that one config is tried
_SMALLEST_STEP = 0.01  #: of the way from the median to the best: an improvement by less is none
_NEAR = 0.3  #: widths of a column: rows closer than that in all of them lie in one basin
_FAR_BELOW = 100.0  #: sd; ranks a row behind all others, and keeps the order among such rows


def _has_stalled(cube: Cube, observations: Observations) -> bool:
    """Whether the newest results, one more than columns take part, brought the best no step further.

    The model is then at rest in one basin, often the best of one branch of a conditional space, and sees its last
    decimals: the warps make them as large as everything else.
    """
    losses = observations.loss
    n_newest = int(np.ceil(cube.n_active)) + 1
    if len(losses) < 3 * n_newest:
        return False
    step = _SMALLEST_STEP * (np.median(losses) - losses.min())
    return bool(losses[:-n_newest].min() <= losses.min() + step)


def _is_near(cube: Cube, rows: Array, center: Array) -> NDArray[np.bool_]:
    """Which rows have the options of the center and lie close to it in every number; shape (n,)."""
    codes = cube.is_categorical
    same = np.nan_to_num(rows[:, codes], nan=-1.0) == np.nan_to_num(center[codes], nan=-1.0)
    distances = np.abs(np.nan_to_num(rows[:, ~codes], nan=-1.0) - np.nan_to_num(center[~codes], nan=-1.0))
    return np.asarray(same.all(axis=1) & (distances < _NEAR).all(axis=1))


_N_TRUST = 10  #: results before beliefs are held against them


def _do_beliefs_hold(beliefs: Beliefs, rows: Array, y: Array) -> bool:
    """Whether there are beliefs, and results do not get worse towards where they say they get better.

    Source: the idea of rejecting misleading priors, arXiv 2511.02570; the rule here is a plain correlation.
    """
    if not beliefs:
        return False
    density = beliefs.log_density(rows)
    if len(y) < _N_TRUST or np.ptp(density) == 0.0 or np.ptp(y) == 0.0:
        return True
    return bool(np.corrcoef(density, y)[0, 1] < 0.2)
