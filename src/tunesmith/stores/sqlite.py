"""The store of an experiment folder: one SQLite file, one writer, one transaction per append."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from tunesmith.clock import Clock, SystemClock
from tunesmith.errors import ConfigError, StoreError
from tunesmith.events import Record
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import connection as connections
from tunesmith.stores import lease as leases
from tunesmith.stores.batch import Batch, BatchEncoder
from tunesmith.stores.codec import parse_spec, plain_text, spec_text
from tunesmith.stores.connection import (
    DATABASE_NAME,
    access_words,
    check_reserve,
    clear_errors,
    database_path,
    is_disk_full,
    is_network_path,
    quick_check,
    store_error,
)
from tunesmith.stores.copies import ReaderCopy, connect_only_writer
from tunesmith.stores.creation import make_folder as _make_folder
from tunesmith.stores.creation import publish, write_draft
from tunesmith.stores.mark import Beside, Mark, look_beside, mark_path, missing_words, wal_path, wal_salt, write_mark
from tunesmith.stores.rows import LogPages, last_seq, stored_spec
from tunesmith.stores.schema import NO_FOLLOW, back_up, check_version, migrate
from tunesmith.trial import Trial

_log = logging.getLogger("tunesmith")
SYNC_INTERVAL_S = 1.0

#: Connections that came into this process by a fork. Closing one could disturb its owner, so they are kept for ever.
_foreign_connections: list[apsw.Connection] = []


class Durability(StrEnum):
    """What a power loss may take. A killed process never loses anything committed."""

    NORMAL = "normal"  #: at most the last second
    FULL = "full"  #: nothing


class SqliteStore:
    """Writes and reads the event log of one experiment. Used from one thread of the process that opened it."""

    def __init__(
        self, path: Path, *, space: Any = None, takeover: bool = False, durability: str = "normal", clock: Clock
    ) -> None:
        self.path = path
        self._space = space
        self._clock = clock
        self._pid = os.getpid()
        #: Held by whoever uses the connection for a while: on a network file system a timer's thread copies with it.
        self._lock = threading.RLock()
        self._broken: str | None = None  #: why nothing may be written any more; never unset
        self._is_full = _durability(durability) is Durability.FULL
        self._timer: threading.Timer | None = None  #: pending, or None; see `_sync_later`
        self._synced_at = float("-inf")
        self._look_at_disk_at = float("-inf")  #: when the free space is looked at again; not put off while it is short
        self._has_warned_of_wal = False
        beside = look_beside(path)
        connection = connect_only_writer(path)
        try:
            with clear_errors(path):
                self._lease = _take_over(connection, path, beside, is_takeover=takeover, wall=clock.wall())
                self.spec = parse_spec(stored_spec(connection))
                self._is_wal = connection.pragma("journal_mode") == "wal"
                self._seq = last_seq(connection)  #: of the last record committed
                if self._is_full:
                    connection.pragma("synchronous", "full")
        except BaseException:
            connection.close()
            raise
        self._connection: apsw.Connection | None = connection
        self._copy = None if self._is_wal else ReaderCopy(connection, path, lock=self._lock, clock=clock)
        if self._copy is not None:
            self._copy.changed()
        self._cursor = connection.cursor()
        self._encoder: BatchEncoder | None = None  #: None when it must be made anew from what is stored

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.path.parent

    @property
    def epoch(self) -> int:
        """Fencing epoch of this driver's lease, from 1."""
        return self._lease.epoch

    def append(self, records: Sequence[Record], trials: Sequence[Trial]) -> None:
        """Commit the records and the new state of the trials they changed, all or nothing.

        Raises: LeaseError when another driver has taken over; StoreError when it cannot be written.
        """
        connection = self._usable()
        if not records and not trials:
            return
        if self._clock.now() >= self._look_at_disk_at:
            check_reserve(self.path)
            self._look_at_disk_at = self._clock.now() + SYNC_INTERVAL_S
        try:
            with self._lock:
                encoder = self._encoder or self._new_encoder(connection)
                batch = encoder.encode(records, trials)
                self._commit(connection, batch)
                encoder.confirm(batch)
        except BaseException as error:
            self._encoder = None
            if isinstance(error, apsw.ConstraintError):
                raise StoreError(f"A result, checkpoint or record was appended twice: {error}.") from error
            if isinstance(error, apsw.IOError) and not is_disk_full(error):
                # After a failed sync nothing about the file is known (F60).
                self._broken = str(error)
            if isinstance(error, apsw.Error):
                raise store_error(error, self.path) from error
            if isinstance(error, OverflowError):
                raise StoreError(f"A step, attempt or process id does not fit into 64 bits: {error}.") from error
            raise

    def records(self) -> Iterator[Record]:
        """The whole log, in order."""
        pages = LogPages(self._usable(), self._space, lock=self._lock)
        with clear_errors(self.path):
            yield from pages

    def revise(self, spec: ExperimentSpec) -> None:
        """Put the spec of a resumed experiment (more samples, other budgets) in the place of the one it had.

        Raises: LeaseError when another driver has taken over.
        """
        connection = self._usable()
        with self._lock, clear_errors(self.path):
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")  # a read that became a write would fail at once, whatever the timeout
            try:
                leases.check_epoch(cursor, self.epoch)
                cursor.execute(
                    "UPDATE experiment SET n_trials = ?, searcher = ?, scheduler = ?, spec = ?",
                    (spec.n_trials, plain_text(spec.searcher_name), plain_text(spec.scheduler_name), spec_text(spec)),
                )
                cursor.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
            if self._copy is not None:
                self._copy.changed()
        self.spec = spec
        self._sync_later()

    def last_seq(self) -> int:
        """Sequence number of the newest record; 0 in an empty log."""
        with self._lock:
            return last_seq(self._usable())

    def export(self, target: str | os.PathLike[str]) -> None:
        """A consistent copy of the database in a new file; copying the file itself would miss its newest rows (F54)."""
        path = Path(target)
        if path.exists():
            raise StoreError(f"{path} exists. Give the copy a name of its own.")
        with self._lock, clear_errors(path):
            back_up(self._usable(), path)

    def close(self) -> None:
        """Give back the lease. Idempotent; in a forked child it does nothing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if os.getpid() != self._pid:
            _foreign_connections.append(connection)
            return
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if self._broken is None:
            # What was acknowledged is stored; an unreleased lease is checked at the next open.
            with self._lock, suppress(apsw.Error):
                leases.release(connection, self.epoch, wall=self._clock.wall())
            if self._is_wal and not self._is_full:
                self._sync_wal(self._synced_at)  # beside a reader, SQLite leaves the WAL where it is, as it is
        with self._lock, suppress(apsw.Error):
            if self._copy is not None:
                self._copy.close()
            connection.close()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------ writing

    def _commit(self, connection: apsw.Connection, batch: Batch) -> None:
        cursor = self._cursor
        is_due = _must_sync(batch) or self._clock.now() - self._synced_at >= SYNC_INTERVAL_S
        is_sync = is_due and self._is_wal and not self._is_full
        if is_sync:
            cursor.execute("PRAGMA synchronous = FULL")
        try:
            cursor.execute("BEGIN IMMEDIATE")
            leases.check_epoch(cursor, self._lease.epoch)
            batch.write(cursor)
            cursor.execute("COMMIT")
        finally:
            if connection.in_transaction:
                cursor.execute("ROLLBACK")
            if is_sync:
                cursor.execute("PRAGMA synchronous = NORMAL")
        self._seq = batch.next_seq - 1
        if self._copy is not None:
            self._copy.changed()
        if is_due:
            self._synced_at = self._clock.now()
            self._write_mark(self._seq)
            self._watch_wal()
        if is_sync:
            timer, self._timer = self._timer, None  # what it was to sync is synced; the next commit starts its own
            if timer is not None:
                timer.cancel()
        else:
            self._sync_later()

    def _sync_later(self) -> None:
        """See to it that the last commits before a quiet time are on the disk within the second too."""
        if not self._is_wal or self._is_full or self._timer is not None:
            return
        self._timer = threading.Timer(SYNC_INTERVAL_S, self._sync_wal, (self._synced_at,))
        self._timer.daemon = True
        self._timer.start()

    def _sync_wal(self, synced_at: float) -> None:
        """Sync the WAL, unless a commit did since `synced_at`; on the timer's thread, or when the store is closed."""
        if self._synced_at != synced_at:
            return  # that commit has cancelled this timer, too late; what came after it has a timer of its own
        self._timer = None  # first, so that a commit from now on starts the next one
        seq = self._seq
        try:
            # The WAL carries no locks, so that closing it here drops none (unlike the database file itself).
            descriptor = os.open(f"{self.path}-wal", os.O_RDWR)
        except FileNotFoundError:
            return
        except OSError:  # out of descriptors: nothing was tried on the file, so it is sound to try again
            if self._connection is not None:
                self._sync_later()
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            self._broken = str(error)
        else:
            self._write_mark(seq)
        finally:
            os.close(descriptor)

    def _write_mark(self, seq: int) -> None:
        """Say beside the database that this record is on the disk (F54, F55)."""
        write_mark(self.path, Mark(self.epoch, seq, wal_salt(self.path)))

    def _watch_wal(self) -> None:
        """Say so when a reader that does not end keeps the WAL from being emptied (F61)."""
        try:
            size_bytes = wal_path(self.path).stat().st_size
        except OSError:
            return
        is_large = size_bytes > connections.WAL_LIMIT_BYTES
        if is_large and not self._has_warned_of_wal:
            _log.warning(connections.large_wal_words(self.path, size_bytes))
        self._has_warned_of_wal = is_large

    def _new_encoder(self, connection: apsw.Connection) -> BatchEncoder:
        next_seq = last_seq(connection) + 1
        self._encoder = BatchEncoder(
            connection, objective=self.spec.objective, space=self._space, next_seq=next_seq, clock=self._clock
        )
        return self._encoder

    def _usable(self) -> apsw.Connection:
        if os.getpid() != self._pid:
            raise StoreError(
                f"{self.path} was opened by process {self._pid} and is used by its fork {os.getpid()}. "
                "SQLite connections do not survive a fork: open the store, or a reader, in the new process."
            )
        if self._connection is None:
            raise StoreError(f"The store of {self.path} is closed. Open it again.")
        if self._broken is not None:
            raise StoreError(
                f"{self.path} could not be written ({self._broken}); nothing more is acknowledged. Reopen it."
            )
        return self._connection


