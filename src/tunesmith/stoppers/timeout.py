"""A limit on the time of the whole experiment."""

from __future__ import annotations

from datetime import timedelta

from tunesmith.events import CONTINUE, Decision, Record, TrialReported
from tunesmith.stoppers.arguments import positive
from tunesmith.trial import Trial


class TimeoutStopper:
    """Ends the experiment when `timeout` has passed since this session (start or resume) began.

    It reads no clock, and the times in records are wall times, which jump (F40): the experiment finds it with
    `tunesmith.stoppers.shortest_timeout_s`, and keeps the deadline on its own clock, to the second.

    Args:
        timeout: seconds, or a timedelta.
    Raises: ConfigError.
    """

    def __init__(self, timeout: float | timedelta) -> None:
        self.timeout_s = positive("timeout", timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)

    def observe(self, record: Record) -> None:
        """Nothing to remember."""

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """To continue: the deadline ends all trials alike."""
        return CONTINUE

    def should_end(self) -> str | None:
        """None: the deadline is the experiment's."""
        return None
