"""The learning curves of all trials, for searchers that model them. Part of the fold, kept only where asked for."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import NamedTuple

from tunesmith.events import Record, StartAttempt, TrialReported
from tunesmith.protocols import Curve
from tunesmith.trial import Objective, metric_value


class _Points(NamedTuple):
    """The reports of one trial that count. The lists only grow, so that a snapshot may share them."""

    times: list[float]
    values: list[float]
    orders: list[int]
    steps: list[int]
    totals_s: list[float]

    def up_to(self, step: int) -> _Points:
        """Lists of their own, without the reports after a step."""
        n = bisect_right(self.steps, step)
        return _Points(self.times[:n], self.values[:n], self.orders[:n], self.steps[:n], self.totals_s[:n])


class CurveLog:
    """Times and values of every trial's reports: those of its present attempts, what a restart supersedes taken out."""

    def __init__(self, objective: Objective | None, *, time_attr: str) -> None:
        self._objective, self._time_attr = objective, time_attr
        self._curves: dict[int, _Points] = {}
        self._n_reports = 0

    def observe(self, record: Record) -> None:
        """Fold one record."""
        if isinstance(record, TrialReported):
            self._n_reports += 1
            self._add(record)
        elif isinstance(record, StartAttempt):
            points = self._curves.get(record.trial)
            if points is not None and points.steps and points.steps[-1] > record.start_step:
                self._curves[record.trial] = points.up_to(record.start_step)

    def _add(self, report: TrialReported) -> None:
        """Reports without the metric, or whose time does not grow, are no points of a curve."""
        if self._objective is None:
            return
        time = metric_value(report.metrics, report.step, report.time_total_s, self._time_attr)
        value = metric_value(report.metrics, report.step, report.time_total_s, self._objective.metric)
        points = self._curves.setdefault(report.trial, _Points([], [], [], [], []))
        if time is None or value is None or not time > (points.times[-1] if points.times else -math.inf):
            return
        points.steps.append(report.step)
        points.totals_s.append(report.time_total_s)
        points.orders.append(self._n_reports)
        points.values.append(value)
        points.times.append(time)

    def last_time(self, trial: int) -> float:
        """The time of a trial's last point; 0 before the first."""
        points = self._curves.get(trial)
        return points.times[-1] if points is not None and points.times else 0.0

    def snapshot(self, n_trials: int) -> tuple[Curve, ...]:
        """The curves as they stand, by index."""
        none = _Points([], [], [], [], [])
        found = (self._curves.get(index, none) for index in range(n_trials))
        return tuple(Curve(p.times, p.values, p.orders, len(p.times), p.totals_s) for p in found)
