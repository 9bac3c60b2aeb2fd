"""Puts the parts together and drives one experiment in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api.folder import continued_spec, existing, new_folder, resumable_hint
from tunesmith.api.plan import Plan, trial_names
from tunesmith.api.resume import Resume, settle_name
from tunesmith.callbacks import ProgressReporter
from tunesmith.clock import Clock, SystemClock
from tunesmith.errors import LeaseError, StoreError
from tunesmith.events import EndReason
from tunesmith.executors.inline import InlineExecutor
from tunesmith.executors.simulated import SimulatedExecutor
from tunesmith.experiment import Experiment, SlotPool
from tunesmith.protocols import Callback, Executor, Launch
from tunesmith.runner.housekeeping import Housekeeper
from tunesmith.runner.interrupts import interrupts_as_events
from tunesmith.runner.loop import Loop
from tunesmith.runner.suggester import InlineSuggester, Suggester, ThreadSuggester
from tunesmith.runner.watcher import Watcher
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import SqliteStore, create_store, open_reader, open_store
from tunesmith.trial import TrialStatus

_AHEAD_PER_SLOT = 4  #: configs held ready for each slot, where results do not change what is proposed
_MAX_AHEAD = 256


def drive(
    plan: Plan,
    *,
    root: Path,
    executor: Executor,
    reporter: ProgressReporter | None,
    callbacks: Sequence[Callback],
    verbose: int,
    on_change: Mapping[str, str],
    resume: Resume,
    takeover: bool,
    durability: str,
    checkpoint_freq: int,
    checkpoint_at_end: bool,
) -> ExperimentAnalysis:
    """Create or go on with the experiment and run it to its end. Interrupted, it returns what there is."""
    SlotPool(executor.nodes()).check_possible(plan.spec.resources)
    if isinstance(executor, InlineExecutor):  # it has as many CPUs as the machine, but one thread to run trials in
        plan = plan._replace(spec=replace(plan.spec, max_concurrent_trials=1))
    plan = plan._replace(spec=replace(plan.spec, name=settle_name(resume, root, plan.spec.name)))
    folder, plan, is_new = _settle_folder(plan, root, on_change=dict(on_change), verbose=verbose)
    if not is_new:
        plan = _without_new_trials(plan, folder) if resume.without_new_trials else plan
    if not is_new and _is_finished(folder, plan.spec, reruns_failed=resume.reruns_failed):
        _say(verbose, f"The experiment {plan.spec.name!r} is finished; its results are returned. More samples go on.")
        return ExperimentAnalysis(open_reader(folder))
    experiment = _experiment(plan, executor)
    store = _created(folder, plan, durability) if is_new else None
    if store is None:
        if is_new:  # another driver made it in the same instant: be refused by name, or go on with it
            folder, plan, is_new = _settle_folder(plan, root, on_change=dict(on_change), verbose=verbose)
            experiment = _experiment(plan, executor)
        store = open_store(folder, plan.space, takeover=takeover, durability=durability)
    try:
        if not is_new:
            store.revise(plan.spec)
            experiment.replay(store.records())
        parts = _Parts(plan, experiment, store, executor, folder)
        if reporter is not None or callbacks:
            parts.watch(reporter, callbacks, verbose)
        launch = Launch(
            experiment_id=plan.spec.experiment_id,
            experiment_name=plan.spec.name,
            folder=folder,
            trainable=plan.trainable,
            trial_names=trial_names(plan.spec),
            seed=plan.spec.seed,
            handle=parts.loop.handle,
            grace_s=plan.spec.grace_s,
            checkpoint_freq=checkpoint_freq,
            checkpoint_at_end=checkpoint_at_end,
        )
        parts.run(launch, resume)
    finally:
        store.close()
    return ExperimentAnalysis(open_reader(folder))


class _Parts:
    """What runs beside the loop, and the order in which it is closed."""

    def __init__(
        self, plan: Plan, experiment: Experiment, store: SqliteStore, executor: Executor, folder: Path
    ) -> None:
        self._experiment, self._store, self._executor, self._folder = experiment, store, executor, folder
        self._clock: Clock = executor.clock if isinstance(executor, SimulatedExecutor) else SystemClock()
        self._housekeeper = Housekeeper(folder)
        self._suggester: Suggester
        # Inline trials share this process's generators and virtual time waits for nobody: nothing may run beside them.
        if isinstance(executor, InlineExecutor | SimulatedExecutor):
            self._suggester = InlineSuggester(plan.searcher, executor.post)
        else:
            self._suggester = ThreadSuggester(plan.searcher, executor.post)
        self._watcher: Watcher | None = None
        self.loop = Loop(
            experiment,
            store=store,
            executor=executor,
            suggester=self._suggester,
            clock=self._clock,
            delete_checkpoint=self._housekeeper.delete,
            after_pass=self._after_pass,
        )

    def _after_pass(self) -> None:
        if self._watcher is not None:
            self._watcher.after_pass()

    def watch(self, reporter: ProgressReporter | None, callbacks: Sequence[Callback], verbose: int) -> None:
        """Have reporter and callbacks follow the log from here on."""
        self._watcher = Watcher(
            self._folder,
            experiment=self._experiment,
            clock=self._clock,
            reporter=reporter,
            callbacks=callbacks,
            verbose=verbose,
            after_seq=self._store.last_seq(),
        )

    def run(self, launch: Launch, resume: Resume) -> None:
        """Run the loop; close the trials first, then what they feed, the store, and last those who look on."""
        executor = self._executor
        try:
            with interrupts_as_events(executor.post, is_inline=isinstance(executor, InlineExecutor)):
                try:
                    executor.start(launch)
                    if self._watcher is not None:
                        self._watcher.start()
                    reruns = resume.reruns(self._experiment.trials)
                    self.loop.run(self._store.epoch, reruns=reruns, is_from_scratch=resume.is_from_scratch)
                finally:
                    executor.close()
        finally:
            self._suggester.close()
            self._housekeeper.close()
            self._store.close()
            if self._watcher is not None:
                self._watcher.close()


def _created(folder: Path, plan: Plan, durability: str) -> SqliteStore | None:
    """The new store, or None where another driver made one in the folder at the same time."""
    try:
        return create_store(folder, plan.spec, plan.space, durability=durability)
    except LeaseError:
        raise
    except StoreError:
        if existing(folder.parent, folder.name) is None:
            raise
        return None


def _experiment(plan: Plan, executor: Executor) -> Experiment:
    """The state machine; configs that no result can change are held ready ahead of need."""
    spec = plan.spec
    n_ahead = 0
    if not plan.searcher.uses_results:
        n_ahead = min(_MAX_AHEAD, _AHEAD_PER_SLOT * SlotPool(executor.nodes()).n_fitting(spec.resources))
    return Experiment(
        spec,
        space=plan.space,
        objective=spec.objective,
        scheduler=plan.scheduler,
        stopper=plan.stopper,
        n_ahead=n_ahead,
    )


def _settle_folder(plan: Plan, root: Path, *, on_change: dict[str, str], verbose: int) -> tuple[Path, Plan, bool]:
    """The experiment's folder, the plan with its final spec, and whether it is new."""
    folder = existing(root, plan.spec.name) if plan.spec.name else None
    if folder is None:
        hint = None if plan.spec.name else resumable_hint(root, plan.spec)
        if hint is not None:
            _say(verbose, hint)
        folder, spec = new_folder(root, plan.spec)
        return folder, plan._replace(spec=spec), True
    reader = open_reader(folder)
    try:
        return folder, plan._replace(spec=continued_spec(reader.spec, plan.spec, on_change=on_change)), False
    finally:
        reader.close()


def _without_new_trials(plan: Plan, folder: Path) -> Plan:
    """The plan with as many trials as there are."""
    reader = open_reader(folder)
    try:
        return plan._replace(spec=replace(plan.spec, n_trials=reader.n_trials()))
    finally:
        reader.close()


def _is_finished(folder: Path, spec: ExperimentSpec, *, reruns_failed: bool) -> bool:
    """Whether nothing is left to do: it ended, and no more trials are asked for than there are."""
    reader = open_reader(folder)
    try:
        status = reader.status().status
        if reruns_failed and reader.counts().get(TrialStatus.FAILED):
            return False
        if status == EndReason.EXHAUSTED.value:
            return True
        n_open = sum(n for state, n in reader.counts().items() if not state.is_over)
        is_enough = spec.n_trials is not None and reader.n_trials() >= spec.n_trials
        return status == EndReason.FINISHED.value and is_enough and n_open == 0
    finally:
        reader.close()


def _say(verbose: int, text: str) -> None:
    if verbose > 0:
        print(text, flush=True)
