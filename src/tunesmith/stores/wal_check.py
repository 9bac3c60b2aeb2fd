"""Whether the `-wal` file beside a database is the database's own: found out before SQLite mixes the two (F55)."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw

from tunesmith.errors import StoreError
from tunesmith.stores.lease import latest_lease
from tunesmith.stores.mark import Mark, mark_path, read_mark, stored_id_sum, wal_path, wal_salt
from tunesmith.stores.rows import last_seq

#: How often SQLite may have begun the WAL anew since the mark was written: far more than it can in a second.
_N_BEGINNINGS = 100_000
_UNREADABLE = (apsw.Error, UnicodeDecodeError, IndexError)
_CHUNK_BYTES = 1024 * 1024
_READ_ONLY = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOFOLLOW
#: Rows, or parts of them, that nobody changes once they are there.
_LASTING = {
    "experiment": "experiment_id, created_at",
    "lease": "epoch, host, boot_id, pid, process_started, acquired_at",
    "log": "*",
    "results": "seq, trial, attempt, step, at, metrics",
}


def check_wal(path: Path) -> None:
    """Before SQLite sees it: the WAL beside the database is its own.

    Raises: StoreError where it is not; nothing was mixed.
    """
    for is_last in (False, False, True):  # a driver that runs may be changing all of them at this moment
        mark, salt = read_mark(path), wal_salt(path)
        if mark is None or mark.wal_salt is None or salt is None:
            return
        is_known = (salt - mark.wal_salt) % 2**32 <= _N_BEGINNINGS
        if is_known and _experiment_in(path) in (mark.experiment, None):
            return
        reason = _difference(path, mark, salt, is_known=is_known)
        if reason is None:
            return
        if is_last:
            raise StoreError(
                f"{wal_path(path)} belongs to another database than {path.name}, or to an older state of it: {reason}. "
                f"Nothing was read from it. Put back the file that belongs there, or move this one away; if both are "
                f"right, delete {mark_path(path).name}."
            )


def _experiment_in(path: Path) -> int | None:
    """`id_sum` of the experiment in the database without its WAL; None where it cannot be read, which is no reason.

    A power loss may have torn what the WAL holds whole, so that another id is not enough of a reason either.
    """
    try:
        alone = _open_alone(path)
        try:
            return stored_id_sum(alone)
        finally:
            alone.close()
    except _UNREADABLE:
        return None


def _difference(path: Path, mark: Mark, salt: int, *, is_known: bool) -> str | None:
    """What speaks against the two belonging together, found in copies, since SQLite may write to what it opens.

    Args: is_known: the mark names this WAL; else another program may have begun it.
    """
    try:
        with TemporaryDirectory(prefix="tunesmith-") as folder:
            copy = Path(folder) / path.name
            _copy_database(path, copy)
            shutil.copyfile(wal_path(path), wal_path(copy))
            if wal_salt(copy) != salt:  # what moved from the old one into the database since then is in neither copy
                return "it was begun anew while it was being looked at"
            if not is_known:
                return _lack(copy, mark) or _loss(copy) or _damage(copy)
            return _damage(copy, experiment=mark.experiment)
    except (*_UNREADABLE, OSError) as error:
        return f"they cannot be compared ({error})"


def _copy_database(path: Path, copy: Path) -> None:
    """Byte by byte, since it may be torn; by SQLite's layer, since closing it otherwise drops this process's locks."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB
    source = apsw.VFSFile("", str(path), [flags, 0])
    try:
        with copy.open("wb") as target:
            size = source.xFileSize()
            for offset in range(0, size, _CHUNK_BYTES):
                target.write(source.xRead(min(_CHUNK_BYTES, size - offset), offset))
    finally:
        source.xClose()


def _lack(copy: Path, mark: Mark) -> str | None:
    """What the database lacks without a new WAL, which must have been there before that was begun.

    SQLite, of any program, begins a WAL only when all that was in the last one is in the database, and on the disk.
    """
    alone = _open_alone(copy)
    try:
        lease = latest_lease(alone)
        epoch, seq = lease.epoch if lease else 0, last_seq(alone)
        if stored_id_sum(alone) == mark.experiment and (epoch, seq) < (mark.epoch, mark.seq):
            return f"without it there is record {seq} of driver {epoch}, where record {mark.seq} of {mark.epoch} was"
    finally:
        alone.close()
    return None


def _loss(copy: Path) -> str | None:
    """What is in the database, and would no longer be with a new WAL."""
    whole = _open_whole(copy)
    try:
        whole.execute("ATTACH ? AS alone", (_uri(copy),))
        for table, columns in _LASTING.items():
            lost = f"SELECT {columns} FROM alone.{table} EXCEPT SELECT {columns} FROM main.{table} LIMIT 1"
            if whole.execute(lost).fetchone() is not None:
                return f"with it, rows of {table} would be gone"
    finally:
        whole.close()
    return None


def _damage(copy: Path, *, experiment: int | None = None) -> str | None:
    """What would be wrong with the database and its WAL together.

    Args: experiment: `id_sum` of what must be in there.
    """
    whole = _open_whole(copy)
    try:
        if experiment not in (None, stored_id_sum(whole)):
            return f"it is that of {mark_path(copy).name}, which another experiment has written"
        finding = str(whole.pragma("quick_check"))
    finally:
        whole.close()
    return None if finding == "ok" else f"with it, the database would be damaged ({finding.splitlines()[0]})"


def _open_alone(path: Path) -> apsw.Connection:
    """The database as it is without its WAL. Through SQLite: to `open()` the file would drop this process's locks."""
    return _harmless(apsw.Connection(_uri(path), flags=_READ_ONLY))


def _open_whole(copy: Path) -> apsw.Connection:
    return _harmless(apsw.Connection(str(copy), flags=_READ_ONLY))


def _harmless(connection: apsw.Connection) -> apsw.Connection:
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    return connection


def _uri(path: Path) -> str:
    return f"{path.as_uri()}?mode=ro&immutable=1"
