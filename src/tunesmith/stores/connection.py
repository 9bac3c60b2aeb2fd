"""Opening `experiment.db`: file checks, pragmas, network file systems, and SQLite's errors in clear words.

No function here opens the database file by itself: closing any descriptor of it would drop the locks that this
process's connections hold (design.md, section 5).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from tunesmith.errors import DiskFullError, StoreError
from tunesmith.stores.mark import wal_path
from tunesmith.stores.schema import check_version
from tunesmith.stores.wal_check import check_wal

DATABASE_NAME = "experiment.db"
#: How long a lock of somebody else is waited for before its holder is named.
BUSY_TIMEOUT_S = 5.0
_NETWORK_TIMEOUT_S = 0.1
#: Far above a config of 100,000 keys, far below what would fill the memory (F98).
MAX_VALUE_BYTES = 256 * 1024 * 1024
#: A WAL above this is cut back at the next checkpoint (F61).
WAL_LIMIT_BYTES = 64 * 1024 * 1024
#: Pages of 4 KiB after which committed rows move from the WAL into the database.
WAL_CHECKPOINT_PAGES = 2000
#: Below this much free space nothing more is accepted (F42).
RESERVE_BYTES = 64 * 1024 * 1024

# fmt: off
_NETWORK_TYPES = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs",
    "afs", "coda", "9p", "ncpfs", "orangefs", "pvfs2", "panfs", "wekafs", "fuse",
    "ocfs2", "gfs2", "acfs",  # disks that several machines have mounted
    "virtiofs", "vboxsf", "vmhgfs", "prl_fs",  # folders of the host of a virtual machine
})
# fmt: on
_WAL_WRITE_LOCK_BYTE = 120
_WAL_READ_LOCK_BYTES = range(123, 128)


def database_path(folder: str | os.PathLike[str]) -> Path:
    """The database of an experiment folder, or the given file; symbolic links to the folder are resolved."""
    path = Path(folder).expanduser()
    return path.parent.resolve() / path.name if path.is_file() else path.resolve() / DATABASE_NAME


def connect_writer(path: Path) -> apsw.Connection:
    """The driver's connection to an existing tunesmith store: WAL, or exclusive on a network file system (F57).

    Raises: StoreError if the file is missing, empty, foreign, newer, locked, or cannot be opened.
    """
    _check_file(path)
    check_wal(path)
    is_network = is_network_path(path)
    with clear_errors(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
        try:
            if is_network:  # before the first read: an exclusive connection needs no shared memory
                connection.pragma("locking_mode", "exclusive")
            # A driver there keeps its lock for as long as it runs, which is not worth waiting for.
            _guard(connection, path, timeout_s=_NETWORK_TIMEOUT_S if is_network else BUSY_TIMEOUT_S)
            if is_network:
                _be_the_only_writer(connection)
            connection.set_busy_timeout(int(BUSY_TIMEOUT_S * 1000))
            connection.pragma("journal_mode", "delete" if is_network else "wal")
            connection.pragma("synchronous", "full" if is_network else "normal")
            connection.pragma("journal_size_limit", WAL_LIMIT_BYTES)
            connection.pragma("wal_autocheckpoint", WAL_CHECKPOINT_PAGES)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_reader(path: Path) -> apsw.Connection:
    """A connection that cannot write, beside a running driver or to a finished experiment.

    Raises: StoreError if the file is missing, empty, foreign, newer, locked, or cannot be opened.
    """
    _check_file(path)
    check_wal(path)
    timeout_s = _NETWORK_TIMEOUT_S if is_network_path(path) else BUSY_TIMEOUT_S  # as in connect_writer

    def connect() -> apsw.Connection:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW)
        guard_reader(connection, path, timeout_s=timeout_s)
        return connection

    with clear_errors(path):
        try:
            return after_rollback(connect, path, timeout_s=timeout_s)
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            connection = _immutable(path)
            guard_reader(connection, path)
    return connection


def after_rollback(
    connect: Callable[[], apsw.Connection], path: Path, *, timeout_s: float = BUSY_TIMEOUT_S
) -> apsw.Connection:
    """What `connect` returns, a connection that cannot write, also where a driver was killed in the middle of a commit.

    What is in the database of that commit must be undone first, with the rollback journal: a write.
    """
    try:
        return connect()
    except apsw.ReadOnlyError as error:
        if getattr(error, "extendedresult", 0) != apsw.SQLITE_READONLY_ROLLBACK:
            raise
    with suppress(apsw.Error):  # the folder cannot be written, or a driver is undoing it at this moment
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
        guard_reader(connection, path, timeout_s=timeout_s)  # its first read does it
        connection.close()
    return connect()


def guard_reader(connection: apsw.Connection, path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> None:
    """Apply the settings that make a stranger's file harmless; closes the connection where it is not one of ours."""
    _guard(connection, path, is_reader=True, timeout_s=timeout_s)


