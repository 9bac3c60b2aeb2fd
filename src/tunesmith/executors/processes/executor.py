"""The processes executor, driver side: starts the reaper and the template, talks to trials, ends them."""

from __future__ import annotations

import logging
import math
import secrets
import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.clock import SystemClock
from tunesmith.errors import TrainableError, TunesmithError
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    Command,
    Event,
    StartAttempt,
    StopAttempt,
    Verdict,
)
from tunesmith.executors.attempts import (
    end_without_checkpoint,
    make_log_folder,
    session_facts,
    template_log_path,
)
from tunesmith.executors.machine import local_node
from tunesmith.executors.mailbox import Mailbox
from tunesmith.executors.processes.attempt import Attempt, StartQueue
from tunesmith.executors.processes.code import check_config, pack_trainable, why_not_sent
from tunesmith.executors.processes.connections import Connection, Server
from tunesmith.executors.processes.gpus import GpuWatch
from tunesmith.executors.processes.ladder import Ladder
from tunesmith.executors.processes.oom import OomWatch
from tunesmith.executors.processes.reaper import tree_of
from tunesmith.executors.processes.reaper_link import ReaperLink
from tunesmith.executors.processes.sweeps import Sweeps
from tunesmith.executors.processes.template_link import TemplateLink
from tunesmith.experiment.slots import SlotPool
from tunesmith.protocols import Launch
from tunesmith.resources import Node, Resources
from tunesmith.space import Space
from tunesmith.trial import AttemptOutcome
from tunesmith.trialside.wire import encode_frame

_log = logging.getLogger("tunesmith")


