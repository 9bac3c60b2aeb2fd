import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.schedulers.paired_tests import paired_t_p, signed_rank_p

#: Whole numbers, so that ties and zeros are common and exact.
DIFFERENCES = st.lists(st.integers(-4, 6).map(float), min_size=1, max_size=9)


def by_enumeration(differences):
    """The same P-value from its definition: all signs are equally likely."""
    kept = [d for d in differences if d]
    sizes = [abs(d) for d in kept]
    ranks = [sum(other < size for other in sizes) + (sizes.count(size) + 1) / 2 for size in sizes]
    observed = sum(rank for rank, d in zip(ranks, kept, strict=True) if d > 0)
    signs = list(itertools.product((0, 1), repeat=len(kept)))
    return sum(sum(itertools.compress(ranks, chosen)) >= observed for chosen in signs) / len(signs)


@given(DIFFERENCES)
@settings(max_examples=200, deadline=None)
def test_signed_ranks_are_exact_with_ties_and_zeros(differences):
    assert signed_rank_p(differences) == pytest.approx(by_enumeration(differences), abs=1e-12)


@pytest.mark.parametrize("n", range(1, 12))
def test_n_folds_that_are_all_worse_are_significant_at_one_in_two_to_the_n(n):
    assert signed_rank_p([0.1 * (i + 1) for i in range(n)]) == 0.5**n
    assert signed_rank_p([-0.1 * (i + 1) for i in range(n)]) == 1.0


#: Upper tail of the signed-rank statistic from the table of Wilcoxon & Wilcox 1964: n, smallest W+ with P <= 0.05.
TABLE = [(5, 15), (6, 19), (7, 25), (8, 31), (9, 37), (10, 45), (12, 61), (15, 90), (20, 150)]


@pytest.mark.parametrize(("n", "critical"), TABLE)
def test_critical_values_are_those_of_the_table(n, critical):
    def p_of(rank_sum):
        signs = []
        for rank in range(n, 0, -1):  # the largest ranks first: any sum can be made so
            is_above = rank_sum >= rank
            rank_sum -= rank if is_above else 0
            signs.append(rank if is_above else -rank)
        return signed_rank_p(signs)

    assert p_of(critical) <= 0.05 < p_of(critical - 1)


def test_differences_that_are_equal_but_for_rounding_are_equals():
    assert signed_rank_p([0.3 - 0.2, 0.2 - 0.3, 0.4 - 0.5, 0.1]) == signed_rank_p([1.0, -1.0, -1.0, 1.0])


def test_without_any_difference_nothing_is_significant():
    assert signed_rank_p([0.0, 0.0, 0.0]) == signed_rank_p([]) == paired_t_p([0.0, 0.0]) == 1.0


def test_normal_approximation_continues_the_exact_values():
    many = [(-1.0 if i % 3 == 0 else 1.0) * (1 + (i * 7) % 101) for i in range(101)]
    exact, approximate = signed_rank_p(many[:100]), signed_rank_p(many)
    # One more pair moves the true value by about 1e-4.
    assert approximate == pytest.approx(exact, abs=1e-3)


@given(st.floats(-3.0, 3.0), st.floats(0.01, 3.0))
def test_t_of_two_pairs_has_the_tail_of_a_cauchy_variable(mean, half):
    t = mean / half  # the standard error of mean - half and mean + half is half
    assert paired_t_p([mean - half, mean + half]) == pytest.approx(0.5 - math.atan(t) / math.pi, abs=1e-7)


@given(st.floats(-3.0, 3.0), st.floats(0.01, 3.0))
def test_t_of_three_pairs_has_its_closed_form(mean, step):
    t = mean / (step / math.sqrt(3))
    expected = 0.5 - t / (2 * math.sqrt(2 + t * t))
    assert paired_t_p([mean - step, mean, mean + step]) == pytest.approx(expected, abs=1e-7)


def test_equal_differences_above_zero_leave_no_doubt():
    assert (paired_t_p([0.5, 0.5]), paired_t_p([-0.5, -0.5])) == (0.0, 1.0)


@given(st.lists(st.sampled_from([1e300, -1e300, 1e-300, 5e-324, 0.0]), min_size=2, max_size=6))
def test_any_finite_differences_have_a_p_value(differences):
    assert 0.0 <= signed_rank_p(differences) <= 1.0
    assert 0.0 <= paired_t_p(differences) <= 1.0
