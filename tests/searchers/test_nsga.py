from __future__ import annotations

import numpy as np
import pytest

from tunesmith.protocols import History
from tunesmith.searchers import NSGASearch, RandomSearch, create_searcher
from tunesmith.space import Space, choice, grid_search, randint, uniform
from tunesmith.testing import SearcherContract
from tunesmith.trial import parse_objective

from .drive import ask
from .test_multi_objective import BOUNDED, NESTED, SQUARE, TWO, corner, nested, run, trial_of, volume

WIDE = {f"x{i}": uniform(0, 1) for i in range(6)}


class TestNSGASearch(SearcherContract):
    def make(self):
        return NSGASearch()


def wide(config):
    """The front is where all but the first are 0.4."""
    off = sum(abs(config[f"x{i}"] - 0.4) for i in range(1, 6))
    return {"a": config["x0"] ** 2 + off, "b": 1 - (1 - config["x0"]) ** 2 - off}


def test_its_name_is_nsga2():
    assert isinstance(create_searcher("nsga2"), NSGASearch)


@pytest.mark.parametrize(("space", "evaluate"), [(WIDE, wide), (NESTED, nested)], ids=["wide", "conditional"])
def test_it_dominates_more_than_random_search(space, evaluate):
    """On every one of four seeds, with 150 trials; by chance one of 16."""
    for seed in range(4):
        ours, random = (run(make(), space, evaluate, 150, seed=seed) for make in (NSGASearch, RandomSearch))
        assert volume(ours) > volume(random)


def test_one_objective_is_brought_down():
    trials = run(NSGASearch(), WIDE, wide, 200, objective=parse_objective("a", "min"))
    assert min(trial.metrics["a"] for trial in trials) < 0.4  # of as many random configs it is 0.63


def test_parents_are_trials_that_keep_the_constraints_where_there_are_any():
    """Trials of even number break the bound; their losses are the best."""
    configs = [Space(SQUARE).sample(0, i) for i in range(120)]
    trials = [trial_of(i, c, {"a": c["x"] + i % 2, "c": 1.0 - 2 * (i % 2)}) for i, c in enumerate(configs)]
    found = ask(NSGASearch(), History(Space(SQUARE), BOUNDED, 0, tuple(trials)), 20)
    parents = [int(word) for s in found for word in s.reason.replace("trial", "").split() if word.isdigit()]
    assert len(parents) == 40
    assert all(parent % 2 for parent in parents)


def test_a_child_has_the_values_of_both_parents_but_for_a_mutation():
    names = [f"n{i}" for i in range(12)]
    space = Space({name: randint(0, 1000) for name in names})
    parents = [dict.fromkeys(names, 100), dict.fromkeys(names, 900)]
    trials = [trial_of(i, config, {"a": float(i), "b": float(i)}) for i, config in enumerate(parents)]
    children = ask(NSGASearch(n_initial=2), History(space, TWO, 0, tuple(trials)), 30)
    values = np.array([list(child.config.values()) for child in children])
    n_first, n_second = (values == 100).sum(axis=1), (values == 900).sum(axis=1)
    assert (n_first + n_second).min() >= 6  # 2 of 12 are mutated on average, one at least
    assert (n_first + n_second).max() <= 11
    assert np.mean((n_first > 1) & (n_second > 1)) > 0.5
    assert {child.reason for child in children} == {
        "NSGA-II: a child of trial 0 and trial 1",
        "NSGA-II: a child of trial 1 and trial 0",
    }


def test_a_region_that_fails_is_left():
    """Of 100 random configs 60 would fail."""
    trials = run(NSGASearch(), SQUARE, lambda c: None if c["x"] > 0.4 else corner(c), 100)
    assert sum(trial.metrics is None for trial in trials[20:]) < 30


def test_a_grid_is_kept_to_and_a_finite_space_exhausted():
    trials = run(NSGASearch(), {"x": uniform(0, 1), "y": grid_search([0.0, 0.5])}, corner, 30)
    assert [trial.config["y"] for trial in trials] == [0.0, 0.5] * 15
    assert len(run(NSGASearch(), {"x": choice([0.0, 0.5, 1.0]), "y": choice([0.0, 1.0])}, corner, 20)) == 6
