"""How long a config takes to be proposed, and how long a trial keeps its slot. Part of the fold."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from tunesmith.trial import TrialStatus

#: Of the time that a trial holds its slot: waiting for a config costs no more, which no result tells apart from chance
#: (docs/adr/0006), and then every result is seen before the next config.
WORTHWHILE_SHARE = 0.02
#: Answers that the cost of the next one is judged by: a model's cost grows with the results, so old ones do not count.
_N_RECENT = 9
#: A slot waits at least so long for the searcher: a first fit on a busy machine takes seconds, the import of SciPy too.
MIN_PATIENCE_S = 60.0
#: Of the time that a trial holds its slot: waiting for a good config may cost as much, however long the trials are.
PATIENCE_SHARE = 0.1
_JUDGED = (TrialStatus.COMPLETED, TrialStatus.STOPPED)


@dataclass
class Pace:
    """What the searcher costs and what trials take, over all sessions; all durations are those recorded in the log."""

    #: CPU seconds per config or thaw of the latest answers.
    costs_s: deque[float] = field(default_factory=lambda: deque(maxlen=_N_RECENT))
    #: How long the attempts of a trial have held their slots so far; of no trial that is over, INTERRUPTED apart.
    open_s: dict[int, float] = field(default_factory=dict)
    #: Of the trials that completed or were stopped: a failure says nothing about how long a good config trains.
    n_over: int = 0
    held_s: float = 0.0

    def note_answer(self, cpu_s: float, n_proposals: int) -> None:
        """The searcher answered with so many configs and thaws."""
        if n_proposals > 0:
            self.costs_s.append(cpu_s / n_proposals)

    def note_conclusion(self, trial: int, status: TrialStatus, held_s: float | None) -> None:
        """An attempt was concluded after so long, or a paused trial was (None)."""
        if held_s is not None:
            self.open_s[trial] = self.open_s.get(trial, 0.0) + held_s
        if not status.is_over or status is TrialStatus.INTERRUPTED:
            return
        total_s = self.open_s.pop(trial, None)
        if total_s is not None and status in _JUDGED:
            self.n_over += 1
            self.held_s += total_s

    @property
    def cost_s(self) -> float | None:
        """CPU seconds that the next config will take: the median of the latest, whatever the first import took."""
        ordered = sorted(self.costs_s)
        return ordered[(len(ordered) - 1) // 2] if ordered else None

    @property
    def mean_held_s(self) -> float | None:
        """How long a trial keeps its slot, over all its attempts."""
        return self.held_s / self.n_over if self.n_over else None

    def n_ahead(self, n_slots: int) -> int:
        """How many configs to hold ready for a searcher that uses results: 0 where asking costs next to nothing.

        Otherwise as many as the slots that become free while one is proposed, and no more than there are slots.
        """
        cost_s, held_s = self.cost_s, self.mean_held_s
        if cost_s is None or held_s is None or cost_s <= WORTHWHILE_SHARE * held_s:
            return 0
        return n_slots if cost_s >= held_s else math.ceil(n_slots * cost_s / held_s)

    @property
    def patience_s(self) -> float:
        """How long a slot may stand idle for want of an answer, before random search gives it (F84)."""
        return max(MIN_PATIENCE_S, PATIENCE_SHARE * (self.mean_held_s or 0.0))
