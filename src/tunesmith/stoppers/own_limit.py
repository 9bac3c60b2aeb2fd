"""Each trial to a limit of its own."""

from __future__ import annotations

from tunesmith.events import CONTINUE, Decision, TrialReported, Verdict
from tunesmith.stoppers.noop import NoopStopper
from tunesmith.trial import Trial


class OwnLimitStopper(NoopStopper):
    """Completes each trial at the `training_iteration` that its searcher wished for (`Suggestion.max_t`)."""

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE from `max_t` on; a trial without one is left alone."""
        if trial.max_t is None or report.step < trial.max_t:
            return CONTINUE
        return Decision(Verdict.COMPLETE, "reached step {max_t:g}, its limit", {"max_t": trial.max_t})
