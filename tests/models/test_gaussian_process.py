"""The Gaussian process against the textbook's formulas, written plainly."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import (
    Features,
    GaussianProcess,
    Prior,
    _negative_log_posterior,
    factor_with_jitter,
    fit_theta,
    matern52,
)
from tunesmith.space import Space, choice, uniform

SPACE = {
    "x": uniform(0, 1),
    "model": choice([{"kind": "a", "depth": uniform(0, 1)}, {"kind": "b"}]),
    "y": uniform(0, 1),
}


@pytest.fixture
def cube():
    return Cube(Space(SPACE), seed=0)


def data(cube, n, seed=0):
    rng = np.random.default_rng(seed)
    rows = cube.sample(rng, n)
    return rows, np.sin(5 * rows[:, cube.names.index("x")]) + 0.1 * rng.normal(size=n)


def plain_covariance(cube, a, b, theta):
    """The covariance of two rows by the module's definition, one column after the other."""
    r2 = 0.0
    for j in range(cube.d):
        if cube.is_categorical[j]:
            distance = float(a[j] != b[j])
        elif np.isnan(a[j]) and np.isnan(b[j]):
            distance = 0.0
        elif np.isnan(a[j]) or np.isnan(b[j]):
            known = b[j] if np.isnan(a[j]) else a[j]
            distance = (known - 0.5) ** 2 + 0.25
        else:
            distance = (a[j] - b[j]) ** 2
        r2 += distance / np.exp(theta[j]) ** 2
    r = np.sqrt(5 * r2)
    return np.exp(theta[-2]) * (1 + r + r**2 / 3) * np.exp(-r)


def test_the_posterior_is_that_of_the_plain_formulas(cube):
    rows, y = data(cube, 12)
    new, _ = data(cube, 5, seed=1)
    theta = np.array([-0.5, 0.3, 0.1, -0.2, 0.2, -3.0])[: cube.d + 2]
    K = np.array([[plain_covariance(cube, a, b, theta) for b in rows] for a in rows])
    K += (np.exp(theta[-1]) + 1e-8 * np.exp(theta[-2])) * np.eye(len(rows))
    k = np.array([[plain_covariance(cube, a, b, theta) for b in new] for a in rows])
    mean, sd = GaussianProcess(cube, rows, y, theta).predict(new)
    assert np.allclose(mean, k.T @ np.linalg.solve(K, y))
    variance = np.exp(theta[-2]) - np.einsum("ij,ij->j", k, np.linalg.solve(K, k))
    assert np.allclose(sd**2, variance)


def test_the_gradient_is_that_of_finite_differences(cube):
    rows, y = data(cube, 15)
    distances = Features(cube, rows).distances().reshape(cube.d, -1)
    prior = Prior.for_cube(cube)
    theta = prior.mean + 0.3 * np.random.default_rng(1).normal(size=len(prior.mean))
    _, gradient = _negative_log_posterior(theta, distances, y, prior)
    for i in range(len(theta)):
        step = np.zeros_like(theta)
        step[i] = 1e-5
        up, down = (_negative_log_posterior(theta + s, distances, y, prior)[0] for s in (step, -step))
        assert gradient[i] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-5)


def test_fitting_lowers_the_negative_log_posterior_and_finds_the_column_that_matters(cube):
    rows, y = data(cube, 60)
    theta = fit_theta(cube, rows, (y - y.mean()) / y.std())
    x, other = cube.names.index("x"), cube.names.index("y")
    assert theta[x] < theta[other] - 0.5


def test_pending_rows_lower_the_variance_and_move_no_mean(cube):
    rows, y = data(cube, 10)
    new, _ = data(cube, 6, seed=2)
    theta = fit_theta(cube, rows, y)
    model = GaussianProcess(cube, rows, y, theta)
    mean, sd = model.predict(new)
    model.condition(new[:2])
    model.condition(new[2:3])
    mean_after, sd_after = model.predict(new)
    assert np.allclose(mean_after, mean)
    assert (sd_after <= sd + 1e-9).all()
    assert (sd_after[:3] < 0.9 * sd[:3]).all()
    believed = GaussianProcess(cube, np.concatenate([rows, new[:3]]), np.concatenate([y, mean[:3]]), theta)
    assert np.allclose(believed.predict(new)[1], sd_after, atol=1e-6)


def test_the_matern_covariance_falls_from_its_variance_to_nothing():
    values = matern52(np.array([0.0, 1.0, 4.0, 1e6]), 2.0)
    assert values[0] == 2.0
    assert (np.diff(values) < 0).all()
    assert values[-1] == pytest.approx(0.0, abs=1e-100)


def test_many_columns_and_rows_are_fitted_on_a_part_of_them():
    cube = Cube(Space({f"x{i}": uniform(0, 1) for i in range(150)}), seed=0)
    rows = cube.sample(np.random.default_rng(0), 400)
    theta = fit_theta(cube, rows, rows[:, 0] - rows[:, 0].mean(), max_iterations=3)
    assert theta.shape == (152,)
    assert np.isfinite(theta).all()


def test_a_covariance_that_rounding_has_spoilt_is_factored_with_as_little_noise_as_it_takes():
    spoilt = np.ones((3, 3))
    spoilt[0, 0] -= 1e-6
    factor = factor_with_jitter(spoilt.copy(), 1.0)
    assert np.allclose(factor @ factor.T, spoilt, atol=1e-4)
    with pytest.raises(np.linalg.LinAlgError):
        factor_with_jitter(-np.eye(3), 1.0)


def test_equal_rows_with_unequal_results_are_no_hindrance(cube):
    rows, y = data(cube, 8)
    twice, both = np.concatenate([rows, rows]), np.concatenate([y, y + 0.5])
    mean, sd = GaussianProcess(cube, twice, both, fit_theta(cube, twice, both)).predict(rows)
    assert np.isfinite(mean).all()
    assert np.abs(mean - y - 0.25).max() < 0.6
    assert (sd > 0).all()
