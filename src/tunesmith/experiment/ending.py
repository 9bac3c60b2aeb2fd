"""Why an experiment ends: budgets, failures that are all alike, stoppers, or that nothing is left to do."""

from __future__ import annotations

from typing import NamedTuple

from tunesmith.events import EndReason
from tunesmith.experiment.state import ExperimentState
from tunesmith.protocols import Stopper


class Ending(NamedTuple):
    """Why, and more of it in words."""

    why: EndReason
    detail: str | None = None


def due_ending(state: ExperimentState, stopper: Stopper, *, elapsed_s: float, time_limit_s: float) -> Ending | None:
    """The end that has come, whatever still runs; None if none has. Args: elapsed_s: since the session's start."""
    spec = state.spec
    if elapsed_s >= time_limit_s:
        return Ending(EndReason.TIME_BUDGET, f"the time budget of {time_limit_s:g} s is used up")
    if spec.max_total_steps is not None and state.n_steps >= spec.max_total_steps:
        return Ending(EndReason.STEP_BUDGET, f"{state.n_steps} of {spec.max_total_steps} steps are reported")
    if state.has_tripped and not state.running:
        line, n_alike = state.failures.alike()
        return Ending(EndReason.FAILED, f"the first {n_alike} trials failed alike before any report: {line}")
    try:
        why = stopper.should_end()
    except Exception as error:  # often user code; a rule that cannot be asked must not lose the run
        return Ending(EndReason.FAILED, f"{type(error).__name__} in the stop rule: {error}")
    return None if why is None else Ending(EndReason.STOPPER, why)


def waits_for_room(state: ExperimentState, *, n_startable: float) -> bool:
    """Whether there is something to start, or to ask for, and no node that has room for it."""
    is_open = bool(state.paused) or min(len(state.pending), state.n_begun + n_startable) > 0
    is_wanted = n_startable > 0 and not (state.is_exhausted or state.is_waiting)
    return (is_open or is_wanted) and state.pool.n_fitting(state.spec.resources) == 0


def ending_of_idleness(state: ExperimentState, *, n_startable: float, begins_trials: bool) -> Ending:
    """Why an experiment ends in which nothing runs and nothing is asked for or waited for.

    Args: n_startable: how many trials may still have their first attempt; begins_trials: whether any may.
    """
    spec = state.spec
    if state.paused or min(len(state.pending), state.n_begun + n_startable) > 0:
        n_left = f"{len(state.pending)} pending and {len(state.paused)} paused trials"
        if state.pool.n_fitting(spec.resources) == 0:
            return Ending(EndReason.FAILED, f"no node is left for {n_left}: each asks for {spec.resources.words()}")
        return Ending(EndReason.FAILED, f"nothing runs, and the scheduler holds every slot with {n_left}")
    if spec.n_trials is not None and state.n_ever_begun >= spec.n_trials:
        return Ending(EndReason.FINISHED)
    if not begins_trials:
        return Ending(EndReason.INTERRUPTED, "no new trial was to begin in this session")
    if state.sampling_error is not None:
        return Ending(EndReason.FAILED, state.sampling_error)
    if state.is_exhausted:
        note = f": {state.exhausted_note}" if state.exhausted_note else ""
        n_trials = len(state.trials)
        return Ending(EndReason.EXHAUSTED, f"the searcher has no further config after {n_trials} trials{note}")
    what = "the searcher waits for news" if state.is_waiting else "no node can hold a trial"
    return Ending(EndReason.FAILED, f"nothing runs, and {what}")
