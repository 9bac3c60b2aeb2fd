"""A Gaussian process on the rows of a cube: mixed, conditional, noisy.

Symbols, with n observations, d columns, N numeric features:
    l     length scale of each column, shape (d,)
    s2    signal variance
    noise noise variance
    theta ln of all of these, shape (d + 2,)
    D     squared distance of two rows in each column, shape (d, n, n)
    K     covariance of the observations, shape (n, n); L its Cholesky factor
    a     K^-1 y, shape (n,)

Covariance: s2 * Matern-5/2(r), r^2 = sum_j D_j / l_j^2. Numbers are as far apart as their places; options are 0 or 1
apart; a leaf that takes no part lies at half a width from the middle of where it does (a Euclidean embedding, so the
covariance stays positive definite).

Sources: Rasmussen and Williams 2006, ch. 4 and 5; the priors: Hvarfner et al. 2024 (arXiv 2402.02229) for the growth of
length scales with d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.models.cube import Cube

    Array = NDArray[np.float64]

_SQRT5 = float(np.sqrt(5.0))
_INACTIVE_GAP = 0.5  #: distance of "takes no part" from the middle of a column's range
_MIN_NOISE = 1e-6
_MAX_FIT_BYTES = 48 * 2**20  #: for the distances of a fit; with more, hyperparameters are fitted on a part
_MAX_FIT_ROWS = 300  #: the same for time: a fit takes so many cubed, and a few hyperparameters need no more


class Features:
    """Rows as points between which distances are quick: embedded numbers, and codes."""

    def __init__(self, cube: Cube, rows: Array) -> None:
        codes = cube.is_categorical
        self.d = cube.d
        numeric = np.flatnonzero(~codes)
        both = [j for j in numeric if cube.is_conditional[j]]
        self.column = np.concatenate([numeric, np.array(both, int)]).astype(int)  #: of each numeric feature
        is_active = ~np.isnan(rows)
        places = np.where(is_active, rows - 0.5, 0.0)
        self.numbers: Array = np.concatenate([places[:, numeric], _INACTIVE_GAP * is_active[:, both]], axis=1)
        self.code_column = np.flatnonzero(codes)
        self.codes: Array = np.where(is_active, rows, -1.0)[:, self.code_column]

    def distances(self) -> Array:
        """D between all rows; shape (d, n, n)."""
        return np.array([self.distance(j) for j in range(self.d)])

    def distance(self, j: int) -> Array:
        """D between all rows in one column; shape (n, n)."""
        n = len(self.numbers)
        found = np.zeros((n, n))
        for k in np.flatnonzero(self.column == j):
            x = self.numbers[:, k]
            found += (x[:, None] - x[None, :]) ** 2
        for k in np.flatnonzero(self.code_column == j):
            x = self.codes[:, k]
            found += x[:, None] != x[None, :]
        return found

    def scaled_distances(self, other: Features, scales: Array) -> Array:
        """r^2 between these rows and others; shape (n, n_other)."""
        a, b = self.numbers / scales[self.column], other.numbers / scales[self.column]
        r2: Array = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)[None, :] - 2.0 * (a @ b.T)
        np.maximum(r2, 0.0, out=r2)
        for k, j in enumerate(self.code_column):
            r2 += (self.codes[:, k][:, None] != other.codes[:, k][None, :]) / scales[j] ** 2
        return r2


@dataclass(frozen=True)
class Prior:
    """Normal priors of theta; shape (d + 2,) both."""

    mean: Array
    sd: Array

    @classmethod
    def for_cube(cls, cube: Cube) -> Prior:
        """Length scales grow with the root of the number of columns that take part at a time, as distances do.

        The noise is small unless the data say so.
        """
        d = cube.d
        mean = np.concatenate([np.full(d, np.log(0.5) + 0.5 * np.log(cube.n_active)), [0.0, -5.0]])
        return cls(mean, np.concatenate([np.ones(d), [1.0, 1.5]]))


class GaussianProcess:
    """The posterior given observations and hyperparameters."""

    def __init__(self, cube: Cube, rows: Array, y: Array, theta: Array) -> None:
        """Args: rows: (n, d); y: (n,), standardised; theta: (d + 2,)."""
        from scipy.linalg import cho_solve

        self._cube, self.theta = cube, theta
        self._scales, self._s2, self._noise = np.exp(theta[:-2]), float(np.exp(theta[-2])), float(np.exp(theta[-1]))
        self._features = Features(cube, rows)
        covariance = matern52(self._features.scaled_distances(self._features, self._scales), self._s2)
        covariance[np.diag_indices_from(covariance)] += self._noise
        self._factor: Array = factor_with_jitter(covariance, self._s2)
        self._weights: Array = cho_solve((self._factor, True), y, check_finite=False)
        self._n = len(y)

    @property
    def noise_variance(self) -> float:
        """Variance of one observation around the function, in units of y squared."""
        return self._noise

    def condition(self, rows: Array) -> None:
        """Count further rows as observed at their predicted mean: they lower the variance and move no mean.

        Source: kriging believer, Ginsbourger et al. 2010.
        """
        if len(rows) == 0:
            return
        from scipy.linalg import solve_triangular

        new = Features(self._cube, rows)
        cross = matern52(self._features.scaled_distances(new, self._scales), self._s2)
        own = matern52(new.scaled_distances(new, self._scales), self._s2)
        own[np.diag_indices_from(own)] += self._noise
        below = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        corner = own - below.T @ below
        n, k = len(self._factor), len(rows)
        factor = np.zeros((n + k, n + k))
        factor[:n, :n], factor[n:, :n] = self._factor, below.T
        factor[n:, n:] = factor_with_jitter(corner, self._s2)
        self._factor = factor
        self._features.numbers = np.concatenate([self._features.numbers, new.numbers])
        self._features.codes = np.concatenate([self._features.codes, new.codes])

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the function (without noise) at the rows; shape (n_rows,) each, sd > 0."""
        from scipy.linalg import solve_triangular

        r2 = self._features.scaled_distances(Features(self._cube, rows), self._scales)
        cross = matern52(r2, self._s2)
        mean = self._weights @ cross[: self._n]
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        variance = self._s2 - np.einsum("ij,ij->j", half, half)
        return mean, np.sqrt(np.maximum(variance, 1e-12 * self._s2))


