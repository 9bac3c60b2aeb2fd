"""For readers on a network file system: a copy of the database that is never written, only replaced.

There the driver holds the database locked (WAL needs shared memory, which machines do not share), so that nobody else
can read it, not even the driver's own reporter. After its commits the driver puts a new copy in the old one's place.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import apsw

from tunesmith.clock import Clock
from tunesmith.errors import LeaseError, StoreError
from tunesmith.stores import connection as connections
from tunesmith.stores.drafts import remove_left_drafts
from tunesmith.stores.lease import Lease, latest_lease
from tunesmith.stores.schema import back_up

_log = logging.getLogger("tunesmith")
INTERVAL_S = 1.0
_N_TRIES, _AGAIN_AFTER_S = 4, (0.02, 0.2)  #: to lock the database
_dice = random.SystemRandom()  #: not the trainable's: two drivers may be two runs of one script that seeds it
_SHARE_OF_TIME = 20  #: copying may take a twentieth of the time: a large database is copied less often


def copy_path(path: Path) -> Path:
    """Where the copy for readers lies while a driver runs."""
    return path.with_name(f"{path.stem}-copy{path.suffix}")


def open_copy(path: Path) -> tuple[apsw.Connection, int]:
    """A connection to the copy, and which of the copies that will have had this name it is.

    It needs no locks, since nobody writes to the file. Raises: apsw.CantOpenError if there is none.
    """
    copy = copy_path(path)
    number = copy_number(path)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOFOLLOW
    return apsw.Connection(f"{copy.as_uri()}?mode=ro&immutable=1", flags=flags), number


def copy_number(path: Path) -> int:
    """Tells a copy from the next; 0 where there is none."""
    try:
        status = copy_path(path).stat()
    except OSError:
        return 0
    return hash((status.st_ino, status.st_mtime_ns)) or 1


def is_locked_for_good(error: StoreError, path: Path) -> bool:
    """Whether the error is that of a database which a running driver on a network file system holds locked."""
    return isinstance(error.__cause__, apsw.BusyError) and connections.is_network_path(path)


def connect_only_writer(path: Path) -> apsw.Connection:
    """As `connect_writer`; where a driver on a network file system has the database locked, its copy tells who it is.

    Raises: LeaseError that names the driver; StoreError as `connect_writer`.
    """
    for n_left in reversed(range(_N_TRIES)):
        try:
            return connections.connect_writer(path)
        except StoreError as error:
            if not is_locked_for_good(error, path):
                raise
            if not n_left:
                before = _driver_in_copy(path)
                if before is None:
                    raise
                raise LeaseError(
                    f"This experiment is being run by {before.words()}. Wait for it or end it: its lock on a network "
                    "file system cannot be taken away, not with takeover=True either."
                ) from None
        # Drivers that come at the same instant may have shut each other out: not when they come again.
        time.sleep(_dice.uniform(*_AGAIN_AFTER_S))
    raise AssertionError


def _driver_in_copy(path: Path) -> Lease | None:
    """The driver that made the copy; None where there is no copy, or only one that a dead driver left."""
    with suppress(apsw.Error):
        copy, _ = open_copy(path)
        try:
            lease = latest_lease(copy)
        finally:
            copy.close()
        return None if lease is None or lease.owner.is_alive() is False else lease
    return None


class ReaderCopy:
    """Keeps the copy not much older than the database."""

    def __init__(self, connection: apsw.Connection, path: Path, *, lock: threading.RLock, clock: Clock) -> None:
        """Args: lock: held by whoever uses the connection; taken here, in a timer's thread too."""
        self._connection, self._path, self._lock, self._clock = connection, path, lock, clock
        self._next_at = float("-inf")
        self._timer: threading.Timer | None = None  #: makes the copy after the last commit before a quiet time
        self._is_closed = False
        self._has_failed = False
        # Of killed drivers: nobody else makes copies while this one has the database locked.
        remove_left_drafts(copy_path(path), older_than_s=0.0)

    def changed(self) -> None:
        """Something was committed: have it copied, now or soon. Called with the lock held."""
        wait_s = self._next_at - self._clock.now()
        if wait_s <= 0:
            self._copy()
        elif self._timer is None:
            self._timer = threading.Timer(wait_s, self._copy_later)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # no thread to be had: the next commit tries again
                self._timer = None

    def close(self) -> None:
        """Remove the copy: the database itself can be read from now on. Called with the lock held."""
        self._is_closed = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        with suppress(OSError):
            copy_path(self._path).unlink(missing_ok=True)

    def _copy_later(self) -> None:
        with self._lock:
            self._timer = None
            if not self._is_closed:
                self._copy()

    def _copy(self) -> None:
        begin = self._clock.now()
        try:
            back_up(self._connection, copy_path(self._path), is_durable=False)
        except (apsw.Error, OSError) as error:  # readers see an older state; what is stored is not touched by it
            if not self._has_failed:
                _log.warning("The copy of %s for readers could not be made: %s", self._path, error)
            self._has_failed = True
        end = self._clock.now()
        self._next_at = end + max(INTERVAL_S, _SHARE_OF_TIME * (end - begin))
