"""Trainings go first: how a tracker's process and those that its library starts give way to them.

Niceness alone is not enough. Linux shares CPU time among sessions first ("autogroups", sched(7)) and by niceness only
within each; trials, trackers and W&B's own process each have a session. Measured on 2 CPUs, a training of 2 threads
fell from 105 steps a second to 7 beside a busy process with niceness 10 in another session, and to 90 with its session
at 10 too: threads that wait for each other lose far more than the time that is taken from one of them.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

_NICENESS = 10
_LOOK_S = 5.0  #: between two looks at what was started since


class Background:
    """Keeps this process, and what it starts, behind the trainings."""

    def __init__(self) -> None:
        if hasattr(os, "nice"):
            os.nice(_NICENESS)  # processes that are started from here on have it too, but not the session's
        self._lowered: set[int] = set()
        self._looked_at: float | None = None
        self._lower(os.getpid())

    def look(self) -> None:
        """Lower the sessions of processes that a library has started; cheap to call often."""
        now = time.monotonic()
        if self._looked_at is not None and now < self._looked_at + _LOOK_S:
            return
        self._looked_at = now
        with suppress(psutil.Error):
            for process in psutil.Process().children(recursive=True):
                self._lower(process.pid)
        self._lower(os.getpid())  # it may have been refused: one such call each 0.1 s on the whole machine

    def _lower(self, pid: int) -> None:
        if pid in self._lowered:
            return
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(_NICENESS))
        except FileNotFoundError:  # no Linux, no autogroups, or no process any more
            pass
        except OSError:
            return
        self._lowered.add(pid)
