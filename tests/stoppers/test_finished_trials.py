"""Stoppers that end the experiment when more trials are unlikely to pay."""

import math

import numpy as np
import pytest

from tunesmith.errors import ConfigError
from tunesmith.events import AnswerReport, ConcludeAttempt, Decision, EndReason, StartAttempt
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.space import uniform
from tunesmith.stoppers import (
    CombinedStopper,
    ExpectedImprovementPerHour,
    NoImprovement,
    NoopStopper,
    TimeoutStopper,
    bind_stopper,
)
from tunesmith.stoppers.finished_trials import expected_improvement
from tunesmith.testing import simulate
from tunesmith.testing.samples import LOSS, PLACEMENT
from tunesmith.trial import Mode, Objective, TrialStatus

from .drive import hand_over, make_report

ACCURACY = Objective(("acc",), (Mode.MAX,))


def finish(stopper, trial, values, *, status=TrialStatus.COMPLETED, seconds=0.0, metric="loss"):
    """A trial with these values after so many seconds of training; what the stopper says then."""
    stopper.observe(StartAttempt(trial, 1, PLACEMENT))
    for step, value in enumerate(values, start=1):
        report = make_report(trial, step, time_total_s=seconds * step / len(values), **{metric: value})
        assert hand_over(stopper, report) == Decision()
        stopper.observe(AnswerReport(trial, 1, step, Decision()))
    stopper.observe(ConcludeAttempt(trial, 1, status))
    return stopper.should_end()


def finish_folds(stopper, trial, values, *, status=TrialStatus.COMPLETED):
    """A trial with these values of folds 0, 1, ..."""
    stopper.observe(StartAttempt(trial, 1, PLACEMENT))
    for fold, value in enumerate(values):
        report = make_report(trial, fold + 1, time_total_s=fold + 1.0, loss=value, fold=fold)
        assert hand_over(stopper, report) == Decision()
    stopper.observe(ConcludeAttempt(trial, 1, status))
    return stopper.should_end()


def bound(stopper, objective=LOSS):
    bind_stopper(stopper, objective)
    return stopper


# ---------------------------------------------------------------- no improvement


def test_of_a_cross_validation_the_mean_over_all_folds_is_the_best_and_not_a_lucky_fold():
    stopper = bound(NoImprovement(2))
    assert finish_folds(stopper, 0, [0.0, 8.0]) is None  # mean 4
    assert finish_folds(stopper, 1, [1.0], status=TrialStatus.STOPPED) is None
    assert finish_folds(stopper, 2, [3.0, 3.0]) is None  # an improvement
    assert finish_folds(stopper, 3, [1.0, math.nan]) is None
    assert finish_folds(stopper, 4, [3.0, 4.0]) == (
        "no improvement: the best, loss 3, has not improved for 2 finished trials"
    )


def test_it_ends_when_so_many_trials_finished_after_the_one_with_the_best():
    stopper = bound(NoImprovement(3))
    assert finish(stopper, 0, [5.0, 1.0]) is None
    assert finish(stopper, 1, [2.0]) is None
    assert finish(stopper, 2, [1.0]) is None  # as good is no improvement
    assert finish(stopper, 3, [math.nan]) == (
        "no improvement: the best, loss 1, has not improved for 3 finished trials"
    )


def test_an_improvement_begins_the_count_anew_and_its_own_trial_is_not_counted():
    stopper = bound(NoImprovement(2))
    finish(stopper, 0, [3.0])
    assert finish(stopper, 1, [4.0]) is None
    assert finish(stopper, 2, [2.0]) is None
    assert finish(stopper, 3, [4.0]) is None
    assert finish(stopper, 4, [4.0]) is not None


def test_an_improvement_of_a_trial_that_still_runs_counts_at_once():
    stopper = bound(NoImprovement(2))
    finish(stopper, 0, [3.0])
    finish(stopper, 1, [4.0])
    hand_over(stopper, make_report(2, 1, loss=1.0))
    assert finish(stopper, 3, [4.0]) is None
    assert finish(stopper, 4, [4.0]) is not None
    hand_over(stopper, make_report(2, 2, loss=0.5))
    assert stopper.should_end() is None


def test_a_smaller_change_than_min_delta_is_no_improvement_but_many_of_them_are():
    stopper = bound(NoImprovement(2, min_delta=0.5))
    finish(stopper, 0, [3.0])
    assert finish(stopper, 1, [2.75]) is None
    assert "loss 2.5, has not improved by more than 0.5 for 2" in finish(stopper, 2, [2.5])
    assert finish(stopper, 3, [2.4]) is None


