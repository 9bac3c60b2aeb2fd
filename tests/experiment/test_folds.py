"""Reports of the folds of a cross-validation: what they make of a trial."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.events import Clone, Decision, Verdict
from tunesmith.experiment.values import checkpoint_score
from tunesmith.schedulers import FIFOScheduler
from tunesmith.spec import CheckpointPolicy
from tunesmith.testing.samples import LOSS
from tunesmith.trial import FoldScore, Mode, Objective, fold_of, mean_over_folds
from tunesmith.trialside.functions import ANONYMOUS_METRIC

from .world import World, verdicts


def world_with(**arguments) -> World:
    world = World(n_slots=2, n_trials=2, **arguments)
    world.begin()
    return world


def standing(world, trial=0):
    now = world.trials[trial]
    return now.best_value, now.best_step, [(score.fold, score.step, score.value) for score in now.folds]


def fold(world, number, loss, *, trial=0, **changes):
    return world.report(trial, metrics={"loss": loss, "fold": number}, **changes)


# ---------------------------------------------------------------- the value


def test_a_trial_is_worth_the_mean_over_its_folds_and_not_its_luckiest_one():
    world = world_with()
    for number, loss in enumerate([3.0, 1.0, 5.0]):
        fold(world, number, loss)
    assert standing(world) == (3.0, 3, [(0, 1, 3.0), (1, 2, 1.0), (2, 3, 5.0)])


def test_a_fold_that_is_reported_again_replaces_its_value():
    world = world_with()
    fold(world, 1, 9.0)
    fold(world, 0, 2.0)
    fold(world, 1, 4.0)
    assert standing(world) == (3.0, 3, [(0, 2, 2.0), (1, 3, 4.0)])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_fold_that_is_no_number_leaves_the_trial_without_a_value_until_it_is_repaired(bad):
    world = world_with()
    fold(world, 0, 1.0)
    fold(world, 1, bad)
    assert standing(world)[:2] == (None, None)
    assert world.trials[0].folds[1].fold == 1
    fold(world, 1, 2.0)
    assert standing(world)[:2] == (1.5, 3)


def test_reports_beside_the_folds_do_not_change_the_mean():
    world = world_with()
    world.report(0, metrics={"loss": -7.0})
    assert standing(world)[:2] == (-7.0, 1)
    fold(world, 0, 3.0)
    world.report(0, metrics={"loss": -9.0})
    world.report(0, metrics={"fold": 1, "other": 1.0})
    assert standing(world) == (3.0, 2, [(0, 2, 3.0)])
    assert world.trials[0].metrics == {"fold": 1, "other": 1.0}


@pytest.mark.parametrize("number", [0.5, -1, math.nan, math.inf])
def test_a_fold_that_is_no_whole_number_from_0_is_a_metric_like_any_other(number):
    world = world_with()
    fold(world, number, 3.0)
    fold(world, number, 5.0)
    assert standing(world) == (3.0, 1, [])


def test_a_fold_is_the_same_after_a_round_trip_through_json():
    assert fold_of({"fold": 3}) == fold_of({"fold": 3.0}) == 3
    assert type(fold_of({"fold": 3.0})) is int
    assert fold_of({}) is None


def test_without_an_objective_there_are_no_folds():
    world = world_with(objective=None)
    fold(world, 0, 1.0)
    assert standing(world) == (None, None, [])


def test_of_several_objectives_the_first_has_the_mean():
    world = world_with(objective=Objective(("accuracy", "loss"), (Mode.MAX, Mode.MIN)))
    for number, accuracy in enumerate([0.5, 1.0]):
        world.report(0, metrics={"accuracy": accuracy, "loss": 0.0, "fold": number})
    assert standing(world)[0] == 0.75


@given(st.lists(st.floats(-1e308, 1e308), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_mean_does_not_depend_on_the_order_of_folds_and_stays_within_them(values, draw):
    mean = mean_over_folds(values)
    draw.shuffle(values)
    assert mean_over_folds(values) == mean
    slack = 1e-12 * max(map(abs, values)) + 5e-324 * len(values)  # the smallest number cannot be divided
    assert min(values) - slack <= mean <= max(values) + slack


# ---------------------------------------------------------------- restarts


def test_folds_after_the_checkpoint_of_a_restart_are_superseded():
    world = world_with()
    fold(world, 0, 1.0, checkpoint="c1")
    fold(world, 1, 2.0, checkpoint="c2")
    fold(world, 0, 5.0)
    fold(world, 2, 9.0)
    again = world.resumed()
    assert standing(again) == (1.5, 2, [(0, 1, 1.0), (1, 2, 2.0)])
    fold(again, 2, 3.0)
    assert standing(again)[0] == 2.0


def test_without_a_checkpoint_the_folds_begin_anew():
    world = world_with()
    fold(world, 0, 1.0)
    assert standing(world.resumed()) == (None, None, [])


def test_a_replay_of_the_log_has_the_same_folds():
    world = world_with()
    for number, loss in enumerate([3.0, math.nan, 5.0]):
        fold(world, number, loss, checkpoint=f"c{number}")
    replayed = World(n_slots=2, n_trials=2, log=world.log)
    assert repr(replayed.trials) == repr(world.trials)


class CloneOnce(FIFOScheduler):
    """Makes trial 1 a clone of trial 0 at its third report."""

    def decide(self, trial, report):
        if trial.index == 1 and report.step == 3:
            return Decision(Verdict.CLONE, "from {donor}", {"donor": 0}, Clone(0, "d2", {"x": 9}))
        return super().decide(trial, report)


def test_a_clone_has_its_own_folds_up_to_the_step_it_goes_back_to_and_none_of_its_donors():
    world = world_with(scheduler=CloneOnce, checkpoint_policy=CheckpointPolicy(keep_num=4))
    for number in range(2):
        fold(world, number, 7.0, checkpoint=f"d{number + 1}")
    for number, loss in enumerate([1.0, 2.0, 3.0]):
        fold(world, number, loss, trial=1, checkpoint=f"c{number + 1}")
    world.end(1)
    assert world.trials[1].config == {"x": 9}
    assert standing(world, 1) == (1.5, 2, [(0, 1, 1.0), (1, 2, 2.0)])


# ---------------------------------------------------------------- retention


def test_of_fold_checkpoints_the_later_is_the_better_one():
    def score(policy, **metrics):
        return checkpoint_score(policy, LOSS, metrics, step=4, time_total_s=1.0)

    assert score(CheckpointPolicy(), loss=0.1, fold=2) == -4.0
    assert score(CheckpointPolicy(), loss=0.1) == 0.1
    asked = CheckpointPolicy(score_metric="loss", score_mode=Mode.MIN)
    assert score(asked, loss=0.1, fold=2) == 0.1


def test_the_checkpoint_of_a_lucky_fold_does_not_outlive_the_last_ones():
    world = world_with(checkpoint_policy=CheckpointPolicy(keep_num=1))
    for number, loss in enumerate([0.1, 5.0, 5.0]):
        fold(world, number, loss, checkpoint=f"c{number}")
    assert [saved.path for saved in world.trials[0].checkpoints] == ["c2"]
    assert world.trials[0].checkpoint.folds == tuple(FoldScore(i, i + 1, v) for i, v in enumerate([0.1, 5.0, 5.0]))


def test_an_objective_that_was_not_named_is_the_only_metric_beside_the_fold():
    world = world_with(objective=Objective((ANONYMOUS_METRIC,), (Mode.MIN,)))
    fold(world, 0, 3.0)
    fold(world, 1, 5.0)
    assert standing(world)[0] == 4.0
    assert world.trials[0].metrics == {"loss": 5.0, "fold": 1, ANONYMOUS_METRIC: 5.0}
    assert verdicts(world.report(1, metrics={"loss": 1.0, "accuracy": 1.0, "fold": 0})) == [Verdict.REFUSE]
