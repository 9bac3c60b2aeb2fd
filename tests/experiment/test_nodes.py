"""Nodes that come, grow, shrink and go, and one on which everything fails."""

from __future__ import annotations

import pytest

from tunesmith.errors import ResourceError
from tunesmith.events import EndReason, NodeLost, NodeOffered, QuarantineNode, StartAttempt
from tunesmith.experiment.invariants import check_invariants
from tunesmith.experiment.slots import SlotPool
from tunesmith.resources import Node, Resources
from tunesmith.trial import AttemptOutcome, TrialStatus

from .world import World, of, started

TWO = (Node("a", 1.0), Node("b", 1.0))


def places(world: World) -> list[str | None]:
    return [trial.placement.node if trial.placement else None for trial in world.trials]


# ---------------------------------------------------------------- coming and going


def test_a_node_that_joins_is_used_at_once():
    world = World(n_trials=4)
    world.begin(nodes=(Node("a", 1.0),))
    assert started(world.handle(NodeOffered(Node("b", 2.0)))) == [1, 2]
    assert places(world) == ["a", "b", "b"]


def test_a_node_may_grow_and_shrink():
    world = World(n_trials=9)
    world.begin(nodes=(Node("a", 1.0),))
    assert started(world.handle(NodeOffered(Node("a", 3.0)))) == [1, 2]
    world.end(1)
    world.end(2)
    assert places(world) == ["a", None, None, "a", "a"]
    world.handle(world.ended(3), NodeOffered(Node("a", 2.0)))
    assert places(world) == ["a", None, None, None, "a"]
    check_invariants(world.state)


def test_without_room_an_elastic_experiment_waits_for_more():
    world = World(n_trials=2, is_elastic=True)
    world.begin(nodes=(Node("a", 0.0),))
    assert world.ending is None
    world.handle(NodeOffered(Node("a", 2.0)))
    assert world.status() == "RU RU"
    world.handle(NodeLost("a"))
    assert (world.ending, world.status()) == (None, "PE PE")
    world.handle(NodeOffered(Node("c", 2.0)))
    assert places(world) == ["c", "c"]
    world.handle(world.ended(0), world.ended(1))
    assert world.ending.why is EndReason.FINISHED


def test_an_elastic_experiment_without_anything_left_to_do_ends():
    world = World(n_trials=1, is_elastic=True)
    world.begin(nodes=(Node("a", 1.0),))
    world.handle(world.ended(0), NodeLost("a"))
    assert world.ending.why is EndReason.FINISHED


def test_trials_of_a_lost_node_go_on_from_their_last_checkpoint():
    world = World(n_trials=1, is_elastic=True)
    world.begin(nodes=(Node("a", 1.0),))
    world.report(0, 1, checkpoint="0/c1")
    world.report(0, 2)
    start = of(world.handle(NodeLost("a"), NodeOffered(Node("b", 1.0))), StartAttempt)[0]
    assert (start.attempt, start.checkpoint, start.start_step) == (2, "0/c1", 1)
    assert (world.trials[0].n_preemptions, world.trials[0].n_failures) == (1, 0)


# ---------------------------------------------------------------- a bad node (F88)


def test_what_fails_where_nothing_ever_reported_is_put_down_to_the_node_and_tried_elsewhere():
    world = World(n_trials=2)
    world.begin(nodes=TWO)
    world.report(1, 1)
    for n in range(3):
        assert world.trials[0].placement.node == "a"
        records = world.fail(0, at=world.now + 1.0)
        assert bool(of(records, QuarantineNode)) is (n == 2)
        assert world.trials[0].status is TrialStatus.PENDING
        assert "put down to node a, where nothing has reported: ValueError: no" in world.trials[0].reason
        world.handle(at=world.now + 60.0)
    assert world.trials[0].status is TrialStatus.PENDING, "b is taken, and a is put aside"
    world.end(1, at=world.now)
    assert (places(world)[0], world.trials[0].n_failures) == ("b", 0)
    world.end(0, at=world.now)
    assert world.status() == "CO CO"


def test_what_ran_on_a_node_when_it_was_put_aside_is_put_down_to_it_too():
    world = World(n_trials=5)
    world.begin(nodes=(Node("a", 4.0), Node("b", 1.0)))
    world.report(4, 1)
    for trial in range(4):
        world.fail(trial)
    assert world.status() == "PE PE PE PE RU"
    assert [trial.n_failures for trial in world.trials] == [0] * 5


def test_a_trial_that_fails_on_a_good_node_has_failed():
    world = World(n_trials=3)
    world.begin(nodes=TWO)
    world.report(0, 1)
    world.fail(0)
    world.fail(2)
    assert (world.status(), world.trials[2].n_failures) == ("FA RU FA", 1)


def test_the_only_node_is_never_to_blame():
    world = World(n_trials=2, n_slots=1)
    world.begin()
    world.fail(0)
    assert world.status() == "FA RU"


def test_a_node_too_small_for_a_trial_is_no_other():
    world = World(n_trials=1)
    world.begin(nodes=(Node("a", 1.0), Node("b", 0.5)))
    world.fail(0)
    assert world.status() == "FA"


def test_a_trainable_that_fails_everywhere_still_ends_the_experiment():
    world = World(n_trials=100)
    world.begin(nodes=TWO)
    for _ in range(40):
        if world.ending is not None:
            break
        for trial in list(world.state.running):
            world.fail(trial)
        world.handle(at=world.now + 60.0)
    assert world.ending.why is EndReason.FAILED


def test_a_quarantine_is_of_one_session():
    world = World(n_trials=2)
    world.begin(nodes=TWO)
    world.handle(world.reported(1, 1))
    for _ in range(3):
        world.fail(0)
        world.handle(at=world.now + 60.0)
    assert world.state.pool.quarantined == {"a"}
    world.begin(2, nodes=TWO)
    assert (world.state.pool.quarantined, world.state.failures.strikes) == (set(), {})


def test_a_loss_is_no_strike():
    world = World(n_trials=2)
    world.begin(nodes=TWO)
    world.end(0, AttemptOutcome.LOST, error="gone")
    assert world.state.failures.strikes == {}


# ---------------------------------------------------------------- the pool


def test_a_share_of_a_gpu_is_all_that_is_given():
    pool = SlotPool([Node("a", 4.0, gpus=("3",), gpu_shares={"3": 0.5})])
    half = Resources(gpu=0.5)
    placement = pool.place(half)
    assert placement.gpus == {"3": 0.5}
    pool.take(placement)
    assert pool.place(half) is None
    pool.offer(Node("a", 4.0, gpus=("3", "4"), gpu_shares={"3": 0.5}))
    assert pool.place(Resources(gpu=1.0)).gpus == {"4": 1.0}
    assert pool.used().gpu == 0.5
    pool.release(placement)
    pool.check_invariants([])
    with pytest.raises(ResourceError, match=r"has 4 CPUs, 0\.5 GPUs"):
        SlotPool([Node("a", 4.0, gpus=("3",), gpu_shares={"3": 0.5})]).check_possible(Resources(gpu=1.0))


def test_custom_resources_move_with_the_offer():
    pool = SlotPool([Node("a", 4.0, custom={"license": 1.0})])
    need = Resources(custom={"license": 1.0})
    pool.take(pool.place(need))
    pool.offer(Node("a", 4.0, custom={"license": 2.0, "disk": 1.0}))
    assert pool.n_fitting(need) == 1
    pool.offer(Node("a", 4.0, custom={"license": 1.0}))
    assert pool.n_fitting(need) == 0