def create_store(
    folder: str | os.PathLike[str],
    spec: ExperimentSpec,
    space: Any = None,
    *,
    durability: str = "normal",
    clock: Clock | None = None,
) -> SqliteStore:
    """A new experiment in the folder, which is made if need be (0700, its files 0600), opened for writing.

    A crash in the middle leaves no `experiment.db`: the file gets its name only when it is complete.
    Raises: StoreError if the folder holds an experiment already, or cannot be written.
    """
    _durability(durability)
    path = Path(folder).expanduser().resolve() / DATABASE_NAME
    try:
        _make_folder(path.parent)
        draft = path.with_name(f".{DATABASE_NAME}.{secrets.token_hex(4)}")
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_FOLLOW, 0o600))
    except OSError as error:
        raise StoreError(access_words(path.parent, str(error))) from error
    try:
        with clear_errors(path):
            write_draft(draft, spec, is_wal=not is_network_path(path))
        if not mark_path(path).exists():  # before a reader can see the database
            write_mark(path, Mark())
        publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return SqliteStore(path, space=space, durability=durability, clock=clock or SystemClock())


def open_store(
    folder: str | os.PathLike[str],
    space: Any = None,
    *,
    takeover: bool = False,
    durability: str = "normal",
    clock: Clock | None = None,
) -> SqliteStore:
    """The experiment of the folder, opened for writing; checked for damage if it was not closed cleanly.

    Raises: LeaseError while another driver runs it, unless `takeover`; StoreError if it is missing, damaged,
        foreign, newer than this program, or cannot be written.
    """
    path = database_path(folder)
    return SqliteStore(path, space=space, takeover=takeover, durability=durability, clock=clock or SystemClock())


