"""MLflow with the real package and its local database."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError
from tunesmith.integration.mlflow import MLflowLoggerCallback, mlflow_mixin, setup_mlflow
from tunesmith.trackers.mlflow_store import find_experiment, with_clean_names

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


@pytest.mark.processes
def test_a_trial_has_a_run_of_its_own_which_goes_on_after_a_failure(tmp_path):
    """Under the driver's run of the whole, where it has one on the same MLflow experiment."""
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def train(config, checkpoint_dir=None):
        flow = setup_mlflow({"a": config["a"]}, tracking_uri=uri)
        done = 0 if checkpoint_dir is None else int(Path(checkpoint_dir, "step").read_text())
        for step in range(done + 1, 4):
            flow.log_metric("batch_loss", config["a"] / step, step=step)
            with tune.checkpoint_dir(step=step) as folder:
                Path(folder, "step").write_text(str(step))
            tune.report(loss=1.0)
            if step == 2 and not done:
                raise RuntimeError("once")
        if config["a"] > 1:
            raise RuntimeError("for good")

    tracker = MLflowLoggerCallback(uri)
    tracker.grace_s = 60.0
    tune.run(
        train,
        config={"a": tune.grid_search([1.0, 2.0])},
        name="exp",
        callbacks=[tracker],
        local_dir=tmp_path,
        max_failures=1,
        verbose=0,
        executor="processes",
        raise_on_failed_trial=False,
    )
    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    by_key = {run.data.tags["tunesmith.run"].partition("/")[2]: run for run in found}
    assert sorted(by_key) == ["", "0", "0-t", "1", "1-t"]
    good, bad = by_key["0-t"], by_key["1-t"]
    assert history(client, good, "batch_loss") == [(step, 1.0 / step) for step in (1, 2, 3)]
    assert (good.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert good.data.params == {"a": "1.0"}
    assert good.data.tags["mlflow.parentRunId"] == by_key[""].info.run_id
    client._tracking_client.store.engine.dispose()


@pytest.mark.processes
def test_the_old_decorator_opens_a_run_and_its_token_stays_out_of_the_store(tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "")
    uri, token = f"sqlite:///{tmp_path / 'mlflow.db'}", "a-token-of-nobody"

    @mlflow_mixin
    def train(config):
        import mlflow

        assert "mlflow" not in config
        mlflow.log_metric("inner", config["a"])
        tune.report(loss=config["a"], has_token=os.environ["MLFLOW_TRACKING_TOKEN"] == token)

    config = {"a": 1.0, "mlflow": {"tracking_uri": uri, "experiment_name": "old", "tracking_token": token}}
    result = tune.run(train, config=config, local_dir=tmp_path, name="exp", verbose=0, executor="processes")
    assert result.trials[0].metrics["has_token"] == 1
    client = MlflowClient(tracking_uri=uri)
    [run] = client.search_runs([client.get_experiment_by_name("old").experiment_id])
    client._tracking_client.store.engine.dispose()
    assert (run.data.metrics, run.info.status) == ({"inner": 1.0}, "FINISHED")
    for path in (tmp_path / "exp").rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path


class NoServer:
    """An MLflow client, as far as finding an experiment goes."""

    tracking_uri = "http://nowhere"

    def __init__(self, stage=None):
        self.stage, self.restored = stage, []

    def get_experiment_by_name(self, name):
        return self.stage and SimpleNamespace(experiment_id="7", lifecycle_stage=self.stage)

    def restore_experiment(self, experiment_id):
        self.restored.append(experiment_id)


def test_a_missing_experiment_is_an_error_where_none_may_be_made_and_a_deleted_one_is_restored():
    with pytest.raises(ConfigError, match="'nowhere'"):
        find_experiment(NoServer(), "nowhere", may_create=False)
    client = NoServer("deleted")
    assert (find_experiment(client, "there"), client.restored) == ("7", ["7"])


def test_names_become_such_as_mlflow_takes_and_stay_apart():
    from mlflow.utils.validation import _validate_metric_name

    names = ["loss", "val//acc", "/x", "x/", "./y", "..", "", "lr(1)", "lr[1]", "a" * 300, "a" * 301, "méter"]
    clean = with_clean_names({name: i for i, name in enumerate(names)})
    assert list(clean.values()) == list(range(len(names)))
    assert list(clean)[:5] == ["loss", "val/acc", "x", "x_2", "y"]
    for name in clean:
        _validate_metric_name(name)


def test_of_a_distributed_training_one_process_logs(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    flow = setup_mlflow({}, experiment_name="any")
    with flow.start_run() as run:
        assert flow.log_metric("loss", 1.0) is run


def test_the_decorator_is_for_functions():
    with pytest.raises(ConfigError, match="setup_mlflow"):
        mlflow_mixin(type("Model", (), {}))
