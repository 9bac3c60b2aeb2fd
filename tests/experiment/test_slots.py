"""Who holds what: fractions, whole GPUs, custom names, several nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import ResourceError
from tunesmith.experiment import SlotPool
from tunesmith.resources import Node, Resources


def fill(pool, request):
    """Take as many as fit."""
    placements = []
    while (placement := pool.place(request)) is not None:
        pool.take(placement)
        placements.append(placement)
        pool.check_invariants(placements)
    return placements


@pytest.mark.parametrize(
    ("node", "request_", "n"),
    [
        (Node("a", 4.0), Resources(cpu=1), 4),
        (Node("a", 4.0), Resources(cpu=1.5), 2),
        (Node("a", 1.0), Resources(cpu=1 / 3), 3),
        (Node("a", 0.7), Resources(cpu=0.1), 7),
        (Node("a", 9.0, ("0",)), Resources(gpu=1 / 3), 3),
        (Node("a", 9.0, ("0",)), Resources(gpu=0.6), 1),
        (Node("a", 9.0, ("0", "1")), Resources(gpu=0.6), 2),
        (Node("a", 9.0, ("0", "1", "2")), Resources(gpu=2), 1),
        (Node("a", 9.0, ("0", "1", "2", "3")), Resources(gpu=2), 2),
        (Node("a", 9.0, ("0", "1")), Resources(cpu=0, gpu=1), 2),
        (Node("a", 9.0, (), {"license": 2.0}), Resources(custom={"license": 1.0}), 2),
        (Node("a", 9.0), Resources(custom={"license": 1.0}), 0),
        (Node("a", 9.0), Resources(gpu=0.5), 0),
        (Node("a", 0.5), Resources(cpu=1), 0),
    ],
)
def test_so_many_fit(node, request_, n):
    pool = SlotPool([node])
    assert pool.n_fitting(request_) == n
    assert len(fill(pool, request_)) == n
    assert pool.n_fitting(request_) == 0


def test_two_large_shares_lie_on_two_gpus():
    placements = fill(SlotPool([Node("a", 9.0, ("0", "1"))]), Resources(gpu=0.6))
    assert [list(placement.gpus) for placement in placements] == [["0"], ["1"]]


def test_a_share_goes_to_the_fullest_gpu_so_that_whole_ones_stay_free():
    pool = SlotPool([Node("a", 9.0, ("0", "1"))])
    for _ in range(2):
        pool.take(pool.place(Resources(gpu=0.25)))
    assert list(pool.place(Resources(gpu=1)).gpus) == ["1"]


def test_nodes_are_filled_one_after_the_other():
    pool = SlotPool([Node("a", 1.0), Node("b", 2.0)])
    assert [placement.node for placement in fill(pool, Resources())] == ["a", "b", "b"]


def test_a_request_is_not_spread_over_nodes():
    pool = SlotPool([Node("a", 1.0), Node("b", 1.0)])
    assert pool.n_fitting(Resources(cpu=2)) == 0
    assert pool.place(Resources(cpu=2)) is None


def test_what_a_lost_node_held_is_gone_with_it():
    pool = SlotPool([Node("a", 1.0), Node("b", 1.0)])
    placements = fill(pool, Resources())
    pool.drop("a")
    assert pool.n_fitting(Resources()) == 0
    for placement in placements:
        pool.release(placement)
    assert pool.n_fitting(Resources()) == 1
    assert pool.used().cpu == 0


def test_an_impossible_request_names_what_is_asked_and_what_there_is():
    pool = SlotPool([Node("small", 1.0), Node("big", 4.0, ("0",))])
    with pytest.raises(ResourceError, match=r"asks for 1 CPU, 2 GPUs; the largest node \(big\) has 4 CPUs, 1 GPU\."):
        pool.check_possible(Resources(gpu=2))


def test_a_full_pool_still_says_that_the_request_is_possible():
    pool = SlotPool([Node("a", 1.0)])
    fill(pool, Resources())
    pool.check_possible(Resources())


def test_the_count_follows_another_request():
    pool = SlotPool([Node("a", 4.0)])
    assert (pool.n_fitting(Resources(cpu=1)), pool.n_fitting(Resources(cpu=2))) == (4, 2)


AMOUNTS = st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.6, 1.0, 1.5, 2.0])
REQUESTS = st.builds(
    Resources,
    cpu=AMOUNTS,
    gpu=st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.5, 0.6, 1.0, 2.0]),
    custom=st.sampled_from([{}, {"license": 0.5}, {"license": 1.0}]),
)
NODES = st.builds(
    Node,
    name=st.sampled_from(["a", "b", "c"]),
    cpu=st.sampled_from([0.0, 1.0, 3.7, 8.0]),
    gpus=st.sampled_from([(), ("0",), ("0", "1"), ("4", "7", "9")]),
    custom=st.sampled_from([{}, {"license": 1.0}]),
)


@given(
    st.lists(NODES, min_size=1, max_size=3, unique_by=lambda node: node.name),
    st.lists(st.one_of(REQUESTS, st.integers(0, 30)), max_size=60),
)
def test_nothing_is_given_twice_and_count_and_place_agree(nodes, steps):
    """Any order of taking and giving back: never negative, and a place is found exactly where one is counted."""
    pool, held = SlotPool(nodes), []
    for step in steps:
        if isinstance(step, int):
            if held:
                pool.release(held.pop(step % len(held)))
        else:
            n, placement = pool.n_fitting(step), pool.place(step)
            assert (placement is not None) == (n > 0)
            if placement is not None:
                pool.take(placement)
                held.append(placement)
                assert pool.n_fitting(step) == n - 1
        pool.check_invariants(held)
    for placement in held:
        pool.release(placement)
    pool.check_invariants([])
