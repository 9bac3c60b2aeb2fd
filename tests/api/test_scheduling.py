"""Search and early stopping in the words of `tune.run` and `tune.minimize`."""

from __future__ import annotations

import logging

import pytest

import tunesmith as tune
from tunesmith.api.scheduling import make_deciders
from tunesmith.errors import ConfigError
from tunesmith.methods import FreezeThaw
from tunesmith.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MultiObjectiveASHA
from tunesmith.searchers import AutoSearch, GPSearch, RandomSearch
from tunesmith.space import Space, uniform

SPACE = Space({"x": uniform(0, 1)})


def deciders(*, metric="loss", mode="min", space=SPACE, **arguments):
    facts = {"constraints": None, "search_alg": None, "scheduler": None, "points_to_evaluate": None, "warm_start": None}
    return make_deciders(space, metric=metric, mode=mode, **{**facts, **arguments})


def auto(**arguments):
    return tune.create_scheduler("auto", max_t=9, **arguments)


def test_a_method_that_is_both_is_searcher_and_scheduler_as_one_object():
    for scheduler in (FreezeThaw(max_t=9), auto(), tune.create_scheduler("freeze_thaw", max_t=9)):
        found = deciders(scheduler=scheduler)
        assert type(found.scheduler) is FreezeThaw
        assert found.searcher is found.scheduler
        assert found.objective.metric == "loss"


def test_without_a_scheduler_nothing_is_stopped_early():
    found = deciders()
    assert type(found.scheduler) is FIFOScheduler
    assert type(found.searcher) is AutoSearch


def test_with_a_searcher_that_was_named_auto_stops_what_it_proposes(caplog):
    caplog.set_level(logging.INFO, "tunesmith")
    found = deciders(scheduler=auto(), search_alg="gp")
    assert type(found.scheduler) is AsyncHyperBandScheduler
    assert type(found.searcher) is GPSearch
    assert "scheduler='auto' is AsyncHyperBandScheduler: the configs come from the searcher that you named." in (
        caplog.text
    )


@pytest.mark.parametrize("search_alg", [None, "auto"])
def test_auto_for_both_is_one_method(search_alg):
    assert type(deciders(scheduler=auto(), search_alg=search_alg).scheduler) is FreezeThaw


def test_auto_of_several_metrics_compares_several():
    found = deciders(metric=["a", "b"], mode=["min", "max"], scheduler=auto())
    assert type(found.scheduler) is MultiObjectiveASHA


def test_auto_without_a_metric_stops_nothing():
    found = deciders(metric=None, mode=None, scheduler=auto())
    assert type(found.scheduler) is FIFOScheduler
    assert type(found.searcher) is RandomSearch


def test_given_points_and_earlier_runs_reach_the_method_that_auto_chooses():
    found = deciders(scheduler=auto(), points_to_evaluate=[{"x": 0.5}], warm_start=[({"x": 0.1}, 3.0)])
    assert type(found.scheduler) is FreezeThaw
    assert len(found.searcher.points) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"search_alg": "gp"}, "FreezeThaw chooses the configs too. Leave out search_alg"),
        ({"search_alg": RandomSearch()}, "FreezeThaw chooses the configs too. Leave out search_alg"),
        ({"points_to_evaluate": [{"x": 0.5}]}, r"Give points_to_evaluate and warm_start to it: FreezeThaw\(\.\.\.\)"),
        ({"warm_start": [({"x": 0.1}, 3.0)]}, r"Give points_to_evaluate and warm_start to it: FreezeThaw\(\.\.\.\)"),
        ({"metric": ["a", "b"], "mode": ["min", "min"]}, "FreezeThaw works on one metric"),
        ({"metric": None, "mode": None}, "FreezeThaw has no metric"),
        ({"mode": None}, "metric is 'loss' and mode is None. Give both here, or both to the FreezeThaw"),
    ],
)
def test_what_does_not_go_with_a_method_that_is_both_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        deciders(scheduler=FreezeThaw(max_t=9), **arguments)


def test_a_method_that_is_both_is_refused_as_a_searcher_alone():
    with pytest.raises(ConfigError, match=r"FreezeThaw is a scheduler too\. Give it as scheduler="):
        deciders(search_alg=FreezeThaw(max_t=9))


@pytest.mark.parametrize("name", ["auto", "freeze_thaw"])
def test_by_its_bare_name_it_asks_for_the_end_of_training(name):
    with pytest.raises(ConfigError, match="how far a full training goes"):
        deciders(scheduler=name)


# ---------------------------------------------------------------- minimize and maximize


def train(config):
    """Comes down to x from above."""
    for step in range(1, 10):
        tune.report(loss=config["x"] + 1 / step)


def minimized(tmp_path, trainable=train, **arguments):
    facts = {"num_samples": 8, "seed": 1, "local_dir": tmp_path, "executor": "inline", "verbose": 0}
    return tune.minimize(trainable, {"x": tune.uniform(0, 1)}, **{**facts, **arguments})


def test_with_max_t_poor_trials_are_stopped_early(tmp_path):
    found = minimized(tmp_path, metric="loss", max_t=9)
    steps = [trial.last_result["training_iteration"] for trial in found.trials]
    assert max(steps) == 9
    assert min(steps) < 9
    assert found.best.config == min((trial.config for trial in found.trials), key=lambda config: config["x"])


def test_without_max_t_all_run_to_their_end(tmp_path):
    found = minimized(tmp_path, metric="loss")
    assert {trial.last_result["training_iteration"] for trial in found.trials} == {9}


def test_the_number_that_a_function_returns_is_minimised_with_max_t_too(tmp_path):
    found = minimized(tmp_path, lambda config: (config["x"] - 0.3) ** 2, max_t=9, num_samples=12)
    assert abs(found.best.config["x"] - 0.3) < 0.05


def test_stops_that_lie_between_two_steps_can_be_stored(tmp_path):
    found = tune.run(
        train,
        config={"x": tune.uniform(0, 1)},
        scheduler=FreezeThaw(max_t=9, reduction_factor=1.5),
        metric="loss",
        mode="min",
        num_samples=3,
        seed=1,
        local_dir=tmp_path,
        executor="inline",
        verbose=0,
    )
    assert {trial.status for trial in found.trials} == {"TERMINATED"}


def test_maximize_looks_for_the_largest(tmp_path):
    found = tune.maximize(
        train,
        {"x": tune.uniform(0, 1)},
        num_samples=8,
        max_t=9,
        metric="loss",
        seed=1,
        local_dir=tmp_path,
        executor="inline",
        verbose=0,
    )
    assert found.best.value == 1 + max(trial.config["x"] for trial in found.trials)
