from __future__ import annotations

import numpy as np
import pytest

from tunesmith.models.time_varying import (
    Hyperparameters,
    Observations,
    choose_next,
    covariance,
    likeliest,
    log_likelihood,
    posterior,
)

THETA = Hyperparameters(scales=np.array([0.3, 0.8]), noise=0.1, eps=0.2)


def seen(n=12, d=2, seed=0):
    rng = np.random.default_rng(seed)
    return Observations(rng.random((n, d)), np.arange(n, dtype=float), rng.normal(size=n))


def test_the_covariance_is_the_papers():
    x, other = np.array([[0.1, 0.2]]), np.array([[0.4, 0.9]])
    expected = np.exp(-0.5 * ((0.3 / 0.3) ** 2 + (0.7 / 0.8) ** 2)) * 0.8 ** (0.5 * 3)
    assert covariance(THETA, x, np.array([1.0]), other, np.array([4.0])) == pytest.approx(expected)


def test_the_likelihood_is_that_of_a_normal_distribution():
    data = seen()
    k = covariance(THETA, data.x, data.t, data.x, data.t) + (0.1 + 1e-8) * np.eye(12)
    expected = -0.5 * (data.y @ np.linalg.inv(k) @ data.y + np.linalg.slogdet(2 * np.pi * k)[1])
    assert log_likelihood(THETA, data) == pytest.approx(expected)


def test_the_posterior_is_the_conditional_normal_distribution():
    data, x = seen(), np.random.default_rng(1).random((5, 2))
    k = covariance(THETA, data.x, data.t, data.x, data.t) + (0.1 + 1e-8) * np.eye(12)
    cross = covariance(THETA, data.x, data.t, x, np.full(5, 12.0))
    mean, std = posterior(THETA, data, x, 12.0)
    assert mean == pytest.approx(cross.T @ np.linalg.inv(k) @ data.y)
    assert std**2 == pytest.approx(1.0 - np.diag(cross.T @ np.linalg.inv(k) @ cross))


def test_what_is_long_past_says_nothing():
    data = Observations(np.array([[0.5, 0.5]]), np.array([0.0]), np.array([3.0]))
    mean, std = posterior(THETA, data, np.array([[0.5, 0.5]]), 1000.0)
    assert (mean[0], std[0]) == pytest.approx((0.0, 1.0))


def test_without_forgetting_the_function_stands_still():
    still = Hyperparameters(THETA.scales, 1e-6, 0.0)
    data = Observations(np.array([[0.5, 0.5]]), np.array([0.0]), np.array([3.0]))
    mean, _ = posterior(still, data, np.array([[0.5, 0.5]]), 1e6)
    assert mean[0] == pytest.approx(3.0, rel=1e-4)


def test_the_likeliest_draw_explains_the_data_better_than_the_average_draw():
    rng = np.random.default_rng(3)
    x = rng.random((40, 1))
    data = Observations(x, np.zeros(40), np.sin(6 * x[:, 0]))
    found = likeliest(data, np.random.default_rng(0))
    assert found.noise < 0.1
    assert log_likelihood(found, data) > log_likelihood(Hyperparameters(np.array([3.0]), 0.5, 0.2), data)


def test_the_best_place_is_chosen_where_enough_is_known():
    grid = np.linspace(0.0, 1.0, 60)[:, None]
    data = Observations(grid, np.zeros(60), -((grid[:, 0] - 0.7) ** 2))
    best = choose_next(data, grid, 0.0, pending=np.empty((0, 1)), rng=np.random.default_rng(0))
    assert grid[best, 0] == pytest.approx(0.7, abs=0.15)


def test_what_others_try_is_not_tried_again():
    data = Observations(np.array([[0.0], [0.1], [0.2], [0.3]]), np.zeros(4), np.zeros(4))
    candidates = np.array([[0.45], [1.0]])
    alone = choose_next(data, candidates, 0.0, pending=np.empty((0, 1)), rng=np.random.default_rng(0))
    assert alone == 1
    other = choose_next(data, candidates, 0.0, pending=np.array([[1.0]]), rng=np.random.default_rng(0))
    assert other == 0


def test_equal_values_and_equal_rows_do_no_harm():
    data = Observations(np.zeros((10, 2)), np.zeros(10), np.ones(10))
    best = choose_next(data, np.zeros((3, 2)), 1.0, pending=np.zeros((4, 2)), rng=np.random.default_rng(0))
    assert best == 0
