"""Runs curves instead of processes, on the world's clock: attempts that fail in all the ways there are, and messages
that come late, twice, out of order or from attempts that are long over.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from campaigns.simulate.faults import Violation
from campaigns.simulate.witness import Witness
from campaigns.simulate.world import World
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    Command,
    DeleteCheckpoint,
    Event,
    NodeLost,
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

#: How attempts end that do not end well. "unborn" ends before its function is called; "mute" dies while it saves;
#: "cut" loses the connection together with a report; "waiting" dies while it waits for an answer. One more, "hang",
#: does nothing any more until it is ended.
_FATES = {
    "unborn": AttemptOutcome.EXITED,
    "raise": AttemptOutcome.RAISED,
    "exit": AttemptOutcome.EXITED,
    "signal": AttemptOutcome.SIGNALLED,
    "lost": AttemptOutcome.LOST,
    "preempted": AttemptOutcome.PREEMPTED,
    "killed": AttemptOutcome.STOPPED,
    "mute": AttemptOutcome.SIGNALLED,
    "cut": AttemptOutcome.LOST,
    "waiting": AttemptOutcome.LOST,
}


class Attempt:
    """One simulated process."""

    def __init__(self, command: StartAttempt) -> None:
        self.command = command
        self.trial, self.attempt = command.trial, command.attempt
        self.node = command.placement.node
        self.step, self.time_total_s = command.start_step, command.start_time_s
        self.waits_for: int | None = None  #: the step whose answer it waits for
        self.is_alive = True
        self.is_told = False
        self.fate: str | None = None
        self.fatal_step = 0

    @property
    def key(self) -> tuple[int, int]:
        """Trial and attempt."""
        return self.trial, self.attempt


class WorldExecutor:
    """The executor of one driver."""

    is_inline = False

    def __init__(self, world: World, witness: Witness) -> None:
        self.clock = world.clock
        self._world, self._witness, self._plan = world, witness, world.plan
        self._agenda: list[tuple[float, int, Event | Callable[[], None]]] = []
        self._order = itertools.count()
        self._attempts: dict[int, Attempt] = {}
        self._is_closed = False
        world.counts["stray messages"] += len(world.stray)
        for event in world.stray:
            self.post(event, world.rng.uniform(0.0, 6.0))
        world.stray = []

    # ------------------------------------------------------------ the contract

    def nodes(self) -> tuple[Node, ...]:
        """All nodes: one that was lost is back for the next driver."""
        return self._plan.nodes

    def check(self, space: Space, request: Resources) -> None:
        """See Executor.check; nothing travels."""
        SlotPool(self.nodes()).check_possible(request)

    def start(self, launch: Launch) -> None:
        """Nothing to prepare."""

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """See Executor."""
        self._push(event, delay_s)

    def carry_out(self, commands: Sequence[Command]) -> None:
        """See Executor. The driver may die between any two commands."""
        for command in commands:
            if not isinstance(command, StartAttempt | AnswerReport | StopAttempt):
                continue
            self._world.point("before a command")
            self._witness.on_carry_out(command)
            if isinstance(command, StartAttempt):
                self._begin(command)
            else:
                attempt = self._attempts.get(command.trial)
                if attempt is None or attempt.attempt != command.attempt or not attempt.is_alive:
                    continue
                if isinstance(command, AnswerReport):
                    self._answer(attempt, command)
                else:
                    self._stop(attempt, command)
        self._world.point("after the commands")

    def wait(self, timeout_s: float | None) -> list[Event]:
        """See Executor: what happens next, at most `timeout_s` virtual seconds ahead."""
        self._world.point("while waiting")
        self._world.jump()
        self._lose_node()
        self._witness.on_wait(timeout_s)
        until = math.inf if timeout_s is None else self.clock.now() + timeout_s
        events: list[Event] = []
        while self._agenda and self._agenda[0][0] <= until:
            at = self._agenda[0][0]
            if events and at > self.clock.now():
                break
            self.clock.advance_to(max(at, self.clock.now()))
            _, _, thing = heapq.heappop(self._agenda)
            if callable(thing):
                thing()
            else:
                events.append(thing)
        if not events:
            if until == math.inf:
                raise Violation("the experiment waits for ever", "nothing is to come, and there is no deadline")
            self.clock.advance_to(max(until, self.clock.now()))
        self._witness.on_events(events)
        return events

    def close(self, *, is_immediate: bool = False) -> None:
        """The driver is gone, and its attempts with it; what they had sent may still arrive somewhere."""
        if self._is_closed:
            return
        self._is_closed = True
        for attempt in self._attempts.values():
            attempt.is_alive = False
            self._world.ledger.live.pop(attempt.trial, None)
        sent = [thing for _, _, thing in sorted(self._agenda, key=lambda entry: entry[:2])]
        for thing in sent:
            if isinstance(thing, TrialReported | AttemptEnded) and self._world.chance(0.3):
                self._world.stray.append(thing)
        self._agenda.clear()

    # ------------------------------------------------------------ attempts

    def _begin(self, command: StartAttempt) -> None:
        world, live = self._world, self._world.ledger.live
        if command.trial in live:
            raise Violation(
                "two live attempts of one trial",
                f"attempt {command.attempt} of trial {command.trial} starts beside attempt {live[command.trial]}",
            )
        world.counts["attempts"] += 1
        attempt = Attempt(command)
        self._attempts[command.trial] = attempt
        if attempt.node in world.ledger.lost_nodes:
            raise Violation("start on a lost node", f"{command}")
        live[command.trial] = command.attempt
        world.check_start(command.trial, command.checkpoint, command.start_step)
        self._draw_fate(attempt)
        start_s = self._plan.start_s
        if attempt.fate == "unborn":
            self._act(lambda: self._end(attempt, _FATES["unborn"], "the process could not be started"), start_s)
            return
        started = AttemptStarted(*attempt.key, world.clock.wall() + start_s, 4242, attempt.node)
        self._act(lambda: attempt.is_alive and self._push(started, 0.0), start_s)
        self._train(attempt, start_s)

    def _draw_fate(self, attempt: Attempt) -> None:
        world, faults = self._world, self._plan.faults
        if world.n_attempt_faults_left > 0 and world.chance(faults.p_attempt_fault):
            world.n_attempt_faults_left -= 1
            attempt.fate = world.rng.choice([*sorted(_FATES), *(["hang"] if self._plan.ends_hangs else [])])
            attempt.fatal_step = attempt.step + world.rng.randint(1, 3)
            world.counts["attempts with a fault"] += 1

    def _train(self, attempt: Attempt, delay_s: float = 0.0) -> None:
        """Go on to the next report, or to the end of the curve."""
        if attempt.step >= self._plan.n_steps:
            self._act(lambda: self._end(attempt, AttemptOutcome.RETURNED), delay_s)
            return
        seconds = self._plan.duration_s(attempt.command.config, attempt.step + 1)
        self._act(lambda: self._reach(attempt, seconds), self._due_in(attempt, delay_s + seconds))

    def _due_in(self, attempt: Attempt, seconds: float) -> float:
        """How long the next step takes from now; a hook for time that goes on while no driver runs."""
        return seconds

    def _reach(self, attempt: Attempt, seconds: float) -> None:
        """A step is trained: save, report, and wait for the answer; or meet the attempt's fate."""
        if not attempt.is_alive:
            return
        if attempt.fate == "hang" and attempt.step + 1 >= attempt.fatal_step:
            self._world.counts["attempts that hang"] += 1
            return
        attempt.step += 1
        attempt.time_total_s += seconds
        fate = attempt.fate if attempt.step >= attempt.fatal_step else None
        if fate is not None and fate not in ("mute", "cut", "waiting"):
            self._end(attempt, _FATES[fate], f"Traceback:\nError: {fate}")
            return
        every = self._plan.checkpoint_every
        path = None
        if every and attempt.step % every == 0:
            path = self._world.save_checkpoint(*attempt.key, attempt.step, dies=fate == "mute")
        if fate == "mute":
            self._end(attempt, _FATES[fate], "SIGSEGV")
            return
        self._report(attempt, path, is_lost=fate == "cut")
        if fate in ("cut", "waiting"):
            self._act(lambda: self._end(attempt, _FATES[fate], "the connection was lost"), self._some_seconds())

    def _report(self, attempt: Attempt, path: str | None, *, is_lost: bool = False) -> None:
        value = self._plan.value(attempt.command.config, attempt.step)
        report = TrialReported(
            *attempt.key, attempt.step, {"score": value}, attempt.time_total_s, self.clock.wall(), path
        )
        self._world.ledger.reports[(*attempt.key, attempt.step)] = report
        self._world.counts["reports made"] += 1
        attempt.waits_for = attempt.step
        if not is_lost:
            self._send(report)

    def _answer(self, attempt: Attempt, command: AnswerReport) -> None:
        if attempt.waits_for != command.step:
            return
        attempt.waits_for = None
        verdict = command.decision.verdict
        if verdict is Verdict.REFUSE:
            self._end(attempt, AttemptOutcome.RAISED, f"ReportError: {command.decision.words()}")
            return
        self._witness.on_acknowledged(*attempt.key, command.step)
        if verdict is Verdict.CONTINUE:
            self._train(attempt)
        else:
            self._obey(attempt)

    def _obey(self, attempt: Attempt) -> None:
        """Told to end: some save first, and some report once more all the same."""
        attempt.is_told = True
        world, faults = self._world, self._plan.faults
        earlier = world.ledger.reports[(*attempt.key, attempt.step)]
        if earlier.checkpoint is None and world.chance(faults.p_save_at_stop):  # as class trainables do
            saved = world.save_checkpoint(*attempt.key, attempt.step)
            again = replace(earlier, checkpoint=saved)
            world.ledger.saved[(*attempt.key, attempt.step)] = again
            self._send(again)
            world.counts["checkpoints saved at a stop"] += 1
        if world.chance(faults.p_stubborn) and attempt.step < self._plan.n_steps:
            attempt.step += 1
            self._report(attempt, None)
            attempt.waits_for = None
            world.counts["reports after a stop"] += 1
        self._act(lambda: self._end(attempt, AttemptOutcome.STOPPED), self._some_seconds())

    def _stop(self, attempt: Attempt, command: StopAttempt) -> None:
        if command.is_immediate:
            self._end(attempt, AttemptOutcome.STOPPED)
        elif not attempt.is_told:
            attempt.is_told = True
            self._act(lambda: self._end(attempt, AttemptOutcome.STOPPED), self._plan.spec.grace_s)

    def _end(self, attempt: Attempt, outcome: AttemptOutcome, error: str | None = None) -> None:
        if not attempt.is_alive:
            return
        attempt.is_alive = False
        ended = AttemptEnded(*attempt.key, outcome, self.clock.wall(), error)
        self._world.ledger.live.pop(attempt.trial, None)
        self._world.ledger.ended[attempt.key] = ended
        self._send(ended)

    # ------------------------------------------------------------ nodes and messages

    def _lose_node(self) -> None:
        """A node may go: its attempts are gone without a word, or with one that comes too late."""
        world = self._world
        candidates = sorted({a.node for a in self._attempts.values() if a.is_alive})
        if world.n_node_losses_left == 0 or not candidates or not world.chance(0.02):
            return
        world.n_node_losses_left -= 1
        world.counts["nodes lost"] += 1
        name = world.rng.choice(candidates)
        world.ledger.lost_nodes.add(name)
        for attempt in self._attempts.values():
            if attempt.is_alive and attempt.node == name:
                attempt.is_alive = False
                world.ledger.live.pop(attempt.trial, None)
                if world.chance(0.5):
                    self._push(AttemptEnded(*attempt.key, AttemptOutcome.LOST, self.clock.wall(), "node lost"), 2.0)
        self._push(NodeLost(name), 0.0)

    def _send(self, event: Event) -> None:
        """On its way to the driver: at once, or seconds late, or twice."""
        world, faults = self._world, self._plan.faults
        is_late = world.chance(faults.p_late)
        world.counts["messages that came late"] += is_late
        self._push(event, self._some_seconds() if is_late else 0.0)
        if world.chance(faults.p_twice):
            world.counts["messages that came twice"] += 1
            self._push(event, self._some_seconds())

    def _some_seconds(self) -> float:
        return 1.0 if self._plan.is_coarse else self._world.rng.uniform(0.01, 4.0)

    def _act(self, action: Callable[[], object], delay_s: float) -> None:
        self._push(action, delay_s)  # type: ignore[arg-type]

    def _push(self, thing: Event | Callable[[], None], delay_s: float) -> None:
        heapq.heappush(self._agenda, (self.clock.now() + delay_s, next(self._order), thing))

    def delete(self, command: DeleteCheckpoint) -> None:
        """Remove the folder, soon, as the housekeeper's thread does; forgotten if the driver dies first."""
        self._world.point("before a deletion")
        self._witness.on_carry_out(command)
        self._act(lambda: self._world.disk.remove_tree(command.path), self._world.rng.choice((0.0, 0.0, 0.5)))
