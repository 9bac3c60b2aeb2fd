"""Trials make few files, and when no more can be made, nothing that is stored is lost (F43)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import tunesmith as tune
from tunesmith.trial import TrialStatus

pytestmark = pytest.mark.processes


def test_a_trial_without_checkpoints_leaves_at_most_two_files(tune_run, tmp_path):
    def train(config):
        for step in range(1, 21):
            print(step)
            tune.report(loss=1.0 / step)

    def n_files(n_trials):
        tune_run(train, num_samples=n_trials, name=f"with-{n_trials}").reader.close()
        return sum(path.is_file() for path in (tmp_path / f"with-{n_trials}").rglob("*"))

    assert 0 < n_files(8) - n_files(2) <= 2 * 6


@pytest.fixture
def few_inodes(tmp_path):
    """A file system of its own on which a hundred files can be made."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "nr_inodes=100", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_out_of_inodes_a_checkpoint_fails_its_trial_by_name_and_what_is_stored_stays(tune_run, few_inodes, say, pids):
    small, folder = str(few_inodes), str(pids)

    def save(step):
        with tune.checkpoint_dir(step=step) as path, open(f"{path}/step", "w") as file:
            file.write(str(step))
        tune.report(loss=1.0 / step)

    def train(config, checkpoint_dir=None):
        import errno
        import time

        if checkpoint_dir is not None:
            save(int(open(f"{checkpoint_dir}/step").read()) + 1)
            return
        save(1)
        if config["i"] == 0:
            say("unharmed")
            while not os.path.exists(f"{folder}/full"):
                time.sleep(0.01)
            for step in range(2, 101):
                tune.report(loss=1.0 / step)
            return
        while not os.path.exists(f"{folder}/unharmed.pid"):
            time.sleep(0.01)
        while not os.path.exists(f"{folder}/full"):
            try:
                open(f"{small}/{len(os.listdir(small))}", "x").close()
            except OSError as error:
                assert error.errno == errno.ENOSPC
                open(f"{folder}/full", "w").close()
        save(2)

    def run(**arguments):
        config = {"i": tune.grid_search([0, 1])}
        return tune_run(train, name="e", config=config, capacity={"cpu": 2}, local_dir=few_inodes, **arguments)

    result = run()
    unharmed, failed = result.trials
    assert (unharmed.state, len(unharmed.values("loss"))) == (TrialStatus.COMPLETED, 100)
    assert (failed.state, failed.values("loss")) == (TrialStatus.FAILED, [(1, 1.0)])
    assert failed.reason.startswith("OSError: [Errno 28] No space left on device: ")
    result.reader.close()
    for path in few_inodes.iterdir():
        if path.is_file():
            path.unlink()
    again = run(resume="ERRORED")
    assert [trial.state for trial in again.trials] == [TrialStatus.COMPLETED] * 2
    assert again.trials[1].values("loss") == [(1, 1.0), (2, 0.5)]
    again.reader.close()
