"""The joint model of a board: what each trial, and each config not yet tried, is expected to come to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.methods.curve_board import CurveBoard, OpenTrial
from tunesmith.models.cube import Cube
from tunesmith.models.curve_process import CurveData, CurveProcess, fit_curves
from tunesmith.models.gaussian_process import fit_theta, last_step, thinned
from tunesmith.models.input_warp import InputWarp, find_warp
from tunesmith.models.warp import warp_losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.intp]

HOPELESS = 0.05  #: chance to become the best, below which a trial is not worth its training
_N_MAX_POINTS = 600  #: that a posterior rests on: the last of each trial first, then those of the best
_N_MAX_FIT = 250  #: that hyperparameters are fitted to
_N_WARPED = 2  #: configs for each leaf before a column is bent
_N_MAX_WARP = 150  #: configs that the warp is chosen by
_FIT_START, _FIT_GROWTH = 40, 1.2  #: refitted with each of the first points, then when there are so many times more
_LOG_SHARE = 1e-3  #: of the median, added before the logarithm: losses next to 0 do not run away


class CurveFits:
    """Hyperparameters and input warp of a growing board: always those that its first points give, whoever asked."""

    def __init__(self) -> None:
        self._fits: dict[bytes, tuple[Array, InputWarp]] = {}

    def fit(self, cube: Cube, board: CurveBoard) -> tuple[Array, InputWarp]:
        """Hyperparameters, shape (d + 6,), and how the columns are bent."""
        lasting = np.flatnonzero(board.is_lasting)
        if len(lasting) < 3:
            lasting = np.arange(len(board.losses))
        first = lasting[np.argsort(board.orders[lasting], kind="stable")]
        first = np.sort(first[: last_step(len(first), start=_FIT_START, growth=_FIT_GROWTH)])
        y = standardised(board.losses[first])
        used = thinned(y, _N_MAX_FIT)
        data = CurveData(board.rows, board.trial[first], board.tau[first], y).part(used)
        key = data.rows.tobytes() + data.tau.tobytes() + data.y.tobytes()
        if key not in self._fits:
            self._fits = {key: _fit(cube, data)}
        return self._fits[key]


def _fit(cube: Cube, data: CurveData) -> tuple[Array, InputWarp]:
    """A fit to straight columns; where there are configs enough, columns bent by what they are expected to end at."""
    theta, m = fit_curves(cube, data), len(data.rows)
    if cube.d == 0 or m < _N_WARPED * cube.d:
        return theta, InputWarp()
    finals, _ = CurveProcess(cube, data, theta).predict_trials(np.arange(m), np.ones(m))
    sd = float(finals.std())
    if sd == 0.0:
        return theta, InputWarp()
    used = thinned(finals, _N_MAX_WARP)
    y = (finals[used] - finals[used].mean()) / sd
    warp = find_warp(cube, data.rows[used], y, fit_theta(cube, data.rows[used], y))
    if not warp.shapes:
        return theta, warp
    return fit_curves(cube, replace(data, rows=warp(data.rows)), start=theta, max_iterations=15), warp


class CurveModel:
    """The posterior of one board. Trials that run count as trained to their end, at what they are expected to reach."""

    def __init__(self, cube: Cube, board: CurveBoard, hyperparameters: tuple[Array, InputWarp]) -> None:
        y = standardised(board.losses)
        used = _used(board, y)
        theta, self._warp = hyperparameters
        data = CurveData(self._warp(board.rows), board.trial[used], board.tau[used], y[used])
        self.n_points, self.n_trials = len(used), board.n_seen
        self._process = CurveProcess(cube, data, theta)
        self.best = float(self._process.mean_at_observations().min())  #: what there is to beat
        everyone = np.arange(len(board.rows))
        finals, _ = self._process.predict_trials(everyone, np.ones(len(everyone)))
        seen = np.unique(board.trial)
        self.by_final: Array = board.rows[seen[np.argsort(finals[seen], kind="stable")]]  #: rows, best first
        self.count_on([trial.place for trial in board.running])

    def count_on(self, places: Sequence[int]) -> None:
        """Take it that these trials are trained to the end: others like them promise less then.

        Conditioning on what they will have reached at their next stop instead lets every free worker follow the same
        lead: with 8 workers that cost half of the gain.
        """
        at = np.array(places, np.intp)
        self._process.condition(at, np.ones(len(at)))

    def count_on_new(self, row: Array) -> None:
        """The same of a config that starts now."""
        self._process.condition(self._process.add(self._warp(row[None])), np.ones(1))

    def final(self, rows: Array) -> tuple[Array, Array]:
        """Mean and sd of the final loss of new trials of these rows; shape (n,) each."""
        return self._process.predict(self._warp(rows))

    def final_of(self, trials: Sequence[OpenTrial]) -> tuple[Array, Array]:
        """The same for known trials."""
        return self._process.predict_trials(np.array([t.place for t in trials], np.intp), np.ones(len(trials)))

    def chance(self, trials: Sequence[OpenTrial]) -> Array:
        """The probability that each ends better than all that was seen; shape (n,)."""
        from scipy.special import ndtr

        mean, sd = self.final_of(trials)
        return np.asarray(ndtr((self.best - mean) / sd))


def standardised(losses: Array) -> Array:
    """Losses of all times made fit for the model: on a log scale where they are positive, then warped."""
    if len(losses) and losses.min() > 0.0:
        losses = np.log(losses + _LOG_SHARE * np.median(losses))
    return warp_losses(losses)


def _used(board: CurveBoard, y: Array) -> Indices:
    """The places of the points that the posterior rests on, rising."""
    n = len(y)
    if n <= _N_MAX_POINTS:
        return np.arange(n)
    is_last = np.concatenate([board.trial[1:] != board.trial[:-1], [True]])
    order = np.lexsort((y, ~is_last))
    return np.sort(order[:_N_MAX_POINTS])