def _durability(word: str) -> Durability:
    try:
        return Durability(word)
    except ValueError:
        raise ConfigError(f"durability is {word!r}. Give 'normal' or 'full'.") from None


def _must_sync(batch: Batch) -> bool:
    """Whether what is done after the commit cannot be undone, so that the commit itself must be on the disk first.

    A deleted checkpoint is: should a power loss take the row that replaced it, nothing would be left to go on from.
    """
    return batch.has_deletion


def _take_over(
    connection: apsw.Connection, path: Path, beside: Beside, *, is_takeover: bool, wall: float
) -> leases.Lease:
    """The new lease, after damage was looked for where the last driver did not close cleanly."""
    before = leases.latest_lease(connection)
    if before is not None and before.released_at is None:
        if not is_takeover:
            leases.refuse_unless_dead(before)
        quick_check(connection, path)
    mark, _ = beside
    missing = missing_words(connection, path, beside)
    if missing is not None and mark is not None:
        raise StoreError(f"{missing}. It was left as it is. Put that file back, or delete {mark_path(path)} to go on.")
    if missing is not None:
        _log.warning("%s.", missing)
    migrate(connection, path, check_version(connection, path))
    # Before a new WAL can begin, so that whoever compares the two meanwhile does not take it for a foreign one.
    write_mark(path, Mark() if mark is None else Mark(mark.epoch, mark.seq))
    return leases.acquire(connection, is_takeover=is_takeover, wall=wall)
