"""How much a config promises, from a model's mean and standard deviation there. Smaller objectives are better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LN_SQRT_2PI = 0.5 * float(np.log(2.0 * np.pi))


def log_expected_improvement(mean: Array, sd: Array, best: float) -> Array:
    """Log of the expected amount by which each point falls below `best`; finite far above it too.

    Args: mean, sd: shape (n,), sd > 0.
    Source: Ament et al. 2023 (arXiv 2310.20708), equation 9.
    """
    from scipy.special import erfcx, ndtr

    z = (best - mean) / sd
    near = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * near * near - _LN_SQRT_2PI) + near * ndtr(near))
    far = np.minimum(z, -1.0)
    # 1 + z sqrt(pi/2) erfcx(-z/sqrt2) cancels to about 1/z^2 far out, where that expansion takes over.
    tail = 1.0 + far * np.sqrt(np.pi / 2.0) * erfcx(-far / np.sqrt(2.0))
    safe = np.where(far < -1e4, 1.0 / (far * far), np.maximum(tail, 1e-300))
    asymptotic = -0.5 * far * far - _LN_SQRT_2PI + np.log(safe)
    return np.asarray(np.where(z > -1.0, direct, asymptotic) + np.log(sd))


def log_probability_of_improvement(mean: Array, sd: Array, best: float) -> Array:
    """Log of the probability that each point falls below `best`; shape (n,)."""
    from scipy.special import log_ndtr

    return np.asarray(log_ndtr((best - mean) / sd))


def optimism(mean: Array, sd: Array, n_sd: float) -> Array:
    """Minus the lower confidence bound: how good each point may be at best; shape (n,).

    Source: Srinivas et al. 2010 (arXiv 0912.3995).
    """
    return n_sd * sd - mean
