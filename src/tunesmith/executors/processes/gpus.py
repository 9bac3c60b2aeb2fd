"""Whether the GPU memory of an ended trial is free again, before its GPU is given to the next one (F30).

The kernel gives a process's GPU memory back when it ends, and a trial's slot is held until its whole tree has ended.
Drivers that are slow, or in trouble, show dead processes as holders for a while: those are waited for. Neighbours live,
so they do not count. `nvidia-smi` is asked, in a process of its own: what hangs in a driver must not hang the loop.
Without it, or inside a container, where it names processes by numbers that mean nothing here, the tree's end must do.
"""

from __future__ import annotations

import logging
import math
import os
import selectors
import shutil
import subprocess
from collections.abc import Collection
from typing import NamedTuple

from tunesmith.executors.processes.attempt import Attempt

_log = logging.getLogger("tunesmith")
_QUERY = ("--query-compute-apps=pid", "--format=csv,noheader,nounits")
_ASK_AGAIN_S = 0.5
_ANSWER_S = 10.0  #: an nvidia-smi that takes longer hangs
_GIVE_UP_S = 30.0  #: how long an ended trial's slot is held at most
_HOST_PID_NAMESPACE = 4026531836  #: inode of the first one, the same on every Linux


class _Wait(NamedTuple):
    pids: frozenset[int]  #: processes of its tree that live, since they cannot be killed
    give_up_at: float


class GpuWatch:
    """Holds attempts back until no process of theirs holds memory of a GPU any more; asks only while it holds some."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._program = shutil.which("nvidia-smi") if _has_host_pids() else None
        self._waits: dict[Attempt, _Wait] = {}
        self._strangers: frozenset[int] = frozenset()  #: dead holders that were given up: they are not waited for again
        self._asking: subprocess.Popen[bytes] | None = None
        self._answer = b""
        self._ask_at = math.inf  #: when to ask next; while one is asked, when to give that up
        self._freed: list[Attempt] = []

    def hold(self, attempt: Attempt, pids: Collection[int], now: float) -> bool:
        """Hold the attempt back, whose tree has ended but for `pids`. False: there is nothing to wait for."""
        if self._program is None or not attempt.facts["gpus"]:
            return False
        self._waits[attempt] = _Wait(frozenset(pids), now + _GIVE_UP_S)
        if self._asking is None:
            self._ask_at = now
        return True

    def holds(self, attempt: Attempt) -> bool:
        """Whether it is held back."""
        return attempt in self._waits

    def drop(self, attempt: Attempt) -> bool:
        """Hold it no longer; whether it was held."""
        return self._waits.pop(attempt, None) is not None

    def next_at(self) -> float:
        """When `freed` must be called at the latest; infinity while nothing is held."""
        return self._ask_at if self._waits or self._asking else math.inf

    def freed(self, now: float) -> list[Attempt]:
        """Those whose memory is free, or that were held for long enough; asks anew if it is time."""
        if now >= self._ask_at:
            if self._asking is not None:
                _log.warning("nvidia-smi did not answer within %g s; GPU memory is not looked at.", _ANSWER_S)
                self._program = None
                self._freed += self._waits
            elif self._waits:
                self._ask(now)
        freed, self._freed = [attempt for attempt in self._freed if attempt in self._waits], []
        for attempt in freed:
            del self._waits[attempt]
        if self._asking is not None and self._program is None:
            self._stop_asking()
        return freed

    def close(self) -> None:
        """Stop asking. Idempotent."""
        self._waits.clear()
        self._stop_asking()

    def _ask(self, now: float) -> None:
        assert self._program is not None
        self._now = now
        self._ask_at = now + _ANSWER_S
        try:
            self._asking = subprocess.Popen(
                [self._program, *_QUERY], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError:  # no process to be had: whoever is held goes on
            self._freed += self._waits
            return
        assert self._asking.stdout is not None
        os.set_blocking(self._asking.stdout.fileno(), False)
        self._selector.register(self._asking.stdout, selectors.EVENT_READ, self._read)

    def _read(self) -> None:
        assert self._asking is not None and self._asking.stdout is not None
        try:
            data = os.read(self._asking.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            return
        self._answer += data
        if not data:
            words, began = self._answer.split(), self._now
            self._stop_asking()
            self._ask_at = began + _ASK_AGAIN_S
            self._judge({int(word) for word in words if word.isdigit()}, began)

    def _judge(self, holders: set[int], now: float) -> None:
        """Who is free, given the processes that hold memory of any GPU."""
        dead = {pid for pid in holders if not _exists(pid)}
        for attempt, wait in self._waits.items():
            left = (dead - self._strangers) | (holders & wait.pids)
            if not left:
                self._freed.append(attempt)
            elif now >= wait.give_up_at:
                self._freed.append(attempt)
                self._strangers |= dead
                pids = ", ".join(map(str, sorted(left)))
                text = f"GPU memory was still held by process {pids} {_GIVE_UP_S:g} s after the trial's end"
                attempt.ending.notes.append(text)
                _log.warning("Trial %d: %s. The next trial on that GPU may run out of memory.", attempt.trial, text)

    def _stop_asking(self) -> None:
        asked, self._asking, self._answer = self._asking, None, b""
        if asked is None:
            return
        assert asked.stdout is not None
        self._selector.unregister(asked.stdout)
        asked.stdout.close()
        asked.kill()  # it has said all that it had to say, or hangs
        try:
            asked.wait(0.2)
        except subprocess.TimeoutExpired:
            pass  # state D: it is left behind


def _exists(pid: int) -> bool:
    """Whether there is such a process, whosever it is: /proc may hide those of other users (hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _has_host_pids() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _HOST_PID_NAMESPACE
    except OSError:
        return False
