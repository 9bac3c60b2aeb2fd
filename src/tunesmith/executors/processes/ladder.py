"""The stop ladder: how an attempt that was told to end is ended, each step bounded."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import NamedTuple


class Rung(NamedTuple):
    """After `after_s` seconds on the ladder, send `signal_number` (to the whole process group if `is_group`)."""

    after_s: float
    signal_number: int
    is_group: bool


def ladder_rungs(grace_s: float, *, is_immediate: bool) -> Sequence[Rung]:
    """The steps of one ladder: a flag at the next report first, SIGKILL at `grace_s` seconds last.

    Half of the grace is for the flag and for `finally:` blocks, then SIGINT (KeyboardInterrupt in the trial), then
    SIGTERM to the group.
    """
    kill = getattr(signal, "SIGKILL", signal.SIGTERM)
    if is_immediate:
        return (Rung(0.0, kill, True),)
    return (
        Rung(0.5 * grace_s, signal.SIGINT, False),
        Rung(0.75 * grace_s, signal.SIGTERM, True),
        Rung(grace_s, kill, True),
    )


class Ladder:
    """One attempt on its way out. `due(now)` hands out each step once."""

    def __init__(self, started_at: float, grace_s: float, *, is_immediate: bool) -> None:
        self.started_at = started_at
        self._rungs = list(ladder_rungs(grace_s, is_immediate=is_immediate))

    def next_at(self) -> float | None:
        """When the next step is due; None when all are done."""
        return self.started_at + self._rungs[0].after_s if self._rungs else None

    def due(self, now: float) -> list[Rung]:
        """The steps that are due and have not been handed out."""
        found = []
        while self._rungs and self.started_at + self._rungs[0].after_s <= now:
            found.append(self._rungs.pop(0))
        return found

    def hurry(self, now: float) -> None:
        """Skip to the last step."""
        self.started_at, self._rungs = now, list(ladder_rungs(0.0, is_immediate=True))
