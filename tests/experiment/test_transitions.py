"""The table of transitions, pair by pair."""

from __future__ import annotations

import pytest

from tunesmith.errors import TransitionError
from tunesmith.events import ConcludeAttempt, ConfigsSuggested, SessionStarted, StartAttempt, Suggestion
from tunesmith.experiment.invariants import check_invariants
from tunesmith.experiment.state import ExperimentState
from tunesmith.resources import Node
from tunesmith.testing.samples import PLACEMENT, make_spec
from tunesmith.trial import TRANSITIONS, TrialStatus, check_transition

P, R, Z, C, S, F, N, X = TrialStatus
ALLOWED = [(P, t) for t in (R, S, N)] + [(R, t) for t in (P, Z, C, S, F, N, X)]
ALLOWED += [(Z, t) for t in (P, R, C, S, N)] + [(N, P), (F, P), (X, P)]


def state_in(status: TrialStatus) -> ExperimentState:
    """One trial in this state, brought there by records only."""
    state = ExperimentState(make_spec(), None)
    state.apply(SessionStarted(1, 0.0, (Node("here", 4.0),)))
    state.apply(ConfigsSuggested(1, (Suggestion({}),)))
    if status is not P:
        move(state, R)
    if status not in (P, R):
        move(state, status)
    return state


def move(state: ExperimentState, target: TrialStatus) -> None:
    if target is R:
        state.apply(StartAttempt(0, state.trials[0].attempt + 1, PLACEMENT))
    else:
        state.apply(ConcludeAttempt(0, state.trials[0].attempt, target, "why"))


def test_the_table_is_the_one_written_here():
    assert {(a, b) for a, targets in TRANSITIONS.items() for b in targets} == set(ALLOWED)


@pytest.mark.parametrize(("source", "target"), ALLOWED)
def test_an_allowed_change_is_made_and_the_invariants_hold(source, target):
    state = state_in(source)
    move(state, target)
    assert state.trials[0].status is target
    check_invariants(state)


FORBIDDEN = [(a, b) for a in TrialStatus for b in TrialStatus if a is not b and (a, b) not in ALLOWED]


@pytest.mark.parametrize(("source", "target"), FORBIDDEN)
def test_a_forbidden_change_is_refused_in_the_fold(source, target):
    state = state_in(source)
    with pytest.raises(TransitionError, match=f"Trial 0 cannot go from {source.value} to {target.value}"):
        move(state, target)
    assert state.trials[0].status is source


def test_the_refusal_tells_the_trials_history():
    state = state_in(C)
    with pytest.raises(TransitionError, match=r"attempt 1, step 0, 0 failures, reason: why"):
        check_transition(state.trials[0], R)


def test_a_trial_that_has_begun_goes_before_one_that_has_not():
    state = ExperimentState(make_spec(), None)
    state.apply(SessionStarted(1, 0.0, (Node("here", 4.0),)))
    state.apply(ConfigsSuggested(1, tuple(Suggestion({}) for _ in range(4))))
    state.apply(StartAttempt(0, 1, PLACEMENT))
    state.apply(StartAttempt(1, 1, PLACEMENT))
    state.apply(ConcludeAttempt(0, 1, P))
    assert list(state.pending) == [0, 2, 3]
