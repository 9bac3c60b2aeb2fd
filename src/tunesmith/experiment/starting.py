"""What a free slot is for, what the attempt that gets it starts from, and what that is given to run on."""

from __future__ import annotations

import math
from itertools import islice
from typing import NamedTuple

from tunesmith.errors import TransitionError
from tunesmith.events import Clone, StartAttempt, StopPaused, Thaw
from tunesmith.experiment.cloning import Promise, lent_checkpoint
from tunesmith.experiment.paused import TrialsAt
from tunesmith.experiment.state import ExperimentState
from tunesmith.protocols import Hold, Scheduler, StartNew
from tunesmith.resources import Placement, Resources


class Start(NamedTuple):
    """The trial that gets a slot, and what the scheduler said about it."""

    trial: int
    resources: Resources | None = None  #: what it is to hold; None: what it held before
    clone: Clone | None = None


def next_use(
    state: ExperimentState, scheduler: Scheduler, *, now: float, n_startable: float, is_in_vain: bool
) -> Start | StopPaused | None:
    """What a free slot is for; None if nothing may have it now. After a StopPaused, which frees none, ask again.

    Trials that lost theirs to a failure go on without the scheduler being asked; so do those that the searcher thaws.

    Args:
        n_startable: how many trials may still have their first attempt.
        is_in_vain: what `waits_in_vain` says; then a wish for a new trial means what the scheduler would do otherwise.
    Raises: TransitionError if the scheduler names a trial that is not paused.
    """
    for index in islice(state.pending, state.n_begun):
        if state.not_before.get(index, -math.inf) <= now:
            return Start(index)
    if state.thaws:
        return Start(state.thaws[0])
    action = scheduler.choose_next(TrialsAt(state.trials, state.paused))
    if isinstance(action, StartNew):
        new = next(islice(state.pending, state.n_begun, None), None) if n_startable > 0 else None
        if new is not None:
            return Start(new, action.resources)
        if not state.paused or not is_in_vain:
            return None
        action = action.otherwise or Thaw(state.paused[0], "no new trial will come")
    if isinstance(action, Hold):
        return None
    _check_paused(state, action.trial)
    return action if isinstance(action, StopPaused) else Start(action.trial, action.resources, action.clone)


def _check_paused(state: ExperimentState, index: int) -> None:
    if index not in state.paused:
        paused = ", ".join(map(str, sorted(state.paused))) or "none"
        raise TransitionError(f"The scheduler named trial {index} as a paused one; paused are {paused}.")


def start_attempt(state: ExperimentState, start: Start, *, default: Placement) -> StartAttempt:
    """The command that starts the trial: as a clone where it was told so, else from its newest checkpoint.

    A clone whose donor does not keep the checkpoint any more goes on as it was (F86).

    Args: default: a free place for what the experiment gives each trial.
    """
    trial = state.trials[start.trial]
    promise = state.borrowing.promises.get(trial.index)
    if start.clone is not None:
        lent = lent_checkpoint(state.trials, start.clone)
        promise = None if lent is None else Promise(start.clone, lent)
    saved = trial.checkpoint if promise is None else promise.lent
    return StartAttempt(
        trial=trial.index,
        attempt=trial.attempt + 1,
        placement=_place(state, start) or default,
        config=trial.config if promise is None else promise.clone.config,
        checkpoint=saved.path if saved else None,
        start_step=saved.step if saved else 0,
        start_time_s=saved.time_total_s if saved else 0.0,
        donor=None if promise is None else promise.clone.donor,
    )


def _place(state: ExperimentState, start: Start) -> Placement | None:
    """Where what the trial is to hold, or else what it held, is free now: it is not waited for."""
    for request in (start.resources, state.resources.get(start.trial)):
        placement = None if request is None else state.pool.place(request)
        if placement is not None:
            return placement
    return None


def n_startable(state: ExperimentState) -> float:
    """How many trials may still have their first attempt: none of those that are more than is asked for now."""
    n_trials = state.spec.n_trials
    return math.inf if n_trials is None else max(0, n_trials - state.n_ever_begun)


def waits_in_vain(state: ExperimentState, *, now: float, n_startable: float, asks_for_thaws: bool) -> bool:
    """Whether a scheduler that wants a new trial can have none, now or later, and nothing runs meanwhile.

    Args:
        n_startable: how many trials may still have their first attempt.
        asks_for_thaws: whether it is the searcher that says which paused trials go on: it is asked first.
    """
    if state.running or state.requests or any(at > now for at in state.not_before.values()):
        return False
    if asks_for_thaws and not (state.is_exhausted or state.is_waiting):
        return False
    is_enough = state.spec.n_trials is not None and len(state.trials) >= state.spec.n_trials
    return n_startable == 0 or is_enough or state.is_exhausted or state.is_waiting
