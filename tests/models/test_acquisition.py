from __future__ import annotations

import math

import numpy as np
import pytest

from tunesmith.models.acquisition import log_expected_improvement, log_probability_of_improvement, optimism


def normal_pdf(z):
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def normal_cdf(z):
    return 0.5 * math.erfc(-z / math.sqrt(2))


@pytest.mark.parametrize("z", [-5.0, -2.0, -1.0001, -0.9999, 0.0, 1.0, 6.0])
def test_log_expected_improvement_is_the_log_of_the_closed_form(z):
    sd, best = 0.7, 0.3
    mean = best - z * sd
    expected = math.log(sd * (normal_pdf(z) + z * normal_cdf(z)))
    found = log_expected_improvement(np.array([mean]), np.array([sd]), best)[0]
    assert found == pytest.approx(expected, rel=1e-6)


def test_it_stays_finite_and_ordered_far_above_the_best():
    z = -np.array([10.0, 40.0, 1e3, 1e5, 1e8])
    found = log_expected_improvement(-z, np.ones(5), 0.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()
    # Asymptotically ln phi(z) - 2 ln |z|.
    assert found[1] == pytest.approx(-800 - 0.5 * math.log(2 * math.pi) - 2 * math.log(40), rel=1e-4)


def test_probability_of_improvement_is_the_normal_distribution_function():
    found = log_probability_of_improvement(np.array([1.0, -1.0]), np.array([2.0, 0.5]), 0.0)
    assert np.exp(found) == pytest.approx([normal_cdf(-0.5), normal_cdf(2.0)])


def test_optimism_prefers_low_means_and_large_uncertainty():
    assert optimism(np.array([1.0, 0.0]), np.array([1.0, 0.1]), 2.0).tolist() == [1.0, 0.2]