def factor_with_jitter(covariance: Array, s2: float) -> Array:
    """The lower Cholesky factor; where rounding has spoilt the matrix, with as little more noise as it takes (F85).

    Raises: LinAlgError if a hundredth of the signal's variance is not enough.
    """
    from scipy.linalg import LinAlgError, cholesky

    diagonal = np.diag_indices_from(covariance)
    jitter = 1e-8 * s2
    while True:
        covariance[diagonal] += jitter
        try:
            return np.asarray(cholesky(covariance, lower=True, check_finite=False))
        except LinAlgError:
            if jitter > 1e-2 * s2:
                raise
            jitter *= 10.0


def matern52(r2: Array, s2: float) -> Array:
    """Matern-5/2 covariance at squared scaled distances; shape of `r2`."""
    r = _SQRT5 * np.sqrt(r2)
    return np.asarray(s2 * (1.0 + r + r * r / 3.0) * np.exp(-r))


def log_likelihood(r2: Array, y: Array, theta: Array) -> float:
    """ln p(y | theta) for squared scaled distances (n, n), up to a constant; minus infinity where it cannot be told."""
    from scipy.linalg import LinAlgError, cho_solve

    s2, noise = float(np.exp(theta[-2])), float(np.exp(theta[-1]))
    covariance = matern52(np.maximum(r2, 0.0), s2)
    covariance[np.diag_indices_from(covariance)] += noise
    try:
        factor = factor_with_jitter(covariance, s2)
    except LinAlgError:
        return -np.inf
    fit = y @ cho_solve((factor, True), y, check_finite=False)
    return float(-0.5 * fit - np.log(np.diag(factor)).sum())


