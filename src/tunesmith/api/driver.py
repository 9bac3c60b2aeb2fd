"""Puts the parts together and drives one experiment in this process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tunesmith.analysis import ExperimentAnalysis, load
from tunesmith.api.folder import continued_spec, existing, new_folder, resumable_hint
from tunesmith.api.plan import Plan, trial_names
from tunesmith.callbacks import ProgressReporter
from tunesmith.clock import SystemClock
from tunesmith.events import EndReason
from tunesmith.executors.inline import InlineExecutor
from tunesmith.experiment import Experiment, SlotPool
from tunesmith.protocols import Callback, Executor, Launch
from tunesmith.runner.housekeeping import Housekeeper
from tunesmith.runner.interrupts import interrupts_as_events
from tunesmith.runner.loop import Loop
from tunesmith.runner.suggester import InlineSuggester, Suggester, ThreadSuggester
from tunesmith.runner.watcher import Watcher
from tunesmith.stores import SqliteStore, create_store, open_reader, open_store

_log = logging.getLogger("tunesmith")
_AHEAD_PER_SLOT = 2  #: configs held ready for each CPU, where results do not change what is proposed


def drive(
    plan: Plan,
    *,
    root: Path,
    executor: Executor,
    reporter: ProgressReporter | None,
    callbacks: Sequence[Callback],
    verbose: int,
    on_change: Mapping[str, str],
    takeover: bool,
    durability: str,
    checkpoint_freq: int,
    checkpoint_at_end: bool,
) -> ExperimentAnalysis:
    """Create or go on with the experiment and run it to its end. Interrupted, it returns what there is."""
    SlotPool(executor.nodes()).check_possible(plan.spec.resources)
    folder, plan, is_new = _settle_folder(plan, root, dict(on_change))
    if not is_new and _is_finished(folder, plan):
        _say(verbose, f"The experiment {plan.spec.name!r} is finished; its results are returned. More samples go on.")
        return load(folder)
    with ExitStack() as stack:
        if is_new:
            store = create_store(folder, plan.spec, plan.space, durability=durability)
        else:
            store = open_store(folder, plan.space, takeover=takeover, durability=durability)
        stack.callback(store.close)
        experiment = _experiment(plan)
        if not is_new:
            store.revise(plan.spec)
            experiment.replay(store.records())
        clock = SystemClock()
        watcher = _watcher(folder, experiment, clock, reporter, callbacks, verbose, store)
        housekeeper = Housekeeper(folder)
        suggester = _suggester(plan, executor)
        loop = Loop(
            experiment,
            store=store,
            executor=executor,
            suggester=suggester,
            clock=clock,
            delete_checkpoint=housekeeper.delete,
            after_pass=watcher.after_pass if watcher else lambda: None,
        )
        launch = Launch(
            experiment_id=plan.spec.experiment_id,
            experiment_name=plan.spec.name,
            folder=folder,
            trainable=plan.trainable,
            trial_names=trial_names(plan.spec),
            seed=plan.spec.seed,
            handle=loop.handle,
            grace_s=plan.spec.grace_s,
            checkpoint_freq=checkpoint_freq,
            checkpoint_at_end=checkpoint_at_end,
        )
        # Closed in the reverse order: trials first, then what they feed, the store, and last the ones who look on.
        if watcher is not None:
            stack.pop_all_into(watcher) if hasattr(stack, "pop_all_into") else None
        _run(loop, executor, launch, store, housekeeper, suggester, watcher)
    return load(folder)


def _run(
    loop: Loop,
    executor: Executor,
    launch: Launch,
    store: SqliteStore,
    housekeeper: Housekeeper,
    suggester: Suggester,
    watcher: Watcher | None,
) -> None:
    """Run the loop; close in order: trials, what they feed, the store, and last those who look on."""
    try:
        with interrupts_as_events(executor.post, is_inline=isinstance(executor, InlineExecutor)):
            try:
                executor.start(launch)
                if watcher is not None:
                    watcher.start()
                loop.run(store.epoch)
            finally:
                executor.close()
    finally:
        suggester.close()
        housekeeper.close()
        store.close()
        if watcher is not None:
            watcher.close()
