"""The one loop: persist what was decided, carry it out, wait."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from tunesmith.clock import Clock
from tunesmith.errors import DiskFullError, TunesmithError
from tunesmith.events import Command, DeleteCheckpoint, Event, InterruptRequested, Record, SessionStarted, Suggest
from tunesmith.experiment import Experiment
from tunesmith.protocols import Executor, Store
from tunesmith.runner.suggester import Suggester
from tunesmith.trial import Trial

_log = logging.getLogger("tunesmith")
_OWNER_INTERVAL_S = 1.0
_ROOM_INTERVAL_S = 1.0  #: between two looks at a full disk


class Loop:
    """Runs an experiment to its end. Every record is committed before anything is acted on."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        store: Store,
        executor: Executor,
        suggester: Suggester,
        clock: Clock,
        delete_checkpoint: Callable[[DeleteCheckpoint], None],
        after_pass: Callable[[], None] = lambda: None,
        wait_for_room: Callable[[float], Sequence[Event]] | None = None,
        check_owner: Callable[[], None] | None = None,
    ) -> None:
        """Args:
        after_pass: called when a pass is committed and carried out; must be quick.
        check_owner: called about once a second, raises LeaseError when another driver has taken over: with steps of an
            hour, this one would not hear of it before its next commit.
        wait_for_room: waits so many seconds while the disk is full, and returns what happened; the executor's `wait`.
        """
        self.experiment = experiment
        self._store, self._executor, self._suggester, self._clock = store, executor, suggester, clock
        self._delete_checkpoint, self._after_pass = delete_checkpoint, after_pass
        self._wait_for_room = wait_for_room or executor.wait
        self._check_owner = check_owner
        #: What happened while the disk was full, for the pass after.
        self._events: list[Event] = []
        #: What ended the loop in the middle of a pass: the state is then ahead of the log, and must not go on.
        self._failure: BaseException | None = None

    def run(self, epoch: int, *, reruns: Sequence[int] = (), is_from_scratch: bool = False) -> None:
        """Start a session under the lease's epoch and go on until the experiment is done.

        Args: reruns: failed trials to run again, from their last checkpoint or `is_from_scratch`.
        """
        experiment, executor = self.experiment, self._executor
        now = self._clock.wall()
        self.handle([SessionStarted(epoch, now, executor.nodes(), tuple(reruns), is_from_scratch)])
        while not experiment.is_done:
            deadline = experiment.next_deadline()
            timeout_s = None if deadline == math.inf else max(0.0, deadline - self._clock.now())
            if self._check_owner is not None:
                timeout_s = _OWNER_INTERVAL_S if timeout_s is None else min(timeout_s, _OWNER_INTERVAL_S)
            events, self._events = self._events, []
            events = events or executor.wait(timeout_s)
            if self._check_owner is not None and not events:  # where something happens, its commit looks by itself
                self._check_owner()
            self.handle(events)

    def handle(self, events: Sequence[Event]) -> None:
        """One pass. Also called from within `executor.wait` by an executor that runs trials in this thread."""
        if self._failure is not None:
            raise TunesmithError(f"The loop has failed and cannot go on: {self._failure!r}.") from self._failure
        try:
            self._pass(events)
        except BaseException as error:
            self._failure = error
            raise

    def _pass(self, events: Sequence[Event]) -> None:
        records = self.experiment.handle(events, now=self._clock.now())
        if not records:
            return
        self._commit(records, self.experiment.state.take_changed())
        commands = [record for record in records if isinstance(record, Command)]
        self._executor.carry_out(commands)
        for command in commands:
            if isinstance(command, Suggest):
                self._suggester.ask(command, self.experiment.history())
            elif isinstance(command, DeleteCheckpoint):
                self._delete_checkpoint(command)
        self._after_pass()

    def _commit(self, records: Sequence[Record], trials: Sequence[Trial]) -> None:
        """Append; where the disk is full, wait until it is not: reports wait with it, and nothing is lost (F42).

        Raises: DiskFullError if somebody asks to stop meanwhile: what was committed is kept, the rest was never
            acknowledged.
        """
        is_waiting = False
        while True:
            try:
                self._store.append(records, trials)
            except DiskFullError as error:
                if not is_waiting:
                    _log.warning("%s The experiment waits and goes on when there is room.", str(error))
                is_waiting = True
                events = self._wait_for_room(_ROOM_INTERVAL_S)
                self._events += events
                if any(isinstance(event, InterruptRequested) for event in events):
                    raise
            else:
                if is_waiting:
                    _log.warning("There is room on the disk again; the experiment goes on.")
                return
