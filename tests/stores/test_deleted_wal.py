"""A WAL that is deleted under a running driver: nothing more is acknowledged, and nothing that was is lost (F55)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.errors import StoreError
from tunesmith.events import Suggest
from tunesmith.stores import create_store, open_store
from tunesmith.stores.mark import wal_path

from .store_samples import make_spec

ROOT = Path(__file__).parents[2]
N_BEFORE = 50

SUCCESSOR = """
import os, sys
sys.path.insert(0, sys.argv[2])
from tunesmith.events import Suggest
from tunesmith.stores import open_store
store = open_store(sys.argv[1], takeover=True)
for n in range(100):
    store.append([Suggest(n, 1)], [])
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def store(tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        for n in range(N_BEFORE):
            store.append([Suggest(n, 1)], [])
        yield store


def look_with_sqlite3(store):
    """As a callback might: the library drops this process's locks and deletes what it takes for a leftover."""
    connection = sqlite3.connect(store.path)
    connection.execute("SELECT count(*) FROM log").fetchone()
    connection.close()
    assert not wal_path(store.path).exists()


WRITES = [lambda store: store.append([Suggest(99, 1)], []), lambda store: store.revise(make_spec(n_trials=20))]


@pytest.mark.parametrize("write", WRITES)
def test_another_sqlite_library_in_the_drivers_process_ends_its_writing(store, write):
    look_with_sqlite3(store)
    with pytest.raises(StoreError, match=r"Python's sqlite3 .*use tunesmith\.load\(\).*nothing more is acknowledged"):
        write(store)
    store.close()
    assert sorted(path.name for path in store.folder.iterdir()) == ["experiment.db", "experiment.db-mark"]
    with open_store(store.folder, takeover=True) as again:
        assert (again.last_seq(), again.spec) == (N_BEFORE, make_spec())


def test_a_wal_that_is_replaced_is_no_better_than_none(store):
    wal_path(store.path).unlink()
    wal_path(store.path).touch(mode=0o600)
    with pytest.raises(StoreError, match=r"experiment\.db-wal was deleted or replaced"):
        store.append([Suggest(99, 1)], [])


def test_what_only_the_deleted_file_held_is_saved_beside_the_database(store, caplog):
    wal_path(store.path).unlink()
    with pytest.raises(StoreError, match="was deleted or replaced"):
        store.append([Suggest(99, 1)], [])
    store.close()
    assert "experiment.db.saved-1, and not in" in caplog.text
    with pytest.raises(StoreError, match="older than its folder"):
        open_store(store.folder, takeover=True)
    (store.folder / "experiment.db.saved-1").replace(store.path)
    with open_store(store.folder, takeover=True) as again:
        assert list(again.records()) == [Suggest(n, 1) for n in range(N_BEFORE)]


def test_a_deletion_in_a_quiet_time_is_noticed_by_the_timer(store):
    wal_path(store.path).unlink()
    store._sync_wal(store._synced_at)
    with pytest.raises(StoreError, match="was deleted or replaced"):
        store.last_seq()


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_a_deletion_after_the_last_commit_is_noticed_when_the_store_is_closed(tmp_path, caplog, durability):
    store = create_store(tmp_path / "other", make_spec(), durability=durability)
    store.append([Suggest(1, 1)], [])
    wal_path(store.path).unlink()
    store.close()
    assert "was not closed cleanly" in caplog.text
    assert (store.folder / "experiment.db.saved-1").exists()


def test_a_driver_whose_locks_were_dropped_harms_nothing_of_its_successors(store):
    """The successor was killed: what it stored is in its WAL, which the first driver must not take for its own."""
    look_with_sqlite3(store)
    script = [sys.executable, "-c", SUCCESSOR, str(store.folder), str(ROOT)]
    assert subprocess.run(script, check=False).returncode == -9
    with pytest.raises(StoreError, match="was deleted or replaced"):
        store.append([Suggest(99, 1)], [])
    store.close()
    with open_store(store.folder) as third:
        assert (third.epoch, third.last_seq()) == (3, N_BEFORE + 100)
