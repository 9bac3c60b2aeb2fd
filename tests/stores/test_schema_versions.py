"""F58 and F59: files of a newer and of an older version of the schema."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from tunesmith.errors import StoreError
from tunesmith.events import Suggest
from tunesmith.stores import create_store, open_reader, open_store
from tunesmith.stores import schema as schemas

from .store_samples import make_spec, make_trial, run_of, start

ROOT = Path(__file__).parents[2]
VERSION, NEXT = schemas.SCHEMA_VERSION, schemas.SCHEMA_VERSION + 1
ROWS = [start(), *run_of(0, [{"loss": 2.0}, {"loss": 1.0}])]


@pytest.fixture
def folder(tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append(ROWS, [make_trial()])
    return tmp_path / "e"


def change(folder, *statements):
    """In the file, by another program: user_version = 99 and what is given."""
    with sqlite3.connect(folder / "experiment.db") as file:
        for statement in ("PRAGMA user_version = 99", *statements):
            file.execute(statement)
    file.close()


def test_a_newer_schema_is_not_written_to_and_both_versions_are_named(folder):
    change(folder)
    before = (folder / "experiment.db").read_bytes()
    with pytest.raises(StoreError, match=rf"version 99.*up to {VERSION}.*Upgrade"):
        open_store(folder)
    assert (folder / "experiment.db").read_bytes() == before


ADDITIONS = [
    "ALTER TABLE lease ADD COLUMN purpose TEXT",
    "ALTER TABLE results ADD COLUMN cost REAL",
    "ALTER TABLE trial_states ADD COLUMN bracket INTEGER",
    "ALTER TABLE checkpoints ADD COLUMN size_bytes INTEGER",
    "ALTER TABLE experiment ADD COLUMN owner TEXT",
    "CREATE TABLE notes (trial INTEGER, text TEXT)",
]


def test_a_newer_schema_that_only_adds_is_read_with_a_warning(folder, caplog):
    change(folder, *ADDITIONS)
    reader = open_reader(folder)
    assert [record for _, record in reader.records()] == ROWS
    assert [trial.index for trial in reader.trials()] == [0]
    assert [result.value for result in reader.results()] == [2.0, 1.0]
    assert reader.driver() is None
    assert reader.status().status is None
    reader.close()
    assert "version 99" in caplog.text


@pytest.mark.parametrize(
    ("statements", "missing"),
    [
        (["ALTER TABLE results RENAME COLUMN value TO objective"], "results.value"),
        (["DROP TABLE checkpoints"], "checkpoints.attempt"),
        (["DROP VIEW current_results"], "current_results.seq"),
    ],
)
def test_a_newer_schema_that_takes_something_away_is_not_read(folder, statements, missing):
    change(folder, *statements)
    with pytest.raises(StoreError, match=rf"version 99.*up to {VERSION}.*{missing}"):
        open_reader(folder)


# ---------------------------------------------------------------- older


@pytest.fixture
def next_version(monkeypatch):
    """This program knows the next version, which adds a column."""
    monkeypatch.setattr(schemas, "SCHEMA_VERSION", NEXT)
    monkeypatch.setitem(schemas.MIGRATIONS, NEXT, lambda c: c.execute("ALTER TABLE log ADD COLUMN note TEXT"))


def test_an_older_schema_is_migrated_when_it_is_opened_after_a_backup(folder, next_version):
    with open_store(folder) as store:
        assert store._connection.pragma("user_version") == NEXT
        store._connection.execute("SELECT note FROM log")
        store.append([Suggest(1, 1)], [])
        assert list(store.records()) == [*ROWS, Suggest(1, 1)]
    backup = apsw.Connection(str(folder / f"experiment.db.v{VERSION}"), flags=apsw.SQLITE_OPEN_READONLY)
    assert backup.pragma("user_version") == VERSION
    assert backup.execute("SELECT count(*) FROM results").fetchone() == (2,)
    backup.close()


def test_a_migrated_file_is_migrated_once(folder, next_version):
    open_store(folder).close()
    (folder / f"experiment.db.v{VERSION}").unlink()
    open_store(folder).close()
    assert not (folder / f"experiment.db.v{VERSION}").exists()


def test_of_two_drivers_that_find_the_old_schema_one_migrates_it(folder, monkeypatch):
    monkeypatch.setattr(schemas, "SCHEMA_VERSION", NEXT)
    monkeypatch.setitem(schemas.MIGRATIONS, NEXT, lambda c: c.execute("UPDATE experiment SET n_trials = 2 * n_trials"))
    path = folder / "experiment.db"
    first, second = apsw.Connection(str(path)), apsw.Connection(str(path))
    versions = [schemas.check_version(one, path) for one in (first, second)]
    for one, version in zip((first, second), versions, strict=True):
        schemas.migrate(one, path, version)
    assert first.execute("SELECT n_trials FROM experiment").fetchone() == (2 * make_spec().n_trials,)
    backup = apsw.Connection(str(folder / f"experiment.db.v{VERSION}"))
    assert backup.pragma("user_version") == VERSION
    for one in (first, second, backup):
        one.close()
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []


def test_a_driver_that_is_newer_may_migrate_first(folder, next_version, monkeypatch):
    path = folder / "experiment.db"
    late = apsw.Connection(str(path))
    copy_all = schemas.copy_all
    monkeypatch.setattr(schemas, "copy_all", lambda *found: (copy_all(*found), change(folder)))
    with pytest.raises(StoreError, match=rf"version 99.*up to {NEXT}"):
        schemas.migrate(late, path, VERSION)
    assert late.pragma("user_version") == 99
    late.close()
    assert not (folder / f"experiment.db.v{VERSION}").exists()


def test_a_backup_that_fails_half_way_is_not_there_and_nothing_is_migrated(folder, next_version, monkeypatch):
    def fail(connection, target):
        target.write_bytes(b"half")
        raise OSError("no room")

    monkeypatch.setattr(schemas, "copy_all", fail)
    before = sorted(file.name for file in folder.iterdir())
    with pytest.raises(OSError, match="no room"):
        open_store(folder)
    assert sorted(file.name for file in folder.iterdir()) == before
    file = sqlite3.connect(folder / "experiment.db")
    assert file.execute("PRAGMA user_version").fetchone() == (VERSION,)
    file.close()


def test_a_migration_that_fails_leaves_the_old_schema(folder, next_version, monkeypatch):
    monkeypatch.setattr(schemas, "SCHEMA_VERSION", NEXT + 1)
    monkeypatch.setitem(schemas.MIGRATIONS, NEXT + 1, lambda c: c.execute("nonsense"))
    with pytest.raises(StoreError, match="nonsense"):
        open_store(folder)
    monkeypatch.undo()
    with open_store(folder) as store:
        assert (store._connection.pragma("user_version"), list(store.records())) == (VERSION, ROWS)
        assert "note" not in [row[1] for row in store._connection.execute("PRAGMA table_info(log)")]


KILLED = """
import os, sys
from tunesmith.stores import open_store, schema

