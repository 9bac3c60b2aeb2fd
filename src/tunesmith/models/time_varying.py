"""A Gaussian process whose function drifts with time: what was seen long ago says less about now.

Symbols, with n observations and d columns:
    l     length scale of each column, shape (d,)
    noise noise variance, in units of the signal variance, which is 1 (y is standardised)
    eps   how much of the covariance is lost per unit of time, from 0 to 1
    K     covariance of the observations, shape (n, n); L its Cholesky factor

Covariance: exp(-sum_j (x_j - x'_j)^2 / (2 l_j^2)) * (1 - eps)^(|t - t'| / 2).

Sources: Bogunovic et al. 2016 (arXiv 1601.06650) for the time kernel; Parker-Holder et al. 2020 (arXiv 2002.02518) for
its use in population based training, and for the growth of the bound's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_DRAWS = 64  #: of hyperparameters; the likeliest is taken
_JITTER = 1e-8
_MAX_EPS = 0.1  #: a priori; with more, what was learnt is forgotten before it is used
#: Of the paper's width: with all of it most of a short run is spent at the edges (tests/schedulers/test_pb2.py).
_WIDTH = 0.5


@dataclass(frozen=True)
class Hyperparameters:
    """Of one covariance."""

    scales: Array  #: l
    noise: float
    eps: float


@dataclass(frozen=True)
class Observations:
    """What was seen.

    Args: x: (n, d), in [0, 1]; t: (n,), any unit that eps is to be in; y: (n,).
    """

    x: Array
    t: Array
    y: Array


def choose_next(seen: Observations, candidates: Array, now: float, *, pending: Array, rng: np.random.Generator) -> int:
    """Index of the candidate with the highest upper confidence bound at time `now`.

    Args:
        candidates: (m, d). pending: (k, d), what others try at this time: it narrows the bound, and moves no mean.
    """
    y = _standardised(seen.y)
    theta = likeliest(Observations(seen.x, seen.t, y), rng)
    mean, _ = posterior(theta, Observations(seen.x, seen.t, y), candidates, now)
    both = np.concatenate([seen.x, pending])
    times = np.concatenate([seen.t, np.full(len(pending), now)])
    _, std = posterior(theta, Observations(both, times, np.zeros(len(both))), candidates, now)
    width = _WIDTH * math.sqrt(0.2 + max(0.0, math.log(0.4 * len(y))))
    return int(np.argmax(mean + width * std))


def likeliest(seen: Observations, rng: np.random.Generator) -> Hyperparameters:
    """Of some draws from their prior, the hyperparameters with the highest marginal likelihood; y standardised."""
    d = seen.x.shape[1]
    best, best_likelihood = None, -math.inf
    for _ in range(_N_DRAWS):
        theta = Hyperparameters(
            scales=np.exp(rng.normal(math.log(0.4), 0.5, size=d)),
            noise=float(np.exp(rng.normal(-2.0, 1.2))),
            eps=float(rng.uniform(0.0, _MAX_EPS)),
        )
        likelihood = log_likelihood(theta, seen)
        if best is None or likelihood > best_likelihood:
            best, best_likelihood = theta, likelihood
    assert best is not None
    return best


def log_likelihood(theta: Hyperparameters, seen: Observations) -> float:
    """Log marginal likelihood of y, with mean 0."""
    factor = _factor(theta, seen)
    z = np.linalg.solve(factor, seen.y)
    return float(-0.5 * z @ z - np.log(np.diag(factor)).sum() - 0.5 * len(seen.y) * math.log(2 * math.pi))


def posterior(theta: Hyperparameters, seen: Observations, x: Array, now: float) -> tuple[Array, Array]:
    """Mean and standard deviation of the function (without noise) at the rows x at time now; shape (m,) both."""
    factor = _factor(theta, seen)
    cross = covariance(theta, seen.x, seen.t, x, np.full(len(x), now))
    half = np.linalg.solve(factor, cross)
    mean: Array = half.T @ np.linalg.solve(factor, seen.y)
    variance = 1.0 - np.einsum("ij,ij->j", half, half)
    return mean, np.sqrt(np.maximum(variance, 0.0))


def covariance(theta: Hyperparameters, x: Array, t: Array, other_x: Array, other_t: Array) -> Array:
    """Between rows at their times and other rows at theirs; shape (n, n_other)."""
    a, b = x / theta.scales, other_x / theta.scales
    squared = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    found: Array = np.exp(-0.5 * squared) * (1.0 - theta.eps) ** (0.5 * np.abs(t[:, None] - other_t[None, :]))
    return found


def _factor(theta: Hyperparameters, seen: Observations) -> Array:
    found = covariance(theta, seen.x, seen.t, seen.x, seen.t)
    found[np.diag_indices_from(found)] += theta.noise + _JITTER
    return np.asarray(np.linalg.cholesky(found), dtype=np.float64)


def _standardised(y: Array) -> Array:
    spread = float(y.std())
    centred: Array = y - y.mean()
    return centred / spread if spread > 0 else centred
