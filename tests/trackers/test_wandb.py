"""W&B with the real package, offline: what it wrote is read back record by record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from wandb_files import read_run, read_runs

import tunesmith as tune
from tunesmith.errors import ConfigError
from tunesmith.integration.wandb import WandbLoggerCallback, setup_wandb, wandb_mixin
from tunesmith.schedulers import ASHAScheduler
from tunesmith.trackers.wandb import run_id

KEY = "0123456789abcdef" * 2 + "76543210"


class KilledOnce(WandbLoggerCallback):
    """Its process is killed when the third report of a trial is told, and W&B's own process with it."""

    def log_trial_result(self, iteration, trial, result):
        mark = Path(trial.logdir) / "killed"
        if trial.step == 3 and not mark.exists():
            mark.touch()
            os.system(f"pkill -KILL -P {os.getpid()}")
            os.kill(os.getpid(), signal.SIGKILL)
        super().log_trial_result(iteration, trial, result)


def run(trainable, tmp_path, *callbacks, **arguments):
    settings = {
        "executor": "inline",
        "verbose": 0,
        "local_dir": tmp_path,
        "name": "exp",
        "metric": "loss",
        "mode": "min",
    }
    return tune.run(trainable, callbacks=list(callbacks), **{**settings, **arguments})


def report_down(config):
    for step in range(1, 5):
        tune.report(loss=config["a"] / step, nested={"acc": step / 10})


def losses(offline_run):
    return [(step, row["loss"]) for step, row in offline_run.history]


def test_every_trial_is_a_run_with_config_metrics_decision_and_end(tmp_path):
    scheduler = ASHAScheduler(max_t=4, grace_period=2, reduction_factor=2)
    tracker = WandbLoggerCallback(project="digits", excludes=["nested"], tags=["a-tag"])
    result = run(report_down, tmp_path, tracker, config={"a": tune.grid_search([1.0, 3.0]), "api_token": "hidden"},
                 scheduler=scheduler, metric="loss")  # fmt: skip
    first, second = read_runs(tmp_path / "exp")
    experiment_id = result.trials[0].last_result["experiment_id"]
    assert [first.id, second.id] == [run_id(experiment_id, 0), run_id(experiment_id, 1)]
    assert (first.name, first.group, first.project) == (result.trials[0].name, "exp", "digits")
    assert first.config["a"] == 1.0
    assert first.config["api_token"] == "***"
    assert first.config["trial_id"] == result.trials[0].trial_id
    assert losses(first) == [(step, 1.0 / step) for step in range(1, 5)]
    assert [row["training_iteration"] for _, row in first.history] == [1, 2, 3, 4]
    assert not any("nested/acc" in row for _, row in first.history)
    assert first.axis["*"] == "training_iteration"
    assert (first.exit_codes, first.summary["tunesmith/status"]) == ([0], "COMPLETED")

    assert losses(second) == [(1, 3.0), (2, 1.5)]
    _, last = second.history[-1]
    assert last["tunesmith/decision"] == "stop"
    assert last["tunesmith/reason"] == result.trials[1].reason
    assert (second.exit_codes, second.summary["tunesmith/status"]) == ([0], "STOPPED")


def test_a_trial_that_failed_and_one_that_was_resumed_are_told_by_their_exit_codes(tmp_path):
    def train(config):
        tune.report(loss=1.0)
        raise RuntimeError("no such luck")

    run(train, tmp_path, WandbLoggerCallback(), config={"a": 1.0}, raise_on_failed_trial=False)
    [failed] = read_runs(tmp_path / "exp")
    assert failed.exit_codes == [1]
    assert "no such luck" in failed.summary["tunesmith/error"]


def test_checkpoints_are_artifacts_when_asked(tmp_path):
    def train(config):
        for step in (1, 2):
            with tune.checkpoint_dir(step=step) as folder:
                Path(folder, "weights").write_text("w" * step)
            tune.report(loss=1.0 / step)

    result = run(train, tmp_path, WandbLoggerCallback(upload_checkpoints=True), config={"a": 1.0})
    [offline_run] = read_runs(tmp_path / "exp")
    name = f"checkpoint_{result.trials[0].trial_id}"
    found = [(artifact, sorted(aliases)) for artifact, aliases in offline_run.artifacts]
    assert (name, ["latest", "step-2"]) in found  # of earlier ones retention may have been faster


