"""Trials as scripts on a virtual clock: thousands of workers in seconds, and the same run bit by bit every time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tunesmith.clock import VirtualClock
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
from tunesmith.experiment.slots import SlotPool
from tunesmith.protocols import Launch
from tunesmith.resources import Node, Resources
from tunesmith.space import Space
from tunesmith.trial import AttemptOutcome


class SimulatedStep(msgspec.Struct, frozen=True):
    """One step of a simulated training: how long it takes, and what it reports then."""

    duration_s: float
    metrics: dict[str, float]
    saves_checkpoint: bool = False
    step: int | None = None  #: its number; None: one above the step before
    error: str | None = None  #: the process dies with this at the end of the step, which reports nothing


#: A simulated trainable: (config, first step) -> its steps. Returning ends the trial; raising fails it.
Script = Callable[[dict[str, Any], int], Iterator[SimulatedStep]]


class _Attempt:
    def __init__(self, command: StartAttempt) -> None:
        self.trial, self.attempt = command.trial, command.attempt
        self.steps: Iterator[SimulatedStep] = iter(())
        self.step, self.time_total_s = command.start_step, command.start_time_s
        self.is_waiting = False  #: for the answer to the report of `step`
        self.is_killed = False
        self.has_ended = False


class SimulatedExecutor:
    """Runs scripts instead of processes. Time passes only in `wait`, from event to event."""

    is_inline = False

    def __init__(
        self,
        script: Script,
        *,
        n_workers: int = 1,
        start_s: float = 0.0,
        clock: VirtualClock | None = None,
        capacity: Mapping[str, float] | None = None,
    ) -> None:
        """Args:
        n_workers: CPUs of the one simulated node.
        start_s: virtual time from a start to its first step.
        capacity: what else the node has: {"gpu": 4, "license": 1}.
        """
        self.clock = clock or VirtualClock()
        self._script, self._start_s = script, start_s
        custom = dict(capacity or {})
        gpus = tuple(str(i) for i in range(int(custom.pop("gpu", 0))))
        self._node = Node("simulated", cpu=float(n_workers), gpus=gpus, custom=custom)
        #: (virtual time, order, event, the attempt that it comes from)
        self._agenda: list[tuple[float, int, Event, _Attempt | None]] = []
        self._order = itertools.count()
        self._attempts: dict[int, _Attempt] = {}

    def nodes(self) -> tuple[Node, ...]:
        """The simulated node."""
        return (self._node,)

    def check(self, space: Space, request: Resources) -> None:
        """See Executor.check; nothing travels."""
        SlotPool(self.nodes()).check_possible(request)

    def start(self, launch: Launch) -> None:
        """Nothing to prepare."""

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """See Executor.post; the delay is virtual."""
        self._schedule(event, delay_s, None)

    def _schedule(self, event: Event, delay_s: float, attempt: _Attempt | None) -> None:
        heapq.heappush(self._agenda, (self.clock.now() + delay_s, next(self._order), event, attempt))

    def carry_out(self, commands: Sequence[Command]) -> None:
        """Put what follows from the commands on the agenda."""
        for command in commands:
            if isinstance(command, StartAttempt):
                self._begin(command)
            elif isinstance(command, AnswerReport | StopAttempt):
                attempt = self._attempts.get(command.trial)
                if attempt is None or attempt.attempt != command.attempt:
                    continue
                if isinstance(command, AnswerReport):
                    self._answer(attempt, command)
                elif command.is_immediate and not attempt.is_killed:
                    attempt.is_killed = True
                    self._end(attempt, AttemptOutcome.STOPPED)

    def steps_of(self, command: StartAttempt) -> Iterator[SimulatedStep]:
        """What an attempt does from its start; to be overridden where that depends on more than config and step."""
        return iter(self._script(command.config, command.start_step + 1))

    def _answer(self, attempt: _Attempt, command: AnswerReport) -> None:
        if not attempt.is_waiting or command.step != attempt.step:
            return
        attempt.is_waiting = False
        if command.decision.verdict is Verdict.CONTINUE:
            self._go_on(attempt)
        elif command.decision.verdict is Verdict.REFUSE:
            self._end(attempt, AttemptOutcome.RAISED, command.decision.words())
        else:
            self._end(attempt, AttemptOutcome.STOPPED)

    def _begin(self, command: StartAttempt) -> None:
        attempt = _Attempt(command)
        self._attempts[command.trial] = attempt
        started_at = self.clock.wall() + self._start_s
        started = AttemptStarted(command.trial, command.attempt, started_at, node=self._node.name)
        self._schedule(started, self._start_s, attempt)
        try:
            attempt.steps = self.steps_of(command)
        except Exception as error:
            self._end(attempt, AttemptOutcome.RAISED, _words(error), delay_s=self._start_s)
            return
        self._go_on(attempt, self._start_s)

    def _go_on(self, attempt: _Attempt, delay_s: float = 0.0) -> None:
        """Put the attempt's next report, or its end, on the agenda."""
        try:
            step = next(attempt.steps)
        except StopIteration:
            self._end(attempt, AttemptOutcome.RETURNED, delay_s=delay_s)
            return
        except Exception as error:
            self._end(attempt, AttemptOutcome.RAISED, _words(error), delay_s=delay_s)
            return
        delay_s += step.duration_s
        if step.error is not None:
            self._end(attempt, AttemptOutcome.EXITED, step.error, delay_s=delay_s)
            return
        attempt.step = attempt.step + 1 if step.step is None else step.step
        attempt.time_total_s += step.duration_s
        attempt.is_waiting = True
        folder = f"trials/{attempt.trial:05d}/checkpoint_{attempt.step:06d}_{attempt.attempt}"
        report = TrialReported(
            attempt.trial,
            attempt.attempt,
            attempt.step,
            step.metrics,
            attempt.time_total_s,
            self.clock.wall() + delay_s,
            folder if step.saves_checkpoint else None,
        )
        self._schedule(report, delay_s, attempt)

    def _end(
        self, attempt: _Attempt, outcome: AttemptOutcome, error: str | None = None, *, delay_s: float = 0.0
    ) -> None:
        attempt.is_waiting = False
        ended = AttemptEnded(attempt.trial, attempt.attempt, outcome, self.clock.wall() + delay_s, error)
        self._schedule(ended, delay_s, attempt)

    def wait(self, timeout_s: float | None) -> list[Event]:
        """The events of the next instant at which something happens, at most `timeout_s` virtual seconds ahead.

        Whoever moved the clock on since the last call (a driver whose own work takes virtual time) finds all that
        happened meanwhile.
        """
        if not self._agenda or (timeout_s is not None and self._agenda[0][0] > self.clock.now() + timeout_s):
            if timeout_s is None:
                raise RuntimeError("The simulation waits for ever: nothing is on the agenda.")
            self.clock.advance_to(self.clock.now() + timeout_s)
            return []
        instant = max(self.clock.now(), self._agenda[0][0])
        self.clock.advance_to(instant)
        events = []
        while self._agenda and self._agenda[0][0] <= instant:
            _, _, event, attempt = heapq.heappop(self._agenda)
            if attempt is None or self._still_happens(event, attempt):
                events.append(event)
        return events

    def _still_happens(self, event: Event, attempt: _Attempt) -> bool:
        """Not what an attempt would have said later, had it not been killed."""
        if not isinstance(event, AttemptEnded):
            return not (attempt.is_killed or attempt.has_ended)
        is_first, attempt.has_ended = not attempt.has_ended, True
        if self._attempts.get(attempt.trial) is attempt:
            del self._attempts[attempt.trial]
        return is_first

    def close(self, *, is_immediate: bool = False) -> None:
        """Forget everything."""
        self._agenda.clear()
        self._attempts.clear()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
