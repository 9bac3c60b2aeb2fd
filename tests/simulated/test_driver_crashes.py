"""The driver dies between two commits, or cannot commit: nothing is lost, and nothing was done that is not known."""

from __future__ import annotations

import random

import pytest
from campaigns.simulate.schedulers import Synchronous

from tunesmith.errors import StoreError, TunesmithError
from tunesmith.events import AnswerReport, Command, ConcludeAttempt, StartAttempt, TrialReported
from tunesmith.executors.simulated import SimulatedExecutor
from tunesmith.experiment.invariants import check_invariants
from tunesmith.schedulers import ASHAScheduler
from tunesmith.stores import MemoryStore
from tunesmith.testing import Simulation
from tunesmith.trial import TrialStatus

from .scripts import SPACE, curve


class Full(Exception):
    """The store takes no more."""


class LimitedStore(MemoryStore):
    """Dies at the append that would bring it above so many records."""

    def __init__(self, n_records, log=()):
        super().__init__()
        super().append(list(log), [])
        self.n_records = n_records

    def append(self, records, trials):
        if self.last_seq() + len(records) > self.n_records:
            raise Full
        super().append(records, trials)


SCHEDULERS = {
    "asha": lambda: ASHAScheduler(max_t=9, reduction_factor=3),
    "synchronous": lambda: Synchronous(every=3, max_t=9, n_at_once=6),
}


def parts(scheduler, **more):
    script = curve(9, saves_every=3, fails_at=lambda config, step: config["level"] > 0.8 and step == 5)
    facts = {"space": SPACE, "n_trials": 6, "n_workers": 3, "max_failures": 1, "n_ahead": 2}
    return {"script": script, "scheduler": SCHEDULERS[scheduler](), **facts, **more}


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
@pytest.mark.parametrize("seed", range(12))
def test_after_any_number_of_crashes_the_experiment_is_complete_and_consistent(scheduler, seed):
    """Seeded, so not by luck: 12 runs, each with a crash every 5 to 60 records."""
    draw = random.Random(seed)
    log, epoch, stopped, reported = [], 0, set(), set()
    while True:
        epoch += 1
        store = LimitedStore(len(log) + draw.randint(5, 60) if epoch < 40 else 10**9, log)
        run = Simulation(store=store, **parts(scheduler))
        try:
            run.run(epoch)
        except Full:
            log = list(store.records())
            continue
        log = list(store.records())
        break
    assert len(run.trials) == 6
    assert {trial.status for trial in run.trials} <= {TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED}
    check_invariants(run.experiment.state)
    for record in log:
        if isinstance(record, TrialReported):
            key = (record.trial, record.attempt, record.step)
            assert key not in reported, "a result is stored twice"
            reported.add(key)
            assert record.trial not in stopped, "a trial that had ended went on"
        elif isinstance(record, ConcludeAttempt) and record.status.is_over:
            stopped.add(record.trial)
    replayed = Simulation(store=LimitedStore(10**9, log), **parts(scheduler)).experiment
    assert [repr(trial) for trial in replayed.trials] == [repr(trial) for trial in run.trials]
    assert [repr(trial) for trial in replayed.trials] == [repr(t) for t in run.experiment.trials]


class Noting(SimulatedExecutor):
    """Notes what was carried out."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.carried_out = []

    def carry_out(self, commands):
        self.carried_out += commands
        super().carry_out(commands)


@pytest.mark.parametrize("n_records", [0, 1, 3, 10, 30, 50])
def test_nothing_is_carried_out_that_was_not_committed(n_records):
    store = LimitedStore(n_records)
    executor = Noting(parts("asha")["script"], n_workers=3)
    run = Simulation(store=store, executor=executor, **parts("asha"))
    with pytest.raises(Full):
        run.run()
    committed = [record for record in store.records() if isinstance(record, Command)]
    assert executor.carried_out == committed
    assert (n_records < 10) or any(isinstance(command, StartAttempt) for command in committed)


def test_a_loop_that_failed_to_commit_does_not_go_on():
    run = Simulation(store=LimitedStore(20), **parts("asha"))
    with pytest.raises(Full):
        run.run()
    with pytest.raises(TunesmithError, match="cannot go on"):
        run.loop.handle([])


def test_a_report_is_answered_only_after_its_commit():
    order = []

    class Store(MemoryStore):
        def append(self, records, trials):
            order.extend(("committed", r.trial, r.step) for r in records if isinstance(r, TrialReported))
            super().append(records, trials)

    class Executor(SimulatedExecutor):
        def carry_out(self, commands):
            order.extend(("answered", c.trial, c.step) for c in commands if isinstance(c, AnswerReport))
            super().carry_out(commands)

    Simulation(store=Store(), executor=Executor(parts("asha")["script"], n_workers=3), **parts("asha")).run()
    assert order
    for place, (what, trial, step) in enumerate(order):
        if what == "answered":
            assert ("committed", trial, step) in order[:place]


def test_a_closed_store_ends_the_run():
    store = MemoryStore()
    store.close()
    with pytest.raises(StoreError):
        Simulation(store=store, **parts("asha")).run()
