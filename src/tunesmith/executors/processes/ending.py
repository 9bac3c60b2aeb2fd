"""How an attempt ended, from what it said, its wait status and what was done to it."""

from __future__ import annotations

import signal
from typing import Any

from tunesmith.trial import AttemptOutcome

_OUTCOME_SAID = {
    "returned": AttemptOutcome.RETURNED,
    "stopped": AttemptOutcome.STOPPED,
    "raised": AttemptOutcome.RAISED,
    "invalid": AttemptOutcome.INVALID,
    "exited": AttemptOutcome.EXITED,
}


class Ending:
    """What is known about the end of one attempt, as it comes in."""

    def __init__(self) -> None:
        self.said: dict[str, Any] | None = None  #: the trial's last frame, {"type": "ended", ...}
        self.exited: dict[str, Any] | None = None  #: the template's notice with the wait status
        self.is_oom = False  #: the kernel's out-of-memory killer was at work when it was killed
        self.lost_because: str | None = None
        self.signals_sent: list[int] = []
        self.notes: list[str] = []

    @property
    def is_childless(self) -> bool:
        """Whether the trial itself said, as its last word, that no process is left below it, and then just exited."""
        said_so = self.said is not None and bool(self.said.get("is_childless"))
        return said_so and self.exited is not None and not self.exited["status"] & 0x7F

    @property
    def is_our_interrupt(self) -> bool:
        """Whether what the trial raised is the KeyboardInterrupt that the stop ladder sent."""
        error = (self.said or {}).get("error") or ""
        return signal.SIGINT in self.signals_sent and error.rstrip().rpartition("\n")[2] == "KeyboardInterrupt"


def outcome_of(ending: Ending, *, was_told: bool) -> tuple[AttemptOutcome, str | None]:
    """The outcome and a description for people. `was_told`: the attempt had been told to end.

    A trial's own word counts before its exit status, and both before the loss of its process.
    """
    notes = "".join(f"\nNote: {note}." for note in ending.notes)
    if ending.said is not None:
        error = ending.said.get("error")
        if was_told and ending.is_our_interrupt:
            return AttemptOutcome.STOPPED, None
        return _OUTCOME_SAID[ending.said["outcome"]], error + notes if error else error
    if ending.exited is None:
        return AttemptOutcome.LOST, (ending.lost_because or "its process vanished") + notes
    number, code = ending.exited["status"] & 0x7F, ending.exited["status"] >> 8
    if was_told:
        return AttemptOutcome.STOPPED, None
    if number:
        return AttemptOutcome.SIGNALLED, _signal_words(number, ending) + notes
    return AttemptOutcome.EXITED, f"The process ended with exit code {code} before the function returned.{notes}"


def _signal_words(number: int, ending: Ending) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    max_rss_bytes = (ending.exited or {}).get("max_rss_bytes")
    peak = f" Its memory peaked at {max_rss_bytes / 2**20:.0f} MiB." if max_rss_bytes else ""
    hint = ""
    if ending.is_oom:
        hint = " Probably it ran out of memory: the system's out-of-memory killer ended a process meanwhile."
    elif number == signal.SIGKILL:
        hint = " SIGKILL without a stop from tunesmith is often the system's out-of-memory killer."
    return f"The process was killed by {name}.{peak}{hint}"
