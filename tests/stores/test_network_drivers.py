"""F57: drivers on a network file system that are killed in the middle of something, or come at the same instant."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time

import apsw
import pytest

from tunesmith.errors import StoreError
from tunesmith.events import Suggest
from tunesmith.stores import connection, copies, create_store, open_reader, open_store, recover

from .store_samples import make_spec

N_STORED = 20
KILLED = f"""
import os, sys
sys.path.insert(0, {sys.path[0]!r})
from tunesmith.events import Suggest
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import connection, create_store, schema, sqlite

def kill_in_the_middle_of_a_commit(store):
    cursor = store._connection.cursor()
    cursor.execute("PRAGMA cache_size = 1")  # so that pages are written before the commit
    cursor.execute("BEGIN IMMEDIATE")
    for n in range(1000):
        cursor.execute("INSERT INTO log (seq, type, body) VALUES (?, 'x', ?)", (1000 + n, "y" * 500))
    os.kill(os.getpid(), 9)

def kill_in_the_middle_of_a_copy(store):
    copy_all = schema.copy_all
    schema.copy_all = lambda *arguments, **options: (copy_all(*arguments, **options), os.kill(os.getpid(), 9))
    store._copy._copy()

connection.is_network_path = sqlite.is_network_path = lambda path: True
facts = dict(experiment_id="e", name="n", trainable_name="t", space={{}}, space_fingerprint="", seed=1, n_trials=1)
store = create_store(sys.argv[1], ExperimentSpec(**facts))
for n in range({N_STORED}):
    store.append([Suggest(n, 1)], [])
globals()[sys.argv[2]](store)
"""


@pytest.fixture(autouse=True)
def network(monkeypatch):
    monkeypatch.setattr(connection, "is_network_path", lambda path: True)
    monkeypatch.setattr("tunesmith.stores.sqlite.is_network_path", lambda path: True)


@pytest.fixture
def folder(tmp_path):
    create_store(tmp_path / "e", make_spec()).close()
    return tmp_path / "e"


@pytest.fixture
def killed(tmp_path):
    """Has a driver killed, and returns its folder."""

    def kill(how):
        run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "e"), how], check=False)
        assert run.returncode == -9
        return tmp_path / "e"

    return kill


def drafts_in(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# ---------------------------------------------------------------- killed in the middle


def test_an_experiment_is_read_after_a_kill_in_the_middle_of_a_commit(killed):
    folder = killed("kill_in_the_middle_of_a_commit")
    assert (folder / "experiment.db-journal").stat().st_size
    reader = open_reader(folder)
    assert reader.last_seq() == N_STORED
    reader.close()


def test_it_is_recovered_too_without_what_was_not_committed(killed, tmp_path):
    folder = killed("kill_in_the_middle_of_a_commit")
    found = recover(folder, tmp_path / "recovered.db")
    assert (found.n_rows["log"], found.lost) == (N_STORED, {})


def test_drafts_of_a_copy_for_readers_are_removed_by_the_next_driver(killed):
    folder = killed("kill_in_the_middle_of_a_copy")
    assert len(drafts_in(folder)) == 1
    (folder / f"{drafts_in(folder)[0]}-journal").write_text("")
    with open_store(folder):
        assert drafts_in(folder) == []


def test_no_draft_of_another_file_is_removed(folder):
    draft, age_s = folder / ".experiment.db.0123abcd", 3700.0
    left = {".experiment.db.swp", ".experiment.db.0123abcde", ".other.db.0123abcd", "experiment.db.0123abcd"}
    for name in (*left, draft.name, f"{draft.name}-journal", ".experiment.db.v1.0123abcd", ".experiment.db.89abcdef"):
        (folder / name).write_text("")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    os.utime(folder / ".experiment.db.89abcdef")  # may be that of somebody who is creating an experiment right now
    before = {path.name for path in folder.iterdir()}
    open_store(folder).close()
    gone = before - {path.name for path in folder.iterdir()}
    assert gone == {draft.name, f"{draft.name}-journal", ".experiment.db.v1.0123abcd"}


# ---------------------------------------------------------------- at the same instant


def test_of_two_drivers_that_have_both_read_one_gets_the_experiment(folder, monkeypatch):
    """Regression risk: an exclusive connection keeps its read lock, so that neither of them could ever write."""
    both_have_read, guards, guard = threading.Barrier(2, timeout=30), itertools.count(), connection._guard

    def guard_together(*arguments, **options):
        guard(*arguments, **options)
        if next(guards) < 2:
            both_have_read.wait()

    monkeypatch.setattr(connection, "_guard", guard_together)
    is_decided = threading.Barrier(2, timeout=30)
    found = []

    def drive():
        try:
            with open_store(folder) as store:
                store.append([Suggest(1, 1)], [])
                found.append(store.epoch)
                is_decided.wait()
        except StoreError as error:
            found.append(error)
            is_decided.wait()

    threads = [threading.Thread(target=drive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(one) is int for one in found) == [False, True]


def test_a_driver_that_was_shut_out_for_a_moment_comes_again(folder, monkeypatch):
    other = apsw.Connection(str(folder / "experiment.db"))
    other.execute("BEGIN EXCLUSIVE")
    waits = []

    def sleep(wait_s):
        waits.append(wait_s)
        other.close()

    monkeypatch.setattr(copies.time, "sleep", sleep)
    with open_store(folder) as store:
        assert store.epoch == 2
    assert len(waits) == 1


def test_two_runs_of_a_script_that_seeds_its_dice_do_not_wait_equally_long():
    import random

    waits = set()
    for _ in range(2):
        random.seed(1)
        waits.add(copies._dice.uniform(*copies._AGAIN_AFTER_S))
    assert len(waits) == 2, "false once in 2**50 times"


def test_a_dead_driver_is_not_said_to_have_it_locked(killed):
    folder = killed("kill_in_the_middle_of_a_commit")
    assert copies.copy_path(folder / "experiment.db").exists()
    other = apsw.Connection(str(folder / "experiment.db"))
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="has been locked by"):
        open_store(folder)
    other.close()


def test_who_does_not_get_it_leaves_nothing_open(folder):
    other = apsw.Connection(str(folder / "experiment.db"))
    other.execute("BEGIN IMMEDIATE")
    before = len(apsw.connections())
    with pytest.raises(StoreError, match="locked by") as caught:
        open_store(folder)
    assert len(apsw.connections()) == before
    assert caught.value.__traceback__ is not None, "which would keep a connection alive"
    other.close()
