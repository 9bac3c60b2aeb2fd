"""All reports of one metric as columns, and the time in which an experiment was at work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.scores import report_columns
from tunesmith.stores import Reader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

#: The end of each session but the last, and the start of the one that followed it.
_GAPS = """SELECT max(coalesce((SELECT max(at) FROM log WHERE seq < s.seq), s.at),
    coalesce((SELECT max(at) FROM results WHERE seq < s.seq), s.at)), s.at
  FROM log AS s WHERE s.type = 'SessionStarted' AND s.seq > (SELECT min(seq) FROM log) ORDER BY s.seq"""


@dataclass(frozen=True)
class Reports:
    """Every report, in the order in which they were stored; all arrays have one entry each."""

    trial: Ints
    attempt: Ints
    step: Ints
    at_s: Array  #: seconds of work of the experiment up to it
    time_total_s: Array  #: training time of its trial up to it
    value: Array  #: of the metric; NaN where it is missing or no number, infinities as they are
    counts: Flags  #: whether it is a result: no later attempt repeated or dropped it
    is_feasible: Flags  #: whether it keeps the constraints

    def __len__(self) -> int:
        return len(self.trial)


def read_reports(reader: Reader, chosen: ChosenMetric) -> Reports:
    """Every report of the experiment."""
    rows = reader.query(*report_columns(reader, chosen.name, constraints=chosen.constraints))
    table = np.array(rows, float).reshape(len(rows), 8)
    trial, attempt, step = (table[:, j].astype(np.int64) for j in range(3))
    is_true = table[:, 5:7] == 1
    at_s = ActiveTime(reader).seconds(table[:, 3])
    return Reports(trial, attempt, step, at_s, table[:, 4], table[:, 7], is_true[:, 0], is_true[:, 1])


class ActiveTime:
    """Wall time as seconds since the start, without the time between one session of the experiment and the next."""

    def __init__(self, reader: Reader) -> None:
        started_at = reader.status().started_at
        self._start = 0.0 if started_at is None else started_at
        gaps = [(end, start) for end, start in reader.query(_GAPS) if end is not None and start > end]
        self._ends = np.array([end for end, _ in gaps])
        self._gaps = np.array([start - end for end, start in gaps])

    def seconds(self, at: Array) -> Array:
        """Seconds at work up to each wall time; NaN stays NaN."""
        passed = np.concatenate([[0.0], np.cumsum(self._gaps)])[np.searchsorted(self._ends, at, side="left")]
        return np.asarray(at - self._start - passed)
