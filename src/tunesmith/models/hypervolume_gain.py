"""How much hypervolume a config promises to add to a front, from one model for each objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.acquisition import log_expected_improvement
from tunesmith.models.pareto import improving_boxes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_AT_ONCE = 1_000_000  #: entries of a matrix of candidates by boxes: bounds the memory


class HypervolumeGain:
    """Expected growth of the hypervolume, exact where the objectives' predictions are independent and normal.

    The losses that would enlarge the hypervolume are cut into boxes; the expected volume of a box that a candidate
    takes is a product over the objectives of EI(upper corner) - EI(lower corner), EI(b) = E[max(b - y, 0)].

    Source: Yang et al. 2019 (Swarm Evol. Comput. 44), equation 15; in logarithms as Ament et al. 2023
    (arXiv 2310.20708).
    """

    def __init__(self, front: Array, reference: Array) -> None:
        """Args: front: losses of which none dominates another, shape (k, m). reference: shape (m,)."""
        lows, highs = improving_boxes(front, reference)
        #: For each loss its edges, all finite, and for each box the number of its lower (0: minus infinity) and upper.
        self._edges: list[Array] = []
        self._sides: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
        for low, high in zip(lows.T, highs.T, strict=True):
            edges = np.unique(np.concatenate([low[np.isfinite(low)], high]))
            is_open = np.isneginf(low)
            self._edges.append(edges)
            self._sides.append(
                (np.where(is_open, 0, np.searchsorted(edges, low) + 1), np.searchsorted(edges, high) + 1)
            )

    def log_expected(self, means: Array, sds: Array) -> Array:
        """Log of the expected gain at each candidate; shape (n,). Args: means, sds: shape (n, m), sds > 0."""
        n_boxes = len(self._sides[0][0])
        n_at_once = max(1, _N_AT_ONCE // n_boxes)
        parts = [
            self._log_expected(means[i : i + n_at_once], sds[i : i + n_at_once])
            for i in range(0, len(means), n_at_once)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def _log_expected(self, means: Array, sds: Array) -> Array:
        total = np.zeros((len(means), len(self._sides[0][0])))
        for j, (edges, (low, high)) in enumerate(zip(self._edges, self._sides, strict=True)):
            below = np.column_stack(
                [np.full(len(means), -np.inf), *(log_expected_improvement(means[:, j], sds[:, j], e) for e in edges)]
            )
            upper, lower = below[:, high], below[:, low]
            with np.errstate(divide="ignore"):
                total += upper + np.log(-np.expm1(np.minimum(lower - upper, 0.0)))
        top = total.max(axis=1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.exp(total - top).sum(axis=1)) + top[:, 0])
