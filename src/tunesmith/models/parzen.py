"""Densities over a cube: mixtures of one kernel around each config (Parzen estimators).

Symbols: n kernels over a group's c columns of numbers; centres (n, c) and widths (c,) of normal distributions that
are cut off at the borders, in widths of the cube.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.cube import Cube
from tunesmith.space import Categorical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: The narrowest kernel. Narrower ones see nothing between the configs that were tried.
#: Source: Watanabe 2023 (arXiv 2304.11127), on the smallest bandwidth.
MIN_WIDTH = 0.03
#: Standard deviation that good places in the cube are taken to have, for the kernels' widths.
_SPREAD = 0.2
_LN_SQRT_2PI = 0.5 * float(np.log(2.0 * np.pi))


class ParzenDensity:
    """A density over rows with one kernel a config and one that is even over the whole space, which weighs 1.

    Columns that always take part together share one mixture of product kernels, so that what goes together in good
    configs stays together. A config's density is the product over the groups that take part in it.

    Sources: Bergstra et al. 2011 (NeurIPS 24); kernels over several columns: Falkner et al. 2018 (arXiv 1807.01774).
    """

    def __init__(self, cube: Cube, rows: Array, weights: Array | None = None) -> None:
        """Args:
        rows: shape (n, d), n may be 0.
        weights: of the kernels, mean 1; None: all equal. Shape (n,).
        """
        self._cube = cube
        weights = np.ones(len(rows)) if weights is None else weights
        self._groups = [_Group(cube, columns, rows, weights) for columns in column_groups(cube)]

    def log_density(self, rows: Array) -> Array:
        """Natural logarithm of the density at each row, shape (m,); of options the probability counts."""
        total = np.zeros(len(rows))
        for group in self._groups:
            takes_part = ~np.isnan(rows[:, group.columns[0]])
            if takes_part.any():
                total[takes_part] += group.log_density(rows[takes_part])
        return total

    def sample(self, even: Array, rng: np.random.Generator) -> Array:
        """Rows drawn from the density. Args: even: rows drawn evenly, for the even kernel; shape (m, d) both."""
        rows = even.copy()
        for group in self._groups:
            group.draw_into(rows, rng)
        return self._cube.complete(rows, rng)


def column_groups(cube: Cube) -> list[NDArray[np.intp]]:
    """Columns that take part in the same configs, together; each column in one group, parents in earlier groups."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for j in range(cube.d):
        path = cube.leaf(j).path
        owner: tuple[object, ...] = ()
        for i in range(j):
            outer = cube.leaf(i)
            depth = len(outer.path)
            if isinstance(outer.domain, Categorical) and path[:depth] == outer.path:
                owner = path[: depth + 1]  # the choice and its option; the innermost choice stands last
        groups.setdefault(owner, []).append(j)
    return [np.array(columns) for columns in groups.values()]


def kernel_width(n: int, n_columns: int) -> float:
    """How wide each of n kernels over so many columns of numbers is, in widths of the cube; `MIN_WIDTH` at least.

    Scott's rule with a standard deviation of 0.2: kernels shrink slowly, the more so in many columns. Gaps between
    neighbours in single columns, the rule for one column at a time, are too narrow for products of kernels.

    Source: Scott 1992, Multivariate Density Estimation, equation 6.42; 0.2 as in Optuna 3's multivariate TPE.
    """
    return max(MIN_WIDTH, _SPREAD * math.pow(max(n, 1), -1.0 / (n_columns + 4)))


class _Group:
    """The mixture over the columns of one group. The last kernel is the even one."""

    def __init__(self, cube: Cube, columns: NDArray[np.intp], rows: Array, weights: Array) -> None:
        takes_part = ~np.isnan(rows[:, columns[0]])
        rows, weights = rows[takes_part], np.append(weights[takes_part], 1.0)
        self.columns = columns
        self._weights = weights / weights.sum()
        is_code = cube.is_categorical[columns]
        self._numbers, self._codes = columns[~is_code], columns[is_code]
        self._centres, self._observed = rows[:, self._numbers], rows[:, self._codes]
        self._n_options = np.array([cube.columns[j].n_values or 1 for j in self._codes], float)
        # A kernel narrower than a cell would say nothing about the neighbouring values.
        half_cells = np.array([0.5 / (cube.columns[j].n_values or np.inf) for j in self._numbers])
        self._widths = np.maximum(half_cells, kernel_width(len(rows), len(self._numbers)))
        # Each kernel gives every option a share, which together count as one config.
        # Source: the category weights of Optuna's TPE sampler.
        n = len(weights)
        self._p_even = self._n_options / (n + self._n_options)

    def log_density(self, rows: Array) -> Array:
        """Log of the mixture at rows that all take part; shape (m,)."""
        logs = np.empty((len(rows), len(self._weights)))
        logs[:, :-1] = self._log_kernels(rows)
        logs[:, -1] = -np.log(self._n_options).sum()
        logs += np.log(self._weights)
        top = logs.max(axis=1)
        return np.asarray(top + np.log(np.exp(logs - top[:, None]).sum(axis=1)))

    def _log_kernels(self, rows: Array) -> Array:
        """Log of each config's kernel at each row; shape (m, n)."""
        x = rows[:, self._numbers]
        low, high = self._tails()
        x, centres = x / self._widths, self._centres / self._widths
        constant = (np.log(self._widths) + _LN_SQRT_2PI + np.log(high - low)).sum(axis=1)
        squares = (x * x).sum(axis=1)[:, None] + (centres * centres).sum(axis=1)
        logs = x @ centres.T - 0.5 * squares - constant
        for k, j in enumerate(self._codes):
            other = self._p_even[k] / self._n_options[k]
            same = 1.0 - self._p_even[k] + other
            logs += np.where(rows[:, j, None] == self._observed[:, k], np.log(same), np.log(other))
        return np.asarray(logs)

    def _tails(self) -> tuple[Array, Array]:
        """Each kernel's probability below 0 and below 1: kernels are cut off at the cube's borders."""
        from scipy.special import ndtr

        return ndtr(-self._centres / self._widths), ndtr((1.0 - self._centres) / self._widths)

    def draw_into(self, rows: Array, rng: np.random.Generator) -> None:
        """Overwrite this group's columns with draws; rows that fall to the even kernel stay as they are."""
        from scipy.special import ndtri

        chosen = rng.choice(len(self._weights), len(rows), p=self._weights)
        units = rng.random((len(rows), len(self.columns)))
        is_keeping = rng.random((len(rows), len(self._codes))) >= self._p_even
        is_kernel = chosen < len(self._weights) - 1
        kernel = chosen[is_kernel]
        low, high = self._tails()
        share = low[kernel] + units[is_kernel][:, : len(self._numbers)] * (high - low)[kernel]
        drawn = self._centres[kernel] + self._widths * ndtri(share)
        rows[np.ix_(is_kernel, self._numbers)] = np.clip(drawn, 0.0, 1.0)
        for k, j in enumerate(self._codes):
            keeps = is_keeping[is_kernel, k]
            evenly = np.floor(units[is_kernel, len(self._numbers) + k] * self._n_options[k])
            rows[is_kernel, j] = np.where(keeps, self._observed[kernel, k], evenly)


def evenly_thinned(rows: Array, n_max: int) -> Array:
    """At most `n_max` of the rows, evenly spaced in their order, the first and the last among them."""
    if len(rows) <= n_max:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, n_max).round().astype(int)])
