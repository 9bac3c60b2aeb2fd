"""Input warps: columns stretched where the objective changes quickly, so that one length scale fits all of a range.

A learning rate that is flat over four decades and steep in the fifth, a batch size that matters only when small: a
stationary covariance takes such a column's steep part for noise. Each numeric column may be bent by one of a few
Kumaraswamy distribution functions 1 - (1 - u^a)^b, chosen by the posterior density, one column after the other.

Sources: Snoek et al. 2014 (ICML, arXiv 1402.0929); Kumaraswamy functions as in Cowen-Rivers et al. 2022 (HEBO, arXiv
2012.03826), section 3.1. The choice from a few shapes instead of gradients is ours: it costs milliseconds and cannot
fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.gaussian_process import Features, log_likelihood

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.models.cube import Cube

    Array = NDArray[np.float64]

#: The shapes (a, b): more room at the lower end, at the upper end, or less.
SHAPES: tuple[tuple[float, float], ...] = (
    (0.35, 1.0),
    (0.5, 1.0),
    (2.0, 1.0),
    (3.0, 1.0),
    (1.0, 0.35),
    (1.0, 0.5),
    (1.0, 2.0),
    (1.0, 3.0),
)
_SD = 0.75  #: of the normal prior of ln a and ln b; Snoek et al. 2014 use 0.5 to 1 where nothing is known
_MIN_GAIN = 0.5  #: nats that a shape must win, so that ties stay straight
_MAX_LN_SCALE = 2.0  #: a column with a longer length scale plays no part


@dataclass(frozen=True)
class InputWarp:
    """Which columns are bent, and how."""

    shapes: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, rows: Array) -> Array:
        """The rows with their places moved; shape (n, d) both."""
        if not self.shapes:
            return rows
        warped = rows.copy()
        for j, shape in self.shapes.items():
            warped[:, j] = kumaraswamy(rows[:, j], *shape)
        return warped


def kumaraswamy(u: Array, a: float, b: float) -> Array:
    """The distribution function of Kumaraswamy's distribution at `u` in [0, 1]; shape of `u`, NaN stays."""
    return np.asarray(1.0 - (1.0 - np.clip(u, 0.0, 1.0) ** a) ** b)


def find_warp(cube: Cube, rows: Array, y: Array, theta: Array) -> InputWarp:
    """The shapes that explain the observations best, for hyperparameters that were fitted to the straight columns.

    Args: rows: (n, d); y: (n,), standardised; theta: (d + 2,), see `gaussian_process`.
    """
    distances = Features(cube, rows).distances()
    weights = np.exp(-2.0 * theta[:-2])
    r2 = np.tensordot(weights, distances, axes=1)
    best = log_likelihood(r2, y, theta)
    shapes: dict[int, tuple[float, float]] = {}
    for j in np.flatnonzero(~cube.is_categorical & (theta[:-2] < _MAX_LN_SCALE)):
        without = r2 - weights[j] * distances[j]
        found: tuple[float, float] | None = None
        for shape in SHAPES:
            bent = rows.copy()
            bent[:, j] = kumaraswamy(rows[:, j], *shape)
            changed = without + weights[j] * Features(cube, bent).distance(int(j))
            gain = log_likelihood(changed, y, theta) - 0.5 * float(np.sum((np.log(shape) / _SD) ** 2))
            if gain > best + _MIN_GAIN:
                best, found, r2 = gain, shape, changed
        if found is not None:
            shapes[int(j)] = found
            best = log_likelihood(r2, y, theta)
    return InputWarp(shapes)
