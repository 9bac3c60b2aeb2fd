"""Time behind a small interface, so that an experiment can run on a virtual clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Deciders never see a clock: they are given `now`."""

    def now(self) -> float:
        """Monotonic seconds since an arbitrary origin; durations and deadlines are taken from it."""

    def wall(self) -> float:
        """Seconds since the epoch (UTC), for display only: it may jump."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class VirtualClock:
    """A clock that moves only when told to; the simulated executor owns it."""

    def __init__(self, start_wall: float = 0.0) -> None:
        self._now = 0.0
        self._start_wall = start_wall

    def now(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def wall(self) -> float:
        """The start's wall time plus the virtual seconds."""
        return self._start_wall + self._now

    def advance_to(self, now: float) -> None:
        """Move forward to `now`; going back is a defect of the caller."""
        if now < self._now:
            raise ValueError(f"A clock cannot go back: it is at {self._now}, asked for {now}.")
        self._now = now
