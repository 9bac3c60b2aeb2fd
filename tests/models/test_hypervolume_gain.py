from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from tunesmith.models.acquisition import log_expected_improvement
from tunesmith.models.hypervolume_gain import HypervolumeGain
from tunesmith.models.pareto import hypervolume, is_non_dominated


def front_of(m, k=8, seed=0):
    losses = np.random.default_rng(seed).uniform(0, 1, (k, m))
    return losses[is_non_dominated(losses)]


@pytest.mark.parametrize(
    ("mean", "sd"), [((0.5, 0.5), (0.2, 0.3)), ((0.9, 0.1), (0.05, 0.4)), ((1.2, 1.1), (0.5, 0.4))]
)
def test_the_expected_gain_of_two_losses_is_the_integral_of_the_probability_to_dominate(mean, sd):
    """E[gain] = integral of P(y <= u) over all u that improve on the front, here by a fine grid."""
    front, reference = front_of(2), np.ones(2)
    steps = np.linspace(-2, 1, 1501)
    middles = 0.5 * (steps[1:] + steps[:-1])
    below = [ndtr((middles - mean[j]) / sd[j]) for j in range(2)]
    u, v = np.meshgrid(middles, middles, indexing="ij")
    is_free = ~np.any([(u >= a) & (v >= b) for a, b in front], axis=0)
    expected = float(np.sum(np.outer(*below) * is_free)) * (steps[1] - steps[0]) ** 2
    found = HypervolumeGain(front, reference).log_expected(np.array([mean]), np.array([sd]))[0]
    assert np.exp(found) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_expected_gain_is_the_mean_gain_of_many_draws(m):
    """1,500 draws: the mean lies within five of its standard errors, but in one of a million runs."""
    rng = np.random.default_rng(m)
    front, reference = front_of(m), np.ones(m)
    mean, sd = np.full(m, 0.4), np.linspace(0.1, 0.3, m)
    base = hypervolume(front, reference)
    gains = [hypervolume(np.vstack([front, draw]), reference) - base for draw in rng.normal(mean, sd, (1500, m))]
    found = np.exp(HypervolumeGain(front, reference).log_expected(mean[None], sd[None])[0])
    assert abs(found - np.mean(gains)) < 5 * np.std(gains) / np.sqrt(len(gains))


def test_with_one_loss_it_is_the_expected_improvement():
    means, sds = np.array([[0.2], [0.9], [5.0]]), np.array([[0.1], [0.3], [0.2]])
    found = HypervolumeGain(np.array([[0.3]]), np.array([1.0])).log_expected(means, sds)
    assert found == pytest.approx(log_expected_improvement(means[:, 0], sds[:, 0], 0.3))


def test_a_sure_prediction_gains_what_the_result_would():
    front, reference = front_of(3), np.ones(3)
    point = np.array([0.3, 0.4, 0.2])
    gain = hypervolume(np.vstack([front, point]), reference) - hypervolume(front, reference)
    found = HypervolumeGain(front, reference).log_expected(point[None], np.full((1, 3), 1e-9))
    assert np.exp(found[0]) == pytest.approx(gain, rel=1e-5)


def test_it_stays_finite_and_ordered_far_behind_the_front():
    means = np.linspace(1, 1000, 50)[:, None] * np.ones(2)
    found = HypervolumeGain(front_of(2), np.ones(2)).log_expected(means, np.full((50, 2), 0.01))
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


def test_many_candidates_are_scored_as_one_by_one(monkeypatch):
    monkeypatch.setattr("tunesmith.models.hypervolume_gain._N_AT_ONCE", 30)
    gain = HypervolumeGain(front_of(2), np.ones(2))
    means = np.random.default_rng(1).uniform(0, 1, (23, 2))
    alone = [gain.log_expected(mean[None], np.full((1, 2), 0.1))[0] for mean in means]
    assert gain.log_expected(means, np.full((23, 2), 0.1)) == pytest.approx(alone)
