"""F42: a full disk holds up reports and ends nothing."""

from __future__ import annotations

import pytest

from tunesmith.errors import DiskFullError
from tunesmith.events import AnswerReport, InterruptRequested, TrialReported
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep
from tunesmith.stores import MemoryStore
from tunesmith.testing import Simulation
from tunesmith.trial import TrialStatus


def script(config, first_step):
    for _ in range(first_step, 6):
        yield SimulatedStep(1.0, {"loss": 1.0})


class SmallDisk(MemoryStore):
    """Refuses so many appends, from the one of this number on."""

    def __init__(self, first, n):
        super().__init__()
        self.n_appends, self.refused = 0, range(first, first + n)
        self.committed = []

    def append(self, records, trials):
        self.n_appends += 1
        if self.n_appends in self.refused:
            raise DiskFullError("There is no room.")
        super().append(records, trials)
        self.committed += records


class Answering(SimulatedExecutor):
    """Checks that what is answered is committed."""

    store: SmallDisk

    def carry_out(self, commands):
        for command in commands:
            if isinstance(command, AnswerReport):
                reports = [r for r in self.store.committed if isinstance(r, TrialReported)]
                assert any((r.trial, r.step) == (command.trial, command.step) for r in reports)
        super().carry_out(commands)


def simulation(store):
    executor = Answering(script, n_workers=2)
    executor.store = store
    return Simulation(script, n_trials=4, store=store, executor=executor)


@pytest.mark.parametrize("first", [1, 2, 5, 9])
def test_reports_wait_until_there_is_room_and_none_is_lost_or_doubled(first, caplog):
    store = SmallDisk(first, 7)
    run = simulation(store).run()
    assert {trial.status for trial in run.trials} == {TrialStatus.COMPLETED}
    reports = [(r.trial, r.step) for r in run.log if isinstance(r, TrialReported)]
    assert sorted(reports) == [(trial, step) for trial in range(4) for step in range(1, 6)]
    assert caplog.text.count("waits and goes on when there is room") == 1
    assert caplog.text.count("There is room on the disk again") == 1


def test_who_interrupts_meanwhile_is_not_held_up():
    store = SmallDisk(5, 10**9)
    run = simulation(store)
    run.post(InterruptRequested(1, "SIGINT"), 20.0)
    with pytest.raises(DiskFullError):
        run.run()
    assert run.log == store.committed
    again = Simulation(script, n_trials=4, store=store_with(store.committed)).run(epoch=2)
    assert {trial.status for trial in again.trials} == {TrialStatus.COMPLETED}


def store_with(records):
    store = MemoryStore()
    store.append(records, [])
    return store
