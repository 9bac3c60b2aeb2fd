"""Searchers on what real experiments bring: noise, failures, priors, earlier runs, changed spaces."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError
from tunesmith.protocols import Exhausted, History
from tunesmith.rng import generator
from tunesmith.searchers import create_searcher
from tunesmith.space import Space, choice, loguniform, randint, sample_from, uniform
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

LOSS = Objective(("loss",), (Mode.MIN,))


def run_out(searcher, space, evaluate, n, *, seed=0, objective=LOSS):
    """The trials of n suggestions, one after the other; a result of None is a failure."""
    space = space if isinstance(space, Space) else Space(space)
    trials: list[Trial] = []
    for i in range(n):
        history = History(space, objective, seed, tuple(trials))
        found = searcher.suggest(history, generator(seed, "suggest", i), 1)
        if isinstance(found, Exhausted):
            break
        config = found[0].config
        value = evaluate(config)
        facts = {"index": i, "trial_id": f"t{i}", "config": config, "attempt": 1, "proposed_by": found[0].reason}
        if value is None:
            trials.append(Trial(**facts, status=TrialStatus.FAILED, n_failures=1))
            continue
        metrics = {"loss": value}
        facts |= {"step": 1, "n_reports": 1, "metrics": metrics, "best_value": value, "best_step": 1}
        trials.append(Trial(**facts, status=TrialStatus.COMPLETED))
    return trials


def best(trials):
    return min(trial.best_value for trial in trials if trial.best_value is not None)


def test_the_default_config_of_the_user_comes_first_and_known_rewards_are_not_tried_again():
    space = {"x": uniform(0, 1), "y": uniform(0, 1)}
    points = [{"x": 0.5, "y": 0.5}, {"x": 0.25}]
    searcher = create_searcher("gp", points_to_evaluate=points, evaluated_rewards=[0.1])
    trials = run_out(searcher, space, lambda c: c["x"], 2)
    assert trials[0].config["x"] == 0.25
    assert (0.5, 0.5) not in [(trial.config["x"], trial.config["y"]) for trial in trials]


def test_more_rewards_than_points_are_refused():
    with pytest.raises(ConfigError, match="2 values for 1 points"):
        create_searcher("gp", points_to_evaluate=[{"x": 1}], evaluated_rewards=[0.1, 0.2])


def test_a_region_that_fails_is_left_alone():
    """Half of the cube runs out of memory; the optimum lies well outside it."""
    space = {"width": loguniform(1, 1024), "x": uniform(0, 1), "y": uniform(0, 1)}

    def train(c):
        return None if c["width"] > 32 else (c["x"] - 0.3) ** 2 + (c["y"] - 0.6) ** 2 + abs(math.log2(c["width"]) - 2)

    n_failed = [
        sum(trial.status is TrialStatus.FAILED for trial in run_out(create_searcher("gp"), space, train, 40, seed=seed))
        for seed in range(3)
    ]
    assert np.mean(n_failed) < 10  # random search: 20


def test_a_prior_that_is_right_helps_and_one_that_is_wrong_is_overcome():
    space = {"x": uniform(0, 1), "y": uniform(0, 1), "z": uniform(0, 1)}

    def loss(c):
        return (c["x"] - 0.8) ** 2 + (c["y"] - 0.2) ** 2 + (c["z"] - 0.5) ** 2

    def found(priors, n):
        return np.mean([best(run_out(create_searcher("gp", priors=priors), space, loss, n, seed=s)) for s in range(3)])

    assert found({"x": (0.8, "high"), "y": (0.2, "high")}, 6) < found(None, 6)
    assert found({"x": (0.1, "high"), "y": (0.9, "high")}, 40) < 0.01


def test_a_prior_for_what_is_not_in_the_space_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"prior for 'lr', which is no leaf. Leaves are x"):
        run_out(create_searcher("gp", priors={"lr": 0.1}), {"x": uniform(0, 1)}, lambda c: 0.0, 1)


def test_an_earlier_run_on_another_space_saves_trials():
    def loss(c):
        return (c["x"] - 0.7) ** 2 + (c["y"] - 0.3) ** 2

    old = run_out(create_searcher("random"), {"x": uniform(0, 1), "y": uniform(0, 1), "old": uniform(0, 1)}, loss, 40)
    earlier = [[(trial.config, 3.0 * trial.best_value + 5.0) for trial in old]]
    space = {"x": uniform(0, 2), "y": uniform(-1, 1), "new": choice(["a", "b"])}
    with_it, without = (
        np.mean([best(run_out(create_searcher("gp", **arguments), space, loss, 8, seed=s)) for s in range(5)])
        for arguments in ({"warm_start": earlier}, {})
    )
    assert with_it < 0.5 * without


def test_an_earlier_run_that_misleads_is_given_up():
    space = {"x": uniform(0, 1), "y": uniform(0, 1)}
    wrong = [[({"x": x, "y": y}, -(x - 0.7) ** 2 - (y - 0.3) ** 2) for x in np.linspace(0, 1, 6).tolist() for y in
              np.linspace(0, 1, 6).tolist()]]  # fmt: skip
    found = run_out(
        create_searcher("gp", warm_start=wrong), space, lambda c: (c["x"] - 0.7) ** 2 + (c["y"] - 0.3) ** 2, 25
    )
    assert best(found) < 0.005


def test_trials_outside_a_narrowed_space_and_before_a_widened_one_do_no_harm():
    def loss(c):
        return (c["x"] - 3.0) ** 2

    first = run_out(create_searcher("gp"), {"x": uniform(0, 2), "o": choice(["a"])}, loss, 10)
    searcher = create_searcher("gp")
    for space in ({"x": uniform(0, 4), "o": choice(["a", "b"])}, {"x": uniform(1.5, 4), "o": choice(["a"])}):
        history = History(Space(space), LOSS, 0, tuple(first))
        (suggestion,) = searcher.suggest(history, generator(0, "suggest", 10), 1)
        history.space.check(suggestion.config)
        assert "Gaussian process" in suggestion.reason or "spread" in suggestion.reason


def test_a_finite_space_is_gone_through_once_and_then_exhausted():
    space = {"a": choice(["x", "y", "z"]), "b": randint(0, 4)}
    trials = run_out(create_searcher("auto"), space, lambda c: float(c["b"]), 20)
    assert len({(trial.config["a"], trial.config["b"]) for trial in trials}) == len(trials) == 12
    history = History(Space(space), LOSS, 0, tuple(trials))
    found = create_searcher("auto").suggest(history, generator(0, "suggest", 12), 1)
    assert isinstance(found, Exhausted)
    assert found.reason == "all configs of the space were proposed (12 at most)"


def test_a_function_of_the_user_is_drawn_from_anew_when_its_known_values_are_used_up():
    space = Space({"x": sample_from(lambda: float(np.random.rand()))})
    trials = [
        Trial(i, f"t{i}", space.sample(0, 2**31 + i), status=TrialStatus.COMPLETED, best_value=1.0 * i, step=1)
        for i in range(128)
    ]
    (found,) = create_searcher("gp").suggest(History(space, LOSS, 0, tuple(trials)), generator(0, "suggest", 128), 1)
    assert found.config["x"] not in [trial.config["x"] for trial in trials]
    assert found.reason == "drawn at random: nothing new was found"


def test_the_edge_of_a_region_that_fails_costs_no_more_failures_than_results():
    """The best configs lie at the very edge: beyond it hope is large and success is not."""
    for seed in range(2):
        trials = run_out(
            create_searcher("gp"),
            {"x": uniform(0, 1), "y": uniform(0, 1)},
            lambda c: None if c["x"] > 0.5 else 1 - c["x"],
            40,
            seed=seed,
        )
        assert sum(trial.status is TrialStatus.FAILED for trial in trials) <= 24
        assert best(trials) < 0.52


def test_configs_that_constraints_forbid_are_never_proposed():
    space = Space(
        {"a": uniform(0, 1), "b": uniform(0, 1)}, [lambda c: c["a"] + c["b"] <= 1.0, lambda c: c["a"] < c["b"]]
    )
    trials = run_out(create_searcher("gp"), space, lambda c: -c["a"] - c["b"], 30)
    assert all(c["a"] + c["b"] <= 1.0 and c["a"] < c["b"] for c in (trial.config for trial in trials))
    assert best(trials) < -0.97


def test_under_noise_the_best_config_is_repeated_and_recommended(tmp_path):
    rng = np.random.default_rng(0)
    trials = run_out(
        create_searcher("gp", repeats=0.2),
        {"x": uniform(0, 1)},
        lambda c: (c["x"] - 0.4) ** 2 + 0.05 * rng.normal(),
        40,
    )
    n_distinct = len({trial.config["x"] for trial in trials})
    assert 32 <= n_distinct < 40

    def train(config):
        noise = np.random.default_rng(int(1e6 * config["x"]))
        return (config["x"] - 0.4) ** 2 + 0.2 * noise.normal()

    results = tune.minimize(
        train, {"x": tune.uniform(0, 1)}, num_samples=40, executor="inline", storage_path=tmp_path, verbose=0, seed=1
    )
    recommended = tune.recommend(results)
    assert abs(recommended.config["x"] - 0.4) < 0.25
    assert recommended.value > results.best.value  # the luckiest result is below what is to be expected
    assert recommended.n_results == 40


def test_a_branch_that_was_gone_through_to_its_end_is_left():
    """Each branch has a bottom of its own; the best one's is the narrowest."""
    branches = [{"k": k, **{f"{k}{i}": uniform(0, 1) for i in range(2)}} for k in "abc"]
    space = {"model": choice(branches)}
    floor, width = {"a": 0.0, "b": 0.1, "c": 0.2}, {"a": 6.0, "b": 3.0, "c": 1.0}

    def loss(config):
        k = config["model"]["k"]
        return floor[k] + width[k] * sum((config["model"][f"{k}{i}"] - 0.8) ** 2 for i in range(2))

    found = [best(run_out(create_searcher("gp"), space, loss, 60, seed=seed)) for seed in range(4)]
    assert sum(value < 0.1 for value in found) >= 3
