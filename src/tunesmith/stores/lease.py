"""Who may write: one driver at a time, known by (host, boot, process id, start and namespace), fenced by an epoch.

The check of an epoch happens inside the transaction that writes, so a driver that was taken over can never commit.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path

import apsw
import msgspec

from tunesmith.errors import LeaseError

_COLUMNS = "epoch, host, boot_id, pid, process_started, acquired_at, released_at"


class Owner(msgspec.Struct, frozen=True):
    """One process on one machine since one start; a reused process id or a reboot makes it another one."""

    host: str
    boot_id: str
    pid: int
    process_started: str  #: opaque: equal only for the same process

    def is_alive(self) -> bool | None:
        """Whether the process runs; None where that cannot be seen from this machine or container."""
        if self.boot_id != boot_id():  # another machine, or this one before it was started anew
            return False if self.host == platform.node() else None
        # The same kernel, whatever its host is called by now. In another namespace `pid` means another process.
        started, _, namespace = self.process_started.partition(" ")
        if namespace and namespace != pid_namespace():
            return None
        return started == process_started(self.pid)


class Lease(msgspec.Struct, frozen=True):
    """One row of the table `lease`."""

    epoch: int
    owner: Owner
    acquired_at: float  #: wall time
    released_at: float | None = None  #: set when the driver closed the store cleanly

    def words(self) -> str:
        """For messages: which process, since when."""
        since = datetime.fromtimestamp(self.acquired_at).strftime("%Y-%m-%d %H:%M:%S")
        itself = " (this very process)" if self.owner == this_process() else ""
        return f"process {self.owner.pid}{itself} on host {self.owner.host}, started {since}"


def this_process() -> Owner:
    """The owner that this process would be."""
    pid = os.getpid()
    started = f"{process_started(pid) or ''} {pid_namespace()}".rstrip()
    return Owner(host=platform.node(), boot_id=boot_id(), pid=pid, process_started=started)


def latest_lease(connection: apsw.Connection) -> Lease | None:
    """The lease of the last driver, released or not; None before the first."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM lease ORDER BY epoch DESC LIMIT 1").fetchone()
    if row is None:
        return None
    epoch, host, boot, pid, started, acquired_at, released_at = row
    return Lease(epoch, Owner(host, boot, pid, started), acquired_at, released_at)


def acquire(
    connection: apsw.Connection, *, is_takeover: bool, wall: float, prepare: Callable[[], None] = lambda: None
) -> Lease:
    """Make this process the owner, one epoch above the last.

    Args: prepare: called when nobody else can become the owner any more, before anything is written.
    Raises: LeaseError that names the owner, if it lives or may live, unless `is_takeover`.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = latest_lease(connection)
        if before is not None and before.released_at is None and not is_takeover:
            refuse_unless_dead(before)
        prepare()
        lease = Lease(epoch=before.epoch + 1 if before else 1, owner=this_process(), acquired_at=wall)
        owner = lease.owner
        connection.execute(
            f"INSERT INTO lease ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, NULL)",
            (lease.epoch, owner.host, owner.boot_id, owner.pid, owner.process_started, wall),
        )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return lease


def check_epoch(cursor: apsw.Cursor, epoch: int) -> None:
    """Nobody took the experiment over; for good only inside a write transaction.

    Raises: LeaseError that names who did.
    """
    if cursor.execute("SELECT max(epoch) FROM lease").fetchone() != (epoch,):
        now = latest_lease(cursor.connection)
        who = now.words() if now else "nobody (the lease table was emptied)"
        raise LeaseError(
            f"This experiment was taken over by {who}. This driver stops writing; nothing it stored is lost."
        )


def refuse_unless_dead(lease: Lease) -> None:
    """Raise LeaseError unless the owner of the lease is known to be gone."""
    is_alive = lease.owner.is_alive()
    if is_alive is False:
        return
    if is_alive:
        raise LeaseError(
            f"This experiment is being run by {lease.words()}. "
            "Wait for it, end it, or pass takeover=True to fence it off."
        )
    raise LeaseError(
        f"This experiment was last run by {lease.words()}, which did not close it and cannot be seen from this machine "
        f"or container ({platform.node()}). If it is gone, pass takeover=True."
    )


@cache
def boot_id() -> str:
    """What tells one boot of this machine from the next."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"{platform.node()} {int(psutil.boot_time())}"  # two machines may have been started in one second


def pid_namespace() -> str:
    """In which namespace process ids are meant here: each container has its own; "" where that is unknown."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_started(pid: int) -> str | None:
    """What tells a process from an earlier one with its id; None if there is no such process, or only its zombie."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def release(connection: apsw.Connection, epoch: int, *, wall: float | None = None) -> None:
    """Say that this driver closed cleanly; no effect where it was taken over."""
    connection.execute(
        "UPDATE lease SET released_at = ? WHERE epoch = ? AND epoch = (SELECT max(epoch) FROM lease)",
        (time.time() if wall is None else wall, epoch),
    )
