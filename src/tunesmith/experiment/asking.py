"""When the searcher is asked, for how many configs, and when random search is asked in its place."""

from __future__ import annotations

import math

from tunesmith.events import Suggest
from tunesmith.experiment.pace import Pace
from tunesmith.experiment.state import ExperimentState


class ConfigRequests:
    """Decides on the state alone, but for how long a slot has stood idle: that is of the driver's own session."""

    def __init__(self, n_ahead: int | None, *, thaws: bool = False) -> None:
        """Args:
        n_ahead: how many configs to hold ready beyond the free slots; None: as many as pay by `Pace`.
        thaws: whether the searcher also says which paused trials go on.
        """
        self._n_ahead, self._thaws = n_ahead, thaws
        #: Since when a slot has waited for an answer of the searcher that is still open; None if none does.
        self._idle_since: float | None = None
        self.deadline = math.inf  #: when the slot will have waited for too long
        self._unpausable: set[int] = set()  #: running trials that were to be paused, since the last request

    def note_unpausable(self, trial: int) -> None:
        """A trial was to be paused, and its report has no checkpoint: a searcher that thaws says whether it goes on."""
        if self._thaws:
            self._unpausable.add(trial)

    def due(self, state: ExperimentState, now: float) -> Suggest | None:
        """What is to be asked now. To be called in each pass, after the slots were filled.

        One request at a time: a second one would be answered from a history without the first one's trials.
        """
        idle_since = self._idle_since
        self._wait_from(None, state)
        n_left = math.inf if state.spec.n_trials is None else state.spec.n_trials - len(state.trials)
        if self._thaws:
            n_left += len(state.paused) - len(state.thaws)
        self._unpausable &= state.running
        if n_left <= 0 and not self._unpausable:  # as in most passes; no request is open then
            return None
        free = state.pool.n_fitting(state.spec.resources)
        if state.spec.max_concurrent_trials is not None:
            free = min(free, state.spec.max_concurrent_trials - len(state.running))
        ready = len(state.pending) + len(state.thaws) - sum(at > now for at in state.not_before.values())
        n_idle = int(min(free - ready, n_left))
        request = next(iter(state.requests.values()), None)
        if request is None:
            n_ahead = self._n_wanted_ahead(n_idle, n_slots=free + len(state.running), pace=state.pace)
            n = int(min(free + n_ahead - ready, n_left))
            suggest = self._further(state, n, n_idle=n_idle, now=now)
            if suggest is None and self._unpausable:
                suggest = Suggest(state.n_requests + 1, 0)
            if suggest is not None:
                self._unpausable.clear()
            return suggest
        if n_idle < 1 or request.instead_of is not None:
            return None
        self._wait_from(now if idle_since is None else idle_since, state)
        return self._instead_of(request, state, n_idle) if now >= self.deadline else None

    def _n_wanted_ahead(self, n_idle: int, *, n_slots: int, pace: Pace) -> int:
        if self._n_ahead is not None:
            return self._n_ahead
        # Idle slots first: each further config of an answer makes them wait longer.
        return pace.n_ahead(n_slots) if n_idle < 1 else 0

    def _further(self, state: ExperimentState, n: int, *, n_idle: int, now: float) -> Suggest | None:
        """The next request to the searcher, for so many configs where any are missing."""
        if state.is_exhausted or state.is_waiting or n < 1:
            return None
        # Ahead of need, ask in batches where results change nothing: a request costs more than a sample.
        if n_idle < 1 and self._n_ahead is not None and n <= self._n_ahead // 2:
            return None
        if n_idle >= 1:
            self._wait_from(now, state)
        return Suggest(state.n_requests + 1, n)

    def _instead_of(self, request: Suggest, state: ExperimentState, n_idle: int) -> Suggest:
        """The request to random search, for the slots that have waited too long for the answer to this one (F84)."""
        self._wait_from(None, state)
        reason = f"no answer to request {request.request}, and a slot has stood idle for {state.pace.patience_s:.0f} s"
        return Suggest(state.n_requests + 1, n_idle, instead_of=request.request, reason=reason)

    def _wait_from(self, idle_since: float | None, state: ExperimentState) -> None:
        self._idle_since = idle_since
        self.deadline = math.inf if idle_since is None else idle_since + state.pace.patience_s
