"""What state a trial takes when its attempt has ended, and whether the experiment ends with it."""

from __future__ import annotations

from typing import NamedTuple

from tunesmith.events import AttemptEnded, EndReason
from tunesmith.experiment.state import ExperimentState
from tunesmith.experiment.values import last_line
from tunesmith.trial import AttemptOutcome, Trial, TrialStatus

_MAX_LOSSES = 3  #: losses of one trial without a step in between, before it counts as failed
_BACKOFF_S = 0.5  #: wait before the first retry; doubled for each further one
_MAX_BACKOFF_S = 30.0

#: How an end leaves the trials that it interrupts.
_STATUS_AT_END = {
    EndReason.TIME_BUDGET: TrialStatus.STOPPED,
    EndReason.STEP_BUDGET: TrialStatus.STOPPED,
    EndReason.STOPPER: TrialStatus.STOPPED,
}


def status_at_end(why: EndReason) -> TrialStatus:
    """How this end leaves trials that run: STOPPED by a budget, else INTERRUPTED, to go on at a resume."""
    return _STATUS_AT_END.get(why, TrialStatus.INTERRUPTED)


class Conclusion(NamedTuple):
    """The trial's next state."""

    status: TrialStatus
    reason: str | None = None
    not_before: float | None = None
    ends_experiment: str | None = None  #: why nothing more is started, if so


def conclude(state: ExperimentState, event: AttemptEnded, now: float) -> Conclusion:
    """Where the trial stands after this attempt. The event has been applied."""
    trial = state.trials[event.trial]
    if state.is_given_up(event):
        return _after_failure(state, trial, event, now)
    if trial.index in state.answered:
        return conclude_as_told(state, trial)
    if event.outcome is AttemptOutcome.RETURNED:
        return Conclusion(TrialStatus.COMPLETED, "returned" if trial.n_reports else "returned without any report")
    if trial.index in state.stopping:
        return conclude_as_told(state, trial)
    if event.outcome is AttemptOutcome.INVALID:
        return Conclusion(TrialStatus.INVALID, last_line(event.error or "the trainable refused the config"))
    if event.outcome in (AttemptOutcome.LOST, AttemptOutcome.PREEMPTED):
        return _after_loss(state, trial, event, now)
    if event.outcome is AttemptOutcome.STOPPED:  # killed by somebody who is not us, and did not say so
        return _after_loss(state, trial, event, now)
    return _after_failure(state, trial, event, now)


def conclude_as_told(state: ExperimentState, trial: Trial) -> Conclusion:
    """Where the trial stands after an attempt that was told to end. What ends by a budget is not paused or queued."""
    told = state.answered.get(trial.index)
    if told is None:
        stop = state.stopping[trial.index]
        return Conclusion(stop.status_after, stop.reason)
    if state.ending is not None and not told.status.is_over:
        status = status_at_end(state.ending.why)
        if not (told.status is TrialStatus.PAUSED and status is TrialStatus.INTERRUPTED):
            return Conclusion(status, state.ending.detail or state.ending.why.value)
    return Conclusion(told.status, told.decision.words())


def _after_loss(state: ExperimentState, trial: Trial, event: AttemptEnded, now: float) -> Conclusion:
    what = last_line(event.error or "its process vanished")
    n_lost = state.n_lost_in_a_row.get(trial.index, 0)
    if n_lost > _MAX_LOSSES:
        return Conclusion(TrialStatus.FAILED, f"lost {n_lost} times in a row: {what}")
    not_before = now + _backoff_s(n_lost - 1) if n_lost > 1 else None  # F45: a machine without room needs time
    return Conclusion(TrialStatus.PENDING, f"lost: {what}", not_before)


def _after_failure(state: ExperimentState, trial: Trial, event: AttemptEnded, now: float) -> Conclusion:
    spec = state.spec
    line = last_line(state.error_of(event) or event.outcome.value)
    n_allowed = spec.max_failures
    if event.outcome is AttemptOutcome.SIGNALLED and n_allowed != 0:
        n_allowed = 1  # a crash of the interpreter repeats with an equal config (F16)
    n_failures = trial.n_failures - state.forgiven.get(trial.index, 0)
    if n_allowed < 0 or n_failures <= n_allowed:
        not_before = now + _backoff_s(n_failures)
        return Conclusion(TrialStatus.PENDING, f"retry after failure {trial.n_failures}: {line}", not_before)
    why: str | None = None
    n_alike = len(state.start_failures.get(line, ()))
    if spec.fail_fast:
        why = f"trial {trial.index} failed and fail_fast is set: {line}"
    elif n_alike >= spec.n_alike_failures:
        why = f"the first {n_alike} trials failed alike before any report: {line}"
    return Conclusion(TrialStatus.FAILED, line, ends_experiment=why)


def _backoff_s(n: int) -> float:
    """The wait before the n-th further try, from 1."""
    return float(min(_BACKOFF_S * 2 ** min(n - 1, 16), _MAX_BACKOFF_S))
