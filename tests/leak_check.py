"""What a test leaves behind: processes, threads, open files, temporary files. Asked by conftest.py after each test.

Temporary files are looked for in a folder of this run's own (see `private_temporary_folder`), so that whatever
else runs on the machine is not taken for a leak. Linux only, threads excepted: elsewhere there is no /proc to ask.
"""

# Runs twice for each test: pathlib would double its cost.
# ruff: noqa: PTH115, PTH208

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

IS_LINUX = sys.platform == "linux"
#: How long what a test has ended may take to be gone: threads that are told to stop, processes that are killed.
GRACE_S = 2.0
_POLL_S = 0.01
#: Every process started by this run inherits it, also when its parent has died and it belongs to nobody any more.
_MARK = f"TUNESMITH_TEST_RUN={uuid.uuid4().hex}"
#: What a library keeps for later on purpose: torch's compiler makes its cache folder at import.
_KEPT_BY_LIBRARIES = ("torchinductor_",)
_ENVIRON_FIELD = 47  #: of /proc/<pid>/stat, after the name: where the environment lies in memory


class Leftovers(NamedTuple):
    """What there is at one moment; of two moments, what is there only at the second."""

    processes: frozenset[str]
    threads: frozenset[threading.Thread]
    files: frozenset[str]
    temporary: frozenset[str]

    def since(self, before: Leftovers) -> Leftovers:
        """What was not there before."""
        return Leftovers(*(now - old for now, old in zip(self, before, strict=True)))

    def words(self) -> str:
        """One line for each kind that there is."""
        threads = sorted(thread.name for thread in self.threads)
        kinds = {"process": sorted(self.processes), "thread": threads, "open file": sorted(self.files)}
        kinds["temporary file or folder"] = sorted(self.temporary)
        return "\n".join(f"{kind}: {', '.join(found)}" for kind, found in kinds.items() if found)


@contextmanager
def private_temporary_folder() -> Iterator[None]:
    """Within it, all temporary files of this process and of those it starts lie in a folder that is removed at the end.

    pytest's own folder of the last three runs stays where it was.
    """
    outside, before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", outside)
    folder = tempfile.mkdtemp(prefix="ts-", dir=outside)  # short: a Unix socket's path has at most 107 bytes
    name, _, value = _MARK.partition("=")
    os.environ[name], os.environ["TMPDIR"] = value, folder
    tempfile.tempdir = None
    try:
        yield
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


class LeakCheck:
    """Knows from test to test which processes of the machine are none of ours, so that each look takes little."""

    def __init__(self) -> None:
        self._folder = tempfile.gettempdir()
        #: Processes that were looked at and are not ours; never more than there are on the machine.
        self._strangers: set[str] = set()
        self._environ_place = _environ_place("self") if IS_LINUX else b""

    def look(self) -> Leftovers:
        """What there is now."""
        if not IS_LINUX:
            return Leftovers(frozenset(), frozenset(threading.enumerate()), frozenset(), frozenset())
        return Leftovers(
            frozenset(self._processes()),
            frozenset(threading.enumerate()),
            frozenset(_open_files()),
            frozenset(name for name in os.listdir(self._folder) if not name.startswith(_KEPT_BY_LIBRARIES)),
        )

    def leaks_since(self, before: Leftovers, *, grace_s: float = GRACE_S) -> Leftovers:
        """What is there that was not before, still after the grace and after what nobody holds was collected."""
        left = self.look().since(before)
        if not any(left):
            return left
        gc.collect()  # only now: it takes longer than all the rest
        end = time.monotonic() + grace_s
        pause = threading.Event()
        while any(left := self.look().since(before)) and time.monotonic() < end:
            pause.wait(_POLL_S)
        return left

    def _processes(self) -> Iterator[str]:
        """Each living process that this one or its descendants started; orphans are known by environment."""
        pids = {name for name in os.listdir("/proc") if name.isdigit()}
        self._strangers &= pids
        for pid in pids - self._strangers - {str(os.getpid())}:
            if self._is_ours(pid):
                yield f"{pid} {_command(pid)}"
            elif _is_alive(pid):
                self._strangers.add(pid)

    def _is_ours(self, pid: str) -> bool:
        """A descendant, or marked; a mere fork is neither once orphaned, but has its environment at the same place."""
        if not _is_alive(pid):
            return _parent(pid) == os.getpid()  # a zombie: somebody forgot to wait for it
        if _environ_place(pid) == self._environ_place:
            return True
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            environ = b""
        return _MARK.encode() in environ.split(b"\0") or _is_descendant(pid)


def _open_files() -> Iterator[str]:
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # that of the listing itself
        yield f"{number} -> {target}"


def _stat(pid: str | int) -> list[bytes]:
    """Fields of /proc/<pid>/stat from the state on; [] when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _is_alive(pid: str) -> bool:
    return _stat(pid)[:1] not in ([], [b"Z"], [b"X"])


def _parent(pid: str) -> int:
    return int((_stat(pid) or [b"", b"0"])[1])


def _environ_place(pid: str) -> bytes:
    """Where the environment lies; differs from program start to program start, and stays through a fork."""
    return b"".join(_stat(pid)[_ENVIRON_FIELD : _ENVIRON_FIELD + 1])


def _is_descendant(pid: str) -> bool:
    parent = _parent(pid)
    while parent > 1 and parent != os.getpid():
        parent = _parent(str(parent))
    return parent == os.getpid()


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100].strip()
    except OSError:
        return "?"
