"""How far a tracker has come: one small file, held by one process at a time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import TunesmithError

FOLDER = "trackers"  #: in the experiment's
_POLL_S = 0.2
_HOLDER_S = 20.0  #: longer than a tracker has whose driver was killed


class Told(NamedTuple):
    """What needs not be told again."""

    seq: int = 0  #: all records up to here
    unsafe: frozenset[int] = frozenset()  #: except those of these trials


class Cursor:
    """The file `trackers/<name>.json`, and the lock that keeps a second process from telling the same beside us."""

    def __init__(self, folder: Path, name: str, *, experiment_id: str) -> None:
        self._experiment_id = experiment_id
        self._path = folder / FOLDER / f"{name}.json"
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._lock: int | None = None

    def hold(self) -> None:
        """Wait until no other process has it: one whose driver was killed has some seconds left.

        Raises: TunesmithError that names the process, where it does not go.
        """
        try:
            import fcntl
        except ImportError:  # Windows: there a driver's end is the end of its tracker's pipe, and soon of that
            return
        self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + _HOLDER_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    holder = os.pread(self._lock, 20, 0).decode(errors="replace") or "unknown"
                    raise TunesmithError(
                        f"Another process still tells the same: {holder}, which a driver that is gone has left. If it "
                        f"hangs, end it: kill -9 {holder}"
                    ) from None
                time.sleep(_POLL_S)
            except OSError:  # a file system without locks: as on Windows
                return
            else:
                os.ftruncate(self._lock, 0)
                os.pwrite(self._lock, str(os.getpid()).encode(), 0)
                return

    def close(self) -> None:
        """Let others hold it. The end of the process does so too."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def mark(self) -> bytes:
        """Something that changes whenever more was told."""
        try:
            return self._path.read_bytes()
        except OSError:
            return b""

    def load(self) -> Told:
        """What was saved last; nothing where the file is missing, damaged, or of another experiment."""
        try:
            stored: dict[str, Any] = json.loads(self._path.read_text())
            if stored["experiment_id"] != self._experiment_id:
                return Told()
            return Told(int(stored["seq"]), frozenset(map(int, stored["unsafe"])))
        except (OSError, ValueError, KeyError, TypeError):
            return Told()

    def save(self, seq: int, unsafe: Collection[int] = ()) -> None:
        """Remember; complete or not at all."""
        text = json.dumps({"experiment_id": self._experiment_id, "seq": seq, "unsafe": sorted(unsafe)})
        draft = self._path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(self._path)
