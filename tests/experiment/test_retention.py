"""Which checkpoints stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.events import DeleteCheckpoint
from tunesmith.experiment.retention import surplus_checkpoints
from tunesmith.spec import CheckpointPolicy
from tunesmith.trial import AttemptOutcome, Checkpoint, Mode, TrialStatus

from .world import World, of

NAN = float("nan")


def saved(scores):
    return [Checkpoint(f"c{step}", step, 1, score) for step, score in enumerate(scores, 1)]


@pytest.mark.parametrize(
    ("keep_num", "scores", "kept"),
    [
        (None, [3.0], "c1"),
        (None, [3.0, 1.0], "c2"),  # the best is the newest
        (None, [1.0, 3.0], "c1 c2"),
        (None, [2.0, 1.0, 3.0], "c2 c3"),
        (1, [2.0, 1.0, 3.0], "c2 c3"),
        (2, [2.0, 1.0, 3.0, 4.0], "c1 c2 c4"),
        (2, [4.0, 3.0, 2.0, 1.0], "c3 c4"),
        (1, [1.0, 1.0, 1.0], "c1 c3"),  # the older of equals
        (1, [None, 2.0, None], "c2 c3"),
        (1, [None, None], "c1 c2"),
        (1, [NAN, 5.0, NAN], "c2 c3"),
        (1, [NAN, float("inf"), 9.0, NAN], "c3 c4"),
        (1, [None, float("inf"), NAN], "c2 c3"),
        (5, [1.0, 2.0], "c1 c2"),
    ],
)
def test_these_are_kept(keep_num, scores, kept):
    checkpoints = saved(scores)
    surplus = surplus_checkpoints(checkpoints, CheckpointPolicy(keep_num=keep_num))
    assert " ".join(c.path for c in checkpoints if c not in surplus) == kept


def test_all_are_kept_on_demand():
    assert surplus_checkpoints(saved([1.0, 2.0, 3.0]), CheckpointPolicy(keep_all=True)) == []


def test_what_is_in_use_stays():
    surplus = surplus_checkpoints(saved([3.0, 2.0, 1.0, 4.0]), CheckpointPolicy(), in_use={"c1"})
    assert [c.path for c in surplus] == ["c2"]


@given(
    st.lists(st.one_of(st.none(), st.floats()), max_size=8),
    st.one_of(st.none(), st.integers(1, 4)),
    st.sets(st.sampled_from(["c1", "c2", "c3"])),
)
def test_the_newest_and_what_is_in_use_always_stay_and_the_rest_is_bounded(scores, keep_num, in_use):
    checkpoints = saved(scores)
    surplus = surplus_checkpoints(checkpoints, CheckpointPolicy(keep_num=keep_num), in_use=in_use)
    kept = [c for c in checkpoints if c not in surplus]
    assert not {c.path for c in surplus} & in_use
    assert kept[-1:] == checkpoints[-1:]
    assert len(kept) <= (keep_num or 1) + 1 + len(in_use)
    assert surplus_checkpoints(kept, CheckpointPolicy(keep_num=keep_num), in_use=in_use) == []


# ---------------------------------------------------------------- in the experiment


def deleted(records):
    return [command.path for command in of(records, DeleteCheckpoint)]


def report_with_checkpoints(world, losses, trial=0):
    first = world.trials[trial].step + 1
    gone = []
    for step, loss in enumerate(losses, first):
        gone += deleted(world.report(trial, step, metrics={"loss": loss}, checkpoint=f"t{trial}/c{step}"))
    return gone


def test_the_best_and_the_newest_of_a_trial_stay():
    world = World(n_slots=1)
    world.begin()
    assert report_with_checkpoints(world, [3.0, 1.0, 2.0, 5.0]) == ["t0/c1", "t0/c3"]
    assert [c.path for c in world.trials[0].checkpoints] == ["t0/c2", "t0/c4"]


def test_another_metric_may_rank_them():
    policy = CheckpointPolicy(keep_num=1, score_metric="accuracy", score_mode=Mode.MAX)
    world = World(n_slots=1, checkpoint_policy=policy)
    world.begin()
    for step, accuracy in enumerate([0.1, 0.9, 0.5, 0.6], 1):
        world.report(0, step, metrics={"loss": 1.0, "accuracy": accuracy}, checkpoint=f"c{step}")
    assert [c.path for c in world.trials[0].checkpoints] == ["c2", "c4"]


def test_the_start_of_a_running_attempt_stays_until_it_ends():
    world = World(n_slots=1, n_trials=1, max_failures=1)
    world.begin()
    report_with_checkpoints(world, [3.0])
    world.fail(0)
    world.handle(at=1.0)
    assert world.trials[0].status is TrialStatus.RUNNING
    assert report_with_checkpoints(world, [2.0, 1.0, 4.0]) == ["t0/c2"]
    assert "t0/c1" in [c.path for c in world.trials[0].checkpoints]
    assert deleted(world.end(0)) == ["t0/c1"]
    assert world.state.in_use == {}


def test_a_folder_for_a_step_that_has_one_replaces_it():
    world = World(n_slots=1)
    world.begin()
    world.report(0, 1, checkpoint="c1")
    records = world.report(0, 1, checkpoint="c1-2")
    assert deleted(records) == ["c1"]
    assert [c.path for c in world.trials[0].checkpoints] == ["c1-2"]


def test_the_folder_of_a_late_report_is_deleted():
    world = World(n_slots=1)
    world.begin()
    world.end(0, AttemptOutcome.LOST)
    assert deleted(world.report(0, 4, attempt=1, checkpoint="late")) == ["late"]


def test_the_folder_of_a_refused_report_stays_since_a_later_report_brings_it_again():
    world = World(n_slots=1)
    world.begin()
    world.report(0, 3)
    assert deleted(world.report(0, 2, checkpoint="c2")) == []
