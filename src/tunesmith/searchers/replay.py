"""Foreign searchers that remember, made functions of the history: what they would know had it happened in its order."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from tunesmith.protocols import History
from tunesmith.trial import Trial, TrialStatus

State = TypeVar("State")
_log = logging.getLogger("tunesmith")

#: Trials that may still change, those that a resume goes on with among them.
OPEN = frozenset({TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.PAUSED, TrialStatus.INTERRUPTED})


class Replay(Generic[State]):
    """What a state becomes when the trials of a history are applied to it, each in turn by its number.

    Equal histories give equal states, whatever was asked before: the state after the leading trials that are over is
    kept, and a copy of it is given the others. So each trial is applied once for good, and once more for each request
    for which it, or one before it, is open.
    """

    def __init__(self, start: Callable[[], State], apply: Callable[[State, Trial], None]) -> None:
        """Args: start: makes the first state; apply: changes a state by one trial. Both the same way every time."""
        self._start, self._apply = start, apply
        self._kept: tuple[State, list[Trial]] | None = None  #: a state, and the trials applied to it
        self._can_copy = True

    def after(self, trials: Sequence[Trial]) -> State:
        """The state after these trials; the caller may change it."""
        n_over = next((i for i, trial in enumerate(trials) if trial.status in OPEN), len(trials))
        if self._can_copy:
            kept = self._advanced(trials[:n_over])
            try:
                state = copy.deepcopy(kept)
            except Exception as error:
                self._can_copy, self._kept = False, None
                _log.warning("%s is replayed whole for each request: %s", type(kept).__name__, error)
        if not self._can_copy:
            state, n_over = self._start(), 0
        for trial in trials[n_over:]:
            self._apply(state, trial)
        return state

    def _advanced(self, trials: Sequence[Trial]) -> State:
        """The kept state, with those of the trials applied that were not yet."""
        state, applied = self._kept or (self._start(), [])
        self._kept = None  # until all went well: half a trial must not stay
        if len(applied) > len(trials) or not all(map(_is_same, applied, trials)):
            state, applied = self._start(), []
        for trial in trials[len(applied) :]:
            self._apply(state, trial)
        self._kept = (state, list(trials))
        return state


def is_same_task(one: History, other: History) -> bool:
    """Whether both are histories of the same space, objective and seed."""
    same_space = one.space is other.space or one.space.fingerprint == other.space.fingerprint
    return same_space and one.objective == other.objective and one.seed == other.seed


def _is_same(applied: Trial, now: Trial) -> bool:
    """Whether nothing changed that a searcher is told; checkpoints come and go."""
    return applied is now or (
        applied.status is now.status
        and applied.step == now.step
        and (applied.best_value == now.best_value)
        and (applied.metrics is now.metrics or applied.metrics == now.metrics)
        and (applied.config is now.config or applied.config == now.config)
    )
