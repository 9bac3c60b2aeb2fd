"""`tune.confirm`: the best configs again, exactly as they were, each as far as it was good, and which one to take."""

from __future__ import annotations

import logging
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, ExperimentExistsError
from tunesmith.stores import open_reader
from tunesmith.trial import TrialStatus

FLAT = {"x": tune.grid_search([0.0, 1.0, 2.0])}


def rising(config: dict[str, Any]) -> None:
    """Best at step 2, and worse from then on."""
    for step in range(1, 6):
        tune.report(loss=config["x"] + abs(step - 2))


def search(trainable: Any = rising, space: Any = None, **arguments: Any) -> Any:
    given = {
        "config": space or FLAT,
        "metric": "loss",
        "mode": "min",
        "name": "mine",
        "verbose": 0,
        "executor": "inline",
    }
    return tune.run(trainable, **{**given, **arguments})


def confirm(result: Any, top: int = 3, repeats: int = 2, trainable: Any = None, **arguments: Any) -> Any:
    return tune.confirm(result, top, repeats, trainable, **{"verbose": 0, "executor": "inline", **arguments})


def order_of(found: Any) -> list[Any]:
    return [trial.config["x"] for trial in found.result.trials]


def test_best_configs_are_run_in_turn_to_their_best_step(tmp_path: Path) -> None:
    result = search()
    found = confirm(result, top=2, repeats=3)
    assert found.result.folder == result.folder.parent / "mine-confirm"
    assert order_of(found) == [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert {trial.step for trial in found.result.trials} == {2}
    assert {trial.state for trial in found.result.trials} == {TrialStatus.COMPLETED}
    assert [(one.config["x"], one.values, one.claimed, one.step) for one in found.configs] == [
        (0.0, (0.0, 0.0, 0.0), 0.0, 2),
        (1.0, (1.0, 1.0, 1.0), 1.0, 2),
    ]
    assert found.best.config == result.best.config
    assert "sets its own seed" in str(found)


def test_winner_of_a_noisy_search_that_is_not_the_best_is_found_out() -> None:
    """Seeded: among 30 configs with noise 0.5 the search's winner is at x = 0.9, though x = 0.1 is better."""
    random.seed(3)
    space = {"x": tune.grid_search([i / 10 for i in range(10)])}

    def noisy(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"] + random.gauss(0, 0.5))

    result = search(noisy, space, num_samples=3)
    found = confirm(result, top=4, repeats=40)
    truth = [one.config["x"] for one in found.configs]
    assert result.best.config["x"] != min(truth)
    assert found.best.config["x"] == min(truth)
    assert all(one.claimed < one.mean for one in found.configs)  # the optimism that is to be seen
    assert sum(one.interval[0] < one.config["x"] < one.interval[1] for one in found.configs) >= 3
    assert "better than the repeats are on average" in found.words()


def test_same_call_goes_on_after_an_interrupt_and_larger_repeats_add(tmp_path: Path) -> None:
    result, begun = search(), []

    def interrupted(config: dict[str, Any]) -> None:
        begun.append(config["x"])
        if len(begun) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        rising(config)

    change = {"on_change": {"code": "ignore", "space": "allow"}}
    found = confirm(result, 3, 3, interrupted, **change)
    assert [one.n for one in found.configs] == [1, 1, 1]
    assert "It is not over: the same call goes on." in str(found)
    assert [one.n for one in confirm(result, 3, 3, **change).configs] == [3, 3, 3]
    again = confirm(result, 3, 4, **change)
    assert [one.n for one in again.configs] == [4, 4, 4]
    assert order_of(again) == [0.0, 1.0, 2.0] * 4


def test_finished_confirmation_is_returned_as_it_was() -> None:
    result = search(random_loss)
    first = confirm(result)
    second = confirm(result)
    assert second.configs == first.configs and second.result.folder == first.result.folder


def random_loss(config: dict[str, Any]) -> None:
    tune.report(loss=random.random())


def test_other_configs_are_not_added_to_the_same_experiment() -> None:
    result = search()
    confirm(result, top=2)
    with pytest.raises(ExperimentExistsError, match="'mine-confirm' exists and repeats other configs"):
        confirm(result, top=3)
    assert len(confirm(result, top=3, name="wider").configs) == 3


def test_loaded_result_needs_the_trainable() -> None:
    search()
    loaded = tune.load(Path(os.environ["TUNESMITH_RESULTS"], "mine"))
    with pytest.raises(ConfigError, match=r"does not hold the training function.*trainable=rising"):
        confirm(loaded)
    assert confirm(loaded, top=1, trainable=rising).best.values == (0.0, 0.0)


def test_loaded_result_with_drawn_values_needs_no_space() -> None:
    space = {"x": tune.sample_from(lambda spec: 0.25), "deep": {"on": tune.choice([(1, 2), None])}}
    result = search(space=space)
    found = confirm(tune.load(result.folder), top=1, trainable=rising)
    assert found.best.config == result.best.config and found.best.mean == 0.25


def test_objects_in_configs_are_the_very_ones_and_a_loaded_result_asks_for_them() -> None:
    seen: list[Any] = []

    def calls(config: dict[str, Any]) -> None:
        seen.append(config["f"])
        tune.report(loss=float(config["f"] is max))

    space = {"f": tune.grid_search([min, max])}
    result = search(calls, space)
    seen.clear()
    assert confirm(result, top=2, repeats=1).best.config == {"f": min}
    assert seen == [min, max]
    loaded = tune.load(result.folder)
    with pytest.raises(ConfigError, match=r"holds builtins.min.*Give the space as config="):
        confirm(loaded, trainable=calls)
    assert confirm(loaded, top=1, trainable=calls, config=space, name="again").best.config["f"] is min


def test_space_that_is_not_the_searchs_is_refused() -> None:
    with pytest.raises(ConfigError, match="config= is not the space of the search"):
        confirm(search(), config={"x": tune.uniform(5, 6)})


class Steps(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.n = 0

    def step(self) -> dict[str, float]:
        self.n += 1
        return {"loss": self.config["x"] + abs(self.n - 3)}


def test_class_trainables_are_trained_to_the_step_too() -> None:
    result = search(Steps, stop={"training_iteration": 6})
    found = confirm(result, top=1)
    assert [trial.step for trial in found.result.trials] == [3, 3]
    assert found.best.values == (0.0, 0.0)


def test_folds_are_all_trained_whatever_number_of_reports_the_lucky_trial_needed() -> None:
    """Early stopping within folds: the search's trial took 6 reports, a repeat takes 15."""
    n_epochs = iter([2, 5, 5, 5])

    def folds(config: dict[str, Any]) -> None:
        n = next(n_epochs)
        for fold, loss in enumerate([0.1, 0.5, 0.9]):
            for _ in range(n):
                tune.report(loss=loss, fold=fold)

    result = search(folds, {"x": 1})
    found = confirm(result, repeats=2)
    assert found.best.values == pytest.approx((0.5, 0.5)) and found.best.n_no_value == 0
    assert {trial.step for trial in found.result.trials} == {15}
    assert confirm(result, repeats=3).best.n == 3


class Folds(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.fold = -1

    def step(self) -> dict[str, float]:
        self.fold += 1
        return {"loss": 1.0 + self.fold, "fold": self.fold}


def test_class_trainables_over_folds_end_though_they_do_not_end_by_themselves() -> None:
    found = confirm(search(Folds, {"x": 1}, stop={"training_iteration": 3}), repeats=2)
    assert found.best.values == (2.0, 2.0)
    assert confirm(tune.load(found.result.folder.parent / "mine"), repeats=3, trainable=Folds).best.n == 3


def test_returned_number_without_a_metric_is_confirmed() -> None:
    result = tune.maximize(lambda config: config["x"], FLAT, num_samples=1, executor="inline", verbose=0)
    found = confirm(result, top=1)
    assert found.best.values == (2.0, 2.0) and found.best.config == {"x": 2.0}


def test_failures_and_nan_are_counted_and_raise_nothing() -> None:
    n_begun = 0

    def shaky(config: dict[str, Any]) -> None:
        nonlocal n_begun
        n_begun += 1
        if n_begun == 2:
            raise ValueError("no")
        tune.report(loss=float("nan") if n_begun == 3 else float(n_begun))

    found = confirm(search(shaky, {"x": 1}), repeats=3)
    one = found.configs[0]
    assert (one.values, one.n_failed, one.n_no_value) == ((4.0,), 1, 1)
    assert "1 failed, 1 without a value" in str(found)
    assert found.best.interval is None


def test_budgets_of_the_search_do_not_cut_its_confirmation() -> None:
    result = search(max_total_steps=15, fail_fast=True)
    spec = open_reader(confirm(result, repeats=4).result.folder).spec
    assert (spec.max_total_steps, spec.fail_fast, spec.n_trials) == (None, False, 12)


def test_resources_of_the_search_hold_unless_given_anew() -> None:
    result = search(resources_per_trial={"cpu": 0.5}, max_failures=2)
    spec = open_reader(confirm(result, repeats=1, max_failures=1).result.folder).spec
    assert (spec.resources.cpu, spec.max_failures) == (0.5, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"top": 0}, "top is 0"),
        ({"repeats": 1.5}, "repeats is 1.5"),
        ({"stop": {"training_iteration": 1}}, "was given stop=, which follows from the search"),
        ({"scheduler": "asha"}, "was given scheduler="),
        ({"no_such": 1}, "does not know 'no_such'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(arguments: dict[str, Any], words: str) -> None:
    result = search()
    with pytest.raises(ConfigError, match=words):
        confirm(result, **arguments)
    assert not (result.folder.parent / "mine-confirm").exists()


def test_something_else_than_a_result_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"confirm was given str\. Give what tune.run"):
        confirm("mine")


def test_several_objectives_are_refused_with_what_to_do() -> None:
    result = search(two_metrics, metric=["loss", "size"], mode=["min", "min"])
    with pytest.raises(ConfigError, match=r"objectives loss, size.*result\.pareto"):
        confirm(result)


def two_metrics(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"], size=-config["x"])


@pytest.mark.processes
def test_repeats_have_seeds_of_their_own_whatever_number_is_given(caplog: pytest.LogCaptureFixture) -> None:
    result = search(random_loss, {"x": tune.choice([1])}, executor="processes", seed=7)
    found = confirm(result, repeats=3, executor="processes", seed=7)
    again = confirm(result, repeats=3, executor="processes", seed=7, name="again")
    values = [result.best.value, *found.best.values]
    assert len(set(values)) == 4
    assert again.best.values == found.best.values
    with caplog.at_level(logging.WARNING):
        confirm(result, repeats=4, executor="processes", seed=7)
    assert caplog.records == []
