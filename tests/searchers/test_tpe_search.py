from __future__ import annotations

import math
import re

import numpy as np
import pytest

from tunesmith.models.cube import Cube
from tunesmith.models.observations import Observations
from tunesmith.searchers import TPESearch
from tunesmith.searchers.tpe_search import ParzenSuccess, good_count, rank_weights
from tunesmith.space import Space, choice, grid_search, loguniform, randint, uniform

from .drive import ask, best, gain_over_random, history_of, run, trial_of

MIXED = {"x": uniform(-5, 5), "lr": loguniform(1e-5, 1e-1), "n": randint(1, 100), "o": choice(["a", "b", "c"])}
NESTED = {
    "x": uniform(0, 1),
    "o": choice([{"k": "a", "y": uniform(0, 1), "z": uniform(0, 1)}, {"k": "b", "w": uniform(0, 1)}, {"k": "c"}]),
}


def mixed_loss(c):
    return (c["x"] - 1) ** 2 + (math.log10(c["lr"]) + 3) ** 2 + ((c["n"] - 30) / 20) ** 2 + (c["o"] != "b")


def nested_loss(c):
    o = c["o"]
    here = {"a": lambda: (o["y"] - 0.7) ** 2 + (o["z"] - 0.2) ** 2, "b": lambda: 0.1 + o["w"], "c": lambda: 0.2}[o["k"]]
    return (c["x"] - 0.3) ** 2 + here()


def test_a_tenth_is_good_and_never_more_than_25():
    assert [good_count(n) for n in (1, 10, 11, 30, 250, 10_000)] == [1, 1, 2, 3, 25, 25]


def test_better_configs_weigh_more():
    """ln 4, ln 2 and ln(4/3), divided by their mean."""
    assert rank_weights(3) == pytest.approx([1.7569353, 0.8784677, 0.3645970], abs=1e-6)


@pytest.mark.parametrize(("space", "loss"), [(MIXED, mixed_loss), (NESTED, nested_loss)], ids=["mixed", "nested"])
def test_it_comes_several_times_closer_than_random_search(space, loss):
    """60 trials, 8 fixed seeds; 10 times closer on the geometric average when this was written."""
    assert np.mean(gain_over_random(TPESearch, space, loss, 60, n_seeds=8)) > 0.5


def test_workers_that_ask_together_get_different_configs_of_different_regions():
    trials = run(TPESearch(), {"x": uniform(0, 1)}, lambda c: (c["x"] - 0.5) ** 2, 20)
    found = sorted(s.config["x"] for s in ask(TPESearch(), history_of({"x": uniform(0, 1)}, trials), 8))
    assert min(np.diff(found)) > 1e-6
    assert found[-1] - found[0] > 0.1


def test_running_configs_keep_others_away():
    space = {"x": uniform(0, 1)}
    trials = run(TPESearch(), space, lambda c: (c["x"] - 0.5) ** 2, 20)
    alone = ask(TPESearch(), history_of(space, trials))[0].config["x"]
    crowd = [trial_of(20 + k, {"x": alone + 1e-4 * k}, "open") for k in range(40)]
    beside = ask(TPESearch(), history_of(space, trials + crowd))[0].config["x"]
    assert abs(beside - alone) > 0.01


def test_a_region_that_fails_is_left():
    """Half of the space fails, right beside the best values; of 40 random configs 20 would fail."""
    trials = run(
        TPESearch(), {"x": uniform(0, 1), "y": uniform(0, 1)}, lambda c: None if c["x"] > 0.5 else 1 - c["x"], 60
    )
    assert sum(trial.best_value is None for trial in trials[20:]) <= 15


def test_success_follows_the_shares_of_failures_nearby():
    """At 0.1 only successes, at 0.9 only failures, at 0.5 as many of both."""
    cube = Cube(Space({"x": uniform(0, 1)}), seed=0)
    rows = np.array([0.1] * 40 + [0.5] * 40)[:, None]
    failed = np.array([0.9] * 40 + [0.5] * 40)[:, None]
    nothing, zeros = np.empty((0, 1)), np.zeros((80, 0))
    known = Observations(rows, np.zeros((80, 1)), zeros, np.zeros(80, int), failed, nothing, np.arange(80))
    found = np.exp(ParzenSuccess(cube, known).log_probability(np.array([[0.1], [0.5], [0.9]])))
    assert found[0] > 0.95
    assert found[1] == pytest.approx(0.5)
    assert found[2] == pytest.approx(0.05)  # never ruled out


def test_a_finite_space_is_gone_through_without_a_repetition():
    trials = run(TPESearch(), {"a": randint(0, 6), "b": choice(["x", "y"])}, lambda c: c["a"], 30)
    assert len({(trial.config["a"], trial.config["b"]) for trial in trials}) == len(trials) == 12


def test_a_grid_is_kept_to():
    trials = run(TPESearch(), {"x": uniform(0, 1), "g": grid_search([1, 2, 3])}, lambda c: c["x"], 21)
    assert [trial.config["g"] for trial in trials] == [1, 2, 3] * 7


def test_a_prior_draws_the_search_to_it():
    """The results say nothing, the prior does."""
    searcher = TPESearch(priors={"x": (0.9, "high")})
    trials = run(searcher, {"x": uniform(0, 1)}, lambda c: 1.0, 15)
    assert np.mean([trial.config["x"] for trial in trials[6:]]) > 0.7


@pytest.mark.parametrize("loss", [lambda c: 1.0, lambda c: float(c["c"] > 500)], ids=["constant", "two values"])
def test_a_choice_of_a_thousand_and_two_hundred_numbers_are_searched(loss):
    space = {f"x{i}": uniform(0, 1) for i in range(200)} | {"c": choice([f"{i}" for i in range(1000)])}
    trials = run(TPESearch(), space, lambda c: loss({"c": int(c["c"])}), 25, n_workers=5)
    assert len(trials) == 25 and best(trials) <= 1.0


def test_the_reason_says_how_many_configs_were_good():
    trials = run(TPESearch(), {"x": uniform(0, 1)}, lambda c: c["x"], 22)
    assert re.search(r"like the 3 best, unlike 18 others", trials[-1].proposed_by)
