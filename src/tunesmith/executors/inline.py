"""Trials in this very process and thread, one after the other: for debuggers, and where processes cannot be had."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from tunesmith.clock import SystemClock
from tunesmith.errors import ReportError
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    Command,
    Event,
    StartAttempt,
    StopAttempt,
    TrialReported,
    Verdict,
)
from tunesmith.executors.attempts import end_without_checkpoint, is_interruption, make_log_folder, session_facts
from tunesmith.executors.machine import local_node
from tunesmith.experiment.slots import SlotPool
from tunesmith.protocols import Launch
from tunesmith.resources import Node, Resources
from tunesmith.space import Space
from tunesmith.trial import AttemptOutcome
from tunesmith.trialside.call import InvalidConfig, run_trainable
from tunesmith.trialside.channel import Answer, Outcome
from tunesmith.trialside.current import inline_session
from tunesmith.trialside.failure import failure_text
from tunesmith.trialside.session import Session, TrialFacts, TrialStopped


class InlineExecutor:
    """Runs each attempt to its end inside `wait`. A report passes through the loop before `report()` returns.

    Breakpoints work; nothing is isolated; a trial that never reports cannot be stopped but by Ctrl-C.
    """

    is_inline = True

    def __init__(self, capacity: Mapping[str, float] | None = None) -> None:
        self.clock = SystemClock()
        self._node = local_node(capacity)
        self._queue: deque[StartAttempt] = deque()
        self._mailbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._delayed: list[tuple[float, Event]] = []
        self._lock = threading.RLock()  #: held while a report passes through the loop, from whatever thread
        #: The attempt that runs now; reports of any other (a thread that was left behind) are refused.
        self._running: tuple[int, int] | None = None
        self._stop: StopAttempt | None = None  #: the last stop of an attempt that is not queued
        #: The report that waits for its answer, then the answer.
        self._asked: TrialReported | None = None
        self._answer: AnswerReport | None = None
        #: What the loop raised inside a report. It is raised again until `wait` could: the function may swallow it.
        self._failure: BaseException | None = None

    def nodes(self) -> tuple[Node, ...]:
        """This machine."""
        return (self._node,)

    def check(self, space: Space, request: Resources) -> None:
        """See Executor.check; nothing travels."""
        SlotPool(self.nodes()).check_possible(request)

    def start(self, launch: Launch) -> None:
        """Nothing needs to be packed: the code is here."""
        self._launch = launch
        make_log_folder(launch)

    def carry_out(self, commands: Sequence[Command]) -> None:
        """Queue starts, keep answers."""
        for command in commands:
            if isinstance(command, StartAttempt):
                ended = end_without_checkpoint(self._launch, command)
                if ended is None:
                    self._queue.append(command)
                else:
                    self.post(ended)
            elif isinstance(command, AnswerReport):
                asked = self._asked
                if asked is not None and _key(asked) == _key(command):
                    self._answer = command
            elif isinstance(command, StopAttempt) and not self._dropped_from_queue(command):
                self._stop = command

    def _dropped_from_queue(self, command: StopAttempt) -> bool:
        """An attempt that has not begun ends at once; one that runs is told at its next report."""
        for queued in self._queue:
            if (queued.trial, queued.attempt) == (command.trial, command.attempt):
                self._queue.remove(queued)
                self.post(AttemptEnded(command.trial, command.attempt, AttemptOutcome.STOPPED, time.time()))
                return True
        return False

    def wait(self, timeout_s: float | None) -> list[Event]:
        """Posted events, else the next attempt's whole run, else the wait."""
        events = self._take_posted()
        if events:
            return events
        if self._queue:
            ended = self._run(self._queue.popleft())
            return [*self._take_posted(), ended]  # Ctrl-C comes before the end that it made
        try:
            events.append(self._mailbox.get(timeout=self._until_delayed(timeout_s)))
        except queue.Empty:
            pass
        return events + self._take_posted()

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """See Executor.post."""
        if delay_s > 0:
            self._delayed.append((time.monotonic() + delay_s, event))
        else:
            self._mailbox.put(event)

    def close(self, *, is_immediate: bool = False) -> None:
        """Forget what is queued."""
        self._queue.clear()

    def _take_posted(self) -> list[Event]:
        found: list[Event] = []
        now = time.monotonic()
        for item in [item for item in self._delayed if item[0] <= now]:
            self._delayed.remove(item)
            found.append(item[1])
        while True:
            try:
                found.append(self._mailbox.get_nowait())
            except queue.Empty:
                return found

    def _until_delayed(self, timeout_s: float | None) -> float | None:
        waits = [max(0.0, at - time.monotonic()) for at, _ in self._delayed]
        return min([*waits, *([] if timeout_s is None else [timeout_s])], default=None)

    def _run(self, command: StartAttempt) -> Event:
        trial, attempt = command.trial, command.attempt
        self._launch.handle([AttemptStarted(trial, attempt, time.time(), node=self._node.name)])
        self._running = (trial, attempt)
        outcome, error = self._called(command)
        with self._lock:
            self._running = None
        if self._failure is not None:
            raise self._failure
        return AttemptEnded(trial, attempt, outcome, time.time(), error)

    def _called(self, command: StartAttempt) -> tuple[AttemptOutcome, str | None]:
        """Call the trainable; how that ended, and the error if there was one."""
        # The config stays the object that it is: objects in it need not be picklable here.
        facts = TrialFacts.from_welcome(session_facts(self._launch, msgspec.structs.replace(command, config={})))
        session = Session(replace(facts, config=command.config), _InlineChannel(self, command))
        try:
            with inline_session(session):
                run_trainable(
                    self._launch.trainable,
                    session,
                    checkpoint_freq=self._launch.checkpoint_freq,
                    checkpoint_at_end=self._launch.checkpoint_at_end,
                )
        except TrialStopped:
            return AttemptOutcome.STOPPED, None
        except InvalidConfig as failure:
            return AttemptOutcome.INVALID, failure_text(failure)
        except SystemExit as failure:
            return AttemptOutcome.EXITED, f"The function called sys.exit({failure.code!r})."
        except BaseException as failure:  # KeyboardInterrupt and CancelledError: they end the trial, nothing else
            return AttemptOutcome.RAISED, failure_text(failure)
        return AttemptOutcome.RETURNED, None

    def exchange(self, event: TrialReported) -> Answer:
        """Pass a report through the loop and pick up the answer.

        Raises: ReportError where it is refused.
        """
        with self._lock:
            if self._failure is not None:
                raise _LoopFailed(self._failure)
            if self._running != (event.trial, event.attempt):
                return Answer(Verdict.STOP.value, "the attempt is over", event.step)
            self._asked, self._answer = event, None
            try:
                self._launch.handle([*self._take_posted(), event])
            except BaseException as error:
                self._failure = error
                raise _LoopFailed(error) from error
            finally:
                self._asked = None
            assert self._answer is not None, f"the report of step {event.step} was not answered"
            decision = self._answer.decision
            if decision.verdict is Verdict.REFUSE:
                raise ReportError(decision.words() or "refused")
            is_interrupted = is_interruption(self._answer, self._stop)
            return Answer(decision.verdict.value, decision.words(), event.step, is_interrupted)


def _key(of: TrialReported | AnswerReport) -> tuple[int, int, int]:
    return of.trial, of.attempt, of.step


class _LoopFailed(BaseException):
    """The loop itself failed inside a report: no concern of the user's function, which must not swallow it."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))


class _InlineChannel:
    """The channel of a trial that runs inside the loop."""

    def __init__(self, executor: InlineExecutor, command: StartAttempt) -> None:
        self._executor, self._trial, self._attempt = executor, command.trial, command.attempt

    def report(
        self, step: int, metrics: Mapping[str, float], *, time_total_s: float, checkpoint: str | None, is_last: bool
    ) -> Answer:
        """See Channel."""
        event = TrialReported(
            self._trial, self._attempt, step, dict(metrics), time_total_s, time.time(), checkpoint, is_last
        )
        return self._executor.exchange(event)

    def ended(self, outcome: Outcome, error: str | None = None, *, is_childless: bool = False) -> None:
        """Nothing to say: the executor sees it."""

    def close(self) -> None:
        """Nothing to close."""
