from __future__ import annotations

import numpy as np
import pytest
from campaigns.search.histories import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.models.cube import Cube
from tunesmith.models.parzen import MIN_WIDTH, ParzenDensity, column_groups, evenly_thinned, kernel_width
from tunesmith.space import Space, choice, randint, uniform


def density(cube, rows, at):
    return np.exp(ParzenDensity(cube, np.array(rows, float)).log_density(np.array(at, float)))


def test_one_number_has_one_cut_off_normal_kernel_and_an_even_one():
    """0.5 * phi(0) / 0.2 / (Phi(2.5) - Phi(-2.5)) + 0.5 at the centre, phi(2.5) instead at the border."""
    found = density(Cube(Space({"x": uniform(0, 1)}), seed=0), [[0.5]], [[0.5], [1.0]])
    assert found == pytest.approx([1.5098979, 0.5443728], abs=1e-6)


def test_an_option_that_was_observed_counts_once_and_all_together_once():
    """4 options, 2 kernels: weights 1/2 each and 1 more for the observed one, so 1/2 and 1/6; half of it even."""
    found = density(Cube(Space({"c": choice(list("abcd"))}), seed=0), [[2.0]], [[0.0], [1.0], [2.0], [3.0]])
    assert found == pytest.approx([0.208333333, 0.208333333, 0.375, 0.208333333])


def test_columns_of_one_group_share_their_kernels():
    """Mass where two columns were good together, not where one was good with the other's value."""
    cube = Cube(Space({"x": uniform(0, 1), "y": uniform(0, 1)}), seed=0)
    together, mixed = density(cube, [[0.1, 0.9], [0.9, 0.1]], [[0.1, 0.9], [0.1, 0.1]])
    assert together > 3.0 * mixed


def test_weights_are_those_of_the_kernels():
    cube = Cube(Space({"x": uniform(0, 1)}), seed=0)
    rows = np.array([[0.1], [0.9]])
    heavy, light = ParzenDensity(cube, rows, np.array([1.6, 0.4])).log_density(rows)
    assert heavy > light


def test_without_configs_the_density_is_even():
    cube = Cube(Space({"x": uniform(0, 1), "c": choice(["a", "b"])}), seed=0)
    assert density(cube, np.empty((0, 2)), [[0.3, 0.0], [0.9, 1.0]]) == pytest.approx([0.5, 0.5])


def test_the_density_of_a_conditional_space_sums_to_one():
    cube = Cube(
        Space({"o": choice([{"k": "a", "z": uniform(0, 1)}, {"k": "b"}, {"k": "c", "w": uniform(0, 1)}])}), seed=0
    )
    nan, x = np.nan, (np.arange(2000) + 0.5) / 2000
    parzen = ParzenDensity(cube, np.array([[0, 0.2, nan], [0, 0.3, nan], [1, nan, nan], [2, nan, 0.95]], float))
    with_z = np.stack([np.zeros(2000), x, np.full(2000, nan)], axis=1)
    with_w = np.stack([np.full(2000, 2.0), np.full(2000, nan), x], axis=1)
    total = np.exp(parzen.log_density(with_z)).mean() + np.exp(parzen.log_density(with_w)).mean()
    total += np.exp(parzen.log_density(np.array([[1, nan, nan]]))).sum()
    assert total == pytest.approx(1.0, abs=1e-4)


def test_draws_follow_the_density():
    """100 bins, 200,000 draws: each share is within 6 standard deviations of its probability (1 in 10 million)."""
    cube, rng, n = Cube(Space({"x": uniform(0, 1)}), seed=0), np.random.default_rng(0), 200_000
    parzen = ParzenDensity(cube, np.array([[0.02], [0.3], [0.31]]))
    shares = np.histogram(parzen.sample(cube.sample(rng, n), rng)[:, 0], bins=100, range=(0, 1))[0] / n
    fine = np.exp(parzen.log_density((np.arange(10_000)[:, None] + 0.5) / 10_000)).reshape(100, 100).mean(axis=1) / 100
    assert np.abs(shares - fine).max() < 6.0 * np.sqrt(fine.max() / n)


@settings(max_examples=40, deadline=None)
@given(spaces(), st.integers(0, 1000), st.integers(0, 30))
def test_draws_are_rows_of_the_cube_with_a_finite_density(space, seed, n):
    cube, rng = Cube(space, seed=seed), np.random.default_rng(seed)
    parzen = ParzenDensity(cube, cube.sample(rng, n))
    rows = parzen.sample(cube.sample(rng, 20), rng)
    assert np.isfinite(parzen.log_density(rows)).all()
    assert np.array_equal(rows, cube.complete(rows, rng), equal_nan=True)


def test_kernels_narrow_slowly_and_not_below_the_least_width():
    assert kernel_width(1, 3) == 0.2
    assert kernel_width(32, 1) == pytest.approx(0.1)  # 32 ** (-1/5) is a half
    assert kernel_width(10**6, 1) == MIN_WIDTH


def test_a_kernel_reaches_the_neighbouring_values_of_few():
    """Of 4 values each fills a quarter: a kernel of 0.03 would give the neighbour no chance at all."""
    cube = Cube(Space({"n": randint(0, 4)}), seed=0)
    rows = np.full((10**5, 1), 0.375)
    at, beside = density(cube, rows, [[0.375], [0.625]])
    assert at / beside == pytest.approx(np.exp(2.0), rel=1e-3)  # two standard deviations of half a cell


def test_columns_are_grouped_by_the_option_they_belong_to():
    inner = choice([{"k": 0, "p": uniform(0, 1)}, {"k": 1}])
    space = Space(
        {"a": uniform(0, 1), "o": choice([{"x": uniform(0, 1), "y": inner, "n": 1}, {"z": uniform(0, 1), "n": 2}])}
    )
    cube = Cube(space, seed=0)
    groups = [{cube.names[j] for j in columns} for columns in column_groups(cube)]
    assert groups == [{"a", "o"}, {"o/0/x", "o/0/y"}, {"o/0/y/0/p"}, {"o/1/z"}]


def test_thinning_keeps_the_first_and_the_last():
    rows = np.arange(10.0)[:, None]
    assert evenly_thinned(rows, 4)[:, 0].tolist() == [0.0, 3.0, 6.0, 9.0]
    assert evenly_thinned(rows, 10) is rows
