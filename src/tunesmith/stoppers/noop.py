"""The stopper that never stops anything."""

from __future__ import annotations

from tunesmith.events import CONTINUE, Decision, Record, TrialReported
from tunesmith.trial import Trial


class NoopStopper:
    """Never stops anything; the base of stoppers that do only one of the two."""

    def observe(self, record: Record) -> None:
        """Nothing is remembered."""

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """Always to continue."""
        return CONTINUE

    def should_end(self) -> str | None:
        """Never."""
        return None
