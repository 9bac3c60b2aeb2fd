"""Which process trains each open trial of a study, whether that process is gone, and what this one has been handed."""

from __future__ import annotations

import os
import platform
import threading
from typing import NamedTuple

from tunesmith.events import AttemptStarted, ConcludeAttempt, Record
from tunesmith.runner.study_frames import Holder
from tunesmith.stores.lease import process_started

#: A process that began so long after its id was noted is another one with that id. Wall clocks are set now and then,
#: and a trial that is trained twice costs more than one that waits for its process a little longer.
_REUSED_AFTER_S = 60.0


class Held(NamedTuple):
    """Who trains an open trial; nobody where `holder` is None: it waits to be told."""

    holder: Holder | None
    at: float  #: wall time since when


class Holders:
    """A fold over the log."""

    def __init__(self) -> None:
        #: By index: of all and only the trials with a running attempt.
        self._held: dict[int, Held] = {}

    def observe(self, record: Record) -> None:
        """Fold one record."""
        if isinstance(record, AttemptStarted):
            is_nobody = record.pid is None or record.node is None
            holder = None if is_nobody else Holder(record.pid or 0, record.node or "")
            self._held[record.trial] = Held(holder, record.at)
        elif isinstance(record, ConcludeAttempt):
            self._held.pop(record.trial, None)

    def of(self, trial: int) -> Held:
        """Who trains the open trial."""
        return self._held[trial]

    def is_held_by(self, holder: Holder, trial: int) -> bool:
        """Whether this process trains the trial."""
        held = self._held.get(trial)
        return held is not None and held.holder == holder

    def lost(self) -> list[int]:
        """The open trials whose processes are gone."""
        found: dict[Held, bool] = {}
        for held in self._held.values():
            if held not in found:
                found[held] = is_gone(held)
        return [trial for trial, held in self._held.items() if found[held]]


def is_gone(held: Held) -> bool:
    """Whether the process has ended, as far as can be seen from this host; nobody cannot be gone."""
    if held.holder is None or held.holder.host != platform.node():
        return False
    if process_started(held.holder.pid) is None:
        return True
    import psutil

    try:
        return bool(psutil.Process(held.holder.pid).create_time() > held.at + _REUSED_AFTER_S)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def this_holder() -> Holder:
    """This process."""
    return Holder(os.getpid(), platform.node())


class Received:
    """The open trials of one study that this process has been handed, through whichever object."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  #: held by an ask: what is on its way is not lost
        self.trials: set[tuple[int, int]] = set()  #: (index, attempt)


_received: dict[tuple[int, str], Received] = {}


def received_by_this_process(experiment_id: str) -> Received:
    """The same object for every caller in this process; a fork begins with an empty one."""
    return _received.setdefault((os.getpid(), experiment_id), Received())
