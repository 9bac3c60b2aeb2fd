"""Bugs that the campaign must find: each switch breaks one protection, in this process and for one workload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw

from campaigns.powerloss.recorder import Timer
from tunesmith.stores import SqliteStore, sqlite
from tunesmith.stores.mark import wal_salt
from tunesmith.trialside import checkpoint


class Bug(Enum):
    """One protection that is missing; the value says which."""

    SYNCHRONOUS_OFF = "synchronous=OFF"
    NO_FULL_SYNC = "the FULL sync dropped (durability full)"
    NO_SECOND_SYNC = "the FULL sync of each second dropped (default)"
    NO_TIMER = "no sync after the last commit before a quiet time"
    NO_FOLDER_SYNC = "the name of the experiment's folder not synced"
    NO_FILE_SYNC = "no fsync of the checkpoint's files"
    NO_PARENT_SYNC = "no fsync of the checkpoint's parent"
    ROW_BEFORE_RENAME = "checkpoint row committed before the rename"
    EARLY_DELETION = "old checkpoint deleted before the row is on the disk"
    EARLY_MARK = "the mark says what is not on the disk yet"

    @property
    def durability(self) -> str | None:
        """Which durability the workload must have for the bug to matter; None: any."""
        if self in (Bug.NO_SECOND_SYNC, Bug.NO_TIMER, Bug.EARLY_DELETION, Bug.EARLY_MARK):
            return "normal"
        return "full" if self in (Bug.NO_FULL_SYNC, Bug.SYNCHRONOUS_OFF) else None


@contextmanager
def plant(bug: Bug | None) -> Iterator[None]:
    """Break the protection while the block runs."""
    with ExitStack() as stack:
        for target, name, value in _patches(bug):
            stack.enter_context(patch.object(target, name, value))
        yield


def _patches(bug: Bug | None) -> list[tuple[Any, str, Any]]:
    if bug is Bug.SYNCHRONOUS_OFF:
        return [(apsw, "Connection", _connection_with(lambda word: "off"))]
    if bug in (Bug.NO_FULL_SYNC, Bug.NO_SECOND_SYNC):
        patches: list[tuple[Any, str, Any]] = [(apsw, "Connection", _connection_with(_full_is_normal))]
        return patches if bug is Bug.NO_FULL_SYNC else [*patches, (Timer, "is_dead", True)]
    if bug is Bug.NO_TIMER:
        return [(Timer, "is_dead", True)]
    if bug is Bug.NO_FOLDER_SYNC:
        return [(sqlite, "_make_folder", lambda folder: folder.mkdir(parents=True))]
    if bug is Bug.NO_FILE_SYNC:
        return [(checkpoint, "_sync_tree", checkpoint._sync)]
    if bug is Bug.NO_PARENT_SYNC:
        return [(checkpoint, "_sync", _sync_but_trial_folder(checkpoint._sync))]
    if bug is Bug.EARLY_DELETION:
        return [(sqlite, "_must_sync", lambda batch: False)]
    if bug is Bug.EARLY_MARK:
        return [(SqliteStore, "_sync_later", _marking_first(SqliteStore._sync_later))]
    return []


def _marking_first(sync_later: Callable[[SqliteStore], None]) -> Callable[[SqliteStore], None]:
    def call(store: SqliteStore) -> None:
        store._write_mark(store._seq, wal_salt(store.path))
        sync_later(store)

    return call


def _full_is_normal(word: str) -> str:
    return "normal" if word.lower() == "full" else word


def _sync_but_trial_folder(sync: Callable[[Path], None]) -> Callable[[Path], None]:
    def call(path: Path) -> None:
        if path.parent.name != "trials":  # the trial's folder, in which the rename happened
            sync(path)

    return call


def _connection_with(rewrite: Callable[[str], str]) -> type[apsw.Connection]:
    """A connection that takes another word for each PRAGMA synchronous than the one that it is given."""

    class Cursor(apsw.Cursor):
        def execute(self, statements: str, *args: Any, **options: Any) -> apsw.Cursor:
            if statements.startswith("PRAGMA synchronous = "):
                statements = f"PRAGMA synchronous = {rewrite(statements.rpartition(' ')[2])}"
            return super().execute(statements, *args, **options)

    class Connection(apsw.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.cursor_factory = Cursor

        def pragma(self, name: str, value: Any = None, **options: Any) -> Any:
            if value is None:
                return super().pragma(name, **options)
            return super().pragma(name, rewrite(value) if name == "synchronous" else value, **options)

    return Connection
