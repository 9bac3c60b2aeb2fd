"""A WAL that the mark does not know: its own where another program began it, refused where it is foreign (F55)."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tunesmith.clock import VirtualClock
from tunesmith.errors import StoreError
from tunesmith.events import Suggest
from tunesmith.stores import create_store, open_reader, open_store, wal_check
from tunesmith.stores.mark import read_mark, wal_path, wal_salt

from .store_samples import make_spec, make_trial, run_of, start

ROWS = [start(), *run_of(0, [{"loss": float(n)} for n in range(50)])]

#: A sqlite3 shell, a database browser or a script; it may be killed, so that it leaves its WAL.
OTHER_PROGRAM = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2]).fetchall()
if sys.argv[3] == "killed":
    os.kill(os.getpid(), 9)
connection.close()
"""


def run_other_program(path, sql, end="closed"):
    subprocess.run([sys.executable, "-c", OTHER_PROGRAM, str(path), sql, end], check=False)


def copy_files(source, target):
    """In another process: opening the database here would drop this process's locks."""
    target.mkdir()
    files = [str(path) for path in source.iterdir() if not path.name.endswith("-shm")]
    subprocess.run(["cp", *files, str(target)], check=True)
    return target


def last_seq_of(folder):
    reader = open_reader(folder)
    try:
        return reader.last_seq()
    finally:
        reader.close()


@pytest.fixture
def write_experiment(tmp_path, monkeypatch):
    """Writes an experiment, and returns its folder, and that of a copy whose driver seems to have been killed."""

    def write(name, loss, *, checkpoint_pages=1000):
        monkeypatch.setattr("tunesmith.stores.connection.WAL_CHECKPOINT_PAGES", checkpoint_pages)
        with create_store(tmp_path / name, make_spec()) as store:
            for trial in range(10):
                store.append([start(trial), *run_of(trial, [{"loss": loss}] * 20)], [make_trial(trial)])
            return store.folder, copy_files(store.folder, tmp_path / f"killed {name}")

    return write


def test_a_wal_that_another_program_had_the_driver_begin_anew_is_its_own(tmp_path):
    """A checkpoint by another program makes the driver's next WAL one with a salt that nobody can foresee."""
    with create_store(tmp_path / "e", make_spec(), clock=VirtualClock()) as store:
        store.append(ROWS, [])
        run_other_program(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
        store.append([Suggest(1, 1)], [])
        assert wal_salt(store.path) not in (None, read_mark(store.path).wal_salt)
        assert last_seq_of(tmp_path / "e") == len(ROWS) + 1
        copy_files(tmp_path / "e", tmp_path / "killed")
    with open_store(tmp_path / "killed", takeover=True) as again:
        assert again.last_seq() == len(ROWS) + 1


def test_a_wal_that_another_program_left_beside_a_closed_experiment_is_its_own(tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append(ROWS, [])
    run_other_program(store.path, "CREATE INDEX mine ON results (value)", "killed")
    assert wal_salt(store.path) not in (None, read_mark(store.path).wal_salt)
    assert last_seq_of(tmp_path / "e") == len(ROWS)
    with open_store(tmp_path / "e") as again:
        assert again.last_seq() == len(ROWS)


@pytest.mark.parametrize("opening", [open_store, open_reader])
@pytest.mark.parametrize(
    ("is_closed", "checkpoint_pages", "reason"),
    [
        (False, 1000, "without it there is record 0 of driver 0, where record 41 of 1 was"),
        (True, 1000, "with it, rows of lease would be gone"),
        (True, 5, "with it, rows of results would be gone"),  # begun so often that neither lease nor log is in it
    ],
)
def test_a_foreign_wal_is_refused_with_the_reason(write_experiment, opening, is_closed, checkpoint_pages, reason):
    """Both experiments have the same id and as many rows in the same places."""
    closed, killed = write_experiment("own", 1.0)
    _, foreign = write_experiment("foreign", 2.0, checkpoint_pages=checkpoint_pages)
    own = closed if is_closed else killed
    shutil.copy(wal_path(foreign / "experiment.db"), own)
    before = (own / "experiment.db").read_bytes()
    with pytest.raises(StoreError, match=f"belongs to another database .*{reason}"):
        opening(own)
    assert (own / "experiment.db").read_bytes() == before


@pytest.mark.parametrize("opening", [open_store, open_reader])
def test_a_database_of_another_experiment_is_not_mixed_with_the_wal_that_is_there(tmp_path, write_experiment, opening):
    """The WAL is the one that the mark knows, and the database is not."""
    _, killed = write_experiment("own", 1.0)
    with create_store(tmp_path / "other", make_spec(experiment_id="e2")) as other:
        other.append(ROWS, [])
    shutil.copy(other.path, killed)
    before = other.path.read_bytes()
    with pytest.raises(StoreError, match="another experiment has written"):
        opening(killed)
    assert (killed / "experiment.db").read_bytes() == before


@pytest.mark.parametrize("opening", [open_store, open_reader])
def test_a_database_torn_by_a_power_loss_is_read_with_its_wal(tmp_path, opening):
    """While rows are moved from the WAL into the database, the power may fail; the WAL still has them whole."""
    own = make_spec(experiment_id="the own one", n_trials=20)
    with create_store(tmp_path / "e", make_spec(experiment_id="the own one")) as store:
        store.append(ROWS, [])
        store.revise(own)
        killed = copy_files(store.folder, tmp_path / "killed") / "experiment.db"
    torn = killed.read_bytes().replace(b"the own one", b"another one")
    killed.write_bytes(torn)
    found = opening(killed, **({"takeover": True} if opening is open_store else {}))
    assert (found.spec, found.last_seq()) == (own, len(ROWS))
    found.close()


@pytest.mark.parametrize("damage", [b"\xff" * 4096, b"\0" * 4096])
def test_a_damaged_database_beside_its_own_wal_is_called_damaged(tmp_path, damage):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append(ROWS, [])
        (page,) = store._connection.execute("SELECT pageno FROM dbstat WHERE name = 'experiment'").fetchone()
        killed = copy_files(store.folder, tmp_path / "killed") / "experiment.db"
    content = bytearray(killed.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = damage
    killed.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged .*\.recover"):
        open_store(killed, takeover=True)


def test_a_wal_begun_anew_while_it_is_looked_at_is_looked_at_again(tmp_path, monkeypatch):
    """The copy of the database may lack what was moved into it meanwhile, and that of the WAL has it no more."""
    copy, n_copies = shutil.copyfile, []

    def copy_late(source, target):
        n_copies.append(source)
        if len(n_copies) == 1:
            run_other_program(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
            store.append([Suggest(2, 1)], [])
        copy(source, target)

    with create_store(tmp_path / "e", make_spec(), clock=VirtualClock()) as store:
        store.append(ROWS, [])
        run_other_program(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
        store.append([Suggest(1, 1)], [])
        monkeypatch.setattr(wal_check.shutil, "copyfile", copy_late)
        assert last_seq_of(tmp_path / "e") == len(ROWS) + 2
    assert len(n_copies) == 2
