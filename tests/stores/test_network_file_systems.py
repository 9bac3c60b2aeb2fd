"""F57: on a network file system the database is locked by its driver, and readers are served from a copy."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

import tunesmith as tune
from tunesmith.clock import VirtualClock
from tunesmith.errors import LeaseError, StoreError
from tunesmith.events import StartAttempt, Suggest
from tunesmith.protocols import RecordCallback
from tunesmith.stores import connection, copies, create_store, open_reader, open_store
from tunesmith.stores.connection import is_network_path

from .store_samples import make_spec, make_trial, run_of, start

ROWS = [start(), *run_of(0, [{"loss": 2.0}, {"loss": 1.0}])]


@pytest.fixture(autouse=True)
def network(monkeypatch):
    monkeypatch.setattr(connection, "is_network_path", lambda path: True)
    monkeypatch.setattr("tunesmith.stores.sqlite.is_network_path", lambda path: True)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def store(tmp_path, clock):
    with create_store(tmp_path / "e", make_spec(), clock=clock) as store:
        yield store


@pytest.fixture
def reader(store):
    reader = open_reader(store.path.parent)
    yield reader
    reader.close()


def test_a_reader_beside_the_driver_sees_what_it_stored(store, reader, clock):
    assert reader.spec == make_spec()
    for n in range(1, 4):
        clock.advance_to(n * 100.0)
        store.append([Suggest(n, 1)], [])
        assert reader.last_seq() == n


def test_the_last_commit_before_a_quiet_time_is_copied_too(store, reader, clock, monkeypatch):
    timers = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: timers.append(timer))
    clock.advance_to(100.0)
    store.append(ROWS, [make_trial()])
    store.append([Suggest(1, 1)], [])
    assert reader.last_seq() == len(ROWS)
    (timer,) = timers
    timer.function(*timer.args)
    assert reader.last_seq() == len(ROWS) + 1


def test_a_large_database_is_copied_less_often(store, clock, monkeypatch):
    n_copies = 0

    def slow(*arguments, **options):
        nonlocal n_copies
        n_copies += 1
        clock.advance_to(clock.now() + 5.0)

    monkeypatch.setattr(copies, "back_up", slow)
    monkeypatch.setattr(threading.Timer, "start", lambda timer: None)
    for now in range(10, 400, 10):
        clock.advance_to(max(clock.now(), float(now)))
        store.append([Suggest(now, 1)], [])
    assert 2 <= n_copies <= 5  # 5 s of each 105


def test_a_reader_goes_on_when_the_driver_has_ended(store, reader, tmp_path):
    store.append(ROWS, [make_trial()])
    store.close()
    assert not copies.copy_path(store.path).exists()
    assert reader.last_seq() == len(ROWS)
    with open_store(tmp_path / "e") as again:
        again.append([Suggest(1, 1)], [])
    assert reader.last_seq() == len(ROWS) + 1


def test_what_a_killed_driver_left_is_read_from_the_database_itself(tmp_path):
    script = f"""
import os, sys
sys.path.insert(0, {sys.path[0]!r})
from tunesmith.events import Suggest
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import connection, create_store, sqlite
connection.is_network_path = sqlite.is_network_path = lambda path: True
facts = dict(experiment_id="e", name="n", trainable_name="t", space={{}}, space_fingerprint="", seed=1, n_trials=1)
store = create_store(sys.argv[1], ExperimentSpec(**facts))
for n in range(20):
    store.append([Suggest(n, 1)], [])
