"""The sweeps under way: the reaper ends what attempts left behind, and the attempts end when nothing of it is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith.executors.processes.attempt import Attempt

_TIMEOUT_S = 5.0  #: after this an attempt counts as ended even if something below it cannot be killed


class Sweeps:
    """Which sweep is for which attempts. Each attempt is handed out once: swept, overdue or left over."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[float, Sequence[Attempt]]] = {}  #: number -> (give up at, who waits)
        self._n_begun = 0

    def begin(self, attempts: Sequence[Attempt], now: float) -> int:
        """The number of a new sweep that these attempts wait for."""
        self._n_begun += 1
        self._waiting[self._n_begun] = (now + _TIMEOUT_S, attempts)
        return self._n_begun

    def has(self, attempt: Attempt) -> bool:
        """Whether it waits for a sweep."""
        return any(attempt in attempts for _, attempts in self._waiting.values())

    def next_at(self) -> float:
        """When the next one must be given up; infinity if there is none."""
        return min((give_up for give_up, _ in self._waiting.values()), default=math.inf)

    def finish(self, number: int) -> Sequence[Attempt]:
        """The reaper is done with this one: who waited for it."""
        return self._waiting.pop(number, (0.0, ()))[1]

    def give_up(self, now: float) -> list[Attempt]:
        """Who has waited for too long; it is noted in their endings."""
        overdue = [number for number, (give_up, _) in self._waiting.items() if now >= give_up]
        found = [attempt for number in overdue for attempt in self.finish(number)]
        for attempt in found:
            attempt.ending.notes.append(f"something it left behind could not be killed within {_TIMEOUT_S:g} s")
        return found

    def finish_all(self) -> list[Attempt]:
        """The reaper is gone: nobody is left who would answer, nor who was to be swept."""
        return [attempt for number in list(self._waiting) for attempt in self.finish(number)]
