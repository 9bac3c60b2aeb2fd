import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.schedulers.rung import Rung, keep_count, rung_levels, upper_quantile

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("grace_period", "max_t", "reduction_factor", "levels"),
    [
        (1, 10, 2, (1, 2, 4, 8)),
        (1, 8, 2, (1, 2, 4, 8)),
        (3, 243, 3, (3, 9, 27, 81, 243)),
        (10, 1000, 10, (10, 100, 1000)),
        (1, 100, 4, (1, 4, 16, 64)),
        (5, 5, 4, (5,)),
        (1, 5, 1.5, (1, 1.5, 2.25, 3.375)),
        (0.5, 4, 2, (0.5, 1.0, 2.0, 4.0)),
        (1, 2**60, 2**30, (1, 2**30, 2**60)),
    ],
)
def test_rungs_lie_at_powers_of_the_reduction_factor_up_to_max_t(grace_period, max_t, reduction_factor, levels):
    assert rung_levels(grace_period, max_t, reduction_factor) == levels


@given(st.integers(1, 50), st.integers(0, 12), st.integers(2, 20))
def test_no_top_rung_is_lost_to_rounding(grace_period, power, reduction_factor):
    levels = rung_levels(grace_period, grace_period * reduction_factor**power, reduction_factor)
    assert levels[-1] == grace_period * reduction_factor**power
    assert len(levels) == power + 1


@pytest.mark.parametrize(
    ("n_seen", "reduction_factor", "kept"), [(0, 4, 0), (3, 4, 0), (4, 4, 1), (9, 2, 4), (9, 4, 2), (3, 1.5, 2)]
)
def test_one_in_reduction_factor_is_kept_rounded_down(n_seen, reduction_factor, kept):
    assert keep_count(n_seen, reduction_factor) == kept


@given(st.lists(FINITE, min_size=1, max_size=30), st.sampled_from([2, 3, 4, 5, 7, 10, 1.5, 2.7]))
def test_quantile_is_bit_for_bit_that_of_numpy(values, reduction_factor):
    with np.errstate(all="ignore"):
        expected = float(np.nanpercentile(values, (1 - 1 / reduction_factor) * 100))
    if math.isfinite(expected):
        assert upper_quantile(sorted(values), reduction_factor) == expected


@given(st.lists(FINITE, min_size=1, max_size=30), st.floats(1.01, 50))
def test_quantile_lies_within_the_values_even_where_their_difference_overflows(values, reduction_factor):
    assert min(values) <= upper_quantile(sorted(values), reduction_factor) <= max(values)


@given(st.lists(st.floats()), st.floats())
def test_rank_is_one_more_than_the_number_of_strictly_better_ones(seen, newcomer):
    rung = Rung(level=1)
    for score in seen:
        rung.add(score)

    def worth(score):
        return score if math.isfinite(score) else -math.inf

    assert rung.n_seen == len(seen)
    assert rung.rank_of(newcomer) == 1 + sum(worth(score) > worth(newcomer) for score in seen)
    if math.isfinite(newcomer):
        assert rung.n_at_least(newcomer) == sum(worth(score) >= newcomer for score in seen)


@given(st.lists(st.floats()))
def test_only_finite_scores_enter_a_quantile(seen):
    rung = Rung(level=1)
    for score in seen:
        rung.add(score)
    assert rung.scores == sorted(score for score in seen if math.isfinite(score))
    assert (rung.cutoff(4) is None) == (not rung.scores)


@given(st.lists(st.floats(), max_size=20).flatmap(lambda seen: st.tuples(st.just(seen), st.permutations(seen))))
def test_order_of_arrival_does_not_change_a_rung(seen_in_two_orders):
    one, other = Rung(level=1), Rung(level=1)
    for first, second in zip(*seen_in_two_orders, strict=True):
        one.add(first)
        other.add(second)
    assert one == other
