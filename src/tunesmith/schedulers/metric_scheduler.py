"""What all schedulers share that compare trials by a metric over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunesmith.events import Decision, TrialReported, Verdict
from tunesmith.protocols import NextAction
from tunesmith.schedulers.arguments import bound_objective, check_names, time_of, value_of
from tunesmith.schedulers.fifo import first_come
from tunesmith.trial import Objective, Trial


class MetricScheduler:
    """Reads time and metric of reports. A scheduler of this kind adds its rule: `observe`, `decide`, `describe`."""

    def __init__(self, *, time_attr: str, metric: str | None, mode: str | None, max_t: float = math.inf) -> None:
        """Args: max_t: the end of training; infinity where the rule has none. Raises: ConfigError."""
        check_names(time_attr=time_attr, metric=metric, mode=mode)
        self._time_attr, self._metric, self._mode, self._max_t = time_attr, metric, mode, max_t
        self._objective: Objective | None = None
        self._n_ignored = 0  #: reports without a metric or a time that could be used

    @property
    def full_training(self) -> tuple[str, float] | None:
        """What training is counted in, and where it ends; see Scheduler."""
        return None if self._max_t == math.inf else (self._time_attr, self._max_t)

    def bind(self, objective: Objective | None) -> Objective | None:
        """Take the experiment's objective unless this scheduler was given its own; return the one it will use."""
        self._objective = bound_objective(type(self).__name__, objective, metric=self._metric, mode=self._mode)
        return self._objective

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """A new trial: this scheduler pauses none."""
        return first_come(paused)

    @property
    def _bound(self) -> Objective:
        assert self._objective is not None, "bind() comes before anything else"
        return self._objective

    def _time(self, report: TrialReported) -> float | None:
        return time_of(report, self._time_attr)

    def _value(self, report: TrialReported) -> float | None:
        """In the user's sign, NaN and infinities included; None where the report lacks it."""
        return value_of(report, self._bound)

    def _completion(self, report: TrialReported) -> Decision | None:
        """The decision for a report at the end of training or beyond, else None."""
        time = self._time(report)
        if time is None or time < self._max_t:
            return None
        return Decision(Verdict.COMPLETE, "reached max_t", {"max_t": self._max_t})

    def _ignored_lines(self) -> list[str]:
        """That reports were of no use, which nobody should overlook; nothing where all were."""
        if not self._n_ignored or self._objective is None:
            return []
        names = " or ".join(map(repr, (*self._names(), self._time_attr)))
        return [f"{self._n_ignored} reports without {names} ignored"]

    def _names(self) -> Sequence[str]:
        """The metrics that are read."""
        return (self._bound.metric,)
