"""The learning curves of a history as a model sees them: rows, times on a logarithmic scale, losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.errors import SpaceError
from tunesmith.models.cube import Cube
from tunesmith.protocols import Curve, History
from tunesmith.trial import Mode, Trial, TrialStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.intp]


class Ladder:
    """The times at which a trial is judged, on its way to `max_t`: each `factor` times further than the one before."""

    def __init__(self, *, max_t: float, grace_period: float, factor: float) -> None:
        self.max_t, self.factor = max_t, factor
        levels = [grace_period]
        # The last step to the top is a real one: no level lies just below it.
        while levels[-1] * factor * math.sqrt(factor) <= max_t:
            levels.append(float(f"{levels[-1] * factor:.12g}"))  # a report at 0.3 reaches 3 * 0.1
        self.levels = tuple(level for level in levels if level < max_t)
        self._origin = grace_period / factor

    def tau(self, time: float) -> float:
        """Training time on the model's scale: a factor is a step of equal length anywhere, 1 is the end."""
        return math.log(max(time, 1e-9 * self.max_t) / self._origin) / math.log(self.max_t / self._origin)

    def next_after(self, time: float) -> float:
        """The lowest level above a time; `max_t` where there is none."""
        return next((level for level in self.levels if level > time), self.max_t)


@dataclass(frozen=True)
class OpenTrial:
    """A trial that may go on."""

    index: int
    place: int  #: of its row on the board
    time: float  #: of its last point; 0 before the first


