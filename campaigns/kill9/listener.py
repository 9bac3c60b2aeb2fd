"""The campaign's end of the pipe: what trials said, kept out of reach of everything that is killed."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Ack(NamedTuple):
    """One report that had returned in the trial."""

    trial: int
    attempt: int
    step: int
    value: float
    by: str  #: which driver's trial it was


class Start(NamedTuple):
    """One attempt that began to train."""

    trial: int
    attempt: int
    start: int
    pid: int
    flaw: str | None  #: what is wrong with the checkpoint it was handed
    by: str
    at: float  #: monotonic seconds


class Listener:
    """Holds both ends, so that no writer ever waits for a reader or dies of its absence."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._unread = b""
        self.acks: list[Ack] = []
        self.starts: list[Start] = []
        self.children: set[int] = set()
        self.n_ready = 0

    def listen(self, timeout_s: float = 0.0) -> None:
        """Take in what was said; waits for the first line at most so long."""
        if not select.select([self._descriptor], [], [], timeout_s)[0]:
            return
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def listen_until(self, condition: Callable[[], bool], *, within_s: float) -> bool:
        """Take in lines until the condition holds; False when the time is up."""
        end = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > end:
                return False
            self.listen(0.005)
        return True

    def _take(self, line: dict[str, Any]) -> None:
        if line["what"] == "ack":
            self.acks.append(Ack(line["trial"], line["attempt"], line["step"], line["value"], line["by"]))
        elif line["what"] == "start":
            facts = [line[name] for name in ("trial", "attempt", "start", "pid", "flaw", "by")]
            self.starts.append(Start(*facts, time.monotonic()))
        elif line["what"] == "child":
            self.children.add(line["pid"])
        elif line["what"] == "ready":
            self.n_ready += 1

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self._descriptor)