def quick_check(connection: apsw.Connection, path: Path) -> None:
    """Read the whole file for damage.

    Raises: StoreError that says how to recover; the file is left as it is.
    """
    with clear_errors(path):
        findings = connection.pragma("quick_check")
    if findings != "ok":
        raise StoreError(damage_words(path, str(findings).splitlines()[0]))


def damage_words(path: Path, finding: str) -> str:
    """The message for a damaged file."""
    return (
        f"{path} is damaged ({finding}). It was left as it is. Take what can be read into a new file with: "
        f"tunesmith.stores.recover({str(path)!r}, 'recovered.db')"
    )


def is_network_path(path: Path, mounts: str = "/proc/mounts") -> bool:
    """Whether the path lies on a file system shared by machines, where WAL does not work."""
    try:
        lines = Path(mounts).read_text(errors="replace").splitlines()
    except OSError:
        return False
    best, kind = -1, ""
    for line in lines:
        point, fs_type = [*line.split(), "", "", ""][1:3]
        point = point.replace("\\040", " ")
        if len(point) >= best and path.is_relative_to(point or "/"):
            best, kind = len(point), fs_type
    return kind in _NETWORK_TYPES or kind.startswith("fuse.")


@contextmanager
def clear_errors(path: Path, connection: apsw.Connection | None = None) -> Iterator[None]:
    """Turn SQLite's errors into StoreErrors that say what was seen and what to do; see `store_error`."""
    try:
        yield
    except apsw.Error as error:
        raise store_error(error, path, connection) from error


def store_error(error: apsw.Error, path: Path, connection: apsw.Connection | None = None) -> StoreError:
    """SQLite's error in words that say what was seen and what to do; `connection` is where it happened."""
    if isinstance(error, apsw.BusyError):
        return StoreError(_busy_words(path))
    if isinstance(error, apsw.NotADBError):
        return StoreError(f"{path} is not a tunesmith store: it is no SQLite database. It was left as it is.")
    if isinstance(error, apsw.CorruptError):
        return StoreError(damage_words(path, str(error)))
    if is_disk_full(error, connection):
        return DiskFullError(f"The disk of {path} is full. Nothing of this write was stored; free some space.")
    if isinstance(error, apsw.ReadOnlyError | apsw.CantOpenError | apsw.PermissionsError | apsw.AuthError):
        return StoreError(access_words(path, str(error)))
    return StoreError(f"{path} could not be used: {type(error).__name__}: {error}")


def is_disk_full(error: apsw.Error, connection: apsw.Connection | None = None) -> bool:
    """Whether there was no room, for the database, its WAL or the WAL's index: nothing is broken then (F42)."""
    code = getattr(error, "extendedresult", 0)
    if isinstance(error, apsw.FullError) or code == apsw.SQLITE_IOERR_SHMSIZE:
        return True
    # A used-up quota is a failed write like any other to SQLite, which keeps the system's reason beside it.
    return code == apsw.SQLITE_IOERR_WRITE and connection is not None and connection.system_errno == errno.EDQUOT


def check_reserve(path: Path) -> None:
    """Raise DiskFullError while the disk has less than `RESERVE_BYTES` left, or a twentieth where it is small.

    With that much in reserve SQLite itself always has room to finish what it began, and to close.
    """
    try:
        disk = os.statvfs(path.parent)
    except (OSError, AttributeError):
        return  # unknown: SQLite will say
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 20):
        raise DiskFullError(f"The disk of {path} has only {free_bytes / 2**20:.0f} MiB left. Free some space.")


def access_words(path: Path, seen: str) -> str:
    """The message for a folder that cannot be read or written; uid -1 where there are none."""
    uid = os.getuid() if hasattr(os, "getuid") else -1
    if _is_without_files(path.parent):
        return f"{path} cannot be opened or written ({seen}): its disk can hold no more files. Delete some, or move it."
    return (
        f"{path} cannot be opened or written by uid {uid} ({seen}). "
        "Check the owner and permissions of the folder, or give another one."
    )


