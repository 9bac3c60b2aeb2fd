"""What must hold of an experiment's state between any two passes: the sentences beside its attributes, asserted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from tunesmith.experiment.cloning import own_checkpoints
from tunesmith.resources import Placement
from tunesmith.trial import Trial, TrialStatus, mean_over_folds

if TYPE_CHECKING:
    from tunesmith.experiment.state import ExperimentState


def check_invariants(state: ExperimentState) -> None:
    """Raise AssertionError naming the first sentence that does not hold."""
    _check_groups(state)
    assert len(state.requests) <= 1, "more than one request is open"
    assert not state.ended, "an attempt ended without a conclusion"
    assert not (state.failures.has_success and state.failures.at_start), "start failures after a success"
    limit = state.spec.max_concurrent_trials
    assert limit is None or len(state.running) <= limit, "more trials run than may"
    for index, trial in enumerate(state.trials):
        assert trial.index == index
        assert (trial.placement is not None) == (trial.status is TrialStatus.RUNNING), trial
        own = own_checkpoints(trial)
        assert all(a.step < b.step for a, b in pairwise(own)), trial
        assert trial.checkpoints[: len(own)] == own and len(trial.checkpoints) - len(own) <= 1, trial
        assert all(saved.step <= trial.step for saved in trial.checkpoints), trial
        assert all(a.fold < b.fold for a, b in pairwise(trial.folds)), trial
        assert all(score.step <= trial.step for score in trial.folds), trial
        assert not trial.folds or trial.best_value == mean_over_folds([score.value for score in trial.folds]), trial
    held: Sequence[Placement] = [t.placement for t in state.trials if t.placement is not None]
    state.pool.check_invariants(held)


def _check_groups(state: ExperimentState) -> None:
    by_status = {status: {t.index for t in state.trials if t.status is status} for status in TrialStatus}
    is_open = by_status[TrialStatus.PENDING] | by_status[TrialStatus.RUNNING] | by_status[TrialStatus.PAUSED]
    assert state.running == by_status[TrialStatus.RUNNING], "running"
    assert set(state.pending) == by_status[TrialStatus.PENDING], "pending"
    assert len(state.pending) == len(set(state.pending)), "a trial is queued twice"
    begun = [state.trials[index].attempt > 0 for index in state.pending]
    assert begun == sorted(begun, reverse=True), "a trial that has not begun is queued before one that has"
    assert set(state.paused) == by_status[TrialStatus.PAUSED], "paused"
    assert set(state.not_before) <= set(state.pending), "not_before"
    assert set(state.answered) <= state.running, "answered"
    assert set(state.stopping) <= state.running, "stopping"
    assert set(state.in_use) <= state.running, "in_use"
    may_start = by_status[TrialStatus.PENDING] | by_status[TrialStatus.INTERRUPTED]
    loans = state.borrowing.loans
    assert set(state.borrowing.promises) - may_start <= set(state.answered), "promises"
    borrowers = {t.index: (t.checkpoints[-1].donor, t.checkpoints[-1].path) for t in state.trials if _borrows(t)}
    assert borrowers.items() <= loans.items(), "a borrowed checkpoint without a loan"
    assert set(loans) - set(borrowers) <= state.running, "a loan that nobody needs"
    assert set(state.failures.losses) <= is_open, "losses"
    assert set(state.pace.open_s) <= is_open | by_status[TrialStatus.INTERRUPTED], "pace.open_s"
    assert state.n_ever_begun == sum(trial.attempt > 0 for trial in state.trials), "n_ever_begun"
    assert all(n <= state.trials[index].n_failures for index, n in state.failures.n_crashes.items()), "n_crashes"
    assert not set(state.answered) & set(state.stopping), "answered and stopping"


def _borrows(trial: Trial) -> bool:
    return trial.checkpoint is not None and trial.checkpoint.donor is not None
