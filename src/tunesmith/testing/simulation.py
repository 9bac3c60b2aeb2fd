"""A whole experiment on a virtual clock, with defaults for tests: 10 trials that minimise "loss" on 4 workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunesmith.executors.simulated import Script, SimulatedExecutor
from tunesmith.protocols import Scheduler, Searcher, Stopper, Store
from tunesmith.runner.simulation import SimulatedExperiment
from tunesmith.schedulers import FIFOScheduler
from tunesmith.searchers import RandomSearch
from tunesmith.space import Space
from tunesmith.stoppers import NoopStopper
from tunesmith.testing.samples import make_spec


class Simulation(SimulatedExperiment):
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
        tree, scheduler = Space(space or {}), scheduler or FIFOScheduler()
        facts = make_spec(tree, **spec)
        super().__init__(
            facts,
            space=tree,
            objective=scheduler.bind(facts.objective),
            searcher=searcher or RandomSearch(),
            scheduler=scheduler,
            stopper=stopper or NoopStopper(),
            executor=executor or SimulatedExecutor(script, n_workers=n_workers, start_s=start_s),
            store=store,
            n_ahead=n_ahead,
            cost_s=cost_s,
            on_pass=lambda: on_pass(self) if on_pass is not None else None,
        )


def simulate(script: Script, **arguments: Any) -> Simulation:
    """Run an experiment on a virtual clock to its end; for the arguments see `Simulation`."""
    return Simulation(script, **arguments).run()
