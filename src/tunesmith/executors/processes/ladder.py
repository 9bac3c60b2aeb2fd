"""The stop ladder: how an attempt that was told to end is ended, each step bounded."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import NamedTuple

_GIVE_UP_S = 5.0  #: after SIGKILL: a process in state D (a dead file system, a driver) cannot be killed


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
        self._climb(started_at, ladder_rungs(grace_s, is_immediate=is_immediate))

    def _climb(self, started_at: float, rungs: Sequence[Rung]) -> None:
        self.started_at, self._rungs = started_at, list(rungs)
        self._give_up_at = started_at + rungs[-1].after_s + _GIVE_UP_S

    def next_at(self) -> float:
        """When the next step is due; after the last step, when to give up."""
        return self._give_up_at if not self._rungs else self.started_at + self._rungs[0].after_s

    def is_hopeless(self, now: float) -> bool:
        """Whether it was killed some time ago and has not ended."""
        return not self._rungs and now >= self._give_up_at

    def due(self, now: float) -> list[Rung]:
        """The steps that are due and have not been handed out."""
        found = []
        while self._rungs and self.started_at + self._rungs[0].after_s <= now:
            found.append(self._rungs.pop(0))
        return found

    def hurry(self, now: float, grace_s: float, *, is_immediate: bool) -> None:
        """End within `grace_s` seconds from now, or now; a ladder that is as short stays as it is.

        No step is repeated: a second SIGINT would interrupt the clean-up that the first one began.
        """
        if not self._rungs or self._rungs[-1].after_s + self.started_at <= now + (0.0 if is_immediate else grace_s):
            return
        self._climb(now, ladder_rungs(grace_s, is_immediate=is_immediate)[-len(self._rungs) :])