def test_a_resumed_trial_goes_on_in_the_run_that_it_had(tmp_path):
    def train(config, checkpoint_dir=None):
        done = 0 if checkpoint_dir is None else int(Path(checkpoint_dir, "step").read_text())
        for step in range(done + 1, 5):
            with tune.checkpoint_dir(step=step) as folder:
                Path(folder, "step").write_text(str(step))
            tune.report(loss=1.0 / step)

    run(train, tmp_path, WandbLoggerCallback(), config={"a": 1.0}, max_total_steps=2)
    run(train, tmp_path, WandbLoggerCallback(), config={"a": 1.0})
    first, second = read_runs(tmp_path / "exp")
    assert first.id == second.id
    assert losses(first)[:2] == [(1, 1.0), (2, 0.5)]
    assert losses(second)[-1:] == [(4, 0.25)]
    assert losses(first) + losses(second) == [(step, 1.0 / step) for step in range(1, 5)]
    assert (first.exit_codes, second.exit_codes) == ([255], [0])


def test_after_its_processes_were_killed_in_mid_run_nothing_is_missing_in_the_run(tmp_path, caplog):
    result = run(report_down, tmp_path, KilledOnce(), config={"a": 1.0})
    assert [value for _, value in result.trials[0].values("loss")] == [1.0, 1 / 2, 1 / 3, 1 / 4]
    whole = read_runs(tmp_path / "exp")[-1]  # what the killed process left is cut off or gone; this is told anew
    assert losses(whole) == [(step, 1.0 / step) for step in range(1, 5)]
    assert whole.exit_codes == [0]
    assert whole.id == run_id(result.trials[0].last_result["experiment_id"], 0)
    assert "ended by signal 9" in caplog.text


def test_the_key_reaches_wandb_and_no_file(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    key_file = tmp_path / "key.txt"
    key_file.write_text(KEY + "\n")
    trackers = [WandbLoggerCallback(api_key_file=str(key_file)), WandbLoggerCallback(project="b", api_key=KEY)]
    assert [dict(tracker.environment()) for tracker in trackers] == [{"WANDB_API_KEY": KEY}] * 2
    assert KEY not in repr(vars(trackers[1]))
    run(report_down, tmp_path, *trackers, config={"a": 1.0})
    assert "WANDB_API_KEY" not in os.environ
    assert len(read_runs(tmp_path / "exp")) == 2
    for path in (tmp_path / "exp").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_key_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        WandbLoggerCallback(api_key_file=str(tmp_path / "nowhere"))


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'tunesmith\[wandb\]'"):
        WandbLoggerCallback()


def in_trials(tmp_path):
    folders = [path.parent for path in (tmp_path / "exp" / "trials").rglob("*.wandb")]
    return sorted((read_run(folder) for folder in folders), key=lambda offline_run: offline_run.id)


@pytest.mark.processes
def test_a_trial_has_a_run_of_its_own_which_ends_as_the_trial_does(tmp_path):
    def train(config):
        logs = setup_wandb(config, project="inside")
        for step in range(1, 4):
            logs.log({"batch_loss": config["a"] / step})
            tune.report(loss=1.0)
        if config["a"] > 1:
            raise RuntimeError("no such luck")

    run(train, tmp_path, config={"a": tune.grid_search([1.0, 2.0])}, executor="processes", raise_on_failed_trial=False)
    good, bad = in_trials(tmp_path)
    assert [row["batch_loss"] for _, row in good.history] == [1.0, 1 / 2, 1 / 3]
    assert (good.project, good.group, good.config["a"]) == ("inside", "exp", 1.0)
    assert (good.exit_codes, bad.exit_codes) == ([0], [1])
    assert good.id.endswith("-00000-t")


def test_the_old_decorator_opens_a_run_and_its_key_stays_out_of_the_store(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "")

    @wandb_mixin
    def train(config):
        assert "wandb" not in config
        wandb.log({"inner": config["a"]})
        tune.report(loss=config["a"])

    given = {"a": 1.0, "wandb": {"project": "old", "api_key": KEY}}
    run(train, tmp_path, config=given)
    [offline_run] = in_trials(tmp_path)
    wandb.teardown()  # inline, its process is this one's child
    assert offline_run.project == "old"
    assert [row["inner"] for _, row in offline_run.history] == [1.0]
    assert given["wandb"]["api_key"] == KEY
    for path in (tmp_path / "exp").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_the_decorator_is_for_functions():
    with pytest.raises(ConfigError, match="setup_wandb"):
        wandb_mixin(type("Model", (), {}))


def test_naming_trackers_imports_none_of_their_packages():
    code = (
        "import sys, tunesmith.integration.wandb as w, tunesmith.integration.mlflow as m, tunesmith.logger as l\n"
        "w.WandbLoggerCallback(), m.MLflowLoggerCallback(), l.TBXLoggerCallback(), l.CSVLoggerCallback()\n"
        "sys.exit(any(name in sys.modules for name in ('wandb', 'mlflow', 'tensorboardX', 'google.protobuf', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
