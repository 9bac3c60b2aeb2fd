"""A limit on the time of the whole experiment."""

from __future__ import annotations

from datetime import timedelta

from tunesmith.events import CONTINUE, Decision, Record, SessionStarted, TrialReported
from tunesmith.stoppers.arguments import positive
from tunesmith.trial import Trial


class TimeoutStopper:
    """Ends the experiment when `timeout` has passed since this session (start or resume) began.

    It reads no clock: time is what the records say, so on its own it ends the experiment at the first record after the
    deadline, not at the deadline. `tunesmith.stoppers.shortest_timeout_s` finds it for those who can set a deadline.

    Args:
        timeout: seconds, or a timedelta.
    Raises: ConfigError.
    """

    def __init__(self, timeout: float | timedelta) -> None:
        #: For whoever can set a deadline: it is exact there.
        self.timeout_s = positive("timeout", timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)
        self._started_at: float | None = None  #: wall time of this session's start
        self._now: float | None = None  #: latest wall time of a record since then

    def observe(self, record: Record) -> None:
        """Take the time from the record."""
        at = getattr(record, "at", None)
        if isinstance(record, SessionStarted):
            self._started_at = self._now = at
        elif at is not None and (self._now is None or at > self._now):
            self._now = at

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """To continue: `should_end` ends all trials alike."""
        return CONTINUE

    def should_end(self) -> str | None:
        """Why the experiment should end, or None."""
        if self._started_at is None or self._now is None or self._now - self._started_at < self.timeout_s:
            return None
        return f"the timeout of {self.timeout_s:g} s has passed"
