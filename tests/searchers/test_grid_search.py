import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import ConfigError
from tunesmith.protocols import Exhausted, History
from tunesmith.rng import generator
from tunesmith.searchers import GridSearch
from tunesmith.space import Space, choice, grid_search, lograndint, loguniform, randint, randn, sample_from, uniform
from tunesmith.trial import Trial


def suggest(searcher, space, n, n_trials=0):
    trials = tuple(Trial(index=i, trial_id=f"t{i}", config={}) for i in range(n_trials))
    history = History(space=space, objective=None, seed=3, trials=trials)
    return searcher.suggest(history, generator(3, "search", n_trials), n)


def all_configs(searcher, tree):
    return [s.config for s in suggest(searcher, Space(tree), 10_000)]


@pytest.mark.parametrize(
    ("tree", "values"),
    [
        ({"a": uniform(0, 1)}, [0.125, 0.375, 0.625, 0.875]),
        ({"a": loguniform(1e-4, 1)}, pytest.approx([10**-3.5, 10**-2.5, 10**-1.5, 10**-0.5])),
        ({"a": randint(0, 7)}, [0, 1, 2, 3, 4, 5, 6]),
        ({"a": lograndint(1, 10)}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"a": randint(0, 80)}, [10, 30, 50, 70]),
        ({"a": choice(list("abcdefghijklmnopqrstuvwxyz"))}, list("abcdefghijklmnopqrstuvwxyz")),
        ({"a": grid_search([3, "x", None])}, [3, "x", None]),
        ({"a": uniform(2, 2)}, [2.0]),
        ({"a": 5}, [5]),
        ({"a": randn(0, 1)}, pytest.approx([-1.15035, -0.31864, 0.31864, 1.15035], abs=1e-5)),
    ],
)
def test_axis_has_all_values_or_the_middles_of_equal_cells(tree, values):
    assert [config["a"] for config in all_configs(GridSearch(n_points=4), tree)] == values


def test_first_leaf_varies_fastest_and_the_reason_counts_from_one():
    suggestions = suggest(
        GridSearch(), Space({"a": choice([1, 2]), "b": {"c": choice(["x", "y", "z"])}}), 4, n_trials=2
    )
    assert [(s.config["a"], s.config["b"]["c"]) for s in suggestions] == [(1, "y"), (2, "y"), (1, "z"), (2, "z")]
    assert suggestions[0].reason == "grid point 3 of 6"


def test_option_that_holds_domains_has_a_grid_of_its_own():
    tree = {"opt": choice(["none", {"m": choice([1, 2]), "n": choice([3, 4])}, uniform(0, 1)]), "x": choice([0, 1])}
    configs = all_configs(GridSearch(n_points=2), tree)
    options = ["none", {"m": 1, "n": 3}, {"m": 2, "n": 3}, {"m": 1, "n": 4}, {"m": 2, "n": 4}, 0.25, 0.75]
    assert configs == [{"opt": option, "x": x} for x in (0, 1) for option in options]
    assert GridSearch(n_points=2).count(Space(tree)) == 14


def test_sample_from_is_called_for_each_point_and_is_no_axis():
    tree = {"a": choice([1, 2, 3]), "double": sample_from(lambda config: config["a"] * 2)}
    assert [config["double"] for config in all_configs(GridSearch(), tree)] == [2, 4, 6]


def test_grid_ends_in_exhausted():
    space = Space({"a": choice([1, 2, 3])})
    assert len(suggest(GridSearch(), space, 8, n_trials=1)) == 2
    assert suggest(GridSearch(), space, 1, n_trials=3) == Exhausted("all 3 points of the grid were proposed")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.lists(st.integers(1, 7), min_size=1, max_size=9))
def test_every_point_comes_exactly_once_however_many_are_asked_for_at_once(sizes, requests):
    space = Space({f"a{i}": choice(range(size)) for i, size in enumerate(sizes)})
    seen, searcher = [], GridSearch()
    for n in [*requests, 10_000]:
        answer = suggest(searcher, space, n, n_trials=len(seen))
        seen += [] if isinstance(answer, Exhausted) else [tuple(s.config.values()) for s in answer]
    assert len(seen) == len(set(seen)) == space.cardinality


@pytest.mark.parametrize("arguments", [{"n_points": 0}, {"n_points": 2.5}, {"n_points": True}, {"max_values": 0}])
def test_count_below_one_is_refused(arguments):
    with pytest.raises(ConfigError, match="Give a whole number of 1 or more"):
        GridSearch(**arguments)


def test_points_that_break_a_constraint_are_passed_over():
    space = Space({"a": randint(0, 3), "b": randint(0, 3)}, [lambda config: config["a"] < config["b"]])
    found = [suggest(GridSearch(), space, 2, n_trials) for n_trials in (0, 2, 3)]
    proposed = [(one.config["a"], one.config["b"]) for answer in found[:2] for one in answer]
    assert proposed == [(0, 1), (0, 2), (1, 2)]
    assert found[2] == Exhausted("all 3 points of the grid were proposed")


def test_a_grid_that_no_constraint_lets_through_is_exhausted_at_once():
    space = Space({"a": randint(0, 3)}, [lambda config: config["a"] > 5])
    assert suggest(GridSearch(), space, 2) == Exhausted("all 0 points of the grid were proposed")


def test_points_of_a_large_grid_are_found_though_all_its_neighbours_break_a_constraint():
    leaves = {**{f"p{i}": uniform(0, 1) for i in range(8)}, "a": uniform(0, 1), "b": uniform(0, 1)}
    space = Space(leaves, [lambda config: config["a"] < config["b"]])
    found = suggest(GridSearch(), space, 40)
    assert len(found) == 40
    assert all(one.config["a"] < one.config["b"] for one in found)
    assert len({tuple(one.config.values()) for one in found}) == 40


def test_a_large_grid_with_a_constraint_is_gone_through_once():
    space = Space({"a": randint(0, 20), "b": randint(0, 20), "c": randint(0, 7)}, [lambda config: config["a"] == 3])
    found = suggest(GridSearch(), space, 1_000)
    assert {(one.config["b"], one.config["c"]) for one in found} == {(b, c) for b in range(20) for c in range(7)}
    assert len(found) == 140