def half(connection):
    connection.execute("ALTER TABLE log ADD COLUMN note TEXT")
    connection.execute("UPDATE log SET note = 'x'")
    if sys.argv[2] == "inside":
        os.kill(os.getpid(), 9)
    if sys.argv[2] == "committed":
        connection.exec_trace = kill_after_commit

seen = []

def kill_after_commit(cursor, sql, bindings):
    if "COMMIT" in seen:
        os.kill(os.getpid(), 9)
    seen.append(sql)
    return True

copy_all = schema.copy_all
if sys.argv[2] == "before":
    schema.copy_all = lambda *arguments: (copy_all(*arguments), os.kill(os.getpid(), 9))
schema.SCHEMA_VERSION += 1
schema.MIGRATIONS[schema.SCHEMA_VERSION] = half
open_store(sys.argv[1])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("moment", "version"), [("before", VERSION), ("inside", VERSION), ("committed", NEXT), ("after", NEXT)]
)
def test_kill_9_at_any_moment_leaves_the_old_schema_or_the_new_one(folder, next_version, moment, version):
    script = [sys.executable, "-c", KILLED, str(folder), moment]
    assert subprocess.run(script, check=False).returncode == -9
    file = sqlite3.connect(folder / "experiment.db")
    columns = [row[1] for row in file.execute("PRAGMA table_info(log)")]
    assert file.execute("PRAGMA user_version").fetchone() == (version,)
    assert ("note" in columns) == (version == NEXT)
    file.close()
    with open_store(folder) as store:  # goes on from there, over a backup that may be there already
        assert store._connection.pragma("user_version") == NEXT
        assert list(store.records()) == ROWS
