"""Reports as fast as processes can make them: they share transactions, and nothing queues (F11)."""

from __future__ import annotations

import pytest

import tunesmith as tune
from tunesmith.events import TrialReported
from tunesmith.stores import SqliteStore

pytestmark = pytest.mark.processes

N_PROCESSES, N_STEPS = 4, 500


@pytest.fixture
def batches(monkeypatch):
    """How many reports each transaction held that held any."""
    found = []
    append = SqliteStore.append

    def counted(store, records, trials):
        append(store, records, trials)
        n_reports = sum(isinstance(record, TrialReported) for record in records)
        found.extend([n_reports] if n_reports else [])

    monkeypatch.setattr(SqliteStore, "append", counted)
    return found


def test_reports_of_several_processes_at_full_speed_share_transactions(tune_run, batches):
    def train(config):
        for step in range(1, N_STEPS + 1):
            tune.report(loss=1.0 / step)

    result = tune_run(train, num_samples=N_PROCESSES, capacity={"cpu": N_PROCESSES})
    assert [trial.step for trial in result.trials] == [N_STEPS] * N_PROCESSES
    assert sum(batches) == N_PROCESSES * N_STEPS
    assert len(batches) < sum(batches)
    assert max(batches) <= N_PROCESSES, "each waits for its answer, so no more can be on the way"
