"""Several objectives and bounds on metrics, from the call to the results."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, ExperimentExistsError, TuneError
from tunesmith.schedulers import ASHAScheduler
from tunesmith.trial import MetricConstraint

inline = functools.partial(tune.run, executor="inline", verbose=0)
short = {"executor": "inline", "verbose": 0}
SPACE = {"x": tune.uniform(0, 1)}
GRID = {"x": tune.grid_search([0.1, 0.5, 0.9])}
LATENCY = MetricConstraint("latency", is_upper=True, bound=20.0)


def train(config: dict[str, Any]) -> dict[str, float]:
    """Small losses are slow."""
    return {"loss": config["x"], "latency": 10 / config["x"], "size": 1 - config["x"]}


def constraints_of(result: tune.ExperimentAnalysis) -> tuple[MetricConstraint, ...]:
    objective = result.reader.spec.objective
    assert objective is not None
    return objective.constraints


# ---------------------------------------------------------------- the call


def test_the_best_keeps_the_constraints_of_the_call() -> None:
    result = inline(train, config=GRID, metric="loss", mode="min", constraints={"latency": "<= 20"})
    assert constraints_of(result) == (LATENCY,)
    assert (result.best.config, result.best.value) == ({"x": 0.5}, 0.5)


def test_constraints_of_the_call_reach_an_objective_that_the_scheduler_brings() -> None:
    scheduler = ASHAScheduler(metric="loss", mode="min", max_t=3)
    result = inline(train, config=GRID, scheduler=scheduler, constraints={"latency": "<= 20"})
    assert constraints_of(result) == (LATENCY,)
    assert result.best.config == {"x": 0.5}


@pytest.mark.parametrize("optimize", [tune.minimize, tune.maximize])
def test_minimize_and_maximize_take_constraints(optimize: Any) -> None:
    bounds = {"loss": ">= 0.2", "size": ">= 0.3"}
    result = optimize(train, GRID, metric="loss", num_samples=1, constraints=bounds, **short)
    assert result.best.config == {"x": 0.5}


def test_minimize_makes_each_of_several_metrics_small() -> None:
    result = tune.minimize(train, GRID, metric=["loss", "size"], num_samples=1, **short)
    assert [point.config["x"] for point in result.pareto] == [0.1, 0.5, 0.9]


def test_constraints_without_an_objective_are_refused() -> None:
    with pytest.raises(ConfigError, match="Give metric and mode too"):
        inline(train, config=GRID, constraints={"latency": "<= 20"})


@pytest.mark.parametrize("given", [["latency <= 20"], "latency <= 20", 20])
def test_constraints_of_a_wrong_kind_are_named_and_nothing_is_written(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="constraints is"):
        inline(train, config=GRID, metric="loss", mode="min", constraints=given)
    assert not list(tmp_path.glob("results/*"))


def test_a_bound_that_nothing_keeps_is_said_and_all_results_are_there() -> None:
    result = inline(train, config=GRID, metric="loss", mode="min", constraints={"latency": "<= 1"})
    with pytest.raises(TuneError, match=r"No result keeps latency <= 1\. The closest .*: latency 11\.1"):
        result.best
    assert len(result) == 3


def test_a_search_over_several_objectives_finds_both_ends() -> None:
    def corner(config: dict[str, Any]) -> dict[str, float]:
        return {"a": config["x"] + config["y"], "b": 1 - config["x"] + config["y"]}

    space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
    result = inline(corner, config=space, metric=["a", "b"], mode=["min", "min"], num_samples=30, seed=1)
    ends = [point.values for point in result.pareto]
    assert ends[0][0] < 0.1 and ends[-1][1] < 0.1
    assert result.best.value == ends[0][0]


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"latency": "<= 20"}, None, "was min loss with latency <= 20, is min loss;"),
        (None, {"latency": "<= 20"}, "was min loss, is min loss with latency <= 20"),
        ({"latency": "<= 20"}, {"latency": "<= 20.000001"}, "is min loss with latency <= 20.000001"),
        ({"latency": "<= 20"}, {"latency": ">= 20"}, "is min loss with latency >= 20"),
    ],
)
def test_a_changed_constraint_is_a_changed_objective(before: Any, after: Any, words: str) -> None:
    go = functools.partial(inline, train, config=GRID, name="changed", metric="loss", mode="min")
    go(constraints=before)
    with pytest.raises(ExperimentExistsError) as caught:
        go(constraints=after)
    assert words.rstrip(";") in str(caught.value)


def test_the_refusal_says_how_to_give_the_constraints_as_before() -> None:
    inline(train, config=GRID, name="changed", metric="loss", mode="min", constraints={"latency": "<= 20.5"})
    with pytest.raises(ExperimentExistsError) as caught:
        inline(train, config=GRID, name="changed", metric="loss", mode="min")
    assert "give metric='loss', mode='min' and constraints={'latency': '<= 20.5'} as before" in str(caught.value)


def test_equal_constraints_go_on_and_allowed_ones_count_for_all_that_is_stored() -> None:
    go = functools.partial(inline, train, config=GRID, name="changed", metric="loss", mode="min")
    go(constraints={"latency": "<= 20"})
    assert go(constraints={"latency": "<=20.0"}).best.value == 0.5
    assert go(constraints={"latency": "<= 12"}, on_change={"objective": "allow"}).best.value == 0.9
    assert go(on_change={"objective": "allow"}).best.value == 0.1


def test_naming_the_metric_that_had_no_name_does_not_drop_a_constraint() -> None:
    def only(config: dict[str, Any]) -> float:
        return float(config["x"])

    bounds = {"training_iteration": "<= 5"}
    tune.minimize(only, GRID, name="unnamed", num_samples=1, constraints=bounds, **short)
    with pytest.raises(ExperimentExistsError, match="the objective was"):
        tune.minimize(only, GRID, name="unnamed", num_samples=1, metric="_metric", **short)


# ---------------------------------------------------------------- what is said


def test_the_summary_says_which_bounds_the_best_keeps_and_the_pareto_set(capsys: pytest.CaptureFixture[str]) -> None:
    tune.run(
        train, config=GRID, metric=["loss", "size"], mode=["min", "min"], constraints={"latency": "<= 20"},
        executor="inline", verbose=1,
    )  # fmt: skip
    text = " ".join(capsys.readouterr().out.split())
    assert "best loss 0.5 at step 1 of trial 1" in text
    assert "keeps latency <= 20 (20)" in text
    assert "Pareto set 2 trials that no other beats in loss and size trial loss size latency 1 0.5 0.5 20" in text


def test_the_warning_of_a_set_without_feasible_trials_names_the_bounds(caplog: pytest.LogCaptureFixture) -> None:
    result = inline(train, config=GRID, metric="loss", mode="min", constraints={"latency": "<= 1", "size": ">= 2"})
    with caplog.at_level(logging.WARNING):
        assert [point.is_feasible for point in result.pareto] == [False] * len(result.pareto)
    assert "latency <= 1 and size >= 2" in caplog.text
