from __future__ import annotations

import numpy as np
import pytest

from tunesmith.models.cube import Cube
from tunesmith.models.forest import Forest, _parted
from tunesmith.space import Space, choice, uniform


@pytest.fixture
def cube():
    return Cube(Space({"x": uniform(0, 1), "y": uniform(0, 1), "o": choice(list("abcdefgh"))}), seed=0)


def truth(rows):
    return np.where(rows[:, 0] > 0.3, 1.0, 0.0) + rows[:, 1] + 2.0 * np.isin(rows[:, 2], (1.0, 4.0, 6.0))


def test_it_fits_what_it_has_seen_and_is_sure_of_it(cube):
    rows = cube.sample(np.random.default_rng(0), 80)
    mean, sd = Forest(cube, rows, truth(rows), np.random.default_rng(1)).predict(rows)
    assert np.allclose(mean, truth(rows))
    assert sd.max() < 1e-3


def test_it_predicts_steps_and_groups_of_options_as_well_as_the_library(cube):
    from sklearn.ensemble import ExtraTreesRegressor

    rng = np.random.default_rng(0)
    rows, new = cube.sample(rng, 300), cube.sample(rng, 1000)
    mean, _ = Forest(cube, rows, truth(rows), np.random.default_rng(1)).predict(new)
    theirs = ExtraTreesRegressor(40, max_features=1.0, random_state=0).fit(rows, truth(rows)).predict(new)
    errors = [float(np.sqrt(np.mean((found - truth(new)) ** 2))) for found in (mean, theirs)]
    assert errors[0] < 1.1 * errors[1]
    assert np.corrcoef(mean, truth(new))[0, 1] > 0.95


def test_it_is_less_sure_where_it_has_seen_nothing(cube):
    rows = cube.sample(np.random.default_rng(0), 200)
    rows[:, 0] *= 0.5
    new = cube.sample(np.random.default_rng(1), 200)
    _, sd = Forest(cube, rows, np.sin(6 * rows[:, 0]) + rows[:, 1], np.random.default_rng(1)).predict(new)
    near, far = sd[new[:, 0] < 0.4].mean(), sd[new[:, 0] > 0.6].mean()
    assert sd.min() > 0
    assert near < 1.5 * far


def test_equal_generators_grow_equal_forests_and_constant_results_no_tree(cube):
    rows = cube.sample(np.random.default_rng(0), 50)
    one, two = (Forest(cube, rows, truth(rows), np.random.default_rng(5)).predict(rows[:7]) for _ in range(2))
    assert np.array_equal(one, two)
    mean, _ = Forest(cube, rows, np.full(50, 3.0), np.random.default_rng(0)).predict(rows)
    assert (mean == 3.0).all()


def test_inactive_leaves_are_a_value_of_their_own():
    cube = Cube(Space({"m": choice([{"k": "a", "z": uniform(0, 1)}, "b"])}), seed=0)
    rows = cube.sample(np.random.default_rng(0), 100)
    y = np.where(np.isnan(rows[:, 1]), 5.0, np.nan_to_num(rows[:, 1]))
    mean, _ = Forest(cube, rows, y, np.random.default_rng(0)).predict(rows)
    assert np.allclose(mean, y)


def test_steps_within_steps_are_predicted_as_well_as_by_the_library():
    """Steps within steps, where only the right column of the few parts well; with noise."""
    from sklearn.ensemble import ExtraTreesRegressor

    cube = Cube(Space({f"x{i}": uniform(0, 1) for i in range(10)}), seed=0)

    def steps(rows):
        return 2 * np.floor(4 * rows[:, 0]) + 5 * (rows[:, 1] > 0.7) * rows[:, 2] + (rows[:, 3] < 0.3)

    rng = np.random.default_rng(0)
    rows, new = cube.sample(rng, 300), cube.sample(rng, 1000)
    y = steps(rows) + rng.normal(0.0, 0.2, 300)
    mean, _ = Forest(cube, rows, y, np.random.default_rng(1)).predict(new)
    theirs = ExtraTreesRegressor(40, max_features=1.0, random_state=0).fit(rows, y).predict(new)
    errors = [float(np.sqrt(np.mean((found - steps(new)) ** 2))) for found in (mean, theirs)]
    assert errors[0] < 1.15 * errors[1]


def test_a_split_leaves_every_sample_with_its_node():
    """Two nodes of three and two samples: the left child's samples come first, in the order in which they stood."""
    is_left = np.array([False, True, True, True, False])
    samples, counts = _parted(np.array([10, 11, 12, 20, 21]), np.array([3, 2]), is_left)
    assert samples.tolist() == [11, 12, 10, 20, 21]
    assert counts.tolist() == [2, 1, 1, 1]


def test_rows_counted_as_observed_at_their_mean_make_the_trees_agree_and_move_no_mean_there(cube):
    rng = np.random.default_rng(0)
    rows, open_rows = cube.sample(rng, 60), cube.sample(rng, 5)
    forest = Forest(cube, rows, truth(rows), np.random.default_rng(1))
    mean, sd = forest.predict(open_rows)
    forest.condition(open_rows[:1])
    new_mean, new_sd = forest.predict(open_rows)
    # Leaves hold one sample or more: half of the way to the common mean, at most.
    assert new_mean[0] == pytest.approx(mean[0])
    assert 0.5 * sd[0] - 1e-6 <= new_sd[0] < 0.9 * sd[0]
    assert sd[0] > 0.1
    forest.condition(np.repeat(open_rows[:1], 200, axis=0))
    assert forest.predict(open_rows[:1])[1][0] < 0.05 * sd[0]
