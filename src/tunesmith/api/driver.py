"""Puts the parts together and drives one experiment in this process."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api.callbacks import AnyCallback, catch_up, check_callbacks, make_followers
from tunesmith.api.changes import continued_spec
from tunesmith.api.folder import existing, new_folder, resumable_hint
from tunesmith.api.plan import Plan, trial_names
from tunesmith.api.resume import RERUN, Resume, settle_name
from tunesmith.callbacks import ProgressReporter
from tunesmith.clock import VirtualClock
from tunesmith.errors import LeaseError, StoreError, TuneError
from tunesmith.events import EndReason, Event
from tunesmith.experiment import Experiment, SlotPool
from tunesmith.experiment.judgement import missing_metric_note
from tunesmith.protocols import Executor, Launch
from tunesmith.runner.housekeeping import Housekeeper
from tunesmith.runner.interrupts import interrupts_as_events
from tunesmith.runner.loop import Loop
from tunesmith.runner.suggester import InlineSuggester, Suggester, ThreadSuggester
from tunesmith.runner.watcher import Watcher
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import SqliteStore, create_store, open_reader, open_store
from tunesmith.trial import TrialStatus

_log = logging.getLogger("tunesmith")
_AHEAD_PER_SLOT = 4  #: configs held ready for each slot, where results do not change what is proposed
_MAX_AHEAD = 256
#: Whoever ran out of configs may have some now that more are asked for, or another searcher is.
_FINISHED_ENDS = (EndReason.FINISHED.value, EndReason.EXHAUSTED.value)
_BEGUN = "SELECT count(*), total(status IN (?, ?, ?)) FROM trial_states WHERE attempt > 0"
_FINISHED = (
    "The experiment {name!r} is finished; its results are returned, and nothing was run. Only a larger num_samples "
    "goes on with it: a larger max_t or another stop= trains no trial of it further."
)


def drive(
    plan: Plan,
    *,
    root: Path,
    executor: Executor,
    reporter: ProgressReporter | None,
    callbacks: Sequence[AnyCallback],
    verbose: int,
    on_change: Mapping[str, str],
    resume: Resume,
    takeover: bool,
    durability: str,
) -> ExperimentAnalysis:
    """Create or go on with the experiment and run it to its end. Interrupted, it returns what there is.

    Raises: TuneError if it cannot go on for a reason that is no trial's.
    """
    check_callbacks(callbacks)
    executor.check(plan.space, plan.spec.resources)
    plan = plan._replace(spec=replace(plan.spec, name=settle_name(resume, root, plan.spec.name)))
    folder, plan, is_new = _settle_folder(plan, root, on_change=on_change, resume=resume, verbose=verbose)
    if not is_new and _is_finished(folder, plan.spec, reruns_failed=resume.reruns_failed):
        _say(verbose, _FINISHED.format(name=plan.spec.name))
        catch_up(folder, callbacks)
        return _analysis(folder, plan)
    experiment = _experiment(plan, executor, begins_trials=is_new or not resume.without_new_trials)
    store = _created(folder, plan, durability) if is_new else None
    if store is None:
        if is_new:  # another driver made it in the same instant: be refused by name, or go on with it
            folder, plan, is_new = _settle_folder(plan, root, on_change=on_change, resume=resume, verbose=verbose)
            experiment = _experiment(plan, executor, begins_trials=not resume.without_new_trials)
        store = open_store(folder, plan.space, takeover=takeover, durability=durability)
    try:
        if not is_new:
            experiment.replay(store.records())
            store.revise(plan.spec, experiment.trials)
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
            checkpoint_freq=plan.spec.checkpoint_freq,
            checkpoint_at_end=plan.spec.checkpoint_at_end,
            resources=plan.spec.resources,
            n_wanted=experiment.n_wanted,
        )
        parts.run(launch, resume)
    finally:
        store.close()
    _raise_if_stuck(experiment, folder)
    return _analysis(folder, plan)


def _analysis(folder: Path, plan: Plan) -> ExperimentAnalysis:
    """The results, which remember in this process what they were made with: neither is stored."""
    analysis = ExperimentAnalysis(open_reader(folder))
    analysis._made_with = (plan.trainable, plan.space)
    return analysis


class _Parts:
    """What runs beside the loop, and the order in which it is closed."""

    def __init__(
        self, plan: Plan, experiment: Experiment, store: SqliteStore, executor: Executor, folder: Path
    ) -> None:
        self._experiment, self._store, self._executor, self._folder = experiment, store, executor, folder
        is_virtual = isinstance(executor.clock, VirtualClock)
        self._housekeeper = Housekeeper(folder)
        self._suggester: Suggester
        # Inline trials share this process's generators and virtual time waits for nobody: nothing may run beside them.
        if executor.is_inline or is_virtual:
            self._suggester = InlineSuggester(plan.searcher, executor.post)
        else:
            self._suggester = ThreadSuggester(plan.searcher, executor.post)
        self._watcher: Watcher | None = None
        self.loop = Loop(
            experiment,
            store=store,
            executor=executor,
            suggester=self._suggester,
            clock=self._executor.clock,
            delete_checkpoint=self._housekeeper.delete,
            after_pass=self._after_pass,
            check_owner=None if is_virtual else store.check_owner,
            # An inline trial is inside `wait` when it reports, and no other may begin meanwhile.
            wait_for_room=_sleep if executor.is_inline else None,
        )
        self._has_checked_metric = False

    def _after_pass(self) -> None:
        if self._watcher is not None:
            self._watcher.after_pass()
        if not self._has_checked_metric and self._experiment.state.metrics_seen:
            self._has_checked_metric = True
            note = missing_metric_note(self._experiment.objective, list(self._experiment.state.metrics_seen))
            if note is not None:
                _log.warning(note)

    def watch(self, reporter: ProgressReporter | None, callbacks: Sequence[AnyCallback], verbose: int) -> None:
        """Have reporter and callbacks follow the log from here on."""
        after_seq = self._store.last_seq()
        self._watcher = Watcher(
            self._folder,
            experiment=self._experiment,
            clock=self._executor.clock,
            reporter=reporter,
            followers=make_followers(self._folder, callbacks, after_seq=after_seq),
            verbose=verbose,
            after_seq=after_seq,
        )

    def run(self, launch: Launch, resume: Resume) -> None:
        """Run the loop; close the trials first, then what they feed, the store, and last those who look on."""
        executor = self._executor
        try:
            with interrupts_as_events(executor.post, is_inline=executor.is_inline):
                try:
                    executor.start(launch)
                    self._tidy()
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

    def _tidy(self) -> None:
        """What is left of earlier drivers; what they had running is gone by now, or too late to be heard."""
        reader = open_reader(self._folder)
        try:
            self._housekeeper.tidy(reader)
        finally:
            reader.close()


def _sleep(seconds: float) -> Sequence[Event]:
    time.sleep(seconds)
    return ()


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


def _experiment(plan: Plan, executor: Executor, *, begins_trials: bool) -> Experiment:
    """The state machine. Configs that no result can change are held ready ahead of need; others where that pays.

    It does not where the searcher is asked in the loop's own thread, while nothing else goes on.
    """
    spec = plan.spec
    if executor.is_inline:  # it has as many CPUs as the machine, but one thread to run trials in
        spec = replace(spec, max_concurrent_trials=1)
    n_ahead: int | None = 0 if executor.is_inline or isinstance(executor.clock, VirtualClock) else None
    if not plan.searcher.uses_results:
        n_ahead = min(_MAX_AHEAD, _AHEAD_PER_SLOT * SlotPool(executor.nodes()).n_fitting(spec.resources))
    return Experiment(
        spec,
        space=plan.space,
        objective=spec.objective,
        scheduler=plan.scheduler,
        stopper=plan.stopper,
        n_ahead=n_ahead,
        begins_trials=begins_trials,
        curves_by=getattr(plan.searcher, "curves_by", None),
        thaws=getattr(plan.searcher, "thaws", False),
        is_elastic=getattr(executor, "is_elastic", False),
    )


def _raise_if_stuck(experiment: Experiment, folder: Path) -> None:
    """Where an experiment failed and no trial is to blame, nobody would see it in the trials."""
    state = experiment.state
    if state.ending is None or state.ending.why is not EndReason.FAILED:
        return
    if state.sampling_error is not None or all(trial.status is not TrialStatus.FAILED for trial in state.trials):
        raise TuneError(
            f"The experiment {experiment.spec.name!r} could not go on: {state.ending.detail}\n"
            f"All results are kept in {folder}; the same call, mended, goes on with them under its name."
        )


def _settle_folder(
    plan: Plan, root: Path, *, on_change: Mapping[str, str], resume: Resume, verbose: int
) -> tuple[Path, Plan, bool]:
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
        spec = continued_spec(reader, plan.spec, on_change=on_change)
        if resume.without_new_trials:  # a limit of this session, which changes nothing of what was asked for
            spec = replace(spec, n_trials=reader.spec.n_trials)
        return folder, plan._replace(spec=spec), False
    finally:
        reader.close()


def _is_finished(folder: Path, spec: ExperimentSpec, *, reruns_failed: bool) -> bool:
    """Whether nothing is left to do: it ended, and no more trials are asked for than have begun."""
    reader = open_reader(folder)
    try:
        status = reader.status().status
        if reruns_failed and any(reader.counts().get(status) for status in RERUN):
            return False
        ((n_begun, n_open),) = reader.query(_BEGUN, [state.value for state in TrialStatus if not state.is_over])
        is_enough = spec.n_trials is not None and n_begun >= spec.n_trials and not n_open
        # A changed objective is first put through all that is stored.
        return status in _FINISHED_ENDS and is_enough and reader.spec.objective == spec.objective
    finally:
        reader.close()


def _say(verbose: int, text: str) -> None:
    if verbose > 0:
        print(text, flush=True)
    else:
        _log.info(text)
