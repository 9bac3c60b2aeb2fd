"""The `-wal` file of a running driver: whether it still has its name, and what to do when it has not.

SQLite keeps the file open and does not look at its name again, so that after its deletion a driver would go on writing
into what is gone with its process. A person can delete it, and so can another SQLite library in the driver's process,
such as Python's sqlite3 in a callback: POSIX locks belong to the process, so that library does not see the driver's.
When it closes, it drops them, takes itself for the last user, moves all rows into the database and deletes the file.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import apsw

from tunesmith.stores import connection as connections
from tunesmith.stores.mark import wal_path
from tunesmith.stores.schema import back_up

_log = logging.getLogger("tunesmith")


class DriverWal:
    """The WAL that a driver's commits go into, known by its inode."""

    def __init__(self, path: Path) -> None:
        """Args: path: of the database, whose WAL holds a commit of this driver's by now."""
        self._database, self._path = path, wal_path(path)
        self._name = str(self._path)
        self._has_warned = False
        self._file = self._found()  #: device and inode; None where it was gone already

    def is_there(self) -> bool:
        """Whether what is committed is in a file that others find."""
        return self._file is not None and self._found() == self._file

    def lost_words(self) -> str:
        """What happened when it is not there."""
        return (
            f"{self._path.name} was deleted or replaced, most likely by another SQLite library in this process, such "
            "as Python's sqlite3 in a callback: use tunesmith.load() or tunesmith.stores.open_reader() there"
        )

    def warn_if_large(self) -> None:
        """Say so when a reader that does not end keeps the WAL from being emptied (F61)."""
        try:
            size_bytes = self._path.stat().st_size
        except OSError:
            return
        is_large = size_bytes > connections.WAL_LIMIT_BYTES
        if is_large and not self._has_warned:
            _log.warning(connections.large_wal_words(self._database, size_bytes))
        self._has_warned = is_large

    def save(self, connection: apsw.Connection, epoch: int) -> None:
        """Put a copy of the whole database beside it, if only the lost file holds some of what was committed.

        Not a checkpoint: whoever came when the locks were gone may have written to the database, and would be mixed up.
        """
        copy = self._database.with_name(f"{self._database.name}.saved-{epoch}")
        try:
            n_pages, n_moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            if n_pages == n_moved:
                return  # as after another library's last look at it
            back_up(connection, copy)
        except (apsw.Error, OSError) as error:
            _log.error("The newest rows of %s are lost with its WAL, and could not be saved: %s", self._database, error)
        else:
            _log.error("All rows are in %s, and not in %s: put it in that one's place to go on.", copy, self._database)

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._name)  # noqa: PTH116 (Path.stat takes twice as long, at every commit)
        except OSError:
            return None
        return status.st_dev, status.st_ino
