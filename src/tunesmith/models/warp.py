"""Output warps: losses of any scale and shape made fit for a model that expects a normal distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def warp_losses(losses: Array) -> Array:
    """Losses with the poor half drawn in by rank and the good half spread by a logarithm, mean 0 and sd 1.

    Order and ties are kept. Poor configs differ by orders of magnitude in ways that say nothing about the best ones;
    the gaps between good ones are what the search lives on.

    Args:
        losses: shape (n,), finite, smaller is better.
    Returns: shape (n,); zeros where all are equal.
    Source: Song et al. 2024 (arXiv 2408.11527), half-rank and log warper, turned to minimisation.
    """
    if len(losses) == 0:
        return np.zeros_like(losses)
    losses = losses / max(float(np.abs(losses).max()), _TINY)  # squares of what remains cannot overflow
    if np.ptp(losses) == 0.0:
        return np.zeros_like(losses)
    y = log_warp(half_rank_warp(losses))
    sd = float(y.std())
    return (y - y.mean()) / sd if sd > 0.0 else np.zeros_like(y)


def half_rank_warp(losses: Array) -> Array:
    """Losses above the median replaced by normal quantiles of their ranks, scaled to the spread of the good half."""
    from scipy.special import ndtri

    median = np.median(losses)
    is_good = losses <= median
    deviation = float(np.sqrt(np.mean((losses[is_good] - median) ** 2)))
    if deviation == 0.0:  # half of them are equal: the ranks above have no scale to take
        deviation = float(np.std(losses))
    unique, rank = np.unique(losses, return_inverse=True)
    n_above = float(np.sum(unique > median))
    n_good = len(unique) - n_above
    # The k-th of those above has the share k / n_above of the upper half.
    share = 0.5 + 0.5 * (rank + 1 - n_good - 0.5) / max(n_above, 1.0)
    warped = losses.astype(float).copy()
    warped[~is_good] = median + deviation * ndtri(share[~is_good])
    return warped


def log_warp(losses: Array) -> Array:
    """Losses on a logarithmic scale that gives small ones more room; from -0.5 (best) to 0.5 (worst)."""
    low, width = float(losses.min()), float(np.ptp(losses))
    if width == 0.0:
        return np.zeros_like(losses)
    return np.asarray(np.log1p((_LOG_OFFSET - 1.0) * (losses - low) / width) / np.log(_LOG_OFFSET) - 0.5)


_TINY = 1e-300
_LOG_OFFSET = 1.5  #: of the log warper; the source's constant
