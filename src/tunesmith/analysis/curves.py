"""Learning curves: what each trial reported of a metric, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.reports import read_reports
from tunesmith.stores import Reader
from tunesmith.trial import TrialStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

_STATES = "SELECT trial, status FROM trial_states"


@dataclass(frozen=True)
class Curve:
    """The results of one trial that count, by step."""

    trial: int
    state: TrialStatus
    step: Ints
    time_s: Array  #: training time up to each
    value: Array  #: NaN where the metric is missing or not finite


def learning_curves(reader: Reader, chosen: ChosenMetric) -> list[Curve]:
    """The curve of every trial that has reported, by index."""
    reports = read_reports(reader, chosen)
    states = {trial: TrialStatus(status) for trial, status in reader.query(_STATES)}
    kept = np.flatnonzero(reports.counts)
    order = kept[np.lexsort((reports.step[kept], reports.trial[kept]))]
    trial, value = reports.trial[order], reports.value[order].copy()
    value[~np.isfinite(value)] = np.nan
    is_first = np.ones(len(trial), bool)
    is_first[1:] = trial[1:] != trial[:-1]
    starts = np.flatnonzero(is_first).tolist()
    return [
        Curve(
            trial=int(trial[start]),
            state=states[int(trial[start])],
            step=reports.step[order[start:end]],
            time_s=reports.time_total_s[order[start:end]],
            value=value[start:end],
        )
        for start, end in pairwise([*starts, len(trial)])
    ]
