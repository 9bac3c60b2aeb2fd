"""MLflow with the real package and its local database."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.integration.mlflow import MLflowLoggerCallback

pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")


class KilledOnce(MLflowLoggerCallback):
    """Its process is killed after reports were logged and before that was noted."""

    def flush(self):
        marks = [Path(trial.logdir) / "killed" for trial in self._waiting]
        super().flush()
        if marks and not marks[0].exists():
            marks[0].touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return ()


def train(config, checkpoint_dir=None):
    done = 0 if checkpoint_dir is None else int(Path(checkpoint_dir, "step").read_text())
    for step in range(done + 1, 6):
        with tune.checkpoint_dir(step=step) as folder:
            Path(folder, "step").write_text(str(step))
        tune.report(loss=config["a"] / step)
    if config["a"] > 1:
        raise RuntimeError("no such luck")


def runs_of(client, experiment):
    """The run of the whole, and those of the trials in their order."""
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    [parent] = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(trials) == len(found) - 1
    return parent, sorted(trials, key=lambda run: run.data.tags["tunesmith.run"])


def history(client, run, metric):
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric))


def test_trials_are_nested_runs_that_a_kill_and_a_resume_go_on_with(tmp_path):
    """In one test: making MLflow's database, and each of its processes, takes seconds."""
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = KilledOnce(uri, experiment_name="digits", tags={"team": "x"}, save_artifact=True)
    tracker.grace_s = 60.0
    config = {"a": tune.grid_search([1.0, 2.0]), "model": {"act": "relu"}, "password": "hidden"}
    arguments = {"config": config, "executor": "inline", "verbose": 0, "local_dir": tmp_path, "name": "exp"}
    arguments |= {"metric": "loss", "mode": "min", "callbacks": [tracker], "raise_on_failed_trial": False}
    tune.run(train, max_total_steps=3, **arguments)
    client = MlflowClient(tracking_uri=uri)
    parent, [cut_off] = runs_of(client, "digits")
    assert (parent.info.run_name, parent.info.status, parent.data.tags["team"]) == ("exp", "KILLED", "x")
    assert cut_off.info.status == "KILLED"

    result = tune.run(train, **arguments)
    assert Path(result.trials[0].logdir, "killed").exists()
    parent_after, (good, bad) = runs_of(client, "digits")
    assert (parent_after.info.run_id, parent_after.info.status) == (parent.info.run_id, "FINISHED")
    assert (good.info.run_id, good.info.run_name) == (cut_off.info.run_id, result.trials[0].name)
    assert good.data.params == {"a": "1.0", "model/act": "relu", "password": "***"}
    assert history(client, good, "loss") == [(step, 1.0 / step) for step in range(1, 6)]
    assert (good.info.status, good.data.tags["tunesmith.status"]) == ("FINISHED", "COMPLETED")
    assert history(client, bad, "loss") == [(step, 2.0 / step) for step in range(1, 6)]
    assert (bad.info.status, bad.data.tags["tunesmith.status"]) == ("FAILED", "FAILED")
    assert "no such luck" in bad.data.tags["tunesmith.error"]
    [*_, newest] = client.list_artifacts(good.info.run_id, "checkpoints")
    assert [Path(file.path).name for file in client.list_artifacts(good.info.run_id, newest.path)] == ["step"]
    client._tracking_client.store.engine.dispose()


def test_a_token_is_set_for_its_process_only_and_shown_nowhere():
    tracker = MLflowLoggerCallback(tracking_token="s3cret-token")
    assert dict(tracker.environment()) == {"MLFLOW_TRACKING_TOKEN": "s3cret-token"}
    assert list(tracker.secrets()) == ["s3cret-token"]
    assert "s3cret" not in repr(vars(tracker))
    assert "s3cret" not in repr(tracker.identity())
