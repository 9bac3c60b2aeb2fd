"""How likely a config is to give a result at all, from those that did and those that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import GaussianProcess, fit_theta

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_MAX = 200  #: trials of each kind that are used: the newest
_LEAST = 0.01  #: no config is ruled out for good: the failures may have had another cause


class SuccessModel:
    """Gaussian process regression on +1 (a result) and -1 (failed), squashed to a probability.

    A config like one that ran out of memory is avoided, and the edge of the region that fails is learnt.
    Source: least-squares classification, Rasmussen and Williams 2006, section 6.5.
    """

    def __init__(self, cube: Cube, succeeded: Array, failed: Array) -> None:
        """Args: succeeded, failed: rows; shape (n, d) each, at least one failed."""
        good, bad = succeeded[-_N_MAX:], failed[-_N_MAX:]
        rows = np.concatenate([good, bad])
        labels = np.concatenate([np.ones(len(good)), -np.ones(len(bad))])
        # A prior of success: one failure is no reason to fear everything.
        self._offset = 1.0 if len(good) == 0 else float(np.clip(labels.mean(), 0.0, 1.0))
        y = labels - self._offset
        self._model = GaussianProcess(cube, rows, y, fit_theta(cube, rows, y))

    def probability(self, rows: Array) -> Array:
        """Between 0.01 and 1 for each row; shape (n,)."""
        from scipy.special import ndtr

        mean, sd = self._model.predict(rows)
        return np.asarray(np.maximum(ndtr((mean + self._offset) / np.sqrt(sd * sd + 0.25)), _LEAST))

    def log_probability(self, rows: Array) -> Array:
        """Log of `probability`; shape (n,)."""
        return np.asarray(np.log(self.probability(rows)))
