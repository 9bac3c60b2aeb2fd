"""A history as arrays: what each config was worth, which failed, which are still open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import SpaceError
from tunesmith.models.cube import Cube
from tunesmith.protocols import History
from tunesmith.trial import Objective, Trial, TrialStatus, metric_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_OPEN = frozenset({TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.PAUSED, TrialStatus.INTERRUPTED})


@dataclass(frozen=True)
class Observations:
    """What a model may learn from. All losses are to be minimised, whatever the mode.

    A trial that lies outside the space (it was narrowed since) is none of these; neither is one that failed for no
    fault of its config, because its process or node was lost.
    """

    rows: Array  #: of the trials with a finite objective that are over; shape (n, d)
    losses: Array  #: their objectives, one column a metric; shape (n, m)
    excesses: Array  #: by how much each breaks each constraint of the objective, 0 or less if kept; shape (n, k)
    steps: NDArray[np.int64]  #: how far each was trained; shape (n,)
    failed: Array  #: rows of those that failed, were refused, or ended without a finite objective; shape (n_failed, d)
    open: Array  #: rows of those that may still end in a result; shape (n_open, d)
    indices: NDArray[np.int64]  #: number of each trial in `rows`; shape (n,)

    @property
    def n(self) -> int:
        """How many results there are."""
        return len(self.rows)

    @property
    def is_feasible(self) -> NDArray[np.bool_]:
        """Which results keep every constraint; shape (n,)."""
        return np.asarray((self.excesses <= 0.0).all(axis=1))

    @property
    def loss(self) -> Array:
        """The first metric's losses; shape (n,)."""
        return self.losses[:, 0]

    @property
    def all_rows(self) -> Array:
        """Every row that was proposed; shape (n + n_failed + n_open, d)."""
        return np.concatenate([self.rows, self.failed, self.open])


class ObservationReader:
    """Turns histories into observations. Keeps each config's row, since configs never change."""

    def __init__(self, cube: Cube) -> None:
        self._cube = cube
        self._rows = np.empty((64, cube.d))
        self._is_inside = np.zeros(64, bool)
        self._configs: list[dict[str, Any]] = []

    def read(self, history: History) -> Observations:
        """The observations of this history."""
        self._encode(history.trials)
        objective = history.objective
        kinds = np.empty(len(history.trials), np.int8)
        losses: list[tuple[float, ...]] = []
        excesses: list[list[float]] = []
        steps: list[int] = []
        for i, trial in enumerate(history.trials):
            kinds[i] = kind = _kind(trial) if self._is_inside[i] else _NOTHING
            if kind == _OVER:
                loss = _losses(trial, objective)
                if loss is None:
                    kinds[i] = _FAILED
                else:
                    losses.append(loss)
                    excesses.append(_excesses(trial, objective))
                    steps.append(trial.step)
        rows = self._rows[: len(kinds)]
        m = 1 if objective is None else len(objective.metrics)
        return Observations(
            rows=rows[kinds == _OVER],
            losses=np.array(losses, float).reshape(-1, m),
            excesses=np.array(excesses, float).reshape(len(losses), -1 if losses else 0),
            steps=np.array(steps, np.int64),
            failed=rows[kinds == _FAILED],
            open=rows[kinds == _IS_OPEN],
            indices=np.flatnonzero(kinds == _OVER),
        )

    def _encode(self, trials: Sequence[Trial]) -> None:
        """Bring the rows up to date; a history that is not the last one grown is encoded anew."""
        for i, trial in enumerate(trials):
            if i < len(self._configs) and self._configs[i] is trial.config:
                continue
            del self._configs[i:]
            if i == len(self._rows):
                self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
                self._is_inside = np.concatenate([self._is_inside, np.zeros_like(self._is_inside)])
            try:
                self._rows[i] = self._cube.encode(trial.config)
                self._is_inside[i] = True
            except SpaceError:
                self._is_inside[i] = False
            self._configs.append(trial.config)


_NOTHING, _OVER, _FAILED, _IS_OPEN = range(4)


def _kind(trial: Trial) -> int:
    if trial.status in _OPEN:
        return _IS_OPEN
    if trial.status is TrialStatus.FAILED:
        return _FAILED if trial.n_failures > 0 else _NOTHING
    return _FAILED if trial.status is TrialStatus.INVALID else _OVER


def _losses(trial: Trial, objective: Objective | None) -> tuple[float, ...] | None:
    """The objectives as losses, None unless all are finite.

    Of one metric it is the best value over the steps, as in the experiment's own ranking; of several, or where there
    are constraints, those of the last report, since they must belong together.
    """
    if objective is None:
        return None
    if len(objective.metrics) == 1 and not objective.constraints:
        values = [trial.best_value]
    else:
        reported = trial.metrics or {}
        values = [metric_value(reported, trial.step, trial.time_total_s, name) for name in objective.metrics]
    losses = [
        mode.as_loss(value)
        for value, mode in zip(values, objective.modes, strict=True)
        if value is not None and math.isfinite(value)
    ]
    return tuple(losses) if len(losses) == len(values) else None


def _excesses(trial: Trial, objective: Objective | None) -> list[float]:
    """By how much the last report breaks each constraint; infinite where it lacks the metric."""
    found = []
    for constraint in objective.constraints if objective is not None else ():
        value = metric_value(trial.metrics or {}, trial.step, trial.time_total_s, constraint.metric)
        excess = math.inf if value is None else constraint.excess(value)
        found.append(math.inf if math.isnan(excess) else excess)
    return found
