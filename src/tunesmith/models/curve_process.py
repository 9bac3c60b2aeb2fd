"""A Gaussian process over configs and training time: learning curves that share what they have in common.

Symbols, with m trials, n observations, d columns of the cube:
    tau   training time on a logarithmic scale, 0 at the first step and 1 at the last, shape (n,)
    l     length scale of each column, shape (d,)
    kx    Matern-5/2 correlation of two configs; kt, kr of two times
    K     covariance of two observations:  s1 kx + s2 kx kt + s3 [same trial] kr + [same observation] noise
    theta ln of l, s1, s2, s3, the length scales of kt and kr, and noise; shape (d + 6,)

The first term is what a config is worth at any time, the second how that changes with time, the third what a trial has
of its own. All are products and sums of covariances, so K is positive definite on any space, conditional ones included.

Sources: freeze-thaw: Swersky et al. 2014 (arXiv 1406.3896); product kernels over curves: Lin et al. 2024
(arXiv 2410.09239); joint models in asynchronous halving: Klein et al. 2020 (arXiv 2003.10865).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.models.gaussian_process import Features, factor_with_jitter, matern52

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.models.cube import Cube

    Array = NDArray[np.float64]
    Indices = NDArray[np.intp]

_SQRT5 = float(np.sqrt(5.0))
_N_TIME = 6  #: hyperparameters beside the columns' length scales
#: Priors of ln s1, s2, s3, l_t, l_r, noise: mean and sd. Own deviations of a trial are smaller than what configs share.
_TIME_MEAN = np.array([-0.7, -0.7, -2.5, -0.5, -1.0, -6.0])
_TIME_SD = np.array([1.0, 1.0, 1.0, 0.7, 0.7, 1.5])
_LOWER = np.array([-6.0, -6.0, -8.0, np.log(0.05), np.log(0.05), np.log(1e-6)])
_UPPER = np.array([3.0, 3.0, 2.0, np.log(20.0), np.log(20.0), 1.0])


@dataclass(frozen=True)
class CurveData:
    """Observations of trials over time."""

    rows: Array  #: configs of the trials, shape (m, d)
    trial: Indices  #: place of each observation's trial among them, rising; shape (n,)
    tau: Array  #: shape (n,)
    y: Array  #: shape (n,), standardised; smaller is better

    def part(self, which: Indices) -> CurveData:
        """Some of the observations, of the trials that they belong to."""
        trials, place = np.unique(self.trial[which], return_inverse=True)
        return CurveData(self.rows[trials], place, self.tau[which], self.y[which])


class CurveProcess:
    """The posterior given observations and hyperparameters."""

    def __init__(self, cube: Cube, data: CurveData, theta: Array) -> None:
        """Args: theta: shape (d + 6,)."""
        from scipy.linalg import cho_solve

        self._cube, self.theta = cube, theta
        self._scales = np.exp(theta[: cube.d])
        self._s1, self._s2, self._s3, self._lt, self._lr, self._noise = np.exp(theta[cube.d :])
        self._features, self._trial, self._tau = Features(cube, data.rows), data.trial, data.tau
        kx = matern52(self._features.scaled_distances(self._features, self._scales), 1.0)
        covariance = self._covariance(kx[np.ix_(data.trial, data.trial)], data.tau, data.tau)
        covariance += self._own(data.trial, data.tau, data.trial, data.tau)
        covariance[np.diag_indices_from(covariance)] += self._noise
        self._factor: Array = factor_with_jitter(covariance, self.variance)
        self._weights: Array = cho_solve((self._factor, True), data.y, check_finite=False)
        self._n, self._y = len(data.y), data.y
        self._shrunk: dict[float, tuple[Array, Array]] = {}

    @property
    def variance(self) -> float:
        """Of the process at one time, noise apart."""
        return float(self._s1 + self._s2 + self._s3)

    def _covariance(self, kx: Array, tau: Array, other_tau: Array) -> Array:
        """What observations share through their configs: of shape (n, n_other)."""
        return np.asarray(kx * (self._s1 + self._s2 * _matern_of_times(tau, other_tau, self._lt)))

    def _own(self, trial: Indices, tau: Array, other_trial: Indices, other_tau: Array) -> Array:
        """What observations share by being of one trial."""
        is_same = trial[:, None] == other_trial[None, :]
        return np.asarray(np.where(is_same, self._s3 * _matern_of_times(tau, other_tau, self._lr), 0.0))

    def add(self, rows: Array) -> Indices:
        """Take in trials that have no observation yet; their places."""
        new = Features(self._cube, rows)
        first = len(self._features.codes)
        self._features.numbers = np.concatenate([self._features.numbers, new.numbers])
        self._features.codes = np.concatenate([self._features.codes, new.codes])
        self._shrunk.clear()
        return np.arange(first, first + len(rows))

    def mean_at_observations(self) -> Array:
        """What the process makes of the observations that it was given; shape (n,)."""
        return np.asarray(self._y - self._noise * self._weights)

    def condition(self, trial: Indices, tau: Array) -> None:
        """Count further observations of known trials as made at their predicted mean: less variance, no mean moved."""
        if len(trial) == 0:
            return
        from scipy.linalg import solve_triangular

        kx = matern52(self._features.scaled_distances(self._features, self._scales), 1.0)
        cross = self._covariance(kx[np.ix_(self._trial, trial)], self._tau, tau)
        cross += self._own(self._trial, self._tau, trial, tau)
        corner = self._covariance(kx[np.ix_(trial, trial)], tau, tau) + self._own(trial, tau, trial, tau)
        corner[np.diag_indices_from(corner)] += self._noise
        below = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        n, k = len(self._factor), len(trial)
        factor = np.zeros((n + k, n + k))
        factor[:n, :n], factor[n:, :n] = self._factor, below.T
        factor[n:, n:] = factor_with_jitter(corner - below.T @ below, self.variance)
        self._factor = factor
        self._shrunk.clear()
        self._trial, self._tau = np.concatenate([self._trial, trial]), np.concatenate([self._tau, tau])

    def predict(self, rows: Array, *, tau: float = 1.0) -> tuple[Array, Array]:
        """Mean and sd of what each config is worth at a time, a trial's own part apart; shape (n_rows,) each.

        With that part, yet another trial of a config that is known would look as if it might be lucky.

        All observations of a trial are equally far from a new row, but for a factor by their times. So what they say
        of it is one number a trial, and the inverse of K shrinks to a matrix of the trials: (m, m) instead of (n, n).
        """
        mean_of, inverse = self._by_trial(tau)
        kx = matern52(self._features.scaled_distances(Features(self._cube, rows), self._scales), 1.0)
        variance = self._s1 + self._s2 - np.einsum("ij,ij->j", kx, inverse @ kx)
        return mean_of @ kx, np.sqrt(np.maximum(variance, 1e-9 * self.variance))

    def _by_trial(self, tau: float) -> tuple[Array, Array]:
        """The weight of each trial in the mean at a time, shape (m,); the inverse covariance of all, shape (m, m)."""
        if tau not in self._shrunk:
            from scipy.linalg import solve_triangular

            m = len(self._features.codes)
            factors = self._s1 + self._s2 * _matern_of_times(self._tau, np.array([tau]), self._lt)[:, 0]
            spread = np.zeros((len(self._trial), m))
            spread[np.arange(len(self._trial)), self._trial] = factors
            half = solve_triangular(self._factor, spread, lower=True, check_finite=False)
            self._shrunk[tau] = (self._weights @ spread[: self._n], half.T @ half)
        return self._shrunk[tau]

    def predict_trials(self, trial: Indices, tau: Array) -> tuple[Array, Array]:
        """The same for known trials, by their places, each at its time."""
        kx = matern52(self._features.scaled_distances(self._features, self._scales), 1.0)
        cross = self._covariance(kx[np.ix_(self._trial, trial)], self._tau, tau)
        return self._posterior(cross + self._own(self._trial, self._tau, trial, tau))

    def _posterior(self, cross: Array) -> tuple[Array, Array]:
        from scipy.linalg import solve_triangular

        mean = self._weights @ cross[: self._n]
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        variance = self.variance - np.einsum("ij,ij->j", half, half)
        return mean, np.sqrt(np.maximum(variance, 1e-12 * self.variance))


def _matern_of_times(tau: Array, other: Array, length: float) -> Array:
    """Correlation of times; shape (n, n_other). There are few different times: it is computed for those."""
    a, place = np.unique(tau, return_inverse=True)
    b, other_place = np.unique(other, return_inverse=True)
    table = matern52(((a[:, None] - b[None, :]) / length) ** 2, 1.0)
    return np.asarray(table[np.ix_(place, other_place)])


def fit_curves(cube: Cube, data: CurveData, *, start: Array | None = None, max_iterations: int = 40) -> Array:
    """The hyperparameters of highest posterior density; shape (d + 6,).

    Args: start: where to begin, the prior's mean by default.
    """
    from scipy.optimize import minimize

    d = cube.d
    mean = np.concatenate([np.full(d, np.log(0.5) + 0.5 * np.log(cube.n_active)), _TIME_MEAN])
    sd = np.concatenate([np.ones(d), _TIME_SD])
    lower = np.concatenate([np.full(d, np.log(0.05)), _LOWER])
    upper = np.concatenate([np.full(d, np.log(100.0)), _UPPER])
    first = np.clip(mean if start is None else start, lower, upper)
    found: Any = minimize(
        _NegativeLogPosterior(cube, data, mean, sd),
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([lower, upper], axis=1),
        options={"maxiter": max_iterations},
    )
    theta = np.asarray(found.x, float)
    return theta if np.isfinite(theta).all() else first


class _NegativeLogPosterior:
    """Value and gradient of -ln p(y | theta) - ln p(theta), up to a constant."""

    def __init__(self, cube: Cube, data: CurveData, mean: Array, sd: Array) -> None:
        self._d, self._data, self._mean, self._sd = cube.d, data, mean, sd
        self._distances = Features(cube, data.rows).distances().reshape(cube.d, len(data.rows) ** 2)
        self._is_same = data.trial[:, None] == data.trial[None, :]
        self._gaps = np.abs(data.tau[:, None] - data.tau[None, :])
        self._starts = np.flatnonzero(np.concatenate([[True], np.diff(data.trial) > 0]))

    def __call__(self, theta: Array) -> tuple[float, Array]:
        from scipy.linalg.lapack import dpotrf, dpotri

        data, d = self._data, self._d
        inverse_l2 = np.exp(-2.0 * theta[:d])
        s1, s2, s3, lt, lr, noise = np.exp(theta[d:])
        r = _SQRT5 * np.sqrt(inverse_l2 @ self._distances)
        decay = np.exp(-r)
        m = len(data.rows)
        kx = (decay * (1.0 + r + r * r / 3.0)).reshape(m, m)[np.ix_(data.trial, data.trial)]
        kt, by_lt = _matern_and_slope(self._gaps, lt)
        kr, by_lr = _matern_and_slope(self._gaps, lr)
        changing, own = s2 * kx * kt, np.where(self._is_same, s3 * kr, 0.0)
        covariance = s1 * kx + changing + own
        jitter = 1e-8 * (s1 + s2 + s3)
        covariance[np.diag_indices_from(covariance)] += noise + jitter
        factor, info = dpotrf(covariance, lower=1)
        if info != 0:
            return 1e10, np.zeros_like(theta)
        inverse, _ = dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        a = inverse @ data.y
        value = 0.5 * data.y @ a + np.log(np.diag(factor)).sum()
        slope = 0.5 * (inverse - np.outer(a, a))  # of the value by each entry of the covariance
        trace = float(np.trace(slope))
        by_kx = slope * (s1 + s2 * kt)
        by_kx = np.add.reduceat(np.add.reduceat(by_kx, self._starts, axis=0), self._starts, axis=1)
        gradient = np.empty_like(theta)
        gradient[:d] = (self._distances @ (by_kx.ravel() * decay * (5.0 / 3.0) * (1.0 + r))) * inverse_l2
        gradient[d] = float(np.sum(slope * kx)) * s1
        gradient[d + 1] = float(np.sum(slope * changing))
        gradient[d + 2] = float(np.sum(slope * own))
        gradient[d : d + 3] += 1e-8 * trace * np.array([s1, s2, s3])
        gradient[d + 3] = s2 * float(np.sum(slope * kx * by_lt))
        gradient[d + 4] = s3 * float(np.sum(slope * np.where(self._is_same, by_lr, 0.0)))
        gradient[d + 5] = noise * trace
        z = (theta - self._mean) / self._sd
        return float(value + 0.5 * z @ z), gradient + z / self._sd


def _matern_and_slope(gaps: Array, length: float) -> tuple[Array, Array]:
    """Correlation at distances, and its derivative by the log of the length scale."""
    r = gaps * (_SQRT5 / length)
    decay = np.exp(-r)
    return (1.0 + r + r * r / 3.0) * decay, r * r / 3.0 * (1.0 + r) * decay
