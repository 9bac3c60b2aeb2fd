"""The process of configs and times against its definition, written plainly."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.models.cube import Cube
from tunesmith.models.curve_process import CurveData, CurveProcess, _NegativeLogPosterior, fit_curves
from tunesmith.models.threads import one_blas_thread
from tunesmith.space import Space, choice, uniform

PLAIN = {"x": uniform(0, 1), "y": uniform(0, 1)}
MIXED = {
    "x": uniform(0, 1),
    "model": choice([{"kind": "a", "depth": uniform(0, 1)}, {"kind": "b"}]),
    "kind": choice(["p", "q", "r"]),
}
EMPTY: dict[str, object] = {}


@pytest.fixture(autouse=True)
def one_thread():
    """As it is used: small matrices are slower with several."""
    with one_blas_thread():
        yield


@pytest.fixture(params=[PLAIN, MIXED, EMPTY], ids=["plain", "mixed", "empty"])
def cube(request):
    return Cube(Space(request.param), seed=0)


def data_of(cube, *, n_trials=6, seed=0):
    """Curves of one to three points, at a few times, of which trials share some."""
    rng = np.random.default_rng(seed)
    rows = cube.sample(rng, n_trials)
    trial = np.repeat(np.arange(n_trials), rng.integers(1, 4, n_trials))
    tau = rng.choice([0.2, 0.5, 0.8, 1.0], len(trial))
    return CurveData(rows, trial.astype(np.intp), tau, rng.normal(size=len(trial)))


def theta_of(cube, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=cube.d) * 0.3, np.array([-0.6, -0.4, -1.5, -0.5, -1.0, -3.0])])


def matern(r):
    return (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)


def distance2(cube, a, b, theta):
    """Squared distance of two rows, one column after the other."""
    total = 0.0
    for j in range(cube.d):
        if cube.is_categorical[j]:
            part = float(a[j] != b[j])
        elif np.isnan(a[j]) and np.isnan(b[j]):
            part = 0.0
        elif np.isnan(a[j]) or np.isnan(b[j]):
            known = b[j] if np.isnan(a[j]) else a[j]
            part = (known - 0.5) ** 2 + 0.25
        else:
            part = (a[j] - b[j]) ** 2
        total += part / np.exp(theta[j]) ** 2
    return total


def covariance(cube, theta, one, other, *, is_same_trial):
    """Of the values of two (row, tau), by the module's definition."""
    s1, s2, s3, lt, lr, _ = np.exp(theta[cube.d :])
    kx = matern(np.sqrt(distance2(cube, one[0], other[0], theta)))
    gap = abs(one[1] - other[1])
    return kx * (s1 + s2 * matern(gap / lt)) + is_same_trial * s3 * matern(gap / lr)


def dense(cube, theta, data):
    """K of the observations, noise and jitter included."""
    at = [(data.rows[t], tau) for t, tau in zip(data.trial, data.tau, strict=True)]
    n = len(at)
    k = [
        [covariance(cube, theta, at[i], at[j], is_same_trial=data.trial[i] == data.trial[j]) for j in range(n)]
        for i in range(n)
    ]
    s1, s2, s3, _, _, noise = np.exp(theta[cube.d :])
    return np.array(k) + (noise + 1e-8 * (s1 + s2 + s3)) * np.eye(n)


def test_trials_that_are_known_are_predicted_by_the_direct_formula(cube):
    data, theta = data_of(cube), theta_of(cube)
    asked, at = np.array([0, 2, 5, 3]), np.array([1.0, 0.4, 1.0, 0.8])
    mean, sd = CurveProcess(cube, data, theta).predict_trials(asked, at)
    k = dense(cube, theta, data)
    cross = np.array(
        [
            [
                covariance(cube, theta, (data.rows[t], tau), (data.rows[a], when), is_same_trial=t == a)
                for a, when in zip(asked, at, strict=True)
            ]
            for t, tau in zip(data.trial, data.tau, strict=True)
        ]
    )
    prior = np.exp(theta[cube.d : cube.d + 3]).sum()
    assert np.allclose(mean, cross.T @ np.linalg.solve(k, data.y), atol=1e-6)
    assert np.allclose(sd**2, prior - np.einsum("ij,ij->j", cross, np.linalg.solve(k, cross)), atol=1e-6)


def test_new_configs_are_predicted_by_the_direct_formula_without_a_trials_own_part(cube):
    data, theta = data_of(cube), theta_of(cube)
    new = cube.sample(np.random.default_rng(5), 4)
    k = dense(cube, theta, data)
    for tau in (1.0, 0.3):
        mean, sd = CurveProcess(cube, data, theta).predict(new, tau=tau)
        cross = np.array(
            [
                [covariance(cube, theta, (data.rows[t], when), (row, tau), is_same_trial=False) for row in new]
                for t, when in zip(data.trial, data.tau, strict=True)
            ]
        )
        prior = np.exp(theta[cube.d : cube.d + 2]).sum()
        assert np.allclose(mean, cross.T @ np.linalg.solve(k, data.y), atol=1e-6)
        assert np.allclose(sd**2, prior - np.einsum("ij,ij->j", cross, np.linalg.solve(k, cross)), atol=1e-6)


def test_the_mean_at_the_observations_is_the_prediction_there(cube):
    data, theta = data_of(cube), theta_of(cube)
    process = CurveProcess(cube, data, theta)
    assert np.allclose(process.mean_at_observations(), process.predict_trials(data.trial, data.tau)[0], atol=1e-6)


