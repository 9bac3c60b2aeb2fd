"""Domains of numbers: tables for the arithmetic, properties for the round trips."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpaceError
from tunesmith.space import (
    Continuous,
    Normal,
    Stepped,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    uniform,
)

DISCRETE = [
    pytest.param(randint(2, 6), [2, 3, 4, 5], id="randint excludes upper"),
    pytest.param(randint(-2, 2), [-2, -1, 0, 1], id="randint around zero"),
    pytest.param(randint(7, 8), [7], id="randint of one value"),
    pytest.param(randint(1, 1e1), [1, 2, 3, 4, 5, 6, 7, 8, 9], id="randint takes whole floats"),
    pytest.param(qrandint(2, 6), [2, 3, 4, 5, 6], id="qrandint includes upper"),
    pytest.param(qrandint(3, 17, 5), [5, 10, 15], id="qrandint stays within its bounds"),
    pytest.param(qrandint(4, 4, 2), [4], id="qrandint of equal bounds"),
    pytest.param(lograndint(1, 5), [1, 2, 3, 4], id="lograndint excludes upper"),
    pytest.param(qlograndint(8, 32, 8), [8, 16, 24, 32], id="qlograndint includes upper"),
    pytest.param(quniform(0, 1, 0.25), [0.0, 0.25, 0.5, 0.75, 1.0], id="quniform includes upper"),
    pytest.param(quniform(0.05, 0.45, 0.1), [0.1, 0.2, 0.3, 0.4], id="quniform gives 0.3, not 0.30000000000000004"),
    pytest.param(quniform(-0.2, 0.2, 0.1), [-0.2, -0.1, 0.0, 0.1, 0.2], id="quniform around zero"),
    pytest.param(qloguniform(0.1, 0.5, 0.1), [0.1, 0.2, 0.3, 0.4, 0.5], id="qloguniform includes upper"),
]


@pytest.mark.parametrize(("domain", "values"), DISCRETE)
def test_a_discrete_domain_holds_exactly_these_values(domain, values):
    n = 997
    assert sorted({domain.decode(i / n) for i in range(n + 1)}) == values
    assert domain.cardinality == len(values)
    assert (domain.lower, domain.upper) == (values[0], values[-1])


@pytest.mark.parametrize(("domain", "values"), DISCRETE)
def test_draws_of_a_discrete_domain_are_plain_and_among_its_values(domain, values):
    rng = np.random.default_rng(0)
    for _ in range(50):
        value = domain.sample(rng)
        assert type(value) is type(values[0])
        assert value in values
        assert domain.contains(value)


@pytest.mark.parametrize(("domain", "values"), DISCRETE)
def test_every_discrete_value_sits_in_the_middle_of_its_own_cell(domain, values):
    assert [domain.decode(domain.encode(value)) for value in values] == values
    assert [domain.encode(value) for value in values] == sorted(domain.encode(value) for value in values)


def test_all_cells_of_a_linear_discrete_domain_are_equally_wide():
    domain = quniform(0, 1, 0.5)
    assert [domain.encode(v) for v in (0.0, 0.5, 1.0)] == pytest.approx([1 / 6, 3 / 6, 5 / 6])
    assert [domain.decode(u) for u in (0.0, 0.33, 0.34, 0.66, 0.67, 1.0)] == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]


def test_draws_of_randint_fill_each_cell_equally():
    """False-failure rate below 1e-9: each count is 10,000 +- 95 (one sd), the bound is 6.3 sd, five counts."""
    rng = np.random.default_rng(1)
    domain = randint(0, 5)
    counts = np.bincount([domain.sample(rng) for _ in range(50_000)], minlength=5)
    assert abs(counts - 10_000).max() < 600


def test_draws_of_loguniform_fill_each_decade_equally():
    """False-failure rate below 1e-9: each count is 10,000 +- 82 (one sd), the bound is 6.7 sd, three counts."""
    rng = np.random.default_rng(2)
    domain = loguniform(1e-4, 1e-1)
    decades = np.floor(np.log10([domain.sample(rng) for _ in range(30_000)]) + 4 + 1e-12).astype(int)
    assert abs(np.bincount(decades, minlength=3) - 10_000).max() < 550


def test_draws_of_randn_have_its_mean_and_sd():
    """False-failure rate below 1e-9: the mean is 3 +- 0.0141, the sd 2 +- 0.01; both bounds are 6.4 sd or more."""
    rng = np.random.default_rng(3)
    values = [randn(3.0, 2.0).sample(rng) for _ in range(20_000)]
    assert np.mean(values) == pytest.approx(3.0, abs=0.09)
    assert np.std(values) == pytest.approx(2.0, abs=0.065)


@pytest.mark.parametrize(
    ("domain", "u", "value"),
    [
        (uniform(-1, 3), 0.25, 0.0),
        (uniform(-1, 3), -7.0, -1.0),
        (uniform(-1, 3), 7.0, 3.0),
        (loguniform(1e-4, 1e-2), 0.5, 1e-3),
        (loguniform(1e-4, 1e-2), 1.0, 1e-2),
        (uniform(5, 5), 0.3, 5.0),
        (loguniform(5, 5), 0.3, 5.0),
        (randn(1.0, 2.0), 0.5, 1.0),
        (randn(1.0, 2.0), 0.8413447460685429, 3.0),
        (qrandn(0.0, 1.0, 0.5), 0.8413447460685429, 1.0),
    ],
)
def test_decode_gives_the_value_at_that_place(domain, u, value):
    assert domain.decode(u) == pytest.approx(value, rel=1e-12)


def test_the_log_scale_of_integers_splits_at_the_halves():
    domain = lograndint(1, 4)
    edge = math.log(1.5 / 0.5) / math.log(3.5 / 0.5)
    assert [domain.decode(edge - 1e-9), domain.decode(edge + 1e-9)] == [1, 2]


def test_base_makes_no_difference():
    assert loguniform(1, 100, base=2) == loguniform(1, 100)
    assert lograndint(1, 100, base=2) == lograndint(1, 100)


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (uniform(0, 1), [0, 1, 0.5, np.float32(0.5), 0.0], [-0.1, 1.1, True, "0.5", None, math.nan, 1j, 10**400]),
        (loguniform(1, 8), [1, 8.0], [0, 9, False]),
        (randint(0, 5), [0, 4, np.int64(3)], [5, -1, 3.0, True, "3", None]),
        (qrandint(0, 10, 5), [0, 5, 10], [3, 15, 5.0]),
        (quniform(0, 1, 0.1), [0.3, 0.1 + 0.2, 1, 0], [0.35, 1.1, -0.1, math.nan, math.inf, "0.1", True, 10**400]),
        (randn(), [0, -7.5], [math.inf, math.nan, "0", True, 10**400]),
        (qrandn(0, 1, 0.5), [0.5, -3, 0], [0.3, math.inf]),
    ],
)
def test_contains_looks_at_value_and_type(domain, inside, outside):
    assert [value for value in inside if not domain.contains(value)] == []
    assert [value for value in outside if domain.contains(value)] == []


@pytest.mark.parametrize(
    ("domain", "n"),
    [(uniform(0, 1), None), (uniform(2, 2), 1), (randn(), None), (qrandn(0, 1, 1), None), (randint(0, 2**40), 2**40)],
)
def test_cardinality_counts_or_says_none(domain, n):
    assert domain.cardinality == n


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (uniform(0, 1), "uniform(0, 1)"),
        (loguniform(1e-4, 1e-1), "loguniform(0.0001, 0.1)"),
        (quniform(0.05, 1, 0.1), "quniform(0.1, 1, 0.1)"),
        (qloguniform(0.5, 4, 0.5), "qloguniform(0.5, 4, 0.5)"),
        (randint(1, 10), "randint(1, 10)"),
        (qrandint(1, 10, 2), "qrandint(2, 10, 2)"),
        (lograndint(1, 10), "lograndint(1, 10)"),
        (qlograndint(2, 10, 2), "qlograndint(2, 10, 2)"),
        (randn(), "randn(0, 1)"),
        (qrandn(0, 1, 0.5), "qrandn(0, 1, 0.5)"),
    ],
)
def test_a_domain_shows_as_its_constructor(domain, text):
    assert repr(domain) == text


def test_domains_are_equal_when_they_mean_the_same():
    assert randint(1, 10) == qrandint(1, 9)
    assert hash(randint(1, 10)) == hash(qrandint(1, 9))
    assert uniform(0, 1) == uniform(0.0, 1.0)
    assert uniform(0, 1) != uniform(0, 2)
    assert uniform(1, 2) != loguniform(1, 2)
    assert uniform(1, 2) != "uniform(1, 2)"


@pytest.mark.parametrize("domain", [uniform(0, 1), loguniform(1, 2), randint(0, 9), lograndint(1, 9), randn()])
def test_nan_has_no_place(domain):
    with pytest.raises(SpaceError, match="NaN"):
        domain.decode(math.nan)


@pytest.mark.parametrize(
    "domain", [uniform(0, 1), loguniform(1, 2), randint(0, 9), lograndint(1, 9), quniform(0, 1, 0.1)]
)
def test_a_number_outside_is_encoded_at_the_nearer_end(domain):
    assert domain.encode(-math.inf) <= domain.encode(domain.lower)
    assert domain.encode(1e300) >= domain.encode(domain.upper)
    assert domain.encode(10**400) == domain.encode(1e300)


def test_the_stepped_class_refuses_what_the_constructors_would():
    with pytest.raises(SpaceError):
        Stepped(3, 2, 1)


def test_the_continuous_class_refuses_what_the_constructors_would():
    with pytest.raises(SpaceError):
        Continuous(3.0, 2.0)


finite = st.floats(-1e12, 1e12)
units = st.floats(0, 1)


@given(finite, finite, units)
def test_a_uniform_draw_lies_within_and_comes_back(a, b, u):
    domain = uniform(min(a, b), max(a, b))
    value = domain.decode(u)
    assert type(value) is float
    assert domain.contains(value)
    assert domain.decode(domain.encode(value)) == pytest.approx(value, abs=1e-12 * max(abs(a), abs(b), 1e-300))


@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), units)
def test_a_loguniform_draw_lies_within_and_comes_back(a, b, u):
    domain = loguniform(min(a, b), max(a, b))
    value = domain.decode(u)
    assert domain.contains(value)
    assert domain.decode(domain.encode(value)) == pytest.approx(value, rel=1e-9)


@given(st.integers(-(2**48), 2**48), st.integers(1, 2**48), units)
def test_a_randint_draw_lies_within_and_comes_back_exactly(lower, width, u):
    domain = randint(lower, lower + width)
    value = domain.decode(u)
    assert type(value) is int
    assert domain.contains(value)
    assert domain.decode(domain.encode(value)) == value


@given(st.integers(1, 2**40), st.integers(1, 2**40), units)
def test_a_lograndint_draw_lies_within_and_comes_back_exactly(lower, width, u):
    domain = lograndint(lower, lower + width)
    value = domain.decode(u)
    assert type(value) is int
    assert domain.contains(value)
    assert domain.decode(domain.encode(value)) == value


@given(st.integers(-1000, 1000), st.integers(0, 2000), st.sampled_from([0.001, 0.1, 0.3, 1.0, 2.5, 7e-5]), units)
def test_a_quniform_draw_is_a_multiple_within_and_comes_back_exactly(first, n, q, u):
    lower, upper = round(first * q, 6), round((first + n + 1) * q, 6)
    domain = quniform(lower, upper, q)
    value = domain.decode(u)
    assert domain.contains(value)
    assert lower <= value <= upper
    assert abs(value / q - round(value / q)) < 1e-6
    assert domain.decode(domain.encode(value)) == value


@given(st.floats(-100, 100), st.floats(0.01, 100), st.floats(1e-6, 1 - 1e-6))
def test_a_randn_draw_comes_back(mean, sd, u):
    domain = randn(mean, sd)
    assert isinstance(domain, Normal)
    assert domain.encode(domain.decode(u)) == pytest.approx(u, rel=1e-9)


@given(st.floats(-10, 10), st.floats(0.1, 10), st.sampled_from([0.1, 0.5, 2.0]), st.floats(1e-4, 1 - 1e-4))
def test_a_qrandn_draw_is_a_multiple_and_comes_back_exactly(mean, sd, q, u):
    domain = qrandn(mean, sd, q)
    value = domain.decode(u)
    assert domain.contains(value)
    if abs(value - mean) < 5 * sd:  # a step far wider than sd leaves cells that hold no probability a float can show
        assert domain.decode(domain.encode(value)) == value
