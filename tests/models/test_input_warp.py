from __future__ import annotations

import numpy as np
import pytest

from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import Features, fit_theta, log_likelihood
from tunesmith.models.input_warp import InputWarp, find_warp, kumaraswamy
from tunesmith.models.warp import warp_losses
from tunesmith.space import Space, choice, uniform


def test_the_shapes_run_from_0_to_1_and_keep_the_order():
    u = np.linspace(0, 1, 101)
    for shape in ((0.35, 1.0), (1.0, 3.0), (2.0, 0.5)):
        bent = kumaraswamy(u, *shape)
        assert (bent[0], bent[-1]) == (0.0, 1.0)
        assert (np.diff(bent) > 0).all()
    assert kumaraswamy(np.array([0.25]), 0.5, 1.0)[0] == pytest.approx(0.5)
    assert np.isnan(kumaraswamy(np.array([np.nan]), 2.0, 1.0)[0])


def found(objective, n=60, seed=0):
    cube = Cube(Space({"x": uniform(0, 1), "y": uniform(0, 1), "o": choice(["a", "b"])}), seed=0)
    rows = cube.sample(np.random.default_rng(seed), n)
    y = warp_losses(objective(rows[:, 0], rows[:, 1]))
    return cube, rows, y, fit_theta(cube, rows, y)


def test_a_column_that_is_steep_at_its_lower_end_gets_more_room_there_and_the_likelihood_gains():
    cube, rows, y, theta = found(lambda x, y: np.sin(12 * x**0.3) + 0.3 * y)
    warp = find_warp(cube, rows, y, theta)
    assert warp.shapes[0][0] < 1.0 or warp.shapes[0][1] > 1.0
    assert 2 not in warp.shapes
    weights = np.exp(-2 * theta[:-2])

    def likelihood(r):
        return log_likelihood(np.tensordot(weights, Features(cube, r).distances(), axes=1), y, theta)

    assert likelihood(warp(rows)) > likelihood(rows) + 2.0


def test_a_straight_column_stays_as_it_is():
    cube, rows, y, theta = found(lambda x, y: np.sin(4 * x) + y)
    assert 0 not in find_warp(cube, rows, y, theta).shapes


def test_without_shapes_rows_are_returned_as_they_are():
    rows = np.array([[0.1, np.nan]])
    assert InputWarp()(rows) is rows
    assert InputWarp({0: (0.5, 1.0)})(rows)[0, 0] == pytest.approx(0.1**0.5)
    assert rows[0, 0] == 0.1
