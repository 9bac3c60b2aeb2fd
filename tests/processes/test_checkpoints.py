"""Checkpoints that are gone, half written, or forgotten by a driver that was killed (F32, F33)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.stores import open_reader
from tunesmith.trial import TrialStatus

from .harness import eventually

pytestmark = pytest.mark.processes


def train(config, checkpoint_dir=None):
    """Saves at every step; dies while it saves step 3 in its first attempt."""
    first = 1 if checkpoint_dir is None else int(Path(checkpoint_dir, "step").read_text()) + 1
    for step in range(first, 6):
        with tune.checkpoint_dir(step=step) as folder:
            Path(folder, "step").write_text(str(step))
            if step == 3 and first == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        tune.report(loss=1.0 / step)


def trial_folder(result):
    return result.folder / "trials" / "00000"


def test_what_a_killed_trial_had_begun_to_save_is_invisible_and_collected_at_the_next_start(tune_run):
    result = tune_run(train, name="half")
    [trial] = result.trials
    assert (trial.state, trial.checkpoint.step) == (TrialStatus.FAILED, 2)
    assert [path.name for path in trial_folder(result).iterdir() if path.name.endswith(".partial")] != []
    result = tune_run(train, name="half", resume="ERRORED")
    [trial] = result.trials
    assert (trial.state, trial.step, trial.trial.attempt) == (TrialStatus.COMPLETED, 5, 2)
    assert [path.name for path in trial_folder(result).iterdir() if path.name.endswith(".partial")] == []


@pytest.mark.parametrize(("n_deleted", "first_step"), [(1, 2), (2, 1)])
def test_a_trial_whose_newest_checkpoint_was_deleted_goes_on_from_an_earlier_one_or_anew(
    tune_run, n_deleted, first_step, caplog
):
    result = tune_run(train, name="gone", keep_checkpoints_num=9)
    kept = sorted(trial_folder(result).glob("checkpoint_*"))
    assert [path.name for path in kept] == ["checkpoint_000001", "checkpoint_000002"]
    for path in kept[-n_deleted:]:
        shutil.rmtree(path)

    def again(config, checkpoint_dir=None):
        first = 1 if checkpoint_dir is None else int(Path(checkpoint_dir, "step").read_text()) + 1
        for step in range(first, 6):
            tune.report(loss=1.0 / step, first=first)

    on_change = {"code": "ignore"}
    result = tune_run(again, name="gone", keep_checkpoints_num=9, resume="ERRORED", on_change=on_change)
    [trial] = result.trials
    assert (trial.state, trial.step, trial.metrics["first"]) == (TrialStatus.COMPLETED, 5, first_step)
    assert trial.trial.n_failures == 1, "that of the first session"
    assert caplog.text.count("is gone: the trial goes on from an earlier one") == n_deleted


def test_deletions_that_a_killed_driver_had_not_carried_out_are_carried_out_by_the_next(tune_run):
    result = tune_run(train, name="forgot", max_failures=1)
    [trial] = result.trials
    assert trial.state is TrialStatus.COMPLETED
    folder = trial_folder(result)
    reader = open_reader(result.folder)
    deleted = sorted(reader.deleted_checkpoints())
    reader.close()
    assert deleted
    for path in deleted:  # as if the driver had died before its housekeeper came to them
        (result.folder / path).mkdir(exist_ok=True)
        (result.folder / path / "weights").write_text("w")
    (folder / "mine").mkdir()
    tune_run(train, name="forgot", max_failures=1, num_samples=2)
    assert [path for path in deleted if (result.folder / path).exists()] == []
    assert (folder / "mine").exists()
    assert len(list(folder.glob("checkpoint_*"))) == len(trial.trial.checkpoints)


def test_reports_wait_while_the_disk_is_full_and_none_is_lost(tune_run, monkeypatch, caplog):
    """F42, with real processes: the disk is said to be full for a while."""
    from tunesmith.errors import DiskFullError
    from tunesmith.stores import sqlite

    until = time.monotonic() + 2.0
    monkeypatch.setattr(sqlite, "SYNC_INTERVAL_S", 0.0)

    def check_reserve(path):
        if time.monotonic() < until:
            raise DiskFullError(f"The disk of {path} has only 3 MiB left. Free some space.")

    monkeypatch.setattr(sqlite, "check_reserve", check_reserve)

    def quick(config):
        for step in range(1, 21):
            tune.report(loss=1.0 / step)

    result = tune_run(quick, num_samples=3)
    assert time.monotonic() > until
    assert [(trial.state, trial.trial.n_reports) for trial in result.trials] == [(TrialStatus.COMPLETED, 20)] * 3
    assert "The experiment waits and goes on when there is room." in caplog.text
    assert eventually(lambda: "There is room on the disk again" in caplog.text)
