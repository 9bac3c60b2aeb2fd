"""Kernel density estimates on the rows of a cube, with one bandwidth a column."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.cube import Cube
from tunesmith.models.parzen import column_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LOG_FLOOR = math.log(1e-32)  #: below it densities say nothing; HpBandSter's bound
_LN_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


class KernelDensity:
    """One kernel around each row: normal for places, Aitchison and Aitken's for options. Rows are dense or absent.

    Columns that take part in the same configs share one product of kernels; a row's density is the product over the
    groups that take part in it. Bandwidths by the normal reference rule.

    Sources: Falkner et al. 2018 (arXiv 1807.01774); Aitchison and Aitken 1976 (Biometrika 63); the rule: Silverman
    1986, Density Estimation, equation 3.28, for d columns as in statsmodels.
    """

    def __init__(self, cube: Cube, rows: Array, *, min_width: float) -> None:
        """Args: rows: shape (n, d)."""
        self._cube, self._rows = cube, rows
        self._groups = column_groups(cube)
        #: By column: the standard deviation of a place's kernel, the probability that an option's leaves it.
        self._widths = np.full(cube.d, min_width)
        for columns in self._groups:
            present = rows[~np.isnan(rows[:, columns[0]])]
            if len(present):
                shrinkage = 1.06 * len(present) ** (-1.0 / (4 + len(columns)))
                for j in columns:
                    self._widths[j] = max(min_width, shrinkage * self._spread(present[:, j], j))

    def _spread(self, values: Array, j: int) -> float:
        """Standard deviation; of options one that does not depend on their numbers, and of two is that of 0 and 1."""
        if not self._cube.is_categorical[j]:
            return float(values.std())
        shares = np.unique(values, return_counts=True)[1] / len(values)
        return math.sqrt(max(0.0, 1.0 - float((shares**2).sum())) / 2.0)

    def _p_leave(self, j: int) -> float:
        """Probability that the kernel of an option gives to all others together; even at most."""
        n_options = self._cube.columns[j].n_values or 1
        return min(float(self._widths[j]), (n_options - 1) / n_options)

    def log_density(self, rows: Array) -> Array:
        """Natural logarithm of the density at each row, floored at that of 1e-32; shape (m,)."""
        total = np.zeros(len(rows))
        for columns in self._groups:
            takes_part = ~np.isnan(rows[:, columns[0]])
            centres = self._rows[~np.isnan(self._rows[:, columns[0]])]
            if len(centres):
                logs = self._log_kernels(rows[takes_part], centres, columns)
                top = logs.max(axis=1)
                total[takes_part] += top + np.log(np.exp(logs - top[:, None]).mean(axis=1))
            else:  # nothing is known of the group: even over it
                n_options = [self._cube.columns[j].n_values or 1 for j in columns if self._cube.is_categorical[j]]
                total[takes_part] -= sum(map(math.log, n_options))
        return np.maximum(total, _LOG_FLOOR)

    def _log_kernels(self, rows: Array, centres: Array, columns: NDArray[np.intp]) -> Array:
        """Log of the kernel around each centre at each row, in these columns; shape (m, n)."""
        logs = np.zeros((len(rows), len(centres)))
        for j in columns:
            x, centre = rows[:, j, None], centres[None, :, j]
            if self._cube.is_categorical[j]:
                p_leave, n_options = self._p_leave(j), self._cube.columns[j].n_values or 1
                same = math.log(1.0 - p_leave)
                other = math.log(p_leave / (n_options - 1)) if n_options > 1 else same
                logs += np.where(x == centre, same, other)
            else:
                logs -= 0.5 * ((x - centre) / self._widths[j]) ** 2 + math.log(self._widths[j]) + _LN_SQRT_2PI
        return logs

    def sample(self, n: int, rng: np.random.Generator, *, stretch: float) -> Array:
        """Rows around the centres, places drawn with kernels `stretch` times as wide, cut off at the cube's borders."""
        from scipy.special import ndtr, ndtri

        rows = self._rows[rng.integers(len(self._rows), size=n)].copy()
        units, fresh = rng.random(rows.shape), rng.random(rows.shape)
        for j, column in enumerate(self._cube.columns):
            x = rows[:, j].copy()
            if self._cube.is_categorical[j]:
                drawn = np.where(units[:, j] < self._p_leave(j), column.from_unit(fresh[:, j]), x)
            else:
                width = stretch * self._widths[j]
                low, high = ndtr(-x / width), ndtr((1.0 - x) / width)
                drawn = np.clip(x + width * ndtri(low + units[:, j] * (high - low)), 0.0, 1.0)
            rows[:, j] = np.where(np.isnan(x), np.nan, drawn)
        return self._cube.complete(rows, rng)
