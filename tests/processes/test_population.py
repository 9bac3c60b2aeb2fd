"""Population based training on real trials: the weights move with the checkpoint, the config changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.events import StartAttempt
from tunesmith.schedulers import (
    DistributeResources,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
)
from tunesmith.trial import TrialStatus

pytestmark = pytest.mark.processes
N_STEPS = 18


def train(config, checkpoint_dir=None):
    """The weight shrinks by the learning rate; who trained it from the first step on is written into it."""
    state = {"weight": 1.0, "step": 0, "by": []}
    if checkpoint_dir is not None:
        state = json.loads((Path(checkpoint_dir) / "state.json").read_text())
    for step in range(state["step"] + 1, N_STEPS + 1):
        weight = state["weight"] * (1.0 - config["lr"])
        state = {"weight": weight, "step": step, "by": [*state["by"], config["lr"]]}
        with tune.checkpoint_dir(step=step) as folder:
            (Path(folder) / "state.json").write_text(json.dumps(state))
        tune.report(loss=weight)


class Training(tune.Trainable):
    def setup(self, config):
        self.weight, self.by = 1.0, []

    def step(self):
        self.weight *= 1.0 - self.config["lr"]
        self.by = [*self.by, self.config["lr"]]
        return {"loss": self.weight, "done": self.iteration + 1 >= N_STEPS}

    def save_checkpoint(self, folder):
        (Path(folder) / "state.json").write_text(json.dumps({"weight": self.weight, "by": self.by}))

    def load_checkpoint(self, folder):
        state = json.loads((Path(folder) / "state.json").read_text())
        self.weight, self.by = state["weight"], state["by"]


def population(**changes):
    facts = {"perturbation_interval": 4, "hyperparam_mutations": {"lr": tune.uniform(0.0, 0.5)}}
    return PopulationBasedTraining("training_iteration", **{**facts, **changes})


@pytest.mark.parametrize("synch", [False, True])
@pytest.mark.parametrize(
    ("trainable", "more"), [(train, {}), (Training, {"checkpoint_freq": 1}), (train, {"executor": "inline"})]
)
def test_a_clone_trains_on_with_the_donors_weights_and_its_own_config(tune_run, trainable, more, synch):
    config = {"lr": tune.grid_search([0.01, 0.02, 0.1, 0.3])}
    results = tune_run(trainable, config=config, metric="loss", mode="min", scheduler=population(synch=synch), **more)
    assert {trial.state for trial in results} == {TrialStatus.COMPLETED}
    children = [trial for trial in results if trial.parent is not None]
    assert children
    for trial in results:
        state = json.loads((Path(trial.checkpoint.path) / "state.json").read_text())
        schedule = trial.schedule
        expected = [max(entry for entry in schedule if entry[0] < step)[1]["lr"] for step in range(1, N_STEPS + 1)]
        assert state["by"] == expected, "the schedule is what the weights were trained with"
        assert trial.config == schedule[-1][1]
        assert trial.last_result["time_this_iter_s"] >= 0.0
    assert results.best_schedule[0][0] == 0
    known = [config for config, _ in results.observations()]
    assert known == [trial.config for trial in results if trial.parent is None], "a clone is no sample of one config"


def test_a_schedule_can_be_trained_along_again(tune_run):
    config = {"lr": tune.grid_search([0.01, 0.02, 0.1, 0.3])}
    results = tune_run(train, config=config, metric="loss", mode="min", scheduler=population())
    trial = next(trial for trial in results if len(trial.schedule) > 1)
    replay = PopulationBasedTrainingReplay(trial)
    again = tune_run(train, config=replay.config, scheduler=replay)[0]
    assert again.schedule == trial.schedule
    assert again.last_result["loss"] == trial.last_result["loss"]


def test_the_last_trial_gets_the_slots_that_are_left(tune_run):
    def size(config, checkpoint_dir=None):
        start = int(Path(checkpoint_dir).name.split("_")[1][:6]) if checkpoint_dir else 0
        for step in range(start + 1, config["n"] + 1):
            with tune.checkpoint_dir(step=step) as folder:
                (Path(folder) / "x").write_text("x")
            tune.report(cpus=tune.get_trial_resources()["cpu"])

    results = tune_run(
        size,
        config={"n": tune.grid_search([2, 150])},
        scheduler=ResourceChangingScheduler(resources_allocation_function=DistributeResources()),
        capacity={"cpu": 2},
    )
    first, last = (dict(trial.values("cpus")) for trial in results)
    assert set(first.values()) == {1.0}
    assert last[1] == 1.0 and last[150] == 2.0
    starts = [record for _, record in results.reader.records(limit=10_000) if isinstance(record, StartAttempt)]
    assert [start.placement.resources.cpu for start in starts] == [1.0, 1.0, 2.0]