def test_larger_is_better_where_the_mode_says_so():
    stopper = bound(NoImprovement(1), ACCURACY)
    assert finish(stopper, 0, [0.5], metric="acc") is None
    assert finish(stopper, 1, [0.6], metric="acc") is None
    assert "acc 0.6" in finish(stopper, 2, [0.4], metric="acc")


@pytest.mark.parametrize(
    "status", [TrialStatus.FAILED, TrialStatus.INVALID, TrialStatus.PAUSED, TrialStatus.INTERRUPTED]
)
def test_trials_that_did_not_finish_are_not_counted(status):
    stopper = bound(NoImprovement(1))
    finish(stopper, 0, [1.0])
    assert finish(stopper, 1, [2.0], status=status) is None
    assert finish(stopper, 2, [2.0], status=TrialStatus.STOPPED) is not None


def test_without_any_value_there_is_nothing_that_could_have_improved():
    stopper = bound(NoImprovement(1))
    for trial in range(5):
        assert finish(stopper, trial, [math.nan, math.inf]) is None


# ---------------------------------------------------------------- expected improvement


def test_the_estimate_of_a_sample_by_hand():
    losses = [1.0, 2.0, 4.0, 7.0, 8.0, 9.0, 9.0, 9.0, 9.0]  # m = 9, k = 3, the threshold is 7
    scale = (6 + 5 + 3) / 3
    assert expected_improvement(losses, best=1.0) == pytest.approx(scale / 9, rel=1e-12)
    assert expected_improvement(losses, best=-1.0) == pytest.approx(scale / 9 * math.exp(-2 / scale), rel=1e-12)


def test_three_trials_are_enough():
    assert expected_improvement([3.0, 1.0, 7.0], best=1.0) == pytest.approx((6 + 4) / 2 / 3, rel=1e-12)


def exponential_losses(n):
    """4,000 samples of losses whose negations are exponential: E[(best of n - a further one)+] is 1/(n + 1)."""
    return -np.random.default_rng(5).exponential(size=(4000, n))


def test_with_an_exponential_tail_the_estimate_is_right_on_average():
    # The mean of 4,000 has a standard error of 0.5 % and a bias of 1 %: a false failure in less than 1 of 10^6 seeds.
    estimates = [expected_improvement(list(row), best=float(row.min())) for row in exponential_losses(100)]
    assert np.mean(estimates) == pytest.approx(1 / 101, rel=0.05)


def test_where_the_best_is_older_it_errs_towards_going_on_but_not_by_much():
    # 3.2 times the truth, standard error 0.07.
    estimates = [expected_improvement(list(row[:100]), best=float(row.min())) for row in exponential_losses(1000)]
    assert 1 < np.mean(estimates) * 1001 < 5


@pytest.mark.parametrize("n", [20, 100, 200])
def test_with_a_floor_under_the_losses_it_errs_towards_going_on(n):
    # Uniform losses: E[(best - loss)+] = E[best^2]/2 = 1/((n + 1)(n + 2)).
    rng = np.random.default_rng(6)
    estimates = [expected_improvement(list(row), best=float(row.min())) for row in rng.random((2000, n))]
    assert 1 < np.mean(estimates) * (n + 1) * (n + 2) < 10


def test_the_estimate_does_not_depend_on_the_order_nor_on_where_zero_is():
    losses = [3.0, 1.0, 2.0, 8.0, 5.0]
    assert expected_improvement(losses, best=1.0) == expected_improvement(sorted(losses), best=1.0)
    shifted = [loss + 64.0 for loss in losses]
    assert expected_improvement(shifted, best=65.0) == pytest.approx(expected_improvement(losses, best=1.0), rel=1e-12)


@pytest.mark.parametrize(
    ("losses", "best", "expected"),
    [
        ([1.0] * 9, 1.0, 0.0),  # nothing differs
        ([1.0, 2.0, 3.0] + [math.inf] * 6, 1.0, None),  # too few values for a tail
        ([], math.inf, None),
        ([1.0], 1.0, None),
    ],
)
def test_degenerate_samples(losses, best, expected):
    assert expected_improvement(losses, best=best) == expected


def test_it_ends_when_less_than_the_threshold_is_expected_of_an_hour():
    losses = [float(x) for x in np.random.default_rng(1).random(30)]
    expected = expected_improvement(losses, best=min(losses))
    for factor, ends in ((0.99, False), (1.01, True)):
        stopper = bound(ExpectedImprovementPerHour(expected * 2 * factor))  # half an hour each
        for trial, loss in enumerate(losses[:-1]):
            finish(stopper, trial, [loss], seconds=1800.0)
        why = finish(stopper, 29, [losses[-1]], seconds=1800.0)
        assert (why is not None) == ends
    assert f"is expected to improve loss {min(losses):.6g} by {expected:.3g} in 0.5 hours" in why
    assert "(judged by 30 trials)" in why