def _is_without_files(folder: Path) -> bool:
    """Whether no further file can be made there: no inode is left, or no block (F43)."""
    try:
        disk = os.statvfs(folder)
    except (OSError, AttributeError):
        return False
    return disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0)


def _check_file(path: Path) -> None:
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        raise StoreError(f"There is no experiment in {path.parent}: it has no {path.name}.") from None
    except OSError as error:
        raise StoreError(access_words(path, str(error))) from error
    if not path.is_file():
        raise StoreError(f"{path} is not a tunesmith store: it is not a file.")
    if size_bytes == 0:
        raise StoreError(f"{path} is empty (0 bytes), so it is damaged or foreign. It was left as it is; move it away.")


def _guard(
    connection: apsw.Connection, path: Path, *, is_reader: bool = False, timeout_s: float = BUSY_TIMEOUT_S
) -> None:
    """Apply the settings that make a stranger's file harmless (F98), after its header was checked."""
    try:
        connection.set_busy_timeout(int(timeout_s * 1000))
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        connection.pragma("cell_size_check", True)
        check_version(connection, path, is_reader=is_reader)
    except BaseException:
        connection.close()
        raise


def _be_the_only_writer(connection: apsw.Connection) -> None:
    """Of several drivers that come at the same instant, let one go on: who is not it gets a BusyError.

    An exclusive connection keeps the lock of every read, so that two would later wait in vain for each other's to go.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")  # which keeps the lock for writing too


def _immutable(path: Path) -> apsw.Connection:
    """For a folder that may not be written: only right while no `-wal` file holds newer rows."""
    for beside in (wal_path(path), path.with_name(f"{path.name}-journal")):
        if beside.exists() and beside.stat().st_size:
            raise StoreError(
                f"{path} was not closed cleanly and its folder cannot be written, so its newest rows cannot be read. "
                f"Copy {path.name} and {beside.name} together to another folder and open that."
            )
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOFOLLOW
    return apsw.Connection(f"{path.as_uri()}?mode=ro&immutable=1", flags=flags)


def _busy_words(path: Path) -> str:
    holders = lock_holders(path)
    who = f"process {', '.join(map(str, holders))}" if holders else "another process"
    return (
        f"{path} has been locked by {who} for {BUSY_TIMEOUT_S:g} s. End it, or its transaction "
        "(a sqlite3 shell with an open BEGIN, a backup program), and try again."
    )


def large_wal_words(path: Path, size_bytes: int) -> str:
    """The warning about a WAL that is not emptied because somebody reads an old state of the database (F61)."""
    readers = lock_holders(path, kind="READ", wal_bytes=_WAL_READ_LOCK_BYTES)
    who = f"process {', '.join(map(str, readers))} has" if readers else "somebody has"
    return (
        f"{wal_path(path)} has grown to {size_bytes / 2**20:.0f} MiB, since {who} been reading the database in one "
        "long transaction. End it (a sqlite3 shell with an open BEGIN, a half-read query), and the file is cut."
    )


def lock_holders(
    path: Path,
    locks: str = "/proc/locks",
    *,
    kind: str = "WRITE",
    wal_bytes: range = range(_WAL_WRITE_LOCK_BYTE, _WAL_WRITE_LOCK_BYTE + 1),
) -> list[int]:
    """Ids of the other processes that hold a lock on the database; empty where the system does not tell.

    Args: kind: WRITE or READ. wal_bytes: which bytes of the WAL's index stand for that lock.
    """
    try:
        lines = Path(locks).read_text().splitlines()
    except OSError:
        return []
    inodes = {file.stat().st_ino: file == path for file in (path, path.with_name(f"{path.name}-shm")) if file.exists()}
    found: set[int] = set()
    for line in lines:
        fields = line.split()
        if "->" in fields or len(fields) < 8 or fields[3] != kind:
            continue
        is_database = inodes.get(int(fields[5].rsplit(":", 1)[-1]))
        if (is_database and kind == "WRITE") or (is_database is False and int(fields[6]) in wal_bytes):
            found.add(int(fields[4]))
    return sorted(found - {os.getpid()})
