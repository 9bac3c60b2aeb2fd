"""An iteration limit."""

from __future__ import annotations

from tunesmith.events import CONTINUE, Decision, TrialReported, Verdict
from tunesmith.stoppers.arguments import whole
from tunesmith.stoppers.noop import NoopStopper
from tunesmith.trial import Trial


class MaximumIterationStopper(NoopStopper):
    """Completes each trial at `training_iteration` `max_iter`.

    Ray Tune counts the results it received instead: the two differ for a trial that skips steps or repeats some after
    a restart.
    """

    def __init__(self, max_iter: int) -> None:
        self._max_iter = whole("max_iter", max_iter, at_least=1)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE from `max_iter` on."""
        if report.step < self._max_iter:
            return CONTINUE
        return Decision(Verdict.COMPLETE, "reached {max_iter} iterations", {"max_iter": self._max_iter})
