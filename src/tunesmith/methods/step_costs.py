"""What training costs with each config: seconds for a unit of time, beside those of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunesmith.methods.curve_board import CurveBoard, OpenTrial
from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import Features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_LEAST = 5  #: configs with known durations, before they count
_LEAST_SD = 0.2  #: of the predicted logs: where durations differ less, they do not count
_MAX_FACTOR = 3.0  #: that a config counts as cheaper or dearer than the median: what is cheap and poor starves nothing
_RIDGE = 1.0


class StepCosts:
    """Ln of what a step costs, in medians of the configs seen: by a ridge regression on places, squares and options."""

    def __init__(self, cube: Cube, board: CurveBoard) -> None:
        self._cube, self._paces = cube, board.paces
        is_known = np.isfinite(board.paces)
        self.differ = int(is_known.sum()) >= _N_LEAST  #: whether durations depend on the config so much that they count
        if not self.differ:
            return
        y, rows = board.paces[is_known], board.rows[is_known]
        self._median, self._mean = float(np.median(y)), float(y.mean())
        codes = Features(cube, rows).codes
        self._options = [np.unique(codes[:, k]) for k in range(codes.shape[1])]
        features = self._features(rows)
        self._centre: Array = features.mean(axis=0)
        features = features - self._centre
        ridge = _RIDGE * np.eye(features.shape[1])
        self._weights: Array = np.linalg.solve(features.T @ features + ridge, features.T @ (y - self._mean))
        self.differ = bool(np.std(features @ self._weights) >= _LEAST_SD)

    def _features(self, rows: Array) -> Array:
        found = Features(self._cube, rows)
        options = [found.codes[:, k][:, None] == options for k, options in enumerate(self._options)]
        return np.concatenate([found.numbers, found.numbers**2, *options], axis=1)

    def of_new(self, rows: Array) -> Array:
        """Of configs that were not tried; shape (n,)."""
        if not self.differ:
            return np.zeros(len(rows))
        return self._bounded(self._mean + (self._features(rows) - self._centre) @ self._weights)

    def of(self, trials: Sequence[OpenTrial]) -> Array:
        """Of trials that have reported; shape (n,)."""
        paces = self._paces[[trial.place for trial in trials]]
        return (
            self._bounded(np.where(np.isfinite(paces), paces, self._median)) if self.differ else np.zeros(len(trials))
        )

    def _bounded(self, paces: Array) -> Array:
        bound = np.log(_MAX_FACTOR)
        return np.asarray(np.clip(paces - self._median, -bound, bound))
