"""F38: a small seeded sample of `python -m campaigns.powerloss`, and the planted bugs that show that it can fail."""

from random import Random

import pytest
from campaigns.powerloss import disk
from campaigns.powerloss.campaign import find_bug, run_workload
from campaigns.powerloss.disk import ROOT, Create, Disk, Loss, Rename, Sync, Truncate, Write
from campaigns.powerloss.planted import Bug
from campaigns.powerloss.workload import plan_of, record

SEED = 0


def rebuilt(ops, data="keep", names="keep", seed=0):
    model = Disk()
    for op in ops:
        model.apply(op)
    return model.rebuild(Loss(data, names), Random(seed))


FILE = [Create(ROOT, "a", 1, False), Write(1, 0, b"old"), Sync(1), Sync(ROOT)]


def test_what_was_synced_is_always_there():
    for data in disk.DATA_LOSSES:
        for names in disk.NAME_LOSSES:
            assert rebuilt(FILE, data, names) == {"a": b"old"}


def test_what_was_not_synced_may_be_lost_or_kept():
    ops = [*FILE, Write(1, 3, b"new"), Truncate(1, 5), Create(ROOT, "b", 2, False)]
    assert rebuilt(ops, "drop", "drop") == {"a": b"old"}
    assert rebuilt(ops, "keep", "keep") == {"a": b"oldne", "b": b""}


def test_a_later_write_may_be_kept_where_an_earlier_one_is_lost():
    ops = [*FILE, Write(1, 3, b"AA"), Write(1, 5, b"BB")]
    seen = {rebuilt(ops, "subset", seed=seed)["a"] for seed in range(60)}
    assert seen == {b"old", b"oldAA", b"oldAABB", b"old\0\0BB"}


def test_a_write_may_be_torn_at_sectors():
    ops = [*FILE[:1], Write(1, 100, b"x" * 1024)]
    sizes = {len(rebuilt(ops, "torn512", seed=seed)["a"]) for seed in range(60)}
    assert sizes == {0, 512, 1024, 1124}


def test_a_rename_may_be_lost_but_never_leaves_both_names():
    ops = [*FILE, Rename(ROOT, "a", "b", 1)]
    seen = {tuple(rebuilt(ops, names="subset", seed=seed)) for seed in range(20)}
    assert seen == {("a",), ("b",)}


def test_a_replay_records_the_same_operations(tmp_path):
    traces = []
    for number in range(2):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        traces.append(record(plan_of(SEED, 22), scratch).trace)
    assert traces[0] == traces[1]


@pytest.mark.parametrize("number", [8, 14, 21, 29])
def test_after_a_power_loss_the_store_holds_what_it_promised(number):
    tally = run_workload(plan_of(SEED, number), max_prefixes=60)
    assert tally.violations == []
    assert tally.n_opened >= 30


@pytest.mark.parametrize("bug", Bug, ids=lambda bug: bug.name.lower())
def test_a_planted_bug_is_found(bug):
    assert find_bug(bug, SEED, max_prefixes=1) is not None
