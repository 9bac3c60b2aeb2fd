"""The one loop: persist what was decided, carry it out, wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tunesmith.clock import Clock
from tunesmith.errors import TunesmithError
from tunesmith.events import Command, DeleteCheckpoint, Event, SessionStarted, Suggest
from tunesmith.experiment import Experiment
from tunesmith.protocols import Executor, Store
from tunesmith.runner.suggester import Suggester


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
    ) -> None:
        """Args: after_pass: called when a pass is committed and carried out; must be quick."""
        self.experiment = experiment
        self._store, self._executor, self._suggester, self._clock = store, executor, suggester, clock
        self._delete_checkpoint, self._after_pass = delete_checkpoint, after_pass
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
            self.handle(executor.wait(timeout_s))

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
        self._store.append(records, self.experiment.state.take_changed())
        commands = [record for record in records if isinstance(record, Command)]
        self._executor.carry_out(commands)
        for command in commands:
            if isinstance(command, Suggest):
                self._suggester.ask(command, self.experiment.history())
            elif isinstance(command, DeleteCheckpoint):
                self._delete_checkpoint(command)
        self._after_pass()
