"""Taking what can be read out of a damaged database, into a new one; the damaged one is not changed (F51)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec

from tunesmith.errors import StoreError
from tunesmith.stores.connection import MAX_VALUE_BYTES, access_words, after_rollback, clear_errors, database_path
from tunesmith.stores.schema import NO_FOLLOW, check_version, create_schema, sync_folder
from tunesmith.stores.wal_check import check_wal

_TABLES = ("experiment", "trial_configs", "trial_states", "results", "log", "checkpoints", "lease")
#: How many numbers are tried one by one beyond the last row that can be read, where the end of a table is damaged.
_BEYOND = 100_000
_UNREADABLE = (apsw.Error, UnicodeDecodeError)


class Recovery(msgspec.Struct, frozen=True):
    """What was found, and what was not."""

    path: Path
    n_rows: dict[str, int]  #: of each table
    lost: dict[str, list[tuple[int, int]]]  #: of each damaged table, the first and last number of rows not readable


def recover(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Recovery:
    """Write the rows of a damaged `experiment.db` (or its folder's) that can be read into the new file `target`.

    The new file is for reading: `tunesmith.load(target)`. Where rows of `results` or `log` are lost, the event log has
    holes, and an experiment cannot go on from it.
    Raises: StoreError if `target` exists, or where not even the description of the experiment can be read.
    """
    path, copy = database_path(source), Path(target)
    old = _open_damaged(path)
    try:
        _make_new(copy)
        try:
            found = _salvage_all(old, copy)
            if not found.n_rows["experiment"]:
                raise StoreError(f"{path} is damaged where it says what the experiment is; nothing could be recovered.")
            sync_folder(copy.parent)
        except BaseException:
            with suppress(OSError):
                copy.unlink()
            raise
    except OSError as error:
        raise StoreError(access_words(copy, str(error))) from error
    finally:
        old.close()
    return found


def _make_new(file: Path) -> None:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_FOLLOW, 0o600))
    except FileExistsError:
        raise StoreError(f"{file} exists. Give the recovered file a name of its own.") from None


def _open_damaged(path: Path) -> apsw.Connection:
    """A connection that cannot write, but that opens a file which is shorter than it says, too."""

    def connect() -> apsw.Connection:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            connection.pragma("writable_schema", True)  # what lifts SQLite's check of the length
            check_version(connection, path, is_reader=True)
        except BaseException:
            connection.close()
            raise
        return connection

    check_wal(path)
    with clear_errors(path):
        return after_rollback(connect, path)


def _salvage_all(old: apsw.Connection, copy: Path) -> Recovery:
    n_rows: dict[str, int] = {}
    lost: dict[str, list[tuple[int, int]]] = {}
    with clear_errors(copy):
        new = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            new.execute("BEGIN IMMEDIATE")
            create_schema(new)
            for table in _TABLES:
                salvage = _Salvage(old, table)
                n_columns = len(new.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall())
                n_rows[table] = 0
                for row in salvage.rows():
                    added_since = [None] * (n_columns - len(row) + 1)  #: by versions after the file's
                    if _inserted(new, table, (*row[1:], *added_since)):
                        n_rows[table] += 1
                    else:
                        salvage.lose(row[0], row[0])
                if salvage.lost:
                    lost[table] = salvage.lost
            if lost:
                words = "; ".join(f"{table} {first} to {last}" for table, ends in lost.items() for first, last in ends)
                new.execute("UPDATE experiment SET detail = ?", (f"recovered from damage; not readable: {words}",))
            new.execute("COMMIT")
        finally:
            new.close()
    return Recovery(copy, n_rows, lost)


def _inserted(new: apsw.Connection, table: str, row: tuple[Any, ...]) -> bool:
    """Whether the table takes the row: what damage made of a value may be of the wrong type."""
    marks = ", ".join("?" * len(row))
    try:
        new.execute(f"INSERT INTO {table} VALUES ({marks})", row)
    except (apsw.ConstraintError, apsw.MismatchError):
        return False
    return True


class _Salvage:
    """The readable rows of one table: from the front, from the back, and between what is damaged by halving."""

    def __init__(self, connection: apsw.Connection, table: str) -> None:
        self._connection = connection
        self._sql = f"SELECT rowid, * FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
        self.lost: list[tuple[int, int]] = []  #: ascending, adjacent ones joined

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Each with its rowid before it."""
        yield from self._between(0, 2**63 - 1, has_end=False)

    def _between(self, low: int, high: int, *, has_end: bool = True) -> Iterator[tuple[Any, ...]]:
        if low > high:
            return
        front, is_whole = self._read(low, high, "ASC")
        yield from front
        if is_whole:
            return
        low = front[-1][0] + 1 if front else low
        back, _ = self._read(low, high, "DESC")
        if back:
            high = back[-1][0] - 1
        elif not has_end:
            high = low + _BEYOND
        if low >= high:
            self.lose(low, high)
        else:
            middle = (low + high) // 2
            yield from self._between(low, middle)
            yield from self._between(middle + 1, high)
        yield from reversed(back)

    def _read(self, low: int, high: int, order: str) -> tuple[list[tuple[Any, ...]], bool]:
        """The rows up to the first that cannot be read, and whether there was none such."""
        found: list[tuple[Any, ...]] = []
        try:
            # What came before the error is in the list then.
            found.extend(self._connection.execute(f"{self._sql} {order}", (low, high)))
        except _UNREADABLE:
            return found, False
        return found, True

    def lose(self, first: int, last: int) -> None:
        """Call the rows of these numbers lost, which follow on those called so before."""
        if first > last:
            return
        if self.lost and self.lost[-1][1] == first - 1:
            first, _ = self.lost.pop()
        self.lost.append((first, last))
