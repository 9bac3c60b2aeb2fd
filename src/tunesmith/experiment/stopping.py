"""Which attempts are told to stop when the experiment ends, or somebody asks for its end, and how gently."""

from __future__ import annotations

from tunesmith.events import EndReason, InterruptRequested, StopAttempt
from tunesmith.experiment.conclusion import status_at_end
from tunesmith.experiment.state import ExperimentState
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import TrialStatus

_TERMINATION_GRACE_S = 20.0  #: after SIGTERM Slurm and Kubernetes wait for 30 s before they kill (F36)


def grace_of(spec: ExperimentSpec, event: InterruptRequested) -> float | None:
    """How long attempts that this interrupt ends may take, in seconds; None: as long as any that is told to stop."""
    return min(spec.grace_s, _TERMINATION_GRACE_S) if _is_termination(event) else None


def stops_at_end(
    state: ExperimentState, why: EndReason, detail: str | None, *, grace_s: float | None
) -> list[StopAttempt]:
    """To all that run, but for those that were answered already: they end as they were told."""
    reason = detail if why is not EndReason.INTERRUPTED and detail else why.value
    status = status_at_end(why)
    indices = [index for index in sorted(state.running) if index not in state.answered]
    return [StopAttempt(index, state.trials[index].attempt, reason, status, grace_s=grace_s) for index in indices]


def stops_at_interrupt(
    state: ExperimentState, event: InterruptRequested, *, was_ending: bool, grace_s: float | None
) -> list[StopAttempt]:
    """Further ones, after those of the end: where it cannot wait for what was told to end before.

    Args: was_ending: before this interrupt, which else began the end.
    """
    assert state.ending is not None
    is_immediate = event.level >= 2
    if not is_immediate and not _is_termination(event):
        return []
    # What was told to end before may be on a longer ladder.
    status = status_at_end(state.ending.why)
    indices = sorted(state.running if is_immediate or was_ending else state.answered)
    return [
        StopAttempt(index, state.trials[index].attempt, event.source, status, is_immediate, grace_s)
        for index in indices
    ]


def stop_of_silent(state: ExperimentState, index: int, reason: str) -> StopAttempt | None:
    """To an attempt that has said nothing for too long, which counts as a failure; None if it was told to end."""
    if index in state.answered or index in state.stopping:
        return None
    return StopAttempt(index, state.trials[index].attempt, reason, TrialStatus.FAILED)


def _is_termination(event: InterruptRequested) -> bool:
    return event.source in ("SIGTERM", "SIGHUP")
