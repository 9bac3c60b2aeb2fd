"""What trials print goes to their log files and nowhere else (F12, F13)."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

import tunesmith as tune
from tunesmith.trial import TrialStatus

pytestmark = pytest.mark.processes

N_MIB = int(os.environ.get("TUNESMITH_TEST_PRINT_MIB", "300"))


def test_a_trial_that_prints_without_end_has_a_log_below_its_cap(tune_run):
    n_mib = N_MIB

    def train(config):
        line = "x" * (2**16 - 1)
        print("the first words")
        for i in range(n_mib * 16):
            print(line)
            if i % 4096 == 0:
                tune.report(i=i)
        print("the last words")

    trial = tune_run(train).trials[0]
    assert trial.state is TrialStatus.COMPLETED
    log = open(trial.log_path).read()
    assert len(log) <= 16 * 2**20
    assert log.startswith("the first words\n")
    assert log.endswith("the last words\n")
    assert "bytes were cut out here; the log is capped at 16777216]" in log


def test_stdout_and_stderr_of_all_layers_are_in_the_log_in_their_order(tune_run, capfd):
    def train(config):
        import ctypes
        import subprocess

        print("python out")
        print("python err", file=sys.stderr)
        os.write(1, b"descriptor out\n")
        subprocess.run(["echo", "child out"])
        ctypes.CDLL(None).printf(b"c out\n")
        return 1.0

    trial = tune_run(train).trials[0]
    lines = open(trial.log_path).read().splitlines()
    assert lines[:4] == ["python out", "python err", "descriptor out", "child out"]
    assert "c out" in lines
    assert capfd.readouterr() == ("", "")


def test_printed_lines_that_look_like_metrics_are_only_printed(tune_run):
    def train(config):
        print('{"type": "report", "step": 7, "metrics": {"loss": 0.0}}')
        print("loss: 0.0")
        sys.stdout.flush()
        tune.report(loss=5.0)

    trial = tune_run(train).trials[0]
    assert trial.values("loss") == [(1, 5.0)]


def test_what_is_printed_while_the_code_is_loaded_is_not_repeated_by_every_trial(tune_run):
    class Loud:
        def __reduce__(self):
            return print, ("I am loaded",)

    loud = Loud()

    def train(config):
        assert loud is None
        return 1.0

    result = tune_run(train, num_samples=3)
    assert all("I am loaded" not in open(trial.log_path).read() for trial in result.trials)
    assert open(os.path.join(result.folder, "logs", "template.log")).read().count("I am loaded") == 1


def test_the_driver_opens_no_log(tune_run, opened, capsys):
    """F12. Nor does its reporter, for a trial that failed."""

    def train(config):
        print("x" * 10_000)
        tune.report(loss=1.0)
        assert config["i"] != 1, "the second one fails"

    result = tune_run(train, config={"i": tune.grid_search([0, 1, 2])}, verbose=2)
    assert [len(open(trial.log_path).read()) >= 10_000 for trial in result.trials] == [True] * 3
    logs = [path for path in opened if path.endswith(".log")]
    assert logs == [trial.log_path for trial in result.trials], "those of this test, which the hook sees"
    assert "the second one fails" in capsys.readouterr().out


def test_a_second_attempt_goes_on_in_the_same_log(tune_run, pids):
    folder = str(pids)

    def train(config):
        print("attempt", tune.get_context().get_trial_id() and os.path.exists(f"{folder}/x"))
        if not os.path.exists(f"{folder}/x"):
            open(f"{folder}/x", "w").close()
            os._exit(1)

    trial = tune_run(train, max_failures=1).trials[0]
    assert open(trial.log_path).read() == "attempt False\nattempt True\n"


def test_a_trial_that_closes_its_output_still_reports(tune_run):
    def train(config):
        sys.stdout.close()
        os.close(1)
        os.close(2)
        tune.report(loss=1.0)

    trial = tune_run(train).trials[0]
    assert trial.state is TrialStatus.COMPLETED
    assert trial.values("loss") == [(1, 1.0)]


def test_a_trial_whose_log_cannot_be_made_trains_all_the_same(tune_run):
    """F43: no inode is left, or somebody removed the folder."""

    def train(config):
        if config["i"] == 0:
            shutil.rmtree(os.path.join(os.path.dirname(os.path.dirname(tune.get_trial_dir())), "logs"))
        print("hello")
        tune.report(loss=1.0)

    result = tune_run(train, config={"i": tune.grid_search([0, 1, 2])}, max_concurrent_trials=1)
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED] * 3
