"""Experiments on a real cluster of three nodes: trials, code, data, and checkpoints that travel."""

from __future__ import annotations

import collections
import json
import time
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, TrainableError
from tunesmith.events import StartAttempt
from tunesmith.schedulers import PopulationBasedTraining
from tunesmith.trial import TrialStatus

from .experiments import SPACE, make, nodes_of, records, run, train

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("cluster")]


def test_trials_run_on_all_nodes_and_each_in_a_process_of_its_own():
    results = run(train, config=SPACE, num_samples=24, metric="loss", mode="min", seed=1)
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 24
    assert [[step for step, _ in trial.values("loss")] for trial in results] == [[1, 2, 3, 4, 5]] * 24
    assert len(nodes_of(results)) == 3
    assert len({trial.last_result["pid"] for trial in results}) == 24
    assert json.loads((Path(results.best.checkpoint) / "step.json").read_text()) == results.best.step


def test_the_same_seed_proposes_the_same_configs_as_on_one_machine():
    here = tune.run(train, config=SPACE, num_samples=4, metric="loss", mode="min", seed=5, verbose=0)
    there = run(train, config=SPACE, num_samples=4, metric="loss", mode="min", seed=5)
    assert [trial.config for trial in here] == [trial.config for trial in there]
    assert [dict(trial.values("loss")) for trial in here] == [dict(trial.values("loss")) for trial in there]


def test_asha_stops_trials_there_too():
    results = run(train, config={**SPACE, "n": 9}, num_samples=12, metric="loss", mode="min", scheduler="asha", seed=2)
    states = collections.Counter(trial.state for trial in results)
    assert states[TrialStatus.STOPPED] > 0 and states[TrialStatus.COMPLETED] > 0
    assert sum(states.values()) == states[TrialStatus.STOPPED] + states[TrialStatus.COMPLETED]


def test_data_travels_once_and_objects_in_configs_too():
    data = list(range(100_000))

    class Scale:
        def __init__(self, factor):
            self.factor = factor

    def total(config, data=None):
        tune.report(loss=float(sum(data)) * config["scale"].factor)

    space = {"scale": tune.choice([Scale(1.0), Scale(2.0)])}
    results = run(tune.with_parameters(total, data=data), config=space, num_samples=4, metric="loss", mode="min")
    assert {trial.last_result["loss"] for trial in results} <= {float(sum(data)), 2.0 * sum(data)}


def test_what_a_trial_raises_and_prints_comes_back():
    def breaks(config):
        print("about to break")
        raise ValueError("the data is gone")

    results = run(breaks, config={"x": 1}, max_failures=0, raise_on_failed_trial=False)
    assert "ValueError: the data is gone" in results[0].error
    assert "about to break" in (results.folder / "logs" / "00000.log").read_text()


def test_code_that_cannot_be_loaded_there_ends_the_experiment_with_its_error():
    class Unpickles:
        def __reduce__(self):
            return _fails_to_load, ()

    captured = Unpickles()

    def uses(config):
        tune.report(loss=float(captured is None))

    with pytest.raises(TrainableError, match="only here"):
        run(uses, config={"x": 1})


def _fails_to_load():
    raise RuntimeError("loads only here")


def test_checkpoints_travel_where_the_nodes_share_no_storage():
    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=3, hyperparam_mutations={"x": tune.uniform(0.0, 1.0)}, synch=True
    )
    executor, config = make(shares_folder=False), {**SPACE, "n": 9, "pause": 0.0}
    results = run(
        train, executor=executor, config=config, num_samples=6, metric="loss", mode="min", scheduler=scheduler
    )
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 6
    starts = records(results, StartAttempt)
    assert [start for start in starts if start.donor is not None], "one went on from another's checkpoint"
    assert len({start.placement.node for start in starts}) > 1
    for trial in results:
        for saved in trial.trial.checkpoints:
            assert json.loads((results.folder / saved.path / "step.json").read_text()) == saved.step
    assert (results.folder / "logs" / "00000.log").exists()


def test_a_checkpoint_that_is_too_large_to_travel_is_said_and_the_report_kept(caplog):
    def large(config):
        with tune.checkpoint_dir(step=1) as folder:
            (Path(folder) / "weights").write_bytes(b"0" * (3 << 20))
        tune.report(loss=1.0)

    executor = make(shares_folder=False, max_travel_bytes=1 << 20)
    results = run(large, executor=executor, config={"x": 1})
    assert (results[0].last_result["loss"], results[0].trial.checkpoints) == (1.0, ())
    assert "3 MiB, and the nodes share no storage" in caplog.text


def test_checkpoints_lie_at_a_url_and_are_fetched_when_they_are_looked_at(tmp_path):
    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=3, hyperparam_mutations={"x": tune.uniform(0.0, 1.0)}, synch=True
    )
    url = f"file://{tmp_path}/bucket"
    results = run(
        train,
        executor=make(checkpoint_url=url),
        config={**SPACE, "n": 9, "pause": 0.0},
        num_samples=6,
        metric="loss",
        mode="min",
        scheduler=scheduler,
        keep_checkpoints_num=2,
    )
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 6
    assert [start for start in records(results, StartAttempt) if start.donor is not None]
    kept = {saved.path for trial in results for saved in trial.trial.checkpoints}
    there = {
        str(path.parent.relative_to(tmp_path / "bucket" / results.folder.name))
        for path in tmp_path.glob("bucket/*/trials/*/*/step.json")
    }
    assert there == kept, "what retention does not keep is removed there"
    assert not list(results.folder.glob("trials/*/*")), "nothing travelled through the driver"
    assert json.loads((Path(results[0].checkpoint.path) / "step.json").read_text()) == results[0].checkpoint.step
    assert len(list(results.folder.glob("trials/*/*"))) == 1


def test_a_url_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="nosuch"):
        make(checkpoint_url="nosuch://bucket")
    with pytest.raises(ConfigError, match="'s3://bucket/folder'"):
        make(checkpoint_url="/plain/path")


def test_a_trial_that_is_stopped_while_its_checkpoint_is_on_its_way_ends(monkeypatch, tmp_path):
    """What it is told meanwhile is not lost: the checkpoint takes three seconds, the experiment ends before."""
    from tunesmith.executors.ray.transfers import Transfers

    send = Transfers._send
    is_on_its_way = []

    def slow(self, *arguments):
        is_on_its_way.append(True)
        time.sleep(3.0)
        send(self, *arguments)

    def silent(config, checkpoint_dir=None):
        if checkpoint_dir is not None:
            time.sleep(60.0)
        with tune.checkpoint_dir(step=1) as folder:
            (Path(folder) / "x").write_text("x")
        tune.report(loss=1.0)
        raise RuntimeError("again")

    monkeypatch.setattr(Transfers, "_send", slow)
    begin = time.monotonic()
    results = run(
        silent,
        executor=make(shares_folder=False),
        config={"x": 1},
        max_failures=1,
        time_budget_s=6.0,
        grace_s=2.0,
        raise_on_failed_trial=False,
    )
    assert is_on_its_way and time.monotonic() - begin < 30.0
    assert results[0].state is TrialStatus.INTERRUPTED
