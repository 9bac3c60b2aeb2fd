"""`metric: {name: loss, goal: minimize, target: 0.1}` of a sweep: what is good enough."""

from __future__ import annotations

from tunesmith.events import CONTINUE, Decision, Record, TrialReported, Verdict
from tunesmith.trial import Mode, Trial, metric_value


class TargetStopper:
    """Ends the experiment as soon as a trial reports the target or better, also one that an earlier session saw.

    W&B lets runs that are under way go on to their end; here they end too, since what was asked for is there.
    """

    def __init__(self, metric: str, target: float, mode: Mode) -> None:
        self._metric, self._target, self._mode = metric, float(target), mode
        self._why: str | None = None  #: why the experiment should end; None until a report has reached the target

    def observe(self, record: Record) -> None:
        """Remember that it was reached."""
        if isinstance(record, TrialReported):
            self._why = self._why or self._reached(record)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE for the trial that reaches it; `should_end` ends the others."""
        why = self._reached(report)
        return CONTINUE if why is None else Decision(Verdict.COMPLETE, "{why}", {"why": why})

    def should_end(self) -> str | None:
        """Why the experiment should end, or None."""
        return self._why

    def _reached(self, report: TrialReported) -> str | None:
        value = metric_value(report.metrics, report.step, report.time_total_s, self._metric)
        if value is None or not self._mode.as_loss(value) <= self._mode.as_loss(self._target):
            return None
        return f"trial {report.trial} reached the target: {self._metric} is {value:.6g}, the target {self._target:g}"
