"""How far trials were trained: how many reached each rung, and what became of them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.reports import Reports, read_reports
from tunesmith.analysis.scores import metrics_seen
from tunesmith.stores import Reader
from tunesmith.trial import Mode, TrialStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: What became of a trial beyond the last level that it reached.
FATES = ("went on", "completed", "stopped", "failed", "not over")
_FATE_OF = {
    TrialStatus.COMPLETED: "completed",
    TrialStatus.STOPPED: "stopped",
    TrialStatus.FAILED: "failed",
    TrialStatus.INVALID: "failed",
}
_STATES = "SELECT trial, status FROM trial_states"
#: Decisions that name their rung, with the step of their report. Plain continues name none.
_DECIDED = """SELECT trial, json_extract(body, '$.step'), json_extract(body, '$.decision.numbers.rung') AS rung
  FROM log WHERE type = 'AnswerReport' AND rung IS NOT NULL"""
_MAX_LEVELS = 12


@dataclass(frozen=True)
class Rungs:
    """The rungs at which a scheduler decided something."""

    time_attr: str  #: what they are counted in
    levels: tuple[float, ...]  #: ascending


@dataclass(frozen=True)
class Survival:
    """How many trials reached each level, and their fates between it and the next; entries of all are by level."""

    time_attr: str  #: what levels are counted in
    has_rungs: bool  #: whether the levels are a scheduler's rungs; else steps spread over all
    level: Array  #: ascending; the highest is as far as any trial came
    n_reached: Ints
    fates: dict[str, Ints]  #: by the words of FATES; together they are `n_reached`


def rungs_of(reader: Reader) -> Rungs | None:
    """The rungs that the log speaks of; None where the scheduler has none, or has stopped and paused nobody.

    The log does not say what they are counted in. It is the first of steps, training time and the metrics that crossed
    the rung at each of the decisions.
    """
    rows = reader.query(_DECIDED)
    if not rows:
        return None
    trial, step, rung = (np.array(column) for column in zip(*rows, strict=True))
    levels = tuple(sorted(set(rung.tolist())))
    for attribute in ("training_iteration", "time_total_s", *metrics_seen(reader)):
        if _crossed(_progress(reader, attribute), trial, step, rung):
            return Rungs(attribute, levels)
    return Rungs("training_iteration", levels)


def survival(reader: Reader) -> Survival:
    """How many trials reached each rung, or each of up to 12 steps where there are none."""
    rungs = rungs_of(reader)
    attribute = "training_iteration" if rungs is None else rungs.time_attr
    reports = _progress(reader, attribute)
    states = {trial: TrialStatus(status) for trial, status in reader.query(_STATES)}
    reached = _furthest(reports)
    if not reached:
        empty = np.zeros(0, np.int64)
        return Survival(attribute, rungs is not None, np.zeros(0), empty, dict.fromkeys(FATES, empty))
    furthest = np.array(list(reached.values()))
    top = float(furthest.max())
    level = np.array(rungs.levels, float) if rungs is not None else _spread_levels(top)
    level = np.append(level[level < top], top)
    n_reached = (furthest[:, None] >= level).sum(axis=0)
    place = np.searchsorted(level, furthest, side="right") - 1
    fate = np.array([_FATE_OF.get(states[trial], "not over") for trial in reached])
    fates = {
        word: np.bincount(place[(fate == word) & (place >= 0)], minlength=len(level)).astype(np.int64)
        for word in FATES[1:]
    }
    return Survival(attribute, rungs is not None, level, n_reached, {"went on": np.append(n_reached[1:], 0), **fates})


def _progress(reader: Reader, attribute: str) -> Reports:
    return read_reports(reader, ChosenMetric(attribute, Mode.MAX))


def _furthest(reports: Reports) -> dict[int, float]:
    """By trial the largest value among its results that count."""
    found: dict[int, float] = {}
    is_known = reports.counts & np.isfinite(reports.value)
    for trial, value in zip(reports.trial[is_known].tolist(), reports.value[is_known].tolist(), strict=True):
        found[trial] = max(value, found.get(trial, value))
    return found


def _crossed(reports: Reports, trial: Ints, step: Ints, rung: Array) -> bool:
    """Whether each of these reports was the first of its trial at or above the rung."""
    first: dict[tuple[int, float], int] = {}
    levels = np.unique(rung)
    for index, at, value in zip(reports.trial.tolist(), reports.step.tolist(), reports.value.tolist(), strict=True):
        below = np.searchsorted(levels, value, side="right") if value == value else 0
        if below:
            first.setdefault((index, float(levels[below - 1])), at)
    keys = zip(trial.tolist(), map(float, rung.tolist()), step.tolist(), strict=True)
    return all(first.get((index, level)) == at for index, level, at in keys)


def _spread_levels(top: float) -> Array:
    """Whole steps from 1 up, all of them or doubling."""
    if top <= _MAX_LEVELS:
        return np.arange(1.0, top)
    n_doublings = int(np.log2(top)) + 1
    return np.asarray(2.0 ** np.arange(n_doublings))[-_MAX_LEVELS:]
