"""The tables of `experiment.db`. Every column is documented in docs/store.md, which a test compares with this file.

`seq` is one sequence over `results`, `log` and `results.answer_seq`: merged by it they are the event log in order.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import apsw

from tunesmith.errors import StoreError
from tunesmith.stores.drafts import draft_path

_log = logging.getLogger("tunesmith")

#: "tune" in ASCII; in the file's header, so that a foreign database is never taken for ours.
APPLICATION_ID = 0x74756E65
SCHEMA_VERSION = 2

#: A file that is made here never follows a link that somebody put in its place; Windows has no such flag.
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)

EXPERIMENT = """
-- One row: what was asked for, and how it stands.
CREATE TABLE experiment (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  experiment_id TEXT NOT NULL,
  name TEXT NOT NULL,
  trainable TEXT NOT NULL,
  metric TEXT,
  mode TEXT,
  n_trials INTEGER,
  searcher TEXT NOT NULL,
  scheduler TEXT NOT NULL,
  tunesmith_version TEXT NOT NULL,
  created_at REAL NOT NULL,
  started_at REAL,
  ended_at REAL,
  status TEXT,
  detail TEXT,
  spec TEXT NOT NULL
) STRICT
"""

TRIAL_CONFIGS = """
-- What each trial receives. Apart from trial_states, so that a report never rewrites a large config.
CREATE TABLE trial_configs (
  trial INTEGER PRIMARY KEY,
  config TEXT NOT NULL,
  first_config TEXT
) STRICT
"""

TRIAL_STATES = """
-- Where each trial stands: the fold of the log, written in the same transaction as the records it follows from.
CREATE TABLE trial_states (
  trial INTEGER PRIMARY KEY,
  trial_id TEXT NOT NULL,
  status TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  n_failures INTEGER NOT NULL,
  n_losses INTEGER NOT NULL,
  n_preemptions INTEGER NOT NULL,
  checkpoints TEXT,
  placement TEXT,
  pid INTEGER,
  node TEXT,
  started_at REAL,
  ended_at REAL,
  stop_asked TEXT,
  reason TEXT,
  error TEXT,
  proposed_by TEXT,
  max_t REAL,
  n_reports INTEGER NOT NULL,
  step INTEGER NOT NULL,
  metrics TEXT,
  value REAL,
  kind TEXT NOT NULL,
  time_total_s REAL,
  reported_at REAL,
  best_value REAL,
  best_step INTEGER,
  folds TEXT
) STRICT
"""

TRIALS = """
-- What people and readers select from.
CREATE VIEW trials AS SELECT * FROM trial_states JOIN trial_configs USING (trial)
"""

RESULTS = """
-- Every report, once per (trial, attempt, step): the event TrialReported and its answer.
CREATE TABLE results (
  seq INTEGER PRIMARY KEY,
  trial INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  step INTEGER NOT NULL,
  time_total_s REAL,
  at REAL,
  metrics TEXT NOT NULL,
  value REAL,
  kind TEXT NOT NULL,
  verdict TEXT,
  answer_seq INTEGER,
  checkpoint TEXT,
  is_last INTEGER NOT NULL DEFAULT 0,
  superseded INTEGER NOT NULL DEFAULT 0,
  UNIQUE (trial, attempt, step)
) STRICT
"""

LATE_ANSWERS = """
-- Answers that did not follow their report at once: few, and found without a scan.
CREATE INDEX results_answered_late ON results (answer_seq) WHERE answer_seq > seq + 1
"""

CURRENT_RESULTS = """
-- The results that count: without those that a later attempt of the trial repeated or dropped.
CREATE VIEW current_results AS SELECT * FROM results WHERE superseded = 0
"""

LOG = """
-- Every other record of the event log.
CREATE TABLE log (
  seq INTEGER PRIMARY KEY,
  type TEXT NOT NULL,
  trial INTEGER,
  attempt INTEGER,
  at REAL,
  body TEXT NOT NULL
) STRICT
"""

LOG_BY_TRIAL = """
CREATE INDEX log_by_trial ON log (trial, type, seq) WHERE trial IS NOT NULL
"""

CHECKPOINTS = """
-- Every checkpoint ever committed. The row is the commit point: a folder without one does not exist.
CREATE TABLE checkpoints (
  trial INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  step INTEGER NOT NULL,
  path TEXT NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (trial, attempt, step)
) STRICT
"""

LEASE = """
-- Every driver there was. The highest epoch is the writer; it closed cleanly if released_at is set.
CREATE TABLE lease (
  epoch INTEGER PRIMARY KEY,
  host TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  pid INTEGER NOT NULL,
  process_started TEXT NOT NULL,
  acquired_at REAL NOT NULL,
  released_at REAL
) STRICT
"""

STATEMENTS = (
    EXPERIMENT,
    TRIAL_CONFIGS,
    TRIAL_STATES,
    TRIALS,
    RESULTS,
    LATE_ANSWERS,
    CURRENT_RESULTS,
    LOG,
    LOG_BY_TRIAL,
    CHECKPOINTS,
    LEASE,
)


def _add_folds(connection: apsw.Connection) -> None:
    """A trial of version 1 has none: its `fold` was a metric like any other."""
    connection.execute("ALTER TABLE trial_states ADD COLUMN folds TEXT")


#: Target version -> what leads there from the one below. Each runs once, all of them in one transaction. Columns are
#: added at the end of a table, where they stand in a new file too: `recover` goes by their places.
MIGRATIONS: dict[int, Callable[[apsw.Connection], None]] = {2: _add_folds}


def create_schema(connection: apsw.Connection) -> None:
    """All tables in an empty database, which says from then on whose it is."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in STATEMENTS:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def check_version(connection: apsw.Connection, path: Path, *, is_reader: bool = False) -> int:
    """The file's schema version.

    Args: is_reader: a newer file is good enough if all that this program knows is still in it (F58).
    Raises: StoreError if the file is not a tunesmith store, or newer than this program.
    """
    if connection.pragma("application_id") != APPLICATION_ID:
        raise StoreError(f"{path} is a database, but not a tunesmith store. It was left as it is; give another folder.")
    version = int(connection.pragma("user_version"))
    if version > SCHEMA_VERSION:
        words = f"{path} has schema version {version}; this tunesmith knows versions up to {SCHEMA_VERSION}."
        if not is_reader:
            raise StoreError(f"{words} Upgrade tunesmith to go on with it; it may still be read with tunesmith.load().")
        missing = _missing_columns(connection)
        if missing:
            raise StoreError(f"{words} It has no {', '.join(missing[:3])}. Upgrade tunesmith to open it.")
        _log.warning("%s It is read as far as this one knows it.", words)
    return version


