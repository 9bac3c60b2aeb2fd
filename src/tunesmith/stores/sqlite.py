"""The store of an experiment folder: one SQLite file, one writer, one transaction per append."""

from __future__ import annotations

import logging
import os
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
from tunesmith.stores import lease as leases
from tunesmith.stores import mark as marks
from tunesmith.stores.batch import Batch, BatchEncoder
from tunesmith.stores.codec import parse_spec
from tunesmith.stores.connection import (
    DATABASE_NAME,
    access_words,
    check_reserve,
    clear_errors,
    database_path,
    is_disk_full,
    is_network_path,
    store_error,
)
from tunesmith.stores.copies import ReaderCopy, connect_only_writer
from tunesmith.stores.creation import make_folder as _make_folder
from tunesmith.stores.creation import publish, refuse_leftovers, write_draft
from tunesmith.stores.drafts import draft_path, remove_left_drafts
from tunesmith.stores.driver_wal import DriverWal
from tunesmith.stores.revision import write_revision
from tunesmith.stores.rows import LogPages, last_seq, stored_spec
from tunesmith.stores.schema import NO_FOLLOW, back_up
from tunesmith.stores.takeover import take_over
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
        self,
        path: Path,
        *,
        space: Any = None,
        takeover: bool = False,
        durability: str = "normal",
        clock: Clock,
        beside: marks.Beside | None = None,
    ) -> None:
        """Args: beside: what is known to lie beside a new database, whatever was there before it."""
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
        beside = beside or marks.look_beside(path)
        connection = connect_only_writer(path)
        try:
            with clear_errors(path):
                self._lease = take_over(connection, path, beside, is_takeover=takeover, wall=clock.wall())
                self.spec = parse_spec(stored_spec(connection))
                self._experiment = marks.stored_id_sum(connection)
                self._wal = DriverWal(path) if connection.pragma("journal_mode") == "wal" else None
                self._seq = last_seq(connection)  #: of the last record committed
                if self._is_full:
                    connection.pragma("synchronous", "full")
        except BaseException:
            connection.close()
            raise
        self._connection: apsw.Connection | None = connection
        remove_left_drafts(path)
        self._copy = None if self._wal is not None else ReaderCopy(connection, path, lock=self._lock, clock=clock)
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
            if isinstance(error, apsw.IOError) and not is_disk_full(error, connection):
                # After a failed sync nothing about the file is known (F60).
                self._broken = str(error)
            if isinstance(error, apsw.Error):
                raise store_error(error, self.path, connection) from error
            if isinstance(error, OverflowError):
                raise StoreError(f"A step, attempt or process id does not fit into 64 bits: {error}.") from error
            raise

    def records(self) -> Iterator[Record]:
        """The whole log, in order."""
        pages = LogPages(self._usable(), self._space, lock=self._lock)
        with clear_errors(self.path):
            yield from pages

    def revise(self, spec: ExperimentSpec, trials: Sequence[Trial] = ()) -> None:
        """Put the spec of a resumed experiment (more samples, other budgets) in the place of the one it had.

        Args: trials: all there are, as a replay under the new objective has them; needed where that is another one.
        Raises: LeaseError when another driver has taken over.
        """
        connection = self._usable()
        with self._lock, clear_errors(self.path, connection):
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")  # a read that became a write would fail at once, whatever the timeout
            try:
                leases.check_epoch(cursor, self.epoch)
                write_revision(cursor, before=self.spec, spec=spec, trials=trials)
                self._refuse_lost_wal()
                cursor.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
            if self._copy is not None:
                self._copy.changed()
        self.spec, self._encoder = spec, None
        self._sync_later()

    def check_owner(self) -> None:
        """Raise LeaseError if another driver has taken over; reads one row."""
        with self._lock, clear_errors(self.path):
            leases.check_epoch(self._usable().cursor(), self.epoch)

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
        with self._lock, suppress(apsw.Error):
            self._release(connection)
            if self._broken is not None:
                _log.warning("%s was not closed cleanly (%s). Its next driver checks it.", self.path, self._broken)
                # Moving the WAL into the database now would do harm after a failed sync, and over what others wrote.
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                if self._wal is not None and not self._wal.is_there():
                    self._wal.save(connection, self.epoch)
            if self._copy is not None:
                self._copy.close()
            connection.close()

    def _release(self, connection: apsw.Connection) -> None:
        """Have all on the disk, and only then say that this driver closed cleanly; else `_broken` says why not."""
        if self._broken is not None:
            return
        try:
            self._refuse_lost_wal()
            if self._wal is not None and not self._is_full:
                self._sync_wal(self._synced_at)  # beside a reader, SQLite leaves the WAL where it is, as it is
            if self._broken is None:
                leases.release(connection, self.epoch, wall=self._clock.wall())
        except (apsw.Error, StoreError) as error:
            self._broken = self._broken or str(error)

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------ writing

    def _commit(self, connection: apsw.Connection, batch: Batch) -> None:
        cursor = self._cursor
        is_due = _must_sync(batch) or self._clock.now() - self._synced_at >= SYNC_INTERVAL_S
        is_sync = is_due and self._wal is not None and not self._is_full
        if is_sync:
            cursor.execute("PRAGMA synchronous = FULL")
        try:
            cursor.execute("BEGIN IMMEDIATE")
            leases.check_epoch(cursor, self._lease.epoch)
            batch.write(cursor)
            self._refuse_lost_wal()
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
            self._write_mark(self._seq, marks.wal_salt(self.path))
            if self._wal is not None:
                self._wal.warn_if_large()
        if is_sync:
            timer, self._timer = self._timer, None  # what it was to sync is synced; the next commit starts its own
            if timer is not None:
                timer.cancel()
        else:
            self._sync_later()

    def _sync_later(self) -> None:
        """See to it that the last commits before a quiet time are on the disk within the second too."""
        if self._wal is None or self._is_full or self._timer is not None:
            return
        self._timer = threading.Timer(SYNC_INTERVAL_S, self._sync_wal, (self._synced_at,))
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:  # no thread to be had: what was committed stays so, and the next commit tries again
            self._timer = None

    def _sync_wal(self, synced_at: float) -> None:
        """Sync the WAL, unless a commit did since `synced_at`; on the timer's thread, or when the store is closed."""
        if self._synced_at != synced_at or self._wal is None:
            return  # that commit has cancelled this timer, too late; what came after it has a timer of its own
        self._timer = None  # first, so that a commit from now on starts the next one
        if not self._wal.is_there():
            self._broken = self._wal.lost_words()
            return
        seq, salt = self._seq, marks.wal_salt(self.path)  # before the sync: both say what is on the disk after it
        try:
            # The WAL carries no locks, so that closing it here drops none (unlike the database file itself).
            descriptor = os.open(marks.wal_path(self.path), os.O_RDWR)
        except OSError as error:  # out of descriptors: nothing was tried on the file, so it is sound to try again
            if self._connection is not None:
                self._sync_later()
            else:
                self._broken = str(error)
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            self._broken = str(error)
        else:
            self._write_mark(seq, salt)
        finally:
            os.close(descriptor)

    def _write_mark(self, seq: int, salt: int | None) -> None:
        """Say beside the database that this record is on the disk (F54, F55)."""
        marks.write_mark(self.path, marks.Mark(self.epoch, seq, salt, self._experiment))

    def _refuse_lost_wal(self) -> None:
        """Before a commit: it must go into a file that others find, else it would be gone with this driver (F55)."""
        if self._wal is not None and not self._wal.is_there():
            self._broken = self._wal.lost_words()
            raise self._broken_error()

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
            raise self._broken_error()
        return self._connection

    def _broken_error(self) -> StoreError:
        return StoreError(
            f"{self.path} could not be written ({self._broken}); nothing more is acknowledged. Reopen it."
        )


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
    refuse_leftovers(path)
    try:
        _make_folder(path.parent)
        draft = draft_path(path)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_FOLLOW, 0o600))
    except OSError as error:
        raise StoreError(access_words(path.parent, str(error))) from error
    try:
        with clear_errors(path):
            write_draft(draft, spec, is_wal=not is_network_path(path))
        mark = marks.Mark(experiment=marks.id_sum(spec.experiment_id))
        marks.create_mark(path, mark)  # before a reader can see the database
        publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    beside = marks.Beside(mark, has_wal=False)
    return SqliteStore(path, space=space, durability=durability, clock=clock or SystemClock(), beside=beside)


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
