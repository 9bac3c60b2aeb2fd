"""Which attempts have said nothing for too long: limits on the time to a first report, and between reports (F4)."""

from __future__ import annotations

import math
from typing import NamedTuple

from tunesmith.spec import ExperimentSpec

_ASLEEP_S = 10.0


class _Heard(NamedTuple):
    """Of one running attempt."""

    at: float  #: when it started or last reported, on the experiment's clock
    has_reported: bool


class SilenceWatch:
    """Knows of the driver's own session only: a replay has no deadlines, and a resumed attempt begins anew."""

    def __init__(self, spec: ExperimentSpec) -> None:
        """Args: spec: `first_report_timeout_s` and `report_timeout_s` of it."""
        self._first_s = math.inf if spec.first_report_timeout_s is None else spec.first_report_timeout_s
        self._between_s = math.inf if spec.report_timeout_s is None else spec.report_timeout_s
        self._is_off = min(self._first_s, self._between_s) == math.inf
        #: By trial: of all and only the running attempts that nobody has told to end.
        self._heard: dict[int, _Heard] = {}

    def note_start(self, trial: int, now: float) -> None:
        """An attempt is started, or its process has come up."""
        if not self._is_off:
            self._heard[trial] = _Heard(now, has_reported=False)

    def note_report(self, trial: int, now: float) -> None:
        """Its running attempt reported."""
        if trial in self._heard:
            self._heard[trial] = _Heard(now, has_reported=True)

    def forget(self, trial: int) -> None:
        """Its attempt is over, or told to end."""
        self._heard.pop(trial, None)

    def next_deadline(self) -> float:
        """When the next attempt will have been silent for too long; infinity if none can be."""
        return min(map(self._deadline, self._heard.values()), default=math.inf)

    def overdue(self, now: float) -> list[tuple[int, str]]:
        """The trials whose attempts have been silent for too long, and the reason in words.

        Looking much later than at the first deadline, the driver was asleep itself, and they perhaps too (a suspended
        laptop, a stopped container: F41): then all limits begin anew.
        """
        if now > self.next_deadline() + _ASLEEP_S:
            self._heard = {trial: heard._replace(at=now) for trial, heard in self._heard.items()}
        late = sorted(trial for trial, heard in self._heard.items() if self._deadline(heard) <= now)
        return [(trial, self._words(self._heard[trial])) for trial in late]

    def _deadline(self, heard: _Heard) -> float:
        return heard.at + (self._between_s if heard.has_reported else self._first_s)

    def _words(self, heard: _Heard) -> str:
        if heard.has_reported:
            return f"no report for {self._between_s:g} s (report_timeout_s)"
        return f"no report within {self._first_s:g} s of its start (first_report_timeout_s)"
