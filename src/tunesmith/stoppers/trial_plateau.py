"""The end of a trial whose metric no longer moves."""

from __future__ import annotations

from typing import NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, Decision, Record, TrialReported, Verdict
from tunesmith.stoppers.arguments import metric_name, positive, whole
from tunesmith.stoppers.deviation import standard_deviation
from tunesmith.stoppers.noop import NoopStopper
from tunesmith.trial import Mode, Trial, metric_value

_REASON = "plateau: standard deviation {deviation:.3g} of the last {n_values} values of {metric}, below {std:g}"


class _Value(NamedTuple):
    step: int
    value: float


class TrialPlateauStopper(NoopStopper):
    """Stops a trial when its last `num_results` values have a standard deviation below `std`.

    Reports without the metric are ignored; a NaN or infinite value among the last ones is no plateau. Steps repeated
    after a restart replace the values they had before.

    Args:
        metric: what must move.
        std: the trial ends below this population standard deviation.
        num_results: how many values are looked at, 2 or more.
        grace_period: no trial ends before this `training_iteration`.
        metric_threshold, mode: if given, only trials end whose last value is at least as good as this.
    Raises: ConfigError.
    """

    def __init__(
        self,
        metric: str,
        std: float = 0.01,
        num_results: int = 4,
        grace_period: int = 4,
        metric_threshold: float | None = None,
        mode: str | None = None,
    ) -> None:
        if mode not in (None, "min", "max") or (metric_threshold is not None and mode is None):
            raise ConfigError(f"mode is {mode!r}. Give 'min' or 'max'; with metric_threshold it is needed.")
        self._metric, self._std = metric_name(metric), positive("std", std)
        self._num_results = whole("num_results", num_results, at_least=2)
        self._grace_period = whole("grace_period", grace_period, at_least=0)
        self._threshold, self._mode = metric_threshold, Mode(mode) if mode is not None else None
        #: Of each trial that reported the metric, the last values, oldest first: at most `num_results`, steps growing.
        self._last: dict[int, tuple[_Value, ...]] = {}

    def observe(self, record: Record) -> None:
        """Remember the value."""
        if isinstance(record, TrialReported):
            last = self._last_with(record)
            if last is not None:
                self._last[record.trial] = last

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """STOP on a plateau."""
        last = self._last_with(report)
        if last is None or len(last) < self._num_results or report.step < self._grace_period:
            return CONTINUE
        if (
            self._threshold is not None
            and self._mode is not None
            and self._mode.is_better(self._threshold, last[-1].value)
        ):
            return CONTINUE
        deviation = standard_deviation([item.value for item in last])
        if not deviation < self._std:
            return CONTINUE
        numbers: dict[str, float | int | str] = {
            "deviation": deviation,
            "n_values": len(last),
            "metric": self._metric,
            "std": self._std,
        }
        return Decision(Verdict.STOP, _REASON, numbers)

    def _last_with(self, report: TrialReported) -> tuple[_Value, ...] | None:
        """The trial's last values, this report's among them; None if it lacks the metric."""
        value = metric_value(report.metrics, report.step, report.time_total_s, self._metric)
        if value is None:
            return None
        earlier = tuple(item for item in self._last.get(report.trial, ()) if item.step < report.step)
        return (*earlier, _Value(report.step, value))[-self._num_results :]
