"""F60: after a failed sync nothing is acknowledged any more; whoever opens the database anew has it verified."""

from __future__ import annotations

import os
import threading

import apsw
import pytest

from tunesmith.clock import VirtualClock
from tunesmith.errors import StoreError
from tunesmith.events import Suggest
from tunesmith.stores import connection, create_store, open_reader, open_store, takeover
from tunesmith.stores.mark import read_mark, wal_path

from .store_samples import make_spec

N_BEFORE = 5


class FailingVFS(apsw.VFS):
    """The system's files, whose syncs fail while it is told so."""

    def __init__(self):
        self.fails = False
        self.n_syncs = 0
        self.system = apsw.vfs_names()[0]
        super().__init__("failing", self.system, makedefault=True)

    def xOpen(self, name, flags):
        return FailingFile(self, name, flags)


class FailingFile(apsw.VFSFile):
    def __init__(self, vfs, name, flags):
        self.vfs = vfs
        super().__init__(vfs.system, name, flags)

    def xSync(self, flags):
        self.vfs.n_syncs += 1
        if self.vfs.fails:
            raise apsw.IOError("disk I/O error: EIO")
        super().xSync(flags)


@pytest.fixture
def vfs():
    before = apsw.vfs_names()[0]
    failing = FailingVFS()
    yield failing
    failing.unregister()
    assert apsw.vfs_names()[0] == before


@pytest.fixture
def store(vfs, tmp_path):
    clock = VirtualClock()
    store = create_store(tmp_path / "e", make_spec(), durability="full", clock=clock)
    for n in range(N_BEFORE):
        store.append([Suggest(n, 1)], [])
    yield store
    vfs.fails = False
    store.close()


def test_a_commit_whose_sync_fails_is_not_acknowledged_and_is_the_last(vfs, store):
    vfs.fails = True
    with pytest.raises(StoreError, match="could not be used"):
        store.append([Suggest(9, 1)], [])
    n_syncs = vfs.n_syncs
    vfs.fails = False  # the system forgets a failed write: the next sync would succeed without it
    with pytest.raises(StoreError, match=r"nothing more is acknowledged. Reopen"):
        store.append([Suggest(10, 1)], [])
    assert vfs.n_syncs == n_syncs, "it was not tried again"


def test_the_failed_driver_does_not_release_its_lease_so_that_the_next_one_verifies(vfs, store, tmp_path, monkeypatch):
    vfs.fails = True
    with pytest.raises(StoreError):
        store.append([Suggest(9, 1)], [])
    vfs.fails = False
    store.close()
    checked = []
    monkeypatch.setattr(takeover, "quick_check", lambda *found: checked.append(connection.quick_check(*found)))
    with open_store(tmp_path / "e", takeover=True) as again:
        stored = list(again.records())
        again.append([Suggest(11, 1)], [])
    assert checked == [None]
    # All that was acknowledged is there; what was not may be there too, but only whole.
    assert stored[:N_BEFORE] == [Suggest(n, 1) for n in range(N_BEFORE)]
    assert stored[N_BEFORE:] in ([], [Suggest(9, 1)])


def test_a_commit_is_acknowledged_and_synced_later_where_no_thread_can_be_had(tmp_path, monkeypatch):
    def fail(timer):
        raise RuntimeError("can't start new thread")

    clock = VirtualClock()
    with create_store(tmp_path / "e", make_spec(), clock=clock) as store:
        store.append([Suggest(1, 1)], [])
        with monkeypatch.context() as patch:
            patch.setattr(threading.Timer, "start", fail)
            store.append([Suggest(2, 1)], [])
        timers = []
        monkeypatch.setattr(threading.Timer, "start", lambda timer: timers.append(timer))
        store.append([Suggest(3, 1)], [])
        (timer,) = timers
        timer.function(*timer.args)
        assert read_mark(store.path).seq == 3


def test_a_failed_sync_in_the_timers_thread_ends_writing_too(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(5, "Input/output error")

    with create_store(tmp_path / "e", make_spec()) as store:
        store.append([Suggest(1, 1)], [])
        monkeypatch.setattr(os, "fsync", fails)
        store._sync_wal(store._synced_at)
        monkeypatch.undo()
        with pytest.raises(StoreError, match=r"Input/output error.*nothing more is acknowledged"):
            store.append([Suggest(2, 1)], [])


def released_at(folder):
    reader = open_reader(folder)
    try:
        return reader.query("SELECT released_at FROM lease")
    finally:
        reader.close()


@pytest.mark.parametrize("name", ["fsync", "open"])
def test_a_driver_that_cannot_sync_at_its_end_does_not_say_that_it_closed_cleanly(tmp_path, monkeypatch, caplog, name):
    def fails(*arguments):
        raise OSError(5, "Input/output error")

    store = create_store(tmp_path / "e", make_spec())
    store.append([Suggest(1, 1)], [])
    monkeypatch.setattr(os, name, fails)
    store.close()
    monkeypatch.undo()
    assert "was not closed cleanly ([Errno 5] Input/output error)" in caplog.text
    assert released_at(tmp_path / "e") == [(None,)]


def test_nothing_is_moved_into_the_database_after_a_failed_sync(tmp_path, vfs, store):
    """What the system kept of a failed write may be gone from its memory when it is read again (F60)."""
    vfs.fails = True
    with pytest.raises(StoreError):
        store.append([Suggest(9, 1)], [])
    vfs.fails = False
    n_syncs = vfs.n_syncs
    store.close()
    assert wal_path(store.path).exists() and vfs.n_syncs == n_syncs
