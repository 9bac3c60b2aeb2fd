from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.protocols import Exhausted
from tunesmith.searchers import SobolSearch
from tunesmith.space import Space, choice, grid_search, randint, sample_from, uniform

from .drive import ask, gain_over_random, history_of, run

SQUARE = {"x": uniform(0, 1), "y": uniform(0, 1)}
FINITE = {"a": randint(0, 3), "o": choice([{"k": "a", "n": randint(0, 2)}, {"k": "b"}])}
GRID = {"x": uniform(0, 1), "g": grid_search(["a", "b", "c"])}


def configs(searcher, space, n, *, seed=0, step=1):
    return [trial.config for trial in run(searcher, space, lambda c: 0.0, n, seed=seed, n_workers=step)]


def test_16_points_fill_every_cell_of_a_4_by_4_grid_and_of_16_by_1():
    points = np.array([[c["x"], c["y"]] for c in configs(SobolSearch(), SQUARE, 16)])
    assert len({tuple(cell) for cell in np.floor(points * 4)}) == 16
    assert sorted(np.floor(points[:, 0] * 16)) == list(range(16))


def test_each_seed_has_other_points():
    assert configs(SobolSearch(), SQUARE, 1, seed=1) != configs(SobolSearch(), SQUARE, 1, seed=2)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([SQUARE, FINITE, GRID]), st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_a_point_depends_on_the_seed_and_its_number_only(space, seed, step):
    one_by_one = configs(SobolSearch([{}]), space, 8, seed=seed)
    assert configs(SobolSearch([{}]), space, 8, seed=seed, step=step) == one_by_one
    later = ask(
        SobolSearch([{}]), history_of(space, run(SobolSearch([{}]), space, lambda c: 0.0, 6, seed=seed), seed=seed)
    )
    assert later[0].config == one_by_one[6]


def test_a_finite_space_comes_once_and_then_is_exhausted():
    trials = run(SobolSearch(), FINITE, lambda c: 0.0, 50)
    assert len({str(trial.config) for trial in trials}) == len(trials) == 9
    answer = ask(SobolSearch(), history_of(FINITE, trials))
    assert isinstance(answer, Exhausted) and "9 at most" in answer.reason


def test_a_given_point_is_not_proposed_again():
    point = {"a": 2, "o": {"k": "b"}}
    found = configs(SobolSearch([point]), FINITE, 50)
    assert found[0] == point
    assert len(found) == 9 and found.count(point) == 1


def test_the_last_configs_of_a_space_that_quasi_random_points_hardly_reach_are_found():
    """One of 4,000 configs lies within an option that 1 point in 2 chooses, 3,999 within the other."""
    space = {"o": choice([{"k": "a", "n": randint(0, 3_999)}, {"k": "b"}])}
    assert len(configs(SobolSearch(), space, 5_000, step=500)) == 4_000


def test_cells_of_a_grid_get_the_same_points():
    found = configs(SobolSearch(), GRID, 9)
    assert [c["g"] for c in found] == ["a", "b", "c"] * 3
    assert [c["x"] for c in found[::3]] == [c["x"] for c in found[1::3]]
    assert len({c["x"] for c in found}) == 3


def test_a_grid_alone_is_repeated():
    assert configs(SobolSearch(), {"g": grid_search([1, 2])}, 5) == [{"g": g} for g in (1, 2, 1, 2, 1)]


def test_points_that_break_a_constraint_are_left_out():
    space = Space(SQUARE, [lambda c: c["x"] < c["y"]])
    found = configs(SobolSearch(), space, 40)
    assert len(found) == 40
    assert all(c["x"] < c["y"] for c in found)


def test_a_space_that_allows_nothing_is_exhausted():
    answer = ask(SobolSearch(), history_of(Space({"x": uniform(0, 1)}, [lambda c: False])))
    assert isinstance(answer, Exhausted) and "meets the constraints" in answer.reason


def test_values_of_functions_differ_while_there_are_new_ones_and_repeat_then():
    found = configs(SobolSearch(), {"n": sample_from(lambda _: int(np.random.randint(4)))}, 10)
    assert sorted(c["n"] for c in found[:4]) == [0, 1, 2, 3]
    assert len(found) == 10


def test_it_covers_better_than_random_search():
    """The best of 64 points nearest to a place in the square, 20 fixed seeds: on average clearly nearer."""
    gains = gain_over_random(SobolSearch, SQUARE, lambda c: max(abs(c["x"] - 0.37), abs(c["y"] - 0.61)), 64, n_seeds=20)
    assert np.mean(gains) > 0.05


def test_the_reason_counts_the_points():
    reasons = [s.reason for s in ask(SobolSearch([{"x": 0.5, "y": 0.5}]), history_of(SQUARE), 3)]
    assert reasons == [
        "point 1 of 1 to evaluate",
        "point 1 of a Sobol sequence",
        "point 2 of a Sobol sequence",
    ]


@pytest.mark.parametrize("d", [1, 200])
def test_few_and_many_dimensions_are_no_problem(d):
    assert len(configs(SobolSearch(), {f"x{i}": uniform(0, 1) for i in range(d)}, 5)) == 5
