"""A whole experiment on a virtual clock: the real loop, state machine and deciders; trials and time are simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.clock import VirtualClock
from tunesmith.events import DeleteCheckpoint, Event, Record
from tunesmith.executors.simulated import Script, SimulatedExecutor
from tunesmith.experiment import Experiment
from tunesmith.protocols import Scheduler, Searcher, Stopper, Store
from tunesmith.runner import Loop
from tunesmith.runner.suggester import InlineSuggester
from tunesmith.schedulers import FIFOScheduler
from tunesmith.searchers import RandomSearch
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.stoppers import NoopStopper
from tunesmith.stores import MemoryStore
from tunesmith.testing.samples import make_spec
from tunesmith.trial import Trial


class Simulation:
    """The parts of a simulated experiment. `run` goes on to its end; a new one on the same store is a resume.

    Args:
        script: (config, first step) -> the trial's `SimulatedStep`s.
        space: a dict as users write it.
        store: with records in it, these are replayed first.
        n_ahead, cost_s: configs held ready (None: as many as pay), and virtual seconds that each request takes.
        on_pass: called after each pass; may post events to `executor`.
        spec: fields of `ExperimentSpec` that differ from 10 trials minimising "loss".
    """

    def __init__(
        self,
        script: Script,
        *,
        space: dict[str, Any] | None = None,
        searcher: Searcher | None = None,
        scheduler: Scheduler | None = None,
        stopper: Stopper | None = None,
        store: Store | None = None,
        executor: SimulatedExecutor | None = None,
        n_workers: int = 4,
        n_ahead: int | None = 0,
        cost_s: float = 0.0,
        start_s: float = 0.0,
        on_pass: Callable[[Simulation], None] | None = None,
        **spec: Any,
    ) -> None:
        self.space = Space(space or {})
        self.spec: ExperimentSpec = make_spec(self.space, **spec)
        self.executor = executor or SimulatedExecutor(script, n_workers=n_workers, start_s=start_s)
        self.clock: VirtualClock = self.executor.clock
        self.store: Store = store if store is not None else MemoryStore()
        self.scheduler = scheduler or FIFOScheduler()
        objective = self.scheduler.bind(self.spec.objective)
        self.experiment = Experiment(
            self.spec,
            space=self.space,
            objective=objective,
            scheduler=self.scheduler,
            stopper=stopper or NoopStopper(),
            n_ahead=n_ahead,
        )
        self.experiment.replay(self.store.records())
        self.n_passes = 0
        self.deleted: list[DeleteCheckpoint] = []
        self._on_pass = on_pass
        self.suggester = InlineSuggester(searcher or RandomSearch(), self.executor.post, cost_s=cost_s)
        self.loop = Loop(
            self.experiment,
            store=self.store,
            executor=self.executor,
            suggester=self.suggester,
            clock=self.clock,
            delete_checkpoint=self.deleted.append,
            after_pass=self._after_pass,
        )

    def _after_pass(self) -> None:
        self.n_passes += 1
        if self._on_pass is not None:
            self._on_pass(self)

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """Have the event happen `delay_s` virtual seconds from now."""
        self.executor.post(event, delay_s)

    def run(self, epoch: int = 1) -> Simulation:
        """Run the experiment to its end; returns self."""
        self.loop.run(epoch)
        return self

    @property
    def trials(self) -> Sequence[Trial]:
        """All trials as they stand."""
        return self.experiment.trials

    @property
    def log(self) -> list[Record]:
        """Everything that was committed."""
        return list(self.store.records())


def simulate(script: Script, **arguments: Any) -> Simulation:
    """Run an experiment on a virtual clock to its end; for the arguments see `Simulation`."""
    return Simulation(script, **arguments).run()
