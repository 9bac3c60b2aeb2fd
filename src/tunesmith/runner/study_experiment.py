"""An experiment whose trials are trained by others: a slot is free only while somebody asks for a trial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from tunesmith.events import Event, Record
from tunesmith.experiment import Experiment
from tunesmith.experiment.ending import ending_of_idleness
from tunesmith.protocols import Scheduler, Stopper
from tunesmith.resources import Node
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec

#: Where trials of a study are: whoever asks for them has the room.
STUDY_NODE = Node(name="study", cpu=2.0**31)


class StudyExperiment(Experiment):
    """Starts one trial for each ask and none otherwise, so that each config is proposed from the newest results.

    It has no session to lose: a process that goes on with the log goes on with the trials that others train. Having
    nothing to do is no end of it, as somebody may ask again.
    """

    def __init__(
        self,
        spec: ExperimentSpec,
        *,
        space: Space,
        scheduler: Scheduler,
        stopper: Stopper,
        curves_by: str | None = None,
    ) -> None:
        """Args: curves_by: of the searcher, see Searcher."""
        super().__init__(
            spec,
            space=space,
            objective=spec.objective,
            scheduler=scheduler,
            stopper=stopper,
            begins_trials=False,
            curves_by=curves_by,
        )

    def replay(self, records: Iterable[Record]) -> None:
        """Fold a log. What was true of the process before only is forgotten: what its searcher had."""
        super().replay(records)
        self.state.is_exhausted, self.state.waits_since = False, None

    def handle_ask(self, events: Sequence[Event], now: float) -> list[Record]:
        """As `handle`, for an ask that waits: starts one trial, or asks for a config where none is ready."""
        self._begins_trials = True
        try:
            return self.handle(events, now)
        finally:
            self._begins_trials = False

    def _fill_slots(self, now: float) -> None:
        if self._begins_trials:
            # One slot more than is taken after the events of this pass, for the searcher's requests too.
            limit = len(self.state.running) + 1
            self.state.not_before.clear()  # whoever asks has room: no machine needs time to recover
            self.spec = self.state.spec = replace(self.spec, max_concurrent_trials=limit)
            super()._fill_slots(now)

    def _finish_if_nothing_is_left(self, now: float) -> None:
        state, n_trials = self.state, self.spec.n_trials
        if state.running or state.requests or state.pending or state.paused:
            return
        if state.is_exhausted or (n_trials is not None and state.n_ever_begun >= n_trials):
            self._end(*ending_of_idleness(state, n_startable=0, begins_trials=True))