def fit_theta(cube: Cube, rows: Array, y: Array, *, start: Array | None = None, max_iterations: int = 40) -> Array:
    """The hyperparameters of highest posterior density; shape (d + 2,).

    Args:
        start: where to begin, the prior's mean by default.
    """
    from scipy.optimize import minimize

    prior = Prior.for_cube(cube)
    rows, y = _part(rows, y, cube.d)
    distances = Features(cube, rows).distances().reshape(cube.d, -1)
    lower = np.concatenate([np.full(cube.d, np.log(0.05)), [-6.0, np.log(_MIN_NOISE)]])
    upper = np.concatenate([np.full(cube.d, np.log(100.0)), [6.0, 2.0]])
    first = np.clip(prior.mean if start is None else start, lower, upper)
    found: Any = minimize(
        _negative_log_posterior,
        first,
        args=(distances, y, prior),
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([lower, upper], axis=1),
        options={"maxiter": max_iterations},
    )
    theta = np.asarray(found.x, float)
    return theta if np.isfinite(theta).all() else first


def _negative_log_posterior(theta: Array, distances: Array, y: Array, prior: Prior) -> tuple[float, Array]:
    """Value and gradient of -ln p(y | theta) - ln p(theta), up to a constant. Distances have the shape (d, n * n)."""
    from scipy.linalg.lapack import dpotrf, dpotri

    n = len(y)
    inverse_l2 = np.exp(-2.0 * theta[:-2])
    s2, noise = np.exp(theta[-2]), np.exp(theta[-1])
    r = _SQRT5 * np.sqrt(inverse_l2 @ distances)
    decay = s2 * np.exp(-r)
    signal = (decay * (1.0 + r + r * r / 3.0)).reshape(n, n)
    covariance = signal.copy()
    covariance[np.diag_indices(n)] += noise + 1e-8 * s2
    factor, info = dpotrf(covariance, lower=1)
    if info != 0:
        return 1e10, np.zeros_like(theta)
    inverse, _ = dpotri(factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    a = inverse @ y
    value = 0.5 * y @ a + np.log(np.diag(factor)).sum()
    slope = 0.5 * (inverse - np.outer(a, a))  # of the value by each entry of the covariance
    gradient = np.empty_like(theta)
    by_r2 = slope.ravel() * decay * (5.0 / 3.0) * (1.0 + r)
    gradient[:-2] = (distances @ by_r2) * inverse_l2
    gradient[-2] = float(np.sum(slope * signal)) + 1e-8 * s2 * np.trace(slope)
    gradient[-1] = noise * np.trace(slope)
    z = (theta - prior.mean) / prior.sd
    return float(value + 0.5 * z @ z), gradient + z / prior.sd


def _part(rows: Array, y: Array, d: int) -> tuple[Array, Array]:
    """The best rows and an even share of the others, so many that their distances fit the memory."""
    which = thinned(y, min(_MAX_FIT_ROWS, max(32, int(np.sqrt(_MAX_FIT_BYTES / (8.0 * max(d, 1)))))))
    return rows[which], y[which]


def last_step(n: int, *, start: int = 100, growth: float = 1.08) -> int:
    """The last number up to n of those that grow from `start` by the factor; n itself up to `start`.

    What is fitted to so many of the first results stays as it is until the next step: most suggestions need no fit.
    """
    if n <= start:
        return n
    n_steps = int(np.log(n / start) / np.log(growth) + 1e-9)
    return min(n, int(start * growth**n_steps))


def thinned(y: Array, n_max: int) -> NDArray[np.intp]:
    """The places of at most `n_max` observations: the best third, and an even share of the others by rank."""
    if len(y) <= n_max:
        return np.arange(len(y))
    order = np.argsort(y, kind="stable")
    n_best = n_max // 3
    rest = order[n_best:][:: max(1, -(-(len(y) - n_best) // (n_max - n_best)))]
    return np.sort(np.concatenate([order[:n_best], rest]))