class ProcessExecutor:
    """Runs each attempt in a process of its own on this machine. See docs/adr/0003-processes.md."""

    is_inline = False

    def __init__(self, capacity: Mapping[str, float] | None = None, *, start_method: str = "auto") -> None:
        """Args: capacity: overrides of what this machine offers; start_method: "auto", or "spawn" for no forks."""
        if start_method not in ("auto", "spawn"):
            raise TunesmithError(f"start_method is {start_method!r}. Give 'auto' or 'spawn'.")
        self.clock = SystemClock()
        self._node = local_node(capacity)
        self._start_method = start_method
        self._mailbox = Mailbox()
        self._attempts: dict[int, Attempt] = {}  #: by trial: those between StartAttempt and AttemptEnded
        self._events: list[Event] = []
        self._starts = StartQueue()
        self._sweeps = Sweeps()
        self._fatal: TunesmithError | None = None
        self._is_closed = False

    # ------------------------------------------------------------ the protocol

    def nodes(self) -> tuple[Node, ...]:
        """This machine."""
        return (self._node,)

    def check(self, space: Space, request: Resources) -> None:
        """See Executor.check."""
        SlotPool(self.nodes()).check_possible(request)
        check_config(space.tree)

    def start(self, launch: Launch) -> None:
        """Pack the code and start reaper and template; they get ready while the first configs are proposed."""
        self._launch = launch
        self._template = TemplateLink(pack_trainable(launch.trainable))
        make_log_folder(launch)
        self._mailbox.open()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._mailbox, selectors.EVENT_READ, self._mailbox.clear)
        self._oom = OomWatch()
        self._gpus = GpuWatch(self._selector)
        self._token = secrets.token_hex(16)
        self._server = Server(self._selector, self._token, self._on_frame, self._on_closed)
        self._reaper = ReaperLink(launch, self._server.path, self._token, start_method=self._start_method)
        self._selector.register(self._reaper, selectors.EVENT_READ, self._read_reaper)
        self._reaper.spawn_template()

    def carry_out(self, commands: Sequence[Command]) -> None:
        """Start, answer, stop."""
        for command in commands:
            if isinstance(command, AnswerReport):
                self._answer(command)
            elif isinstance(command, StartAttempt):
                self._start_attempt(command)
            elif isinstance(command, StopAttempt):
                attempt = self._attempts.get(command.trial)
                if attempt is not None and attempt.attempt == command.attempt:
                    attempt.tell(command)
                    self._begin_stop(attempt, command.grace_s, is_immediate=command.is_immediate)

    def wait(self, timeout_s: float | None) -> list[Event]:
        """See Executor.wait."""
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._events += self._mailbox.take()
            if self._fatal is not None:
                raise self._fatal
            if self._events:
                events, self._events = self._events, []
                return events
            now = time.monotonic()
            until = min(end, self._climb_ladders(now), self._send_starts(now), self._mailbox.next_at())
            until = min(until, self._finish_freed(now))
            if self._events:
                continue
            ready = self._selector.select(None if until == math.inf else max(0.0, until - now))
            for key, _ in ready:
                key.data()
            now = time.monotonic()
            for attempt in self._sweeps.give_up(now):
                self._finish(attempt)
            if now >= end and not self._events:
                self._events += self._mailbox.take()
                events, self._events = self._events, []
                return events

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """See Executor.post."""
        self._mailbox.post(event, delay_s)

    def close(self, *, is_immediate: bool = False) -> None:
        """End everything; the reaper sees to it that nothing is left."""
        if self._is_closed:
            return
        self._is_closed = True
        if hasattr(self, "_reaper"):
            self._reaper.end()
        if hasattr(self, "_server"):
            self._server.close()
        if hasattr(self, "_gpus"):
            self._gpus.close()
        if hasattr(self, "_selector"):
            self._selector.close()
        self._mailbox.close()

    # ------------------------------------------------------------ commands

    def _start_attempt(self, command: StartAttempt) -> None:
        launch = self._launch
        ended = end_without_checkpoint(launch, command)
        if ended is not None:
            self._events.append(ended)
            return
        try:
            facts = session_facts(launch, command)
            facts |= {
                "log_cap_bytes": launch.log_cap_bytes,
                "checkpoint_freq": launch.checkpoint_freq,
                "checkpoint_at_end": launch.checkpoint_at_end,
                "wants_imports": self._template.wants_imports,
            }
            attempt = Attempt(command, facts, encode_frame({"type": "start", "facts": facts}))
        except Exception as error:  # whatever the pickling of the user's objects raises, or a frame that is too large
            text, outcome = why_not_sent(command.config, error), AttemptOutcome.RAISED
            self._events.append(AttemptEnded(command.trial, command.attempt, outcome, time.time(), text))
            return
        self._attempts[command.trial] = attempt
        self._starts.add(attempt)
        if not self._reaper.has_template:
            self._reaper.spawn_template()
        self._send_starts(time.monotonic())

    def _send_starts(self, now: float) -> float:
        """Have the template start what is due; answers when the next start is."""
        if not self._template.is_ready:
            return math.inf
        for attempt in self._starts.take(now):
            self._template.start(attempt)
        return self._starts.next_at()

    def _answer(self, command: AnswerReport) -> None:
        attempt = self._attempts.get(command.trial)
        if attempt is None or attempt.attempt != command.attempt:
            return
        connection = attempt.waiting.pop(command.step, None)
        if connection is not None:
            connection.send(attempt.answer_frame(command))
        if command.decision.verdict not in (Verdict.CONTINUE, Verdict.REFUSE):
            self._begin_stop(attempt, None, is_immediate=False)

    def _begin_stop(self, attempt: Attempt, grace_s: float | None, *, is_immediate: bool) -> None:
        attempt.was_told = True
        if self._starts.drop(attempt):
            attempt.ending.said = {"outcome": "stopped"}  # there is no process that could say so
            self._finish(attempt)
        elif self._gpus.holds(attempt):
            if is_immediate:  # nothing more will be started on its GPU
                self._end(attempt)
        else:
            self._put_on_ladder(attempt, grace_s, is_immediate=is_immediate)

    def _put_on_ladder(self, attempt: Attempt, grace_s: float | None = None, *, is_immediate: bool = False) -> None:
        """Have it end within the grace, the experiment's if there is no other; one that is on its way is hurried."""
        now, grace_s = time.monotonic(), self._launch.grace_s if grace_s is None else grace_s
        if attempt.ladder is None:
            attempt.ladder = Ladder(now, grace_s, is_immediate=is_immediate)
        else:
            attempt.ladder.hurry(now, grace_s, is_immediate=is_immediate)

    def _climb_ladders(self, now: float) -> float:
        """Send the signals that are due; answers when the next one is, or a sweep must be given up."""
        until = self._sweeps.next_at()
        for attempt in list(self._attempts.values()):
            if attempt.ladder is None or self._gpus.holds(attempt):
                continue
            if attempt.ladder.is_hopeless(now):
                self._give_up(attempt)
                continue
            for rung in attempt.ladder.due(now):
                attempt.ending.signals_sent.append(rung.signal_number)
                self._template.signal(attempt, rung)
            until = min(until, attempt.ladder.next_at())
        return until

    # ------------------------------------------------------------ frames

    def _on_frame(self, connection: Connection, frame: dict[str, Any]) -> None:
        handler = self._HANDLERS.get(frame["type"])
        if handler is not None:
            handler(self, connection, frame)

    def _on_hello(self, connection: Connection, frame: dict[str, Any]) -> None:
        role = frame.get("role")
        if role == "template":
            self._template.connect(connection)
        elif role == "code":
            self._template.send_code(connection)
        else:
            self._welcome(connection, frame)

    def _welcome(self, connection: Connection, frame: dict[str, Any]) -> None:
        attempt = self._attempts.get(frame.get("trial", -1))
        if attempt is None or attempt.attempt != frame.get("attempt"):
            connection.send(encode_frame({"type": "refused", "error": "this attempt is over"}))
            return
        connection.owner = attempt
        if attempt.is_started:
            connection.send(encode_frame(attempt.facts))
            return
        attempt.is_started = True
        attempt.pid = frame.get("pid")
        self._template.n_deaths = 0
        connection.send(_PLAIN_WELCOME)  # the process was started with the facts; only re-executed ones need them
        self._events.append(AttemptStarted(attempt.trial, attempt.attempt, time.time(), attempt.pid, self._node.name))

    def _on_report(self, connection: Connection, frame: dict[str, Any]) -> None:
        attempt = connection.owner
        if not isinstance(attempt, Attempt):
            return
        attempt.waiting[frame["step"]] = connection
        self._events.append(attempt.reported(frame))

    def _on_ended(self, connection: Connection, frame: dict[str, Any]) -> None:
        attempt = connection.owner
        if isinstance(attempt, Attempt):
            attempt.ending.said = frame
            self._put_on_ladder(attempt)  # what still runs then, threads and exit functions, has its grace too

    def _on_imported(self, connection: Connection, frame: dict[str, Any]) -> None:
        self._template.preload(frame["modules"])

    def _on_ready(self, connection: Connection, frame: dict[str, Any]) -> None:
        if self._template.is_at(connection):  # not of one that has died since
            self._template.is_ready = True
            self._reaper.note_start_method(frame["start_method"], frame["why"])

    def _on_broken(self, connection: Connection, frame: dict[str, Any]) -> None:
        self._fatal = TrainableError(
            "The trainable could not be loaded in a worker process. Modules it imports must be importable there, "
            f"from the same folder or installed.\n{frame['error']}"
        )

    def _on_start_failed(self, connection: Connection, frame: dict[str, Any]) -> None:
        attempt = self._attempts.get(frame["trial"])
        if attempt is None or attempt.attempt != frame["attempt"]:
            return
        if attempt.was_told:
            attempt.ending.said = {"outcome": "stopped"}  # there is no process that could say so
            self._finish(attempt)
        elif not self._starts.add_again(attempt, time.monotonic(), why=frame["error"]):
            attempt.ending.lost_because = frame["error"]
            self._finish(attempt)

    def _on_exited(self, connection: Connection, frame: dict[str, Any]) -> None:
        attempt = self._attempts.get(frame["trial"])
        if attempt is None or attempt.attempt != frame["attempt"]:
            return
        self._server.drain(attempt)  # what it sent before it ended is in the kernel's buffer
        attempt.ending.exited = frame
        attempt.ending.is_oom = frame["status"] & 0x7F == signal.SIGKILL and self._oom.has_killed()
        if attempt.ending.is_childless:
            self._finish(attempt)
        else:
            self._sweep([attempt])

    _HANDLERS: ClassVar[dict[str, Callable[[ProcessExecutor, Connection, dict[str, Any]], None]]] = {
        "hello": _on_hello,
        "report": _on_report,
        "ended": _on_ended,
        "imported": _on_imported,
        "ready": _on_ready,
        "broken": _on_broken,
        "start_failed": _on_start_failed,
        "exited": _on_exited,
    }

    def _on_closed(self, connection: Connection) -> None:
        if isinstance(connection.owner, Attempt):
            waiting = connection.owner.waiting
            for step in [step for step, other in waiting.items() if other is connection]:
                del waiting[step]

    # ------------------------------------------------------------ ends

    def _sweep(self, attempts: Sequence[Attempt]) -> None:
        """Have the reaper end what the attempts left behind; they end when it says that nothing is left."""
        self._reaper.sweep(self._sweeps.begin(attempts, time.monotonic()))

    def _give_up(self, attempt: Attempt) -> None:
        """It does not die (state D: a dead file system, a driver): it is lost, its slot free when its GPU is (F22)."""
        attempt.ending.lost_because = "it was killed and does not end: it cannot be killed now"
        pids = [] if attempt.pid is None else [attempt.pid, *tree_of(attempt.pid)]
        _log.warning("Trial %d (process %s) was killed and does not end; it is given up.", attempt.trial, attempt.pid)
        self._finish(attempt, alive=pids)

    def _finish(self, attempt: Attempt, *, alive: Sequence[int] = ()) -> None:
        """End the attempt as soon as its GPU memory is free; `alive`: what is left of its tree."""
        is_new = self._attempts.get(attempt.trial) is attempt and not self._gpus.holds(attempt)
        if is_new and not self._gpus.hold(attempt, alive, time.monotonic()):
            self._end(attempt)

    def _finish_freed(self, now: float) -> float:
        """End those whose GPU memory is free; answers when it must be looked at again."""
        for attempt in self._gpus.freed(now):
            self._end(attempt)
        return self._gpus.next_at()

    def _end(self, attempt: Attempt) -> None:
        self._gpus.drop(attempt)
        del self._attempts[attempt.trial]
        self._server.forget(attempt)
        self._events.append(attempt.ended())

    def _read_reaper(self) -> None:
        for message in self._reaper.read():
            if "swept" in message:
                for attempt in self._sweeps.finish(message["swept"]):
                    self._finish(attempt)
            elif "template_exit" in message:
                self._on_template_gone(f"the template process ended ({_status_words(message['template_exit'])})")
            elif "reaper_exit" in message:
                self._selector.unregister(self._reaper)
                self._reaper.restart()
                self._selector.register(self._reaper, selectors.EVENT_READ, self._read_reaper)
                for attempt in self._sweeps.finish_all():
                    self._finish(attempt)
                self._on_template_gone("the reaper process was killed")

    def _on_template_gone(self, why: str) -> None:
        """Every trial was its child and went with it: they are lost, and start again under a new one."""
        is_worth_another = self._template.note_death()
        if self._fatal is not None:
            return
        if not is_worth_another:
            log = template_log_path(self._launch)
            n_deaths = self._template.n_deaths
            self._fatal = TunesmithError(f"{why[0].upper()}{why[1:]} {n_deaths} times in a row. See {log}.")
            return
        waits = (self._starts.has, self._sweeps.has, self._gpus.holds)
        lost = [attempt for attempt in self._attempts.values() if not any(has(attempt) for has in waits)]
        for attempt in lost:
            self._server.drain(attempt)
            attempt.ending.lost_because = why
        if lost:
            self._sweep(lost)
        if not self._reaper.has_template and self._starts.next_at() < math.inf:
            self._reaper.spawn_template()


_PLAIN_WELCOME = encode_frame({"type": "welcome"})


def _status_words(status: int) -> str:
    number = status & 0x7F
    return signal.Signals(number).name if number else f"exit code {status >> 8}"
