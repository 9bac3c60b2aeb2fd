"""What state a trial takes when its attempt has ended, and whether the experiment ends with it."""

from __future__ import annotations

from typing import NamedTuple

from tunesmith.events import AttemptEnded, Verdict
from tunesmith.experiment.state import ExperimentState, last_line
from tunesmith.trial import AttemptOutcome, Trial, TrialStatus

_MAX_LOSSES = 3  #: losses of one trial without a step in between, before it counts as failed
_BACKOFF_S = 0.5  #: wait before the first retry; doubled for each further one
_MAX_BACKOFF_S = 30.0

_STATUS_AFTER = {
    Verdict.STOP: TrialStatus.STOPPED,
    Verdict.COMPLETE: TrialStatus.COMPLETED,
    Verdict.PAUSE: TrialStatus.PAUSED,
    Verdict.CLONE: TrialStatus.PENDING,
}


class Conclusion(NamedTuple):
    """The trial's next state."""

    status: TrialStatus
    reason: str | None = None
    not_before: float | None = None
    ends_experiment: str | None = None  #: why nothing more is started, if so


def conclude(state: ExperimentState, event: AttemptEnded, now: float) -> Conclusion:
    """Where the trial stands after this attempt. The event has been applied."""
    trial = state.trials[event.trial]
    answered, stop = state.answered.get(event.trial), state.stopping.get(event.trial)
    if answered is not None:
        # A report that was told to stop by a budget carries that stop's state.
        status = _STATUS_AFTER[answered.verdict]
        if trial.stop_asked is not None and answered.verdict is Verdict.STOP:
            status = _status_asked(state, trial)
        return Conclusion(status, answered.words())
    if event.outcome is AttemptOutcome.RETURNED:
        return Conclusion(TrialStatus.COMPLETED, "returned" if trial.n_reports else "returned without any report")
    if stop is not None:
        return Conclusion(stop.status_after, stop.reason)
    if event.outcome is AttemptOutcome.INVALID:
        return Conclusion(TrialStatus.INVALID, last_line(event.error or "the trainable refused the config"))
    if event.outcome in (AttemptOutcome.LOST, AttemptOutcome.PREEMPTED):
        return _after_loss(trial, event)
    return _after_failure(state, trial, event, now)


def _status_asked(state: ExperimentState, trial: Trial) -> TrialStatus:
    ending = state.ending
    return TrialStatus.INTERRUPTED if ending is not None and ending.why.is_resumable else TrialStatus.STOPPED


def _after_loss(trial: Trial, event: AttemptEnded) -> Conclusion:
    what = event.error or "its process vanished"
    if trial.n_losses > _MAX_LOSSES:
        return Conclusion(TrialStatus.FAILED, f"lost {trial.n_losses} times: {last_line(what)}")
    return Conclusion(TrialStatus.PENDING, f"lost: {last_line(what)}")


def _after_failure(state: ExperimentState, trial: Trial, event: AttemptEnded, now: float) -> Conclusion:
    spec = state.spec
    line = last_line(event.error or event.outcome.value)
    n_allowed = spec.max_failures
    if event.outcome is AttemptOutcome.SIGNALLED and n_allowed > 1:
        n_allowed = 1  # a crash of the interpreter repeats with an equal config
    if n_allowed < 0 or trial.n_failures <= n_allowed:
        backoff_s = min(_BACKOFF_S * 2 ** (trial.n_failures - 1), _MAX_BACKOFF_S)
        return Conclusion(TrialStatus.PENDING, f"retry after failure {trial.n_failures}: {line}", now + backoff_s)
    why: str | None = None
    if spec.fail_fast:
        why = f"trial {trial.index} failed and fail_fast is set: {line}"
    elif state.start_failures.get(line, 0) >= spec.n_alike_failures:
        why = f"the first {state.start_failures[line]} trials failed alike before any report: {line}"
    return Conclusion(TrialStatus.FAILED, line, ends_experiment=why)
