"""A whole experiment on a virtual clock: the real loop, state machine and deciders; only trials and time are simulated.

What public simulations, replays and tests share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Self

from tunesmith.clock import VirtualClock
from tunesmith.events import DeleteCheckpoint, Event, Record, Suggest
from tunesmith.executors.simulated import SimulatedExecutor
from tunesmith.experiment import Experiment
from tunesmith.protocols import History, Scheduler, Searcher, Stopper, Store
from tunesmith.runner.loop import Loop
from tunesmith.runner.suggester import InlineSuggester, Suggester, answer
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import MemoryStore
from tunesmith.trial import Objective, Trial

_MARK_EVERY = 100  #: events between two readings of the CPU time


class SimulatedExperiment:
    """The parts of a simulated experiment together. `run` goes on to its end; a new one on its store is a resume."""

    def __init__(
        self,
        spec: ExperimentSpec,
        *,
        space: Space,
        objective: Objective | None,
        searcher: Searcher,
        scheduler: Scheduler,
        stopper: Stopper,
        executor: SimulatedExecutor,
        store: Store | None = None,
        suggester: Suggester | None = None,
        n_ahead: int | None = 0,
        cost_s: float = 0.0,
        charges_cpu: bool = False,
        on_pass: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        objective: what the scheduler was bound to.
        store: with records in it, these are replayed first. None: a list in memory.
        suggester: what answers in the searcher's place.
        n_ahead: see Experiment.
        cost_s: virtual seconds that each answer of the searcher takes.
        charges_cpu: instead, CPU time counts as virtual time: that of scheduler, stopper and state machine holds up the
            loop, that of the searcher its answer.
        on_pass: called after each pass; may post events to the executor.
        """
        self.spec, self.space, self.scheduler, self.executor = spec, space, scheduler, executor
        self.clock: VirtualClock = executor.clock
        self.store: Store = store if store is not None else MemoryStore()
        self.experiment = _MeasuredExperiment(
            spec,
            space=space,
            objective=objective,
            scheduler=scheduler,
            stopper=stopper,
            n_ahead=n_ahead,
            curves_by=getattr(searcher, "curves_by", None),
            thaws=getattr(searcher, "thaws", False),
        )
        self.experiment.charged = self.clock if charges_cpu else None
        self.experiment.replay(self.store.records())
        charged = _ChargedSuggester(searcher, executor.post) if charges_cpu else None
        self.suggester = suggester or charged or InlineSuggester(searcher, executor.post, cost_s=cost_s)
        self.deleted: list[DeleteCheckpoint] = []
        self.n_passes = 0
        #: (events so far, CPU seconds of the whole simulation so far), now and then.
        self.marks: list[tuple[int, float]] = []
        self._on_pass = on_pass
        self.loop = Loop(
            self.experiment,
            store=self.store,
            executor=executor,
            suggester=self.suggester,
            clock=self.clock,
            delete_checkpoint=self.deleted.append,
            after_pass=self._after_pass,
        )

    def run(self, epoch: int = 1) -> Self:
        """Run the experiment to its end; returns self."""
        self._mark()
        self.loop.run(epoch)
        self._mark()
        return self

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """Have the event happen `delay_s` virtual seconds from now."""
        self.executor.post(event, delay_s)

    @property
    def trials(self) -> Sequence[Trial]:
        """All trials as they stand."""
        return self.experiment.trials

    @property
    def log(self) -> list[Record]:
        """Everything that was committed."""
        return list(self.store.records())

    def _after_pass(self) -> None:
        self.n_passes += 1
        if self.experiment.n_events - self.marks[-1][0] >= _MARK_EVERY:
            self._mark()
        self._on_pass()

    def _mark(self) -> None:
        self.marks.append((self.experiment.n_events, time.thread_time()))


class _MeasuredExperiment(Experiment):
    """Counts events and the CPU time that they take, and may let virtual time pass for it."""

    charged: VirtualClock | None = None
    n_events = 0
    cpu_s = 0.0

    def handle(self, events: Sequence[Event], now: float) -> list[Record]:
        """See Experiment."""
        begin = time.thread_time()
        records = super().handle(events, now)
        cpu_s = time.thread_time() - begin
        self.cpu_s += cpu_s
        self.n_events += len(events)
        if self.charged is not None:
            self.charged.advance_to(self.charged.now() + cpu_s)
        return records


class _ChargedSuggester:
    """Answers as late as the searcher would have in a thread of its own, by the CPU time it took."""

    def __init__(self, searcher: Searcher, post: Callable[[Event, float], None]) -> None:
        self._searcher, self._post = searcher, post

    def ask(self, command: Suggest, history: History) -> None:
        """See Suggester."""
        event = answer(self._searcher, command, history)
        self._post(event, event.cpu_s)

    def close(self) -> None:
        """Nothing to close."""
