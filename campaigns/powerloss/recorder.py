"""What a workload does to its disk, written down: an SQLite VFS for the database, hooks in `os` for everything else.

The hooks do not trust the arguments that they see: before and after each hooked call the real folder tree is compared
with the known one, so that creations, links, renames and removals are found however they were made, and the bytes of
plain files whoever wrote them. SQLite's own descriptors never pass through `os`; its VFS reports their writes, and
the sync of the folder that the unix VFS does with the first sync of each journal or WAL that it opened, and with a
delete that asks for it (checked with strace).
"""

# ruff: noqa: N802 (SQLite's names)

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import apsw

from campaigns.powerloss.disk import ROOT, Create, Mark, Op, Remove, Rename, Sync, Truncate, Write

VFS_NAME = "powerloss"
BASE_VFS = "unix"
_HOOKED = ("open", "write", "mkdir", "link", "rename", "replace", "unlink", "remove", "rmdir")
_JOURNALS = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL


class Clock:
    """Virtual time that fires the timers of the code under test, in order. Work takes no time."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._n_timers = 0
        self.on_tick: Callable[[], None] = lambda: None

    def now(self) -> float:
        """Virtual monotonic seconds."""
        return self._now

    def wall(self) -> float:
        """Virtual seconds since the epoch."""
        return 1.7e9 + self._now

    def advance(self, seconds: float) -> None:
        """Let time go by; what falls due is done at its time."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            timer.fire()
        self._now = end
        self.on_tick()

    def add(self, timer: Timer, seconds: float) -> None:
        """Fire the timer after so much virtual time."""
        self._n_timers += 1
        heapq.heappush(self._timers, (self._now + seconds, self._n_timers, timer))


class Timer:
    """Stands in for threading.Timer, on the virtual clock."""

    clock: Clock
    is_dead = False  #: a planted bug: timers that never fire

    def __init__(self, interval: float, function: Callable[..., object], args: Sequence[Any] = ()) -> None:
        self.daemon = False
        self._interval, self._function, self._args = interval, function, args
        self._is_cancelled = False

    def start(self) -> None:
        """Count from now."""
        self.clock.add(self, self._interval)

    def cancel(self) -> None:
        """Never fire."""
        self._is_cancelled = True

    def fire(self) -> None:
        """What the timer's thread would do."""
        if not self._is_cancelled and not self.is_dead:
            self._function(*self._args)


class Recorder:
    """The operations on everything below one folder, each with its virtual time."""

    def __init__(self, top: Path, clock: Clock) -> None:
        self.top = top.resolve()
        self.trace: list[tuple[float, Op]] = []
        self._clock = clock
        clock.on_tick = lambda: self.add(Mark("tick"))
        self._names: dict[int, dict[str, int]] = {ROOT: {}}  #: the names of each folder
        self._inodes: dict[int, int] = {ROOT: self.top.stat().st_ino}
        self._nodes: dict[int, int] = {self._inodes[ROOT]: ROOT}  #: by inode
        self._contents: dict[int, bytes] = {}  #: of plain files: not of those that SQLite writes
        self._n_nodes = 0

    def add(self, op: Op) -> None:
        """Write one operation down."""
        self.trace.append((self._clock.now(), op))

    def node_at(self, path: Path) -> int | None:
        """The node of a path, or None where it does not exist or lies elsewhere."""
        try:
            return self._nodes.get(path.stat().st_ino)
        except OSError:
            return None

    def sync(self, descriptor: int) -> None:
        """A descriptor was synced."""
        node = self._nodes.get(os.fstat(descriptor).st_ino)
        if node is not None:
            self.add(Sync(node))

    def scan(self) -> None:
        """Find what changed since the last scan, and write it down."""
        self._scan_folder(ROOT, self.top)

    def _scan_folder(self, node: int, path: Path) -> None:
        with os.scandir(path) as entries:
            found = {entry.name: entry for entry in entries if not entry.name.endswith("-shm")}
        known = self._names[node]
        gone = {name: child for name, child in known.items() if not self._is_same(found.get(name), child)}
        by_inode = {self._inodes[child]: name for name, child in gone.items()}
        for name in sorted(found):
            entry = found[name]
            if name not in known or name in gone:
                self._appeared(node, entry, by_inode, gone)
        for name, child in gone.items():
            if name not in found:
                del known[name]
                self.add(Remove(node, name))
            if not any(child in names.values() for names in self._names.values()):
                self._nodes.pop(self._inodes[child], None)
        for name in sorted(found):
            child = known[name]
            if child in self._names:
                self._scan_folder(child, path / name)
            elif "experiment.db" not in name or name.endswith("-mark"):
                self._scan_file(child, path / name)

    def _is_same(self, entry: os.DirEntry[str] | None, node: int) -> bool:
        return entry is not None and entry.inode() == self._inodes[node]

    def _appeared(self, folder: int, entry: os.DirEntry[str], by_inode: dict[int, str], gone: dict[str, int]) -> None:
        names, inode = self._names[folder], entry.inode()
        if inode in by_inode:
            old_name = by_inode[inode]
            node = gone.pop(old_name)
            del names[old_name]
            self.add(Rename(folder, old_name, entry.name, node))
        else:
            node = self._nodes.get(inode, -1)
            if node == -1:
                self._n_nodes += 1
                node = self._n_nodes
                self._nodes[inode], self._inodes[node] = node, inode
                if entry.is_dir(follow_symlinks=False):
                    self._names[node] = {}
            self.add(Create(folder, entry.name, node, node in self._names))
        names[entry.name] = node

    def _scan_file(self, node: int, path: Path) -> None:
        before, after = self._contents.get(node, b""), path.read_bytes()
        if after == before:
            return
        if len(after) < len(before):
            self.add(Truncate(node, len(after)))
        start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
        if start < len(after):
            self.add(Write(node, start, after[start:]))
        self._contents[node] = after


