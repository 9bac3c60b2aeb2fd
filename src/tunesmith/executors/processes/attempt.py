"""One process of a trial as the driver sees it, and the queue of those that cannot be started yet."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    AttemptEnded,
    StartAttempt,
    StopAttempt,
    TrialReported,
    Verdict,
)
from tunesmith.executors.attempts import is_interruption
from tunesmith.executors.processes.ending import Ending, outcome_of
from tunesmith.trialside.program_files import stop_program
from tunesmith.trialside.wire import continue_frame, decode_numbers, encode_frame

if TYPE_CHECKING:
    from tunesmith.executors.processes.connections import Connection
    from tunesmith.executors.processes.ladder import Ladder

_log = logging.getLogger("tunesmith")
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.1, 5.0
_MAX_RETRIES = 12  #: with the waits above about half a minute


class Attempt:
    """One process of a trial, from StartAttempt until its tree is gone."""

    def __init__(self, command: StartAttempt, facts: dict[str, Any], start_frame: bytes) -> None:
        self.trial, self.attempt = command.trial, command.attempt
        self.facts, self.start_frame = facts, start_frame
        self.is_started = False
        self.pid: int | None = None  #: of its first process, once that has called
        self.n_refused_starts = 0  #: how often the system would not start its process
        self.waiting: dict[int, Connection] = {}  #: step -> who waits for the answer to it
        self.ladder: Ladder | None = None
        self.was_told = False  #: it was told to end, by an answer or a command
        self.stop: StopAttempt | None = None  #: the command
        self.ending = Ending()

    def tell(self, command: StopAttempt) -> None:
        """Note the command, and have a program that looks for its stop file know at once: signals come later."""
        self.stop = command
        stop_program(Path(self.facts["trial_dir"]), self.attempt, command.reason)

    def reported(self, frame: dict[str, Any]) -> TrialReported:
        """The event of a report, from its frame."""
        return TrialReported(
            self.trial,
            self.attempt,
            frame["step"],
            decode_numbers(frame["metrics"]),
            frame["time_total_s"],
            time.time(),
            frame.get("checkpoint"),
            bool(frame.get("is_last")),
        )

    def answer_frame(self, command: AnswerReport) -> bytes:
        """What the trial is sent as the answer to a report."""
        decision = command.decision
        if decision is CONTINUE:
            return continue_frame(command.step)
        if decision.verdict is Verdict.REFUSE:
            return encode_frame({"type": "refused", "error": decision.words()})
        return encode_frame(
            {
                "type": "answer",
                "verdict": decision.verdict.value,
                "reason": decision.words(),
                "step": command.step,
                "is_interrupted": is_interruption(command, self.stop),
            }
        )

    def ended(self) -> AttemptEnded:
        """The event of its end."""
        outcome, error = outcome_of(self.ending, was_told=self.was_told)
        exited = self.ending.exited or {}
        cpu_s, max_rss_bytes = exited.get("cpu_s"), exited.get("max_rss_bytes")
        return AttemptEnded(self.trial, self.attempt, outcome, time.time(), error, cpu_s, max_rss_bytes)


class StartQueue:
    """Attempts that wait for a template that is ready, or for the system to have room for one more process."""

    def __init__(self) -> None:
        self._waiting: dict[Attempt, float] = {}  #: -> not before (monotonic seconds)
        self._has_warned = False

    def add(self, attempt: Attempt) -> None:
        """To be started as soon as a template is ready."""
        self._waiting[attempt] = 0.0

    def add_again(self, attempt: Attempt, now: float, *, why: str) -> bool:
        """The system refused to start it: try again, each time later. False when it was tried often enough (F45)."""
        if not self._has_warned:
            self._has_warned = True
            _log.warning("%s Fewer trials run at a time until there is room.", why)
        attempt.n_refused_starts += 1
        if attempt.n_refused_starts > _MAX_RETRIES:
            return False
        self._waiting[attempt] = now + min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** (attempt.n_refused_starts - 1))
        return True

    def drop(self, attempt: Attempt) -> bool:
        """Forget it; whether it was waiting."""
        return self._waiting.pop(attempt, None) is not None

    def has(self, attempt: Attempt) -> bool:
        """Whether it is waiting."""
        return attempt in self._waiting

    def next_at(self) -> float:
        """When the next one is due; infinity if none waits."""
        return min(self._waiting.values(), default=math.inf)

    def take(self, now: float) -> list[Attempt]:
        """Those that are due, in the order in which they came."""
        due = [attempt for attempt, not_before in self._waiting.items() if not_before <= now]
        for attempt in due:
            del self._waiting[attempt]
        return due