def test_nothing_ends_before_min_trials():
    stopper = bound(ExpectedImprovementPerHour(1e9, min_trials=25))
    said = [finish(stopper, trial, [1 / (1 + trial % 7)], seconds=60.0) is not None for trial in range(30)]
    assert said == [False] * 24 + [True] * 6


def test_what_is_proposed_now_counts_and_not_how_it_began():
    stopper = bound(ExpectedImprovementPerHour(1e-3))
    for trial in range(400):
        finish(stopper, trial, [1000.0 - trial], seconds=3600.0)
    assert stopper.should_end() is None  # each of the latest is better than all before
    for trial in range(400, 600):
        finish(stopper, trial, [601.0 + trial % 3], seconds=3600.0)
    assert stopper.should_end() is not None


def test_trials_that_take_no_time_and_trials_without_values_end_nothing():
    instant, silent = bound(ExpectedImprovementPerHour(1e9)), bound(ExpectedImprovementPerHour(1e9))
    for trial in range(30):
        assert finish(instant, trial, [float(trial)]) is None
        assert finish(silent, trial, [math.nan], seconds=60.0) is None


def test_hours_are_those_of_all_attempts_by_the_records():
    stopper = bound(ExpectedImprovementPerHour(1e9, min_trials=3))
    for trial in range(3):
        stopper.observe(StartAttempt(trial, 2, PLACEMENT, start_step=4, start_time_s=3600.0))
        stopper.observe(make_report(trial, 5, time_total_s=7200.0, at=-1e9 * trial, loss=float(trial)))
        stopper.observe(ConcludeAttempt(trial, 2, TrialStatus.COMPLETED))
    assert " in 2 hours" in stopper.should_end()


# ---------------------------------------------------------------- what is compared, and both in an experiment


@pytest.mark.parametrize(
    "make", [lambda **own: NoImprovement(1, **own), lambda **own: ExpectedImprovementPerHour(1.0, **own)]
)
class TestObjective:
    def test_its_own_metric_comes_before_the_experiments(self, make):
        stopper = bound(make(metric="acc", mode="max"))
        finish(stopper, 0, [0.5], metric="acc")
        assert stopper._shown_best() == "acc 0.5"

    def test_without_any_it_says_so_when_bound_and_at_the_first_report(self, make):
        with pytest.raises(ConfigError, match=r"has no metric to compare trials by\. Give metric="):
            bind_stopper(make(), None)
        with pytest.raises(ConfigError, match="has no metric to compare trials by"):
            hand_over(make(), make_report(0, 1, loss=1.0))

    def test_it_is_bound_within_others_and_those_that_need_nothing_are_left_alone(self, make):
        inner = make()
        both = CombinedStopper({"training_iteration": 3}, TimeoutStopper(1e6), NoopStopper(), inner)
        assert bind_stopper(both, LOSS) is both
        finish(inner, 0, [0.5])
        assert inner._shown_best() == "loss 0.5"

    def test_half_a_metric_is_refused(self, make):
        with pytest.raises(ConfigError, match="Give both, or neither"):
            make(metric="loss")


def test_the_experiment_ends_with_the_reason_and_stops_what_runs():
    def script(config, first_step):
        for _ in range(4):
            yield SimulatedStep(1.0, {"loss": 0.5})

    found = simulate(script, space={"a": uniform(0, 1)}, stopper=bound(NoImprovement(5)), n_trials=100, n_workers=3)
    end = found.experiment.state.ending
    assert (end.why, end.detail) == (
        EndReason.STOPPER,
        "no improvement: the best, loss 0.5, has not improved for 5 finished trials",
    )
    assert 6 <= len(found.trials) <= 12
    assert all(trial.status.is_over for trial in found.trials)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NoImprovement(0), "n_trials is 0. Give a whole number of 1 or more"),
        (lambda: NoImprovement(2.0), "n_trials is 2.0"),
        (lambda: NoImprovement(1, min_delta=-1), "min_delta is -1. Give a number of 0 or more"),
        (lambda: NoImprovement(1, min_delta=math.nan), "min_delta is nan"),
        (lambda: ExpectedImprovementPerHour(0), "threshold is 0. Give a number above 0"),
        (lambda: ExpectedImprovementPerHour(1.0, min_trials=2), "min_trials is 2. Give a whole number of 3 or more"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_meant_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