class _File(apsw.VFSFile):
    def __init__(self, recorder: Recorder, name: Any, flags: list[int]) -> None:
        super().__init__(BASE_VFS, name, flags)
        self._recorder = recorder
        path = Path(name if isinstance(name, str) else name.filename())
        recorder.scan()
        self._node = recorder.node_at(path)
        folder = recorder.node_at(path.parent)
        #: The folder that the unix VFS syncs with the first sync of a journal or WAL.
        self._folder = folder if flags[0] & _JOURNALS and flags[0] & apsw.SQLITE_OPEN_CREATE else None

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        if self._node is not None:
            self._recorder.add(Write(self._node, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        if self._node is not None:
            self._recorder.add(Truncate(self._node, newsize))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self._node is not None:
            self._recorder.add(Sync(self._node))
            if self._folder is not None:
                self._recorder.add(Sync(self._folder))
                self._folder = None


class _Vfs(apsw.VFS):
    def __init__(self, recorder: Recorder, seed: str) -> None:
        super().__init__(VFS_NAME, BASE_VFS, makedefault=True)
        self._recorder = recorder
        self._random = Random(seed)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name if name is None or isinstance(name, str) else name.filename()
        if path is None or not path.startswith(f"{self._recorder.top}/"):
            return apsw.VFSFile(BASE_VFS, name, flags)
        return _File(self._recorder, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._recorder.scan()
        folder = self._recorder.node_at(Path(filename).parent)
        if syncdir and folder is not None:
            self._recorder.add(Sync(folder))

    def xRandomness(self, numbytes: int) -> bytes:
        return self._random.randbytes(numbytes)


@contextmanager
def recording(top: Path, clock: Clock, seed: str) -> Iterator[Recorder]:
    """Record what this process does below `top`, with threading.Timer on the virtual clock and SQLite's dice seeded."""
    recorder = Recorder(top, clock)
    vfs = _Vfs(recorder, seed)
    real: dict[str, Any] = {name: getattr(os, name) for name in (*_HOOKED, "fsync")}
    real_timer = threading.Timer
    apsw.randomness(0)  # forget the state of SQLite's generator: it is seeded by the VFS
    try:
        for name in _HOOKED:
            setattr(os, name, _hooked(real[name], recorder))
        os.fsync = _hooked_sync(real["fsync"], recorder)
        Timer.clock = clock
        threading.Timer = Timer  # type: ignore[assignment,misc]
        yield recorder
        recorder.scan()
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        threading.Timer = real_timer  # type: ignore[misc]
        vfs.unregister()
        apsw.randomness(0)


def _hooked(function: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        recorder.scan()
        try:
            return function(*args, **options)
        finally:
            recorder.scan()

    return call


def _hooked_sync(function: Callable[[int], None], recorder: Recorder) -> Callable[[int], None]:
    def call(descriptor: int) -> None:
        recorder.scan()
        function(descriptor)
        recorder.sync(descriptor)

    return call
