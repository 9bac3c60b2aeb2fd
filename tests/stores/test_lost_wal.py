"""F54 and F55: a database without its `-wal` file, or beside that of another one, is not taken for a whole one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from tunesmith.clock import VirtualClock
from tunesmith.errors import LeaseError, StoreError
from tunesmith.events import Suggest
from tunesmith.stores import create_store, open_reader, open_store
from tunesmith.stores import lease as leases
from tunesmith.stores.mark import Mark, id_sum, mark_path, read_mark, wal_path, wal_salt, write_mark
from tunesmith.stores.schema import back_up

from .store_samples import make_spec, make_trial, run_of, start

ROOT = Path(__file__).parents[2]
ROWS = [start(), *run_of(0, [{"loss": float(n)} for n in range(50)])]

KILLED = """
import os, sys
from tunesmith.stores import create_store
sys.path.insert(0, sys.argv[2])
from tests.stores.store_samples import make_spec
from tunesmith.events import Suggest
store = create_store(sys.argv[1], make_spec())
for n in range(100):
    store.append([Suggest(n, 1)], [])
store._sync_wal(store._synced_at)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def killed(tmp_path):
    """The folder of an experiment whose driver was killed after 100 records."""
    script = [sys.executable, "-c", KILLED, str(tmp_path / "e"), str(ROOT)]
    assert subprocess.run(script, check=False).returncode == -9
    return tmp_path / "e"


def remove(folder, *names):
    for name in names:
        (folder / name).unlink(missing_ok=True)


def test_a_killed_drivers_folder_is_opened_as_it_is(killed):
    with open_store(killed) as store:
        assert store.last_seq() == 100


def test_a_deleted_wal_is_found_by_what_is_missing_and_nothing_is_written(killed):
    remove(killed, "experiment.db-wal", "experiment.db-shm")
    before = (killed / "experiment.db").read_bytes()
    with pytest.raises(StoreError, match=r"ends at record 0 of driver 0.*driver 1 had stored record 100.*1 to 100"):
        open_store(killed)
    assert (killed / "experiment.db").read_bytes() == before


