"""The learning curves of all trials, for searchers that model them. Part of the fold, kept only where asked for."""

from __future__ import annotations

from bisect import bisect_right

from tunesmith.events import Record, StartAttempt, TrialReported
from tunesmith.protocols import Curve
from tunesmith.trial import Objective, metric_value


class CurveLog:
    """Times and values of every trial's reports: those of its present attempts, what a restart supersedes taken out."""

    def __init__(self, objective: Objective | None, *, time_attr: str) -> None:
        self._objective, self._time_attr = objective, time_attr
        #: By trial: times, values and steps of the reports that count. The lists only grow, so that a snapshot may
        #: share them; a restart begins new ones.
        self._curves: dict[int, tuple[list[float], list[float], list[int]]] = {}

    def observe(self, record: Record) -> None:
        """Fold one record."""
        if isinstance(record, TrialReported):
            self._add(record)
        elif isinstance(record, StartAttempt):
            self._restart(record.trial, record.start_step)

    def _add(self, report: TrialReported) -> None:
        """Reports without the metric, or whose time does not grow, are no points of a curve."""
        if self._objective is None:
            return
        time = metric_value(report.metrics, report.step, report.time_total_s, self._time_attr)
        value = metric_value(report.metrics, report.step, report.time_total_s, self._objective.metric)
        times, values, steps = self._curves.setdefault(report.trial, ([], [], []))
        if time is None or value is None or not time > (times[-1] if times else float("-inf")):
            return
        # Readers in other threads take the first n of each: the length they go by grows last.
        steps.append(report.step)
        values.append(value)
        times.append(time)

    def _restart(self, trial: int, start_step: int) -> None:
        curve = self._curves.get(trial)
        if curve is not None and curve[2] and curve[2][-1] > start_step:
            n = bisect_right(curve[2], start_step)
            self._curves[trial] = (curve[0][:n], curve[1][:n], curve[2][:n])

    def last_time(self, trial: int) -> float:
        """The time of a trial's last point; 0 before the first."""
        curve = self._curves.get(trial)
        return curve[0][-1] if curve and curve[0] else 0.0

    def snapshot(self, n_trials: int) -> tuple[Curve, ...]:
        """The curves as they stand, by index."""
        none: tuple[list[float], list[float], list[int]] = ([], [], [])
        found = (self._curves.get(index, none) for index in range(n_trials))
        return tuple(Curve(times, values, len(times)) for times, values, _ in found)
