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
    with pytest.raises(StoreError, match=r"version 99.*up to 1.*Upgrade"):
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
    with pytest.raises(StoreError, match=rf"version 99.*up to 1.*{missing}"):
        open_reader(folder)


# ---------------------------------------------------------------- older


@pytest.fixture
def next_version(monkeypatch):
    """This program knows version 2, which adds a column."""
    monkeypatch.setattr(schemas, "SCHEMA_VERSION", 2)
    monkeypatch.setitem(schemas.MIGRATIONS, 2, lambda c: c.execute("ALTER TABLE log ADD COLUMN note TEXT"))


def test_an_older_schema_is_migrated_when_it_is_opened_after_a_backup(folder, next_version):
    with open_store(folder) as store:
        assert store._connection.pragma("user_version") == 2
        store._connection.execute("SELECT note FROM log")
        store.append([Suggest(1, 1)], [])
        assert list(store.records()) == [*ROWS, Suggest(1, 1)]
    backup = apsw.Connection(str(folder / "experiment.db.v1"), flags=apsw.SQLITE_OPEN_READONLY)
    assert backup.pragma("user_version") == 1
    assert backup.execute("SELECT count(*) FROM results").fetchone() == (2,)
    backup.close()


def test_a_migrated_file_is_migrated_once(folder, next_version):
    open_store(folder).close()
    (folder / "experiment.db.v1").unlink()
    open_store(folder).close()
    assert not (folder / "experiment.db.v1").exists()


def test_a_migration_that_fails_leaves_the_old_schema(folder, next_version, monkeypatch):
    monkeypatch.setattr(schemas, "SCHEMA_VERSION", 3)
    monkeypatch.setitem(schemas.MIGRATIONS, 3, lambda c: c.execute("nonsense"))
    with pytest.raises(StoreError, match="nonsense"):
        open_store(folder)
    monkeypatch.undo()
    with open_store(folder) as store:
        assert (store._connection.pragma("user_version"), list(store.records())) == (1, ROWS)
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

back_up = schema.back_up
if sys.argv[2] == "before":
    schema.back_up = lambda *arguments: (back_up(*arguments), os.kill(os.getpid(), 9))
schema.SCHEMA_VERSION = 2
schema.MIGRATIONS[2] = half
open_store(sys.argv[1])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("moment", "version"), [("before", 1), ("inside", 1), ("committed", 2), ("after", 2)])
def test_kill_9_at_any_moment_leaves_the_old_schema_or_the_new_one(folder, next_version, moment, version):
    script = [sys.executable, "-c", KILLED, str(folder), moment]
    assert subprocess.run(script, check=False).returncode == -9
    file = sqlite3.connect(folder / "experiment.db")
    columns = [row[1] for row in file.execute("PRAGMA table_info(log)")]
    assert file.execute("PRAGMA user_version").fetchone() == (version,)
    assert ("note" in columns) == (version == 2)
    file.close()
    with open_store(folder) as store:  # goes on from there, over a backup that may be there already
        assert store._connection.pragma("user_version") == 2
        assert list(store.records()) == ROWS