def test_a_folder_copied_without_its_wal_is_found(killed, tmp_path):
    shutil.copytree(killed, tmp_path / "copy", ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    with pytest.raises(StoreError, match="older than its folder"):
        open_store(tmp_path / "copy")


def test_an_older_copy_put_in_its_place_is_found(tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append(ROWS[:3], [])
        store.export(tmp_path / "older.db")
    with open_store(tmp_path / "e") as store:
        store.append([Suggest(1, 1)], [])
    (tmp_path / "older.db").replace(tmp_path / "e" / "experiment.db")
    with pytest.raises(StoreError, match=r"ends at record 3 of driver 1.*driver 2 had stored record 4"):
        open_store(tmp_path / "e", takeover=True)


def test_a_reader_shows_what_is_there_and_says_what_is_missing(killed, caplog):
    remove(killed, "experiment.db-wal", "experiment.db-shm")
    reader = open_reader(killed)
    assert reader.last_seq() == 0
    assert "records 1 to 100" in caplog.text
    reader.close()


def test_whoever_deletes_the_mark_goes_on_without_what_is_missing(killed, caplog):
    remove(killed, "experiment.db-wal", "experiment.db-shm", "experiment.db-mark")
    with open_store(killed) as store:
        store.append(ROWS, [])
    assert "may lack its newest rows" in caplog.text
    with open_store(killed) as store:
        assert list(store.records()) == ROWS


def test_a_lone_database_of_a_driver_that_did_not_close_it_is_warned_about(killed, tmp_path, caplog):
    (tmp_path / "copy").mkdir()
    shutil.copy(killed / "experiment.db", tmp_path / "copy")
    open_reader(tmp_path / "copy").close()
    assert "may lack its newest rows" in caplog.text


def test_a_lone_database_that_was_closed_or_exported_is_whole(tmp_path, caplog):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append(ROWS, [make_trial()])
    for name in ("moved", "exported"):
        (tmp_path / name).mkdir()
    shutil.copy(tmp_path / "e" / "experiment.db", tmp_path / "moved")
    with open_store(tmp_path / "e") as store:
        store.export(tmp_path / "exported" / "copy.db")
    open_reader(tmp_path / "moved").close()
    open_reader(tmp_path / "exported" / "copy.db").close()
    assert caplog.text == ""


def test_rows_that_another_program_moved_into_the_database_are_not_missing(killed, caplog):
    """A sqlite3 shell that is closed empties the WAL into the database and removes it: nothing is lost by that."""
    connection = sqlite3.connect(killed / "experiment.db")
    connection.execute("SELECT count(*) FROM log").fetchone()
    connection.close()
    assert not (killed / "experiment.db-wal").exists()
    with open_store(killed) as store:
        assert store.last_seq() == 100
    assert caplog.text == ""


# ---------------------------------------------------------------- a WAL of another database


@pytest.fixture
def foreign_wal(tmp_path):
    """The WAL of another experiment whose driver was killed."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "other"), str(ROOT)], check=False)
    return tmp_path / "other" / "experiment.db-wal"


@pytest.mark.parametrize("opening", [open_store, open_reader])
@pytest.mark.parametrize("is_closed", [True, False])
def test_a_wal_of_another_database_is_refused_before_it_is_mixed(killed, foreign_wal, opening, is_closed):
    if is_closed:
        open_store(killed).close()
    remove(killed, "experiment.db-shm")
    shutil.copy(foreign_wal, killed / "experiment.db-wal")
    before = (killed / "experiment.db").read_bytes()
    with pytest.raises(StoreError, match="belongs to another database"):
        opening(killed)
    assert (killed / "experiment.db").read_bytes() == before


def test_a_wal_that_sqlite_began_anew_is_known_for_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("tunesmith.stores.connection.WAL_CHECKPOINT_PAGES", 10)
    clock = VirtualClock()
    with create_store(tmp_path / "e", make_spec(), clock=clock) as store:
        for n in range(200):
            store.append([Suggest(n, 1)], [])
            if n % 50 == 0:
                salts = {read_mark(store.path).wal_salt}
                clock.advance_to(n)
        (tmp_path / "copy").mkdir()
        files = [f"{store.path}{suffix}" for suffix in ("", "-wal", "-mark")]
        subprocess.run(["cp", *files, str(tmp_path / "copy")], check=True)
    assert None not in salts
    with open_store(tmp_path / "copy", takeover=True) as copy:
        assert copy.last_seq() == 200


def test_a_reader_beside_a_driver_that_begins_is_not_told_of_a_foreign_wal(tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append(ROWS, [])
    old = read_mark(store.path)
    with open_store(tmp_path / "e") as store:
        assert read_mark(store.path) == Mark(old.epoch, old.seq, None, old.experiment)
        open_reader(tmp_path / "e").close()
        store.append([Suggest(1, 1)], [])
        open_reader(tmp_path / "e").close()
        assert read_mark(store.path).wal_salt is not None


# ---------------------------------------------------------------- the mark itself


def test_the_mark_never_says_more_than_was_synced(tmp_path):
    clock = VirtualClock()
    with create_store(tmp_path / "e", make_spec(), clock=clock) as store:
        seen = []
        for now in (0.0, 0.5, 1.0, 1.5):
            clock.advance_to(now)
            store.append([Suggest(1, 1)], [])
            seen.append(read_mark(store.path).seq)
        store._sync_wal(store._synced_at)
        seen.append(read_mark(store.path).seq)
    assert seen == [1, 1, 3, 3, 4]


def test_the_mark_names_the_wal_that_its_record_is_in(tmp_path, monkeypatch):
    """A commit during the sync may begin the WAL anew, which is not on the disk when the sync is done."""
    with create_store(tmp_path / "e", make_spec(), clock=VirtualClock()) as store:
        store.append(ROWS, [])
        store.append([Suggest(1, 1)], [])
        before = Mark(1, len(ROWS) + 1, wal_salt(store.path), id_sum("e1"))

        def fsync(descriptor):
            store._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            store.append([Suggest(2, 1)], [])

        monkeypatch.setattr(os, "fsync", fsync)
        store._sync_wal(store._synced_at)
        monkeypatch.undo()
        assert wal_salt(store.path) != before.wal_salt
        assert read_mark(store.path) == before


@pytest.mark.parametrize("content", [b"", b"\0" * 128, b'{"epoch":9,"seq":9,"wal_salt":1} 00000000', b"\xff" * 9])
def test_a_torn_mark_is_none(tmp_path, content):
    write_mark(tmp_path / "experiment.db", Mark(9, 9, 9))
    mark_path(tmp_path / "experiment.db").write_bytes(content)
    assert read_mark(tmp_path / "experiment.db") is None


def test_a_mark_comes_back_and_stays_within_a_sector(tmp_path):
    largest = Mark(2**63 - 1, 2**63 - 1, 2**32 - 1, 2**32 - 1)
    for mark in (largest, Mark(1, 2, 3, id_sum("x" * 10_000))):
        write_mark(tmp_path / "experiment.db", mark)
        assert read_mark(tmp_path / "experiment.db") == mark
        assert mark_path(tmp_path / "experiment.db").stat().st_size == 128


def test_an_experiment_goes_on_where_no_mark_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "experiment.db-mark").mkdir()
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append(ROWS, [])
    with open_store(tmp_path / "e") as store:
        assert list(store.records()) == ROWS


# ---------------------------------------------------------------- a session that begins


@pytest.fixture
def closed(tmp_path):
    """The database of a closed experiment; its mark has a salt."""
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append(ROWS, [])
    return store.path


def test_the_mark_without_a_salt_is_on_the_disk_before_a_new_wal_begins(closed, monkeypatch):
    seen = []

    def fsync(descriptor):
        if os.path.sameopenfile(descriptor, mark):
            seen.append((read_mark(closed).wal_salt, wal_salt(closed)))

    mark = os.open(mark_path(closed), os.O_RDONLY)
    monkeypatch.setattr(os, "fsync", fsync)
    open_store(closed.parent).close()
    os.close(mark)
    assert seen == [(None, None)]


def test_a_mark_that_a_power_loss_set_back_refuses_nobody(closed):
    old = mark_path(closed).read_bytes()
    with open_store(closed.parent) as store:
        for n in range(100):
            store.append([Suggest(n, 1)], [])
        mark_path(closed).write_bytes(old)
        assert read_mark(closed).wal_salt not in (None, wal_salt(closed))
        reader = open_reader(closed)
        assert reader.last_seq() == len(ROWS) + 100
        reader.close()
        with open_store(closed.parent, takeover=True) as again:
            assert again.last_seq() == len(ROWS) + 100


def fails(*arguments, **options):
    raise OSError(5, "Input/output error")


def test_a_mark_that_cannot_be_synced_is_removed(closed, monkeypatch):
    monkeypatch.setattr(os, "fsync", fails)
    with open_store(closed.parent) as store:
        assert not mark_path(closed).exists()
        monkeypatch.undo()
        store.append([Suggest(1, 1)], [])
        assert read_mark(closed).seq == len(ROWS) + 1


def test_a_mark_that_can_be_neither_synced_nor_removed_is_refused(closed, monkeypatch):
    monkeypatch.setattr(os, "fsync", fails)
    monkeypatch.setattr(Path, "unlink", fails)
    with pytest.raises(StoreError, match=r"experiment\.db-mark can be neither written .* nor removed"):
        open_store(closed.parent)
    monkeypatch.undo()
    with open_store(closed.parent) as store:
        assert store.epoch == 2, "the refused one wrote nothing"


def test_a_driver_that_comes_too_late_leaves_the_mark_of_the_first_as_it_is(closed, monkeypatch):
    """Another driver begins just after this one has found that there is none."""
    look, others = leases.latest_lease, []

    def look_too_early(connection):
        found = look(connection)
        if not others:
            others.append(None)
            others[0] = open_store(closed.parent)
            others[0].append([Suggest(1, 1)], [])
        return found

    monkeypatch.setattr(leases, "latest_lease", look_too_early)
    with pytest.raises(LeaseError, match="this very process"):
        open_store(closed.parent)
    assert read_mark(closed) == Mark(2, len(ROWS) + 1, wal_salt(closed), id_sum("e1"))
    others[0].close()


# ---------------------------------------------------------------- what an experiment leaves in its folder


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_nothing_is_created_beside_the_rows_of_a_database_that_is_gone(killed, suffix):
    wal_path(killed / "experiment.db").rename(killed / f"experiment.db{suffix}")
    remove(killed, "experiment.db")
    before = sorted(killed.iterdir())
    with pytest.raises(StoreError, match=rf"experiment\.db{suffix} is there without its experiment\.db"):
        create_store(killed, make_spec())
    assert sorted(killed.iterdir()) == before


def test_an_experiment_begins_where_another_one_left_its_mark(killed, caplog):
    remove(killed, "experiment.db", "experiment.db-wal", "experiment.db-shm")
    with create_store(killed, make_spec(experiment_id="e2")) as store:
        store.append([Suggest(1, 1)], [])
        assert read_mark(store.path) == Mark(1, 1, wal_salt(store.path), id_sum("e2"))
    with open_store(killed) as store:
        assert store.last_seq() == 1
    assert caplog.text == ""


def test_the_mark_of_another_experiment_says_nothing(tmp_path, killed, caplog):
    with create_store(tmp_path / "e2", make_spec(experiment_id="e2")):
        pass
    shutil.copy(killed / "experiment.db-mark", tmp_path / "e2")
    open_reader(tmp_path / "e2").close()
    with open_store(tmp_path / "e2") as store:
        assert read_mark(store.path) == Mark(experiment=id_sum("e2"))
    assert caplog.text == ""


def test_a_backup_has_no_mark_of_its_own(tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        back_up(store._connection, tmp_path / "copy.db")
    assert not mark_path(tmp_path / "copy.db").exists()
