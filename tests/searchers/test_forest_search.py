from __future__ import annotations

import numpy as np

from tunesmith.searchers import create_searcher
from tunesmith.space import choice, uniform

from .drive import best, run


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
