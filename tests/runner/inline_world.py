"""Experiments with the inline executor, a store in memory, and nothing else."""

from __future__ import annotations

from tunesmith.clock import SystemClock
from tunesmith.executors.inline import InlineExecutor
from tunesmith.experiment import Experiment
from tunesmith.protocols import Launch
from tunesmith.runner import Loop
from tunesmith.runner.suggester import InlineSuggester
from tunesmith.schedulers import FIFOScheduler
from tunesmith.searchers import RandomSearch
from tunesmith.space import Space
from tunesmith.stoppers import NoopStopper
from tunesmith.stores import MemoryStore
from tunesmith.testing.samples import make_spec


class Inline:
    """Runs a trainable in this thread; `trials` and `log` tell what came of it."""

    def __init__(
        self, trainable, tmp_path, *, space=None, store=None, scheduler=None, checkpoint_freq=0, at_end=False, **spec
    ):
        self.space = Space(space or {})
        self.executor = InlineExecutor({"cpu": 2})
        self.store = store or MemoryStore()
        self.folder = tmp_path
        self.deleted = []
        spec = make_spec(self.space, **{"n_trials": 1, **spec})
        scheduler = scheduler or FIFOScheduler()
        objective = scheduler.bind(spec.objective)
        self.experiment = Experiment(
            spec, space=self.space, objective=objective, scheduler=scheduler, stopper=NoopStopper()
        )
        self.experiment.replay(self.store.records())
        self.loop = Loop(
            self.experiment,
            store=self.store,
            executor=self.executor,
            suggester=InlineSuggester(RandomSearch(), self.executor.post),
            clock=SystemClock(),
            delete_checkpoint=self.deleted.append,
        )
        self.launch = Launch(
            experiment_id=spec.experiment_id,
            experiment_name=spec.name,
            folder=tmp_path,
            trainable=trainable,
            trial_names=lambda index: (f"sample_{index:05d}", f"train_{index:05d}"),
            seed=1,
            handle=self.loop.handle,
            checkpoint_freq=checkpoint_freq,
            checkpoint_at_end=at_end,
        )

    def run(self, epoch=1):
        self.executor.start(self.launch)
        try:
            self.loop.run(epoch)
        finally:
            self.executor.close()
        return self

    @property
    def trials(self):
        return self.experiment.trials

    @property
    def log(self):
        return list(self.store.records())
