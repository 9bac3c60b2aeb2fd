import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpaceError
from tunesmith.protocols import History
from tunesmith.rng import generator
from tunesmith.searchers import BasicVariantGenerator, RandomSearch
from tunesmith.space import Space, choice, grid_search, loguniform, randint, sample_from, uniform
from tunesmith.trial import Trial

SPACE = Space({"lr": loguniform(1e-4, 1e-1), "layers": randint(1, 5), "seed": 7})
GRID = Space({"lr": uniform(0, 1), "opt": grid_search(["adam", "sgd"]), "width": grid_search([1, 2, 3])})
NESTED = Space(
    {
        "model": {
            "kind": choice(["mlp", {"depth": randint(1, 9), "drop": uniform(0, 1)}]),
            "bias": choice([True, False]),
        },
        "twice": sample_from(lambda config: config["model"]["bias"] * 2),
        "sizes": [randint(0, 5), randint(5, 9)],
    }
)


def make_history(space, n_trials=0, seed=3) -> History:
    trials = tuple(Trial(index=i, trial_id=f"t{i}", config={}) for i in range(n_trials))
    return History(space=space, objective=None, seed=seed, trials=trials)


def suggest(searcher, space, n, n_trials=0, seed=3):
    return searcher.suggest(make_history(space, n_trials, seed), generator(seed, "search", n_trials), n)


def configs(searcher, space, n, n_trials=0, seed=3):
    return [suggestion.config for suggestion in suggest(searcher, space, n, n_trials, seed)]


def test_trial_i_gets_sample_i_of_the_space():
    suggestions = suggest(RandomSearch(), SPACE, 3, n_trials=12)
    assert [s.config for s in suggestions] == [SPACE.sample(3, i) for i in (12, 13, 14)]
    assert [s.reason for s in suggestions] == ["random sample 12", "random sample 13", "random sample 14"]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 2**32 - 1), st.booleans())
def test_configs_do_not_depend_on_how_many_are_asked_for_at_once(sizes, seed, has_points):
    searcher = RandomSearch([{"opt": "sgd", "lr": 0.5}, {"width": 2}] if has_points else None)
    one_by_one = []
    for size in sizes:
        one_by_one += configs(searcher, GRID, size, n_trials=len(one_by_one), seed=seed)
    assert one_by_one == configs(RandomSearch(searcher.points._points), GRID, sum(sizes), seed=seed)


def test_suggesting_leaves_no_trace_in_the_searcher():
    searcher = RandomSearch([{"lr": 0.01}])
    before = copy.deepcopy(vars(searcher.points))
    suggest(searcher, SPACE, 3)
    assert vars(searcher.points) == before


def test_whole_grid_comes_before_its_repetition_and_the_reason_says_where():
    suggestions = suggest(RandomSearch(), GRID, 12)
    cells = [(s.config["opt"], s.config["width"]) for s in suggestions]
    assert len(set(cells[:6])) == 6
    assert cells[:6] == cells[6:]
    assert suggestions[8].reason == "random sample 8, grid point 3 of 6"


def test_results_are_not_used():
    assert RandomSearch().uses_results is False
    assert BasicVariantGenerator is RandomSearch


# ---------------------------------------------------------------- points_to_evaluate


def test_point_takes_the_place_of_one_sample_and_the_rest_is_unchanged():
    suggestions = suggest(RandomSearch([{"lr": 0.01, "layers": 2, "seed": 7}, {"layers": 4}]), SPACE, 4)
    assert suggestions[0].config == {"lr": 0.01, "layers": 2, "seed": 7}
    assert suggestions[1].config["layers"] == 4
    assert 1e-4 <= suggestions[1].config["lr"] <= 1e-1
    assert [s.config for s in suggestions[2:]] == [SPACE.sample(3, 2), SPACE.sample(3, 3)]
    assert suggestions[1].reason == "point 2 of 2 to evaluate"


def test_single_point_may_stand_without_a_list():
    assert configs(RandomSearch({"layers": 3}), SPACE, 1)[0]["layers"] == 3


def test_nested_points_are_merged_and_dependent_values_see_them():
    (config,) = configs(RandomSearch([{"model": {"bias": True}, "sizes": [0, 8]}]), NESTED, 1)
    assert config["model"]["bias"] is True
    assert config["twice"] == 2
    assert config["sizes"] == [0, 8]
    assert "kind" in config["model"]


def test_option_with_domains_is_given_whole():
    (config,) = configs(RandomSearch([{"model": {"kind": {"depth": 3, "drop": 0.5}}}]), NESTED, 1)
    assert config["model"]["kind"] == {"depth": 3, "drop": 0.5}


def test_value_of_sample_from_can_be_given():
    assert configs(RandomSearch([{"twice": 99}]), NESTED, 1)[0]["twice"] == 99


@pytest.mark.parametrize(
    ("space", "point", "field"),
    [
        (SPACE, {"lr": 5.0}, "'lr'"),
        (SPACE, {"lr": math.nan}, "'lr'"),
        (SPACE, {"lr": "0.01"}, "'lr'"),
        (SPACE, {"layers": 2.5}, "'layers'"),
        (SPACE, {"learning_rate": 0.01}, "'learning_rate'"),
        (SPACE, {"seed": 8}, "'seed'"),
        (NESTED, {"model": {"kind": "cnn"}}, "'model/kind'"),
        (NESTED, {"model": {"kind": {"depth": 30, "drop": 0.5}}}, "depth"),
        (NESTED, {"model": 3}, "'model'"),
        (NESTED, {"sizes": [0]}, "'sizes'"),
        (GRID, {"width": 4}, "'width'"),
    ],
)
def test_point_outside_the_space_is_refused_before_the_first_trial_naming_the_field(space, point, field):
    with pytest.raises(SpaceError, match=rf"points_to_evaluate\[1\].*{field}"):
        suggest(RandomSearch([{}, point]), space, 1)


def test_point_that_is_no_dict_is_refused_at_once():
    with pytest.raises(SpaceError, match=r"points_to_evaluate\[0\] is 3"):
        RandomSearch([3])


def test_no_grid_point_is_lost_to_a_point_to_evaluate():
    """The point takes the place of the grid points that agree with it: here one of six, then three of six."""
    suggestions = suggest(RandomSearch([{"opt": "sgd", "width": 2, "lr": 0.25}, {"opt": "adam", "lr": 0.75}]), GRID, 12)
    for repetition in (suggestions[:6], suggestions[6:]):
        assert len({(s.config["opt"], s.config["width"]) for s in repetition}) == 6
    assert [s.config["lr"] == 0.25 for s in suggestions[:6]].count(True) == 1
    assert {s.config["width"] for s in suggestions[6:] if s.config["lr"] == 0.75} == {1, 2, 3}
    assert all(s.config["opt"] == "adam" for s in suggestions[6:] if s.config["lr"] == 0.75)