os.kill(os.getpid(), 9)
"""
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path / "e")], check=False)
    assert run.returncode == -9
    reader = open_reader(tmp_path / "e")
    assert reader.last_seq() == 20
    reader.close()
    with open_store(tmp_path / "e") as store:
        assert store.last_seq() == 20


def test_a_reader_opened_between_two_sessions_reads_beside_the_second(tmp_path, store, clock):
    store.append(ROWS, [make_trial()])
    store.close()
    reader = open_reader(tmp_path / "e")
    assert reader.last_seq() == len(ROWS)
    with open_store(tmp_path / "e", clock=clock) as again:
        assert reader.last_seq() == len(ROWS)
        assert reader.driver().epoch == 2
        clock.advance_to(100.0)
        again.append([Suggest(1, 1)], [])
        assert reader.records(len(ROWS)) == [(len(ROWS) + 1, Suggest(1, 1))]
        assert reader.config_of(0, 1) == make_trial().config
    assert reader.n_results() == 2
    reader.close()


@pytest.mark.parametrize("is_of_copy", [True, False])
def test_a_moment_in_which_nothing_can_be_read_is_not_the_end_of_a_reader(store, reader, is_of_copy):
    store.append(ROWS, [make_trial()])
    store.close()
    if not is_of_copy:
        assert reader.last_seq() == len(ROWS)  # from the database itself, from here on
    other = apsw.Connection(str(store.path))
    other.execute("BEGIN EXCLUSIVE")
    for _ in range(2):
        with pytest.raises(StoreError, match="locked by"):
            reader.last_seq()
    other.close()
    assert reader.last_seq() == len(ROWS)


def test_a_closed_reader_stays_closed_when_the_copy_is_replaced(store, reader, clock):
    reader.close()
    clock.advance_to(100.0)
    store.append(ROWS, [make_trial()])
    with pytest.raises(StoreError, match="closed"):
        reader.last_seq()


def test_a_reader_of_what_cannot_be_understood_leaves_nothing_open(store, tmp_path):
    store.close()
    with sqlite3.connect(store.path) as file:
        file.execute("UPDATE experiment SET spec = '{}'")
    file.close()
    before = len(apsw.connections())
    with pytest.raises(Exception, match="experiment_id") as caught:
        open_reader(tmp_path / "e")
    assert len(apsw.connections()) == before
    assert caught.value.__traceback__ is not None, "which would keep a connection alive"


@pytest.mark.parametrize("takeover", [False, True])
def test_a_second_driver_is_told_at_once_who_the_first_is(store, tmp_path, takeover):
    with pytest.raises(LeaseError, match=r"being run by process \d+ \(this very process\)"):
        open_store(tmp_path / "e", takeover=takeover)


def test_a_copy_that_cannot_be_made_does_not_touch_what_is_stored(store, clock, monkeypatch, caplog):
    def broken(*arguments, **options):
        raise OSError("no room")

    monkeypatch.setattr(copies, "back_up", broken)
    for n in range(3):
        clock.advance_to(100.0 * (n + 1))
        store.append([Suggest(n, 1)], [])
    assert store.last_seq() == 3
    assert caplog.text.count("no room") == 1


def test_a_lock_of_somebody_else_is_not_taken_for_a_drivers(tmp_path, store, monkeypatch):
    copies.copy_path(store.path).unlink()
    with pytest.raises(StoreError, match="locked by"):
        open_reader(tmp_path / "e")


def test_a_commit_is_stored_where_no_thread_can_be_had_to_copy_it(store, reader, clock, monkeypatch):
    def fail(timer):
        raise RuntimeError("can't start new thread")

    clock.advance_to(100.0)
    store.append(ROWS, [make_trial()])
    with monkeypatch.context() as patch:
        patch.setattr(threading.Timer, "start", fail)
        store.append([Suggest(1, 1)], [])
    timers = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: timers.append(timer))
    store.append([Suggest(2, 1)], [])
    (timer,) = timers
    timer.function(*timer.args)
    assert reader.last_seq() == len(ROWS) + 2


# ---------------------------------------------------------------- which file systems they are


MOUNTS = "/dev/a / ext4 rw\n{lines}\n/dev/b /home/local xfs rw\n"


def is_network(tmp_path, *lines):
    (tmp_path / "mounts").write_text(MOUNTS.format(lines="\n".join(lines)))
    return is_network_path(Path("/home/me/e/experiment.db"), str(tmp_path / "mounts"))


def test_of_file_systems_mounted_over_each_other_the_last_one_counts(tmp_path):
    automounter, server = "systemd-1 /home autofs rw,direct", "server:/x /home nfs4 rw"
    assert is_network(tmp_path, automounter, server)
    assert not is_network(tmp_path, server, "/dev/c /home xfs rw")
    assert not is_network(tmp_path, automounter)


@pytest.mark.parametrize(
    ("kind", "is_shared"),
    [
        *((kind, True) for kind in ("fuse", "fuse.sshfs", "virtiofs", "vboxsf", "ocfs2", "gfs2", "coda", "9p", "nfs")),
        *((kind, False) for kind in ("fuseblk", "ext4", "overlay", "tmpfs", "zfs")),
    ],
)
def test_a_file_system_is_shared_by_machines_or_not(tmp_path, kind, is_shared):
    assert is_network(tmp_path, f"x /home {kind} rw") is is_shared


class Follower(RecordCallback):
    def __init__(self):
        self.told = []
        self.has_trial = threading.Event()

    def setup(self, folder):
        self.folder = folder

    def on_records(self, records):
        self.told += records
        if any(isinstance(record, StartAttempt) for record in records):
            self.has_trial.set()

    def on_end(self):
        pass


def test_callbacks_are_told_while_the_driver_has_its_lock(tmp_path):
    follower = Follower()

    def train(config):
        assert follower.has_trial.wait(30)
        tune.report(loss=config["x"])

    tune.run(
        train, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=2, executor="inline",
        callbacks=[follower], verbose=0, local_dir=tmp_path,
    ).reader.close()  # fmt: skip
    assert len({record.trial for record in follower.told if isinstance(record, StartAttempt)}) == 2
