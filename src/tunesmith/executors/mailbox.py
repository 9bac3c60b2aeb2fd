"""Events posted from other threads and signal handlers, and the file descriptor that wakes a waiting loop."""

from __future__ import annotations

import heapq
import itertools
import math
import os
import time
from collections import deque

from tunesmith.events import Event


class Mailbox:
    """`post` from anywhere, `take` in the loop. Selectable: readable when something was posted."""

    def __init__(self) -> None:
        self._posted: deque[tuple[Event, float]] = deque()  # append and popleft are atomic
        self._delayed: list[tuple[float, int, Event]] = []
        self._order = itertools.count()
        self._wake_r = self._wake_w = -1

    def open(self) -> None:
        """Be selectable from now on; until then, nothing is held that must be closed."""
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)

    def fileno(self) -> int:
        """For selectors."""
        return self._wake_r

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """Deliver the event after `delay_s` seconds."""
        self._posted.append((event, time.monotonic() + delay_s if delay_s > 0 else 0.0))
        self.wake()

    def wake(self) -> None:
        """Have the loop look, without an event."""
        try:
            os.write(self._wake_w, b"!")
        except OSError:
            pass  # the loop is awake already, not yet there, or closed

    def clear(self) -> None:
        """The loop is awake."""
        try:
            os.read(self._wake_r, 4096)
        except BlockingIOError:
            pass

    def take(self) -> list[Event]:
        """What is due."""
        found: list[Event] = []
        while self._posted:
            event, at = self._posted.popleft()
            if at:
                heapq.heappush(self._delayed, (at, next(self._order), event))
            else:
                found.append(event)
        if self._delayed:
            now = time.monotonic()
            while self._delayed and self._delayed[0][0] <= now:
                found.append(heapq.heappop(self._delayed)[2])
        return found

    def next_at(self) -> float:
        """When the next delayed event is due (monotonic seconds); infinity if none is."""
        return self._delayed[0][0] if self._delayed else math.inf

    def close(self) -> None:
        """Free the descriptors. Idempotent."""
        for name in ("_wake_r", "_wake_w"):
            number = getattr(self, name)
            if number >= 0:
                os.close(number)
                setattr(self, name, -1)
