"""The snippet of design.md, section 1: Ray Tune code of early 2022 of which only the imports were changed."""

from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(len(psutil.Process().cpu_affinity()) < 2, reason="the snippet asks for 2 CPUs per trial"),
]


def run_snippet(train_cifar, *, data_dir, num_samples, max_num_epochs, gpus_per_trial):
    """The snippet, verbatim; it stands in a function to be given what it takes for granted."""
    import tunesmith as tune
    from tunesmith import CLIReporter
    from tunesmith.schedulers import ASHAScheduler

    # fmt: off
    config = {
        "l1": tune.sample_from(lambda _: 2 ** np.random.randint(2, 9)),
        "l2": tune.sample_from(lambda _: 2 ** np.random.randint(2, 9)),
        "lr": tune.loguniform(1e-4, 1e-1),
        "batch_size": tune.choice([2, 4, 8, 16]),
    }
    scheduler = ASHAScheduler(metric="loss", mode="min", max_t=max_num_epochs, grace_period=1, reduction_factor=2)
    reporter = CLIReporter(metric_columns=["loss", "accuracy", "training_iteration"])
    result = tune.run(
        partial(train_cifar, data_dir=data_dir),
        resources_per_trial={"cpu": 2, "gpu": gpus_per_trial},
        config=config, num_samples=num_samples,
        scheduler=scheduler, progress_reporter=reporter,
    )
    best_trial = result.get_best_trial("loss", "min", "last")
    best_trial.config, best_trial.last_result["loss"], best_trial.checkpoint.value
    # fmt: on
    return result, best_trial


def make_train_cifar():
    """A training function in the tutorial's form whose net is three numbers; made here, so that it travels by value."""
    import tunesmith as tune

    def train_cifar(config, checkpoint_dir=None, data_dir=None):
        target = np.load(f"{data_dir}/target.npy")
        net = np.zeros(3)
        if checkpoint_dir:
            net = np.load(f"{checkpoint_dir}/net.npy")
        for epoch in range(10):
            net += config["lr"] * (target - net)
            with tune.checkpoint_dir(step=epoch) as directory:
                np.save(f"{directory}/net.npy", net)
            loss = float(np.abs(target - net).sum())
            tune.report(loss=loss, accuracy=1 / (1 + loss))

    return train_cifar


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_RESULTS", str(tmp_path / "results"))
    np.save(tmp_path / "target.npy", np.array([1.0, -2.0, 3.0]))
    result, best = run_snippet(
        make_train_cifar(), data_dir=str(tmp_path), num_samples=6, max_num_epochs=4, gpus_per_trial=0
    )
    yield result, best
    result.reader.close()


def test_snippet_of_2022_runs_and_its_result_has_what_the_tutorial_reads(outcome, tmp_path):
    result, best = outcome
    assert len(result.trials) == 6
    assert {trial.status for trial in result.trials} == {"TERMINATED"}
    assert best.last_result["loss"] == min(trial.last_result["loss"] for trial in result.trials)
    check_config(best.config)
    check_last_result(best)
    check_checkpoint(best, target=np.load(tmp_path / "target.npy"))


def check_config(config):
    sizes = {2**power for power in range(2, 9)}
    assert config.keys() == {"l1", "l2", "lr", "batch_size"}
    assert config["l1"] in sizes
    assert config["l2"] in sizes
    assert 1e-4 <= config["lr"] <= 1e-1
    assert config["batch_size"] in {2, 4, 8, 16}


def check_last_result(trial):
    last = trial.last_result
    assert last["done"] is True
    assert last["training_iteration"] == len(trial.values("loss")) <= 4
    assert last["accuracy"] == 1 / (1 + last["loss"])
    assert last["trial_id"] == trial.trial_id
    assert last["config"] == trial.config


def check_checkpoint(trial, *, target):
    """It is the newest one: the net in it has the loss that was reported last."""
    folder = trial.checkpoint.value
    assert folder.endswith("/")
    assert Path(folder).is_absolute()
    assert float(np.abs(target - np.load(folder + "net.npy")).sum()) == trial.last_result["loss"]
