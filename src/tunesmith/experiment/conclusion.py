"""What state a trial takes when its attempt has ended, and whether the experiment ends with it."""

from __future__ import annotations

from typing import NamedTuple

from tunesmith.events import AttemptEnded, EndReason, QuarantineNode
from tunesmith.experiment.state import ExperimentState
from tunesmith.experiment.values import last_line
from tunesmith.trial import AttemptOutcome, Trial, TrialStatus

_MAX_LOSSES = 3  #: losses of one trial without a step in between, before it counts as failed
_MAX_CRASHES = 1  #: further attempts after a death by a signal, where failures may be tried again at all
_MAX_STRIKES = 3  #: failures that are put down to one node, before nothing more is started there
_BACKOFF_S = 0.5  #: wait before the first retry; doubled for each further one
_MAX_BACKOFF_S = 30.0


def status_at_end(why: EndReason) -> TrialStatus:
    """How this end leaves trials that run: STOPPED by a stopper, else INTERRUPTED, to go on at a resume.

    A budget is no judgement of the trial: with a further one it goes on.
    """
    return TrialStatus.INTERRUPTED if why.is_resumable else TrialStatus.STOPPED


class Conclusion(NamedTuple):
    """The trial's next state."""

    status: TrialStatus
    reason: str | None = None
    not_before: float | None = None
    ends_experiment: str | None = None  #: why nothing more is started, if so


def conclude(state: ExperimentState, event: AttemptEnded, now: float) -> Conclusion:
    """Where the trial stands after this attempt. The event has been applied."""
    trial = state.trials[event.trial]
    if trial.index in state.failures.struck:
        return _after_strike(state, trial, event, now)
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
    if event.outcome is AttemptOutcome.NO_CHECKPOINT:
        return Conclusion(TrialStatus.PENDING, event.error)
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
    losses = state.failures.losses
    n_lost = losses[trial.index].n if trial.index in losses else 0
    if n_lost > _MAX_LOSSES:
        line = f"lost {n_lost} times without coming further: {what}"
        return Conclusion(TrialStatus.FAILED, line, ends_experiment=_fail_fast_words(state, trial, line))
    not_before = now + _backoff_s(n_lost - 1) if n_lost > 1 else None  # F45: a machine without room needs time
    return Conclusion(TrialStatus.PENDING, f"lost: {what}", not_before)


def due_quarantine(state: ExperimentState, node: str) -> QuarantineNode | None:
    """What puts the node aside, once attempts that are put down to it have failed there so often (F88); else None."""
    n_strikes = state.failures.strikes.get(node, 0)
    if n_strikes < _MAX_STRIKES or node in state.pool.quarantined:
        return None
    return QuarantineNode(node, f"{n_strikes} attempts failed there, and none has reported")


def _after_strike(state: ExperimentState, trial: Trial, event: AttemptEnded, now: float) -> Conclusion:
    assert trial.placement is not None
    node = trial.placement.node
    line = last_line(state.error_of(event) or event.outcome.value)
    not_before = now + _backoff_s(state.failures.strikes[node])
    return Conclusion(TrialStatus.PENDING, f"put down to node {node}, where nothing has reported: {line}", not_before)


def _after_failure(state: ExperimentState, trial: Trial, event: AttemptEnded, now: float) -> Conclusion:
    spec = state.spec
    line = last_line(state.error_of(event) or event.outcome.value)
    n_failures, n_crashes = state.failures.n_that_count(trial), state.failures.n_crashes.get(trial.index, 0)
    is_allowed = spec.max_failures < 0 or n_failures <= spec.max_failures
    # A crash of the interpreter repeats with an equal config (F16).
    is_crash_again = event.outcome is AttemptOutcome.SIGNALLED and n_crashes > _MAX_CRASHES
    if is_allowed and not is_crash_again:
        not_before = now + _backoff_s(n_failures)
        return Conclusion(TrialStatus.PENDING, f"retry after failure {trial.n_failures}: {line}", not_before)
    reason = f"crashed twice, and is not tried again: {line}" if is_allowed else line
    return Conclusion(TrialStatus.FAILED, reason, ends_experiment=_fail_fast_words(state, trial, line))


def _fail_fast_words(state: ExperimentState, trial: Trial, line: str) -> str | None:
    return f"trial {trial.index} failed and fail_fast is set: {line}" if state.spec.fail_fast else None


def _backoff_s(n: int) -> float:
    """The wait before the n-th further try, from 1."""
    return float(min(_BACKOFF_S * 2 ** min(n - 1, 16), _MAX_BACKOFF_S))