def _missing_columns(connection: apsw.Connection) -> list[str]:
    """What this program reads and the file does not have.

    That is all that is asked of a newer file, so a version that changes what a column means must give it a new name.
    """
    own = apsw.Connection(":memory:")
    try:
        create_schema(own)
        return [name for name in _columns(own) if name not in set(_columns(connection))]
    finally:
        own.close()


def _columns(connection: apsw.Connection) -> list[str]:
    tables = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
    sql = f"SELECT t.name || '.' || c.name FROM ({tables}) AS t, pragma_table_info(t.name) AS c"
    return [str(name) for (name,) in connection.execute(sql)]


def migrate(connection: apsw.Connection, path: Path, version: int) -> None:
    """Bring an older file to this version in one transaction, after a backup beside it (`experiment.db.v<n>`)."""
    if version == SCHEMA_VERSION:
        return
    backup = path.with_name(f"{path.name}.v{version}")
    draft = draft_path(backup)
    try:
        copy_all(connection, draft)  # not in the transaction: SQLite copies no database that is being written
        connection.execute("BEGIN IMMEDIATE")
        now = check_version(connection, path)
        if now == version:  # else another driver was quicker, and the draft is no backup of the old version
            draft.replace(backup)
            sync_folder(path.parent)
        for target in range(now + 1, SCHEMA_VERSION + 1):
            MIGRATIONS[target](connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        draft.unlink(missing_ok=True)


def back_up(connection: apsw.Connection, target: Path, *, is_durable: bool = True) -> None:
    """Put a consistent copy of the whole database in the place of `target`, which is never there in part."""
    draft = draft_path(target)
    try:
        copy_all(connection, draft, is_durable=is_durable)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    if is_durable:
        sync_folder(target.parent)


def copy_all(connection: apsw.Connection, target: Path, *, is_durable: bool = True) -> None:
    """The whole database in a new file; a plain copy would miss what is still in the `-wal` file."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_FOLLOW, 0o600))
    copy = apsw.Connection(str(target))
    try:
        if not is_durable:
            copy.pragma("synchronous", "off")
        with copy.backup("main", connection, "main") as backup:
            while not backup.done:
                backup.step(1000)
        copy.pragma("journal_mode", "delete")  # nobody writes to it: a file without a WAL is whole by itself
    finally:
        copy.close()


def sync_folder(folder: Path) -> None:
    """Make the names in the folder durable, where the system can: a new file may else be gone after a power loss."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