def test_counting_on_trials_lowers_the_uncertainty_and_moves_no_mean(cube):
    data, theta = data_of(cube), theta_of(cube)
    before, after = CurveProcess(cube, data, theta), CurveProcess(cube, data, theta)
    after.condition(np.array([1, 4]), np.ones(2))
    everyone, new = np.arange(len(data.rows)), cube.sample(np.random.default_rng(3), 10)
    for ask in (
        lambda process: process.predict_trials(everyone, np.ones(len(everyone))),
        lambda process: process.predict(new),
        lambda process: process.predict(new, tau=0.5),
    ):
        (mean, sd), (mean_after, sd_after) = ask(before), ask(after)
        assert np.allclose(mean, mean_after, atol=1e-9)
        assert np.all(sd_after <= sd + 1e-9)
    counted = np.array([1, 4]), np.ones(2)
    variance, noise = before.predict_trials(*counted)[1] ** 2, np.exp(theta[-1])
    assert np.all(after.predict_trials(*counted)[1] ** 2 <= variance * noise / (variance + noise) + 1e-9)


def test_counting_on_trials_twice_is_counting_on_all_of_them(cube):
    data, theta = data_of(cube), theta_of(cube)
    at_once, one_by_one = CurveProcess(cube, data, theta), CurveProcess(cube, data, theta)
    at_once.condition(np.array([0, 3]), np.ones(2))
    for trial in (0, 3):
        one_by_one.condition(np.array([trial]), np.ones(1))
    new = cube.sample(np.random.default_rng(3), 5)
    assert np.allclose(at_once.predict(new), one_by_one.predict(new))


def test_counting_on_nobody_changes_nothing(cube):
    data, theta = data_of(cube), theta_of(cube)
    process = CurveProcess(cube, data, theta)
    process.condition(np.array([], np.intp), np.array([]))
    assert np.array_equal(process.predict(data.rows), CurveProcess(cube, data, theta).predict(data.rows))


def test_the_gradient_is_that_of_finite_differences(cube):
    data, theta = data_of(cube, n_trials=7), theta_of(cube, seed=2)
    mean, sd = np.full(len(theta), 0.1), np.full(len(theta), 0.8)
    objective = _NegativeLogPosterior(cube, data, mean, sd)
    _, gradient = objective(theta)
    for i in range(len(theta)):
        step = np.zeros_like(theta)
        step[i] = 1e-5
        by_difference = (objective(theta + step)[0] - objective(theta - step)[0]) / 2e-5
        assert gradient[i] == pytest.approx(by_difference, rel=1e-4, abs=1e-6)


def test_the_value_is_that_of_the_normal_density(cube):
    data, theta = data_of(cube), theta_of(cube)
    mean, sd = np.zeros(len(theta)), np.full(len(theta), 2.0)
    k = dense(cube, theta, data)
    likelihood = 0.5 * data.y @ np.linalg.solve(k, data.y) + 0.5 * np.linalg.slogdet(k)[1]
    assert _NegativeLogPosterior(cube, data, mean, sd)(theta)[0] == pytest.approx(
        likelihood + 0.5 * np.sum((theta / sd) ** 2), rel=1e-6
    )


def test_a_fit_is_no_worse_than_where_it_started(cube):
    data = data_of(cube, n_trials=12, seed=4)
    found = fit_curves(cube, data)
    assert found.shape == (cube.d + 6,)
    assert np.isfinite(found).all()
    refitted = fit_curves(cube, data, start=found, max_iterations=15)
    assert np.allclose(refitted, found, atol=0.3)


def test_a_fit_sees_which_column_matters():
    cube = Cube(Space(PLAIN), seed=0)
    rng = np.random.default_rng(1)
    rows = cube.sample(rng, 40)
    trial, tau = np.repeat(np.arange(40), 2), np.tile([0.3, 1.0], 40)
    y = np.sin(6 * rows[trial, 0]) - tau
    theta = fit_curves(cube, CurveData(rows, trial, tau, (y - y.mean()) / y.std()))
    assert theta[0] < theta[1] - 1.0


def test_a_part_keeps_the_trials_that_its_points_belong_to():
    cube = Cube(Space(PLAIN), seed=0)
    data = data_of(cube)
    which = np.flatnonzero(data.trial != 2)
    part = data.part(which)
    assert len(part.rows) == len(data.rows) - 1
    assert np.array_equal(part.rows[part.trial], data.rows[data.trial[which]])
    assert np.array_equal(part.y, data.y[which])


def test_trials_that_were_added_count_like_others():
    cube = Cube(Space({"a": uniform(0, 1), "b": choice(["x", "y"])}), seed=0)
    rng = np.random.default_rng(0)
    rows, new = cube.sample(rng, 6), cube.sample(rng, 1)
    trial, tau = np.repeat(np.arange(6), 3), np.tile(np.array([0.0, 0.5, 1.0]), 6)
    y = rng.normal(size=18)
    theta = np.concatenate([np.full(cube.d, -0.3), [-0.7, -0.7, -2.5, -0.5, -1.0, -6.0]])
    grown = CurveProcess(cube, CurveData(rows, trial, tau, y), theta)
    whole = CurveProcess(cube, CurveData(np.concatenate([rows, new]), trial, tau, y), theta)
    places = grown.add(new)
    assert list(places) == [6]
    for process in (grown, whole):
        process.condition(places, np.ones(1))
    probe = cube.sample(rng, 5)
    before = CurveProcess(cube, CurveData(rows, trial, tau, y), theta).predict(new)
    for found, expected in zip(grown.predict(probe), whole.predict(probe), strict=True):
        assert found == pytest.approx(expected)
    assert grown.predict(new)[1][0] < before[1][0]
