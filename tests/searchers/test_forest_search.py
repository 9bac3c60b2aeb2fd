from __future__ import annotations

import numpy as np

from tunesmith.searchers import ForestSearch, create_searcher
from tunesmith.space import choice, uniform

from .drive import ask, best, gain_over_random, history_of, run, trial_of


def test_it_finds_the_right_options_of_a_space_full_of_them_long_before_random_search():
    """Twelve choices of five options, each option worth its distance from a secret one: 5^12 configs."""
    space = {f"c{i}": choice(list("abcde")) for i in range(12)} | {"x": uniform(0, 1)}

    def loss(config):
        return sum(config[f"c{i}"] != "abcde"[i % 5] for i in range(12)) + config["x"]

    found = {
        name: np.mean([best(run(create_searcher(name), space, loss, 60, seed=seed)) for seed in range(3)])
        for name in ("forest", "random")
    }
    assert found["forest"] < found["random"] - 2.0


def test_it_comes_closer_than_random_search_on_a_conditional_space():
    """60 trials, 5 fixed seeds."""
    options = [{"k": "a", "y": uniform(0, 1), "z": uniform(0, 1)}, {"k": "b", "w": uniform(0, 1)}, {"k": "c"}]

    def loss(c):
        o = c["o"]
        here = {"a": lambda: (o["y"] - 0.7) ** 2 + (o["z"] - 0.2) ** 2, "b": lambda: 0.1 + o["w"], "c": lambda: 0.2}
        return (c["x"] - 0.3) ** 2 + here[o["k"]]()

    assert (
        np.mean(gain_over_random(ForestSearch, {"x": uniform(0, 1), "o": choice(options)}, loss, 60, n_seeds=5)) > 0.4
    )


BOX = {f"x{i}": uniform(0, 1) for i in range(3)}


def bowl(c):
    return sum((v - 0.5) ** 2 for v in c.values())


def test_workers_that_ask_together_get_configs_apart_from_each_other():
    """Where the trees are not told of each other's proposals, the nearest two are 0.0008 apart."""
    trials = run(ForestSearch(), BOX, bowl, 60)
    found = np.array([list(s.config.values()) for s in ask(ForestSearch(), history_of(BOX, trials), 8)])
    assert np.linalg.norm(found[:, None] - found[None], axis=2)[np.triu_indices(8, 1)].min() > 0.01


def test_running_configs_keep_others_away():
    """A crowd with a standard deviation of 0.02 around what would come next; unseen, the others come within 0.034."""
    trials = run(ForestSearch(), BOX, bowl, 60)
    alone = np.array(list(ask(ForestSearch(), history_of(BOX, trials))[0].config.values()))
    places = np.clip(alone + np.random.default_rng(0).normal(0.0, 0.02, (30, 3)), 0.0, 1.0)
    crowd = [trial_of(60 + k, dict(zip(BOX, map(float, place), strict=True)), "open") for k, place in enumerate(places)]
    found = [list(s.config.values()) for s in ask(ForestSearch(), history_of(BOX, trials + crowd), 8)]
    assert np.linalg.norm(np.array(found) - alone, axis=1).min() > 0.05


def test_believed_values_are_tried_more_often():
    space = {"x": uniform(0, 1), "o": choice(["a", "b", "c", "d"])}
    trials = run(ForestSearch(), space, lambda c: 0.0, 12)
    found = ask(ForestSearch(priors={"o": ("c", "high")}), history_of(space, trials), 8)
    assert sum(s.config["o"] == "c" for s in found) >= 6
