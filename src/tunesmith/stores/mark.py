"""`experiment.db-mark`: how far the log had safely come, beside the database and not inside it.

The newest rows of a database in WAL mode are in its `-wal` file. Where that file is deleted, or was not copied with the
database, SQLite opens what is left without a word; where a `-wal` file of another database lies there, SQLite mixes the
two. The mark tells: it is a lower bound of what the database must hold (written after a sync, so that it is true also
after a power loss), and it names the WAL by its salt, a random number in the WAL's header to which SQLite adds one each
time it begins the file anew. Another program's connection gives the WAL another salt, so that a salt which differs is
no more than a reason to look closely (`wal_check`).
"""

from __future__ import annotations

import logging
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from tunesmith.errors import StoreError
from tunesmith.stores.lease import latest_lease
from tunesmith.stores.rows import last_seq
from tunesmith.stores.schema import NO_FOLLOW

_log = logging.getLogger("tunesmith")
_SIZE_BYTES = 128  #: always as long, and inside one sector, so that it is never torn
_WAL_HEADER_BYTES, _WAL_SALT_AT = 32, 16


class Mark(msgspec.Struct, frozen=True):
    """What a database must hold at least."""

    epoch: int = 0  #: of the driver that wrote the mark
    seq: int = 0  #: a record that was on the disk then
    wal_salt: int | None = None  #: of the WAL then; None: a driver has begun, and the WAL may be a new one
    experiment: int = 0  #: `id_sum` of its id: the mark of an experiment that was here before says nothing


class Beside(NamedTuple):
    """What lies beside a database, before SQLite makes files of its own there."""

    mark: Mark | None
    has_wal: bool


def look_beside(path: Path) -> Beside:
    """To be called before the database is opened."""
    return Beside(read_mark(path), wal_path(path).exists())


def mark_path(path: Path) -> Path:
    """Where the mark of a database lies."""
    return path.with_name(f"{path.name}-mark")


def read_mark(path: Path) -> Mark | None:
    """The mark of a database; None where there is none that can be read."""
    try:
        content = mark_path(path).read_bytes()
        body, _, digest = content.strip().rpartition(b" ")
        return msgspec.json.decode(body, type=Mark) if int(digest, 16) == zlib.crc32(body) else None
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def write_mark(path: Path, mark: Mark) -> None:
    """Replace the mark. A folder or disk that does not take it costs only the check."""
    try:
        _put(path, mark)
    except OSError as error:
        _log.debug("%s could not be written: %s", mark_path(path), error)


def create_mark(path: Path, mark: Mark) -> None:
    """Make the mark where there is none: one that is there may be that of a running driver."""
    try:
        _put(path, mark, flags=os.O_EXCL)
    except OSError as error:
        _log.debug("%s could not be made: %s", mark_path(path), error)


def begin_mark(path: Path, mark: Mark) -> None:
    """Replace the mark by one without a salt, and have it on the disk before a new WAL begins there.

    Else a power loss could leave the new WAL beside the salt of an older one, which would look like a foreign WAL.
    Raises: StoreError where the old mark can be neither replaced nor removed.
    """
    try:
        _put(path, mark, is_durable=True)
    except OSError as error:
        _log.debug("%s could not be written: %s", mark_path(path), error)
        try:
            mark_path(path).unlink(missing_ok=True)
        except OSError as second:
            if read_mark(path) is not None:
                raise StoreError(
                    f"{mark_path(path)} can be neither written ({error}) nor removed ({second}). Remove it to go on."
                ) from error


def _put(path: Path, mark: Mark, *, flags: int = 0, is_durable: bool = False) -> None:
    body = msgspec.json.encode(mark)
    content = (body + b" %08x" % zlib.crc32(body)).ljust(_SIZE_BYTES - 1) + b"\n"
    descriptor = os.open(mark_path(path), os.O_CREAT | os.O_WRONLY | NO_FOLLOW | flags, 0o600)
    try:
        os.write(descriptor, content)
        if is_durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def id_sum(experiment_id: str) -> int:
    """A number for the id of an experiment, short enough for the mark however long the id is."""
    return zlib.crc32(experiment_id.encode(errors="backslashreplace"))


def stored_id_sum(connection: apsw.Connection) -> int:
    """`id_sum` of the experiment in the database."""
    return id_sum(str(connection.execute("SELECT experiment_id FROM experiment").fetchall()[0][0]))


def wal_salt(path: Path) -> int | None:
    """The first salt in the header of the database's WAL; None where there is no WAL or nothing in it."""
    try:
        # The WAL carries no locks, so that closing it here drops none (unlike the database file itself).
        with wal_path(path).open("rb") as file:
            header = file.read(_WAL_HEADER_BYTES)
    except OSError:
        return None
    return int.from_bytes(header[_WAL_SALT_AT : _WAL_SALT_AT + 4]) if len(header) == _WAL_HEADER_BYTES else None


def wal_path(path: Path) -> Path:
    """Where the WAL of a database lies."""
    return path.with_name(f"{path.name}-wal")


def own_mark(connection: apsw.Connection, beside: Beside) -> Mark | None:
    """The mark, unless it is that of another experiment."""
    mark = beside.mark
    return mark if mark is not None and mark.experiment == stored_id_sum(connection) else None


def missing_words(connection: apsw.Connection, path: Path, beside: Beside) -> str | None:
    """What the database lacks of what its folder says that it had, in words; None where nothing is known to be missing.

    Args: beside: looked at before the database, which only ever grows.
    """
    mark = own_mark(connection, beside)
    lease = latest_lease(connection)
    epoch, seq = lease.epoch if lease else 0, last_seq(connection)
    if mark is not None and (epoch, seq) < (mark.epoch, mark.seq):
        return (
            f"{path} is older than its folder: it ends at record {seq} of driver {epoch}, and {mark_path(path).name} "
            f"says that driver {mark.epoch} had stored record {mark.seq}. Its newest rows were in "
            f"{wal_path(path).name}, which was deleted or not copied with it: records {seq + 1} to "
            f"{max(mark.seq, seq + 1)}, and what came after them, are missing"
        )
    is_open = lease is None or lease.released_at is None
    if mark is None and is_open and not beside.has_wal and connection.pragma("journal_mode") == "wal":
        return (
            f"{path} may lack its newest rows: its driver had not closed it, and there is no {wal_path(path).name} "
            "beside it. A power failure may have taken it; or this is a copy made with cp, where SqliteStore.export or "
            "sqlite3's .backup would have copied all"
        )
    return None