@dataclass(frozen=True)
class CurveBoard:
    """Every config that trains or has trained, with the points of its curve that count."""

    rows: Array  #: configs, shape (m, d)
    paces: Array  #: ln of the seconds that a unit of time has taken each; NaN where nothing is known; shape (m,)
    trial: Indices  #: place of each point's config among them, rising; shape (n,)
    tau: Array  #: shape (n,)
    losses: Array  #: finite, smaller is better; shape (n,)
    orders: Indices  #: which report of the experiment it was; shape (n,)
    is_lasting: NDArray[np.bool_]  #: of points that stay on the board: a trial's newest one gives way to the next
    paused: tuple[OpenTrial, ...]
    running: tuple[OpenTrial, ...]
    spoilt: tuple[int, ...]  #: paused trials whose last value is no finite number

    @property
    def n_seen(self) -> int:
        """How many configs have a point."""
        return len(np.unique(self.trial))

    def focused(self, n_max: int) -> CurveBoard:
        """The same with at most so many configs that have points: those that came furthest, then the best of them.

        Two thirds are the first in that order, the others an even share of the rest. Paused trials that are not among
        them are out of the race.
        """
        seen = np.unique(self.trial)
        if len(seen) <= n_max:
            return self
        last = np.concatenate([self.trial[1:] != self.trial[:-1], [True]])
        running = {trial.place for trial in self.running}
        order = seen[np.lexsort((self.losses[last], -self.tau[last]))]
        n_first = 2 * n_max // 3
        rest = order[n_first:][:: -(-(len(order) - n_first) // (n_max - n_first))]
        kept = sorted(running | set(order[:n_first]) | set(rest))
        new_place = {place: i for i, place in enumerate(kept)}
        which = np.isin(self.trial, kept)
        return CurveBoard(
            rows=self.rows[kept],
            paces=self.paces[kept],
            trial=np.array([new_place[place] for place in self.trial[which]], np.intp),
            tau=self.tau[which],
            losses=self.losses[which],
            orders=self.orders[which],
            is_lasting=self.is_lasting[which],
            paused=tuple(replace(t, place=new_place[t.place]) for t in self.paused if t.place in new_place),
            running=tuple(replace(t, place=new_place[t.place]) for t in self.running),
            spoilt=self.spoilt,
        )


def read_board(history: History, cube: Cube, ladder: Ladder) -> CurveBoard:
    """The board of a history. Trials outside the cube, whose space was changed since, are left out."""
    assert history.objective is not None
    mode = history.objective.mode
    rows: list[Array] = []
    paces: list[float] = []
    points: list[tuple[int, float, float, int, bool]] = []
    paused, running, spoilt = [], [], []
    for trial, curve in zip(history.trials, history.curves, strict=True):
        chosen = _points(trial, curve, ladder, mode)
        is_open = trial.status in (TrialStatus.RUNNING, TrialStatus.PENDING, TrialStatus.PAUSED)
        if not chosen and not is_open:
            continue
        try:
            row = cube.encode(trial.config)
        except SpaceError:
            continue
        place = len(rows)
        rows.append(row)
        paces.append(log_pace(curve))
        points += [(place, *point) for point in chosen]
        here = OpenTrial(trial.index, place, last_time(curve))
        if trial.status is TrialStatus.PAUSED:
            if is_spoilt(curve):
                spoilt.append(trial.index)
            else:
                paused.append(here)
        elif is_open:
            running.append(here)
    return CurveBoard(
        rows=np.array(rows).reshape(len(rows), cube.d),
        paces=np.array(paces, float),
        trial=np.array([point[0] for point in points], np.intp),
        tau=np.array([point[1] for point in points], float),
        losses=np.array([point[2] for point in points], float),
        orders=np.array([point[3] for point in points], np.intp),
        is_lasting=np.array([point[4] for point in points], bool),
        paused=tuple(paused),
        running=tuple(running),
        spoilt=tuple(spoilt),
    )


def last_time(curve: Curve) -> float:
    """The time of its last point; 0 before the first."""
    return curve.times[curve.n - 1] if curve.n else 0.0


def log_pace(curve: Curve) -> float:
    """Ln of the seconds that a unit of time took on the mean; NaN where nothing is known."""
    time, seconds = last_time(curve), curve.totals_s[curve.n - 1] if 0 < curve.n <= len(curve.totals_s) else 0.0
    return math.log(seconds / time) if 0.0 < time < math.inf and 0.0 < seconds < math.inf else math.nan


def is_without_curves(history: History, ladder: Ladder) -> bool:
    """Whether trainings come to their end with their first report, or before the first level."""
    is_any_over = False
    for trial, curve in zip(history.trials, history.curves, strict=True):
        is_short = curve.n <= 1 or last_time(curve) < ladder.next_after(0.0)
        if not is_short or trial.status is TrialStatus.PAUSED:
            return False
        is_any_over |= trial.status is TrialStatus.COMPLETED and curve.n > 0
    return is_any_over


def n_decisions(history: History, ladder: Ladder) -> int:
    """How many starts and thaws there were, those after an interruption apart: they are no new decision."""
    total = 0
    for trial, curve in zip(history.trials, history.curves, strict=True):
        # A paused one may have been wanted for more by a driver that died.
        aim = last_time(curve) if trial.status is TrialStatus.PAUSED else trial.max_t or 0.0
        total += min(max(trial.attempt, 1), 1 + sum(level < aim for level in ladder.levels))
    return total


def is_spoilt(curve: Curve) -> bool:
    """Whether its last value is no finite number."""
    return curve.n > 0 and not math.isfinite(curve.values[curve.n - 1])


def _points(trial: Trial, curve: Curve, ladder: Ladder, mode: Mode) -> Sequence[tuple[float, float, int, bool]]:
    """(tau, loss, order, whether it lasts) of the first report at or beyond each level, and of the last one.

    More would say little that is new, and cost the model the cube of their number. The last value of a trial that
    came to its own end early is its final one.
    """
    times, values = curve.points()
    if not times:
        return ()
    chosen: dict[int, bool] = {}
    level = ladder.next_after(0.0)
    for i, time in enumerate(times):
        if time >= level:
            chosen[i] = True
            level = ladder.next_after(time) if time < ladder.max_t else math.inf
    last = len(times) - 1
    is_final = trial.status is TrialStatus.COMPLETED
    chosen.setdefault(last, trial.status.is_over)
    return [
        (1.0 if is_final and i == last else ladder.tau(times[i]), mode.as_loss(values[i]), curve.orders[i], lasts)
        for i, lasts in chosen.items()
        if math.isfinite(values[i]) and math.isfinite(times[i])
    ]
