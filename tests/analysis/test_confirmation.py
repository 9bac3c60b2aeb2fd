"""What repeats say of configs: exact numbers, which to take, and words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from tunesmith.analysis.confirmation import Confirmation
from tunesmith.analysis.confirmed import Confirmed
from tunesmith.analysis.intervals import mean_of, t_interval, welch_interval
from tunesmith.errors import TuneError
from tunesmith.trial import MetricConstraint, Mode


def confirmed(*values: float, claimed: float = 0.0, **facts: Any) -> Confirmed:
    return Confirmed({"x": facts.pop("x", 1)}, values, claimed, facts.pop("step", 1), facts.pop("trial", 0), **facts)


def confirmation(*configs: Confirmed, mode: Mode = Mode.MIN, **facts: Any) -> Confirmation:
    return Confirmation(configs, metric="loss", mode=mode, **facts)


# ---------------------------------------------------------------- intervals


def test_interval_of_given_values():
    """By hand: mean 3, standard error sqrt(0.5), and t of 4 degrees of freedom is 2.7764451051977934."""
    low, high = t_interval([1.0, 2.0, 3.0, 4.0, 5.0]) or (0, 0)
    assert low == pytest.approx(3 - 2.7764451051977934 * math.sqrt(0.5), rel=1e-12)
    assert high == pytest.approx(3 + 2.7764451051977934 * math.sqrt(0.5), rel=1e-12)


@pytest.mark.parametrize(
    ("one", "other"),
    [([1.0, 2.0, 4.0], [5.0, 5.5, 7.0, 9.0]), ([1e-9, 2e-9], [3e-3, 9e-3, 1e-2]), ([0.1, 0.2, 0.1, 0.1], [0.2, 0.3])],
)
def test_welch_interval_is_that_of_an_independent_library(one, other):
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert welch_interval(one, other) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_one_value_has_no_interval():
    assert t_interval([1.0]) is None and t_interval([]) is None
    assert welch_interval([1.0], [1.0, 2.0]) is None


@pytest.mark.parametrize("k", [1, 3, 10])
def test_intervals_of_several_means_hold_all_at_once(k):
    """Of independent means: each at level 0.95 ** (1 / k), so that all of them hold with probability 0.95."""
    values = [1.0, 2.0, 4.0, 8.0]
    expected = stats.t.interval(0.95 ** (1 / k), 3, loc=3.75, scale=stats.sem(values))
    assert t_interval(values, n_means=k) == pytest.approx(expected, rel=1e-9)


def test_equal_values_differ_exactly():
    assert welch_interval([1.0, 1.0], [0.25, 0.25]) == (0.75, 0.75)
    assert t_interval([2.0, 2.0]) == (2.0, 2.0)


def test_huge_values_have_a_mean():
    assert mean_of([1.6e308, 1.6e308]) == pytest.approx(1.6e308)
    assert math.isnan(mean_of([]))


# ---------------------------------------------------------------- which one


@pytest.mark.parametrize(("mode", "best"), [(Mode.MIN, 1), (Mode.MAX, 2)])
def test_best_is_the_best_mean_by_the_mode(mode, best):
    found = confirmation(confirmed(1, 2, x=1), confirmed(3, 2, x=2), mode=mode)
    assert found.best.config == {"x": best}
    assert found.lead is not None and found.lead.by == 1.0


@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
def test_runner_up_can_be_told_apart_where_the_interval_is_above_zero(mode, sign):
    near, far = confirmed(1.0 * sign, 1.2 * sign), confirmed(1.1 * sign, 1.3 * sign)
    assert not confirmation(near, far, mode=mode).lead.is_clear  # type: ignore[union-attr]
    far = confirmed(9.0 * sign, 9.1 * sign)
    lead = confirmation(near, far, mode=mode).lead
    assert lead is not None and lead.is_clear
    assert lead.interval == pytest.approx([sign * x for x in welch_interval(far.values, near.values)][::sign])  # type: ignore[union-attr]


def test_one_repeat_gives_no_interval_and_says_so():
    found = confirmation(confirmed(1.0), confirmed(2.0))
    assert found.best.interval is None
    assert found.lead is not None and found.lead.interval is None and not found.lead.is_clear
    assert "its only value is 1, and one value has no interval" in found.words()
    assert "which may be luck" in found.words()


def test_best_is_clear_only_where_it_is_better_than_every_other():
    """The second is behind for certain; the third, whose values are wild, may well be the better one."""
    first, second = confirmed(0.1, 0.101, 0.099, x=1), confirmed(0.12, 0.121, 0.119, x=2)
    found = confirmation(first, second, confirmed(0.01, 0.05, 0.35, x=3))
    assert [one.config["x"] for one in found.configs] == [1, 2, 3]
    assert found.lead is not None and found.lead.interval is not None and found.lead.interval[0] > 0
    assert found.lead.unclear == (3,) and not found.lead.is_clear
    assert "These repeats cannot tell it from config 3." in found.words()
    clear = confirmation(first, second, confirmed(0.2, 0.21, x=3))
    assert clear.lead is not None and clear.lead.is_clear
    assert "It is better than every other, than the second by 0.02 (95 % interval" in clear.words()


def test_one_that_has_no_interval_is_not_told_apart():
    found = confirmation(confirmed(0.1, 0.101, x=1), confirmed(0.5, 0.51, x=2), confirmed(0.9, x=3))
    assert found.lead is not None and found.lead.unclear == (3,)


def test_interval_of_a_mean_is_widened_for_the_number_of_configs():
    one = confirmed(1.0, 2.0, 4.0)
    assert one.interval == t_interval([1.0, 2.0, 4.0])
    assert confirmation(one, confirmed(9.0), confirmed()).best.interval == t_interval([1.0, 2.0, 4.0], n_means=3)


def test_config_that_mostly_gives_no_value_is_not_the_best():
    diverging = confirmed(0.1, x=1, n_failed=2, n_no_value=2)
    found = confirmation(diverging, confirmed(0.12, 0.121, 0.119, 0.12, 0.122, x=2))
    assert found.best.config == {"x": 2} and found.lead is None
    assert "Not compared with config 2: most of its repeats gave no value." in found.words()
    half = confirmation(confirmed(0.1, 0.1, x=1, n_failed=2), confirmed(0.12, 0.12, x=2))
    assert half.best.config == {"x": 1}
    assert "Take the first: its mean over 2 repeats is 0.1 (95 % interval 0.1 to 0.1)." in half.words()
    assert "2 of its 4 repeats gave no value." in half.words()


def test_config_without_any_repeat_yet_is_no_failing_one():
    found = confirmation(confirmed(1, 2, x=1, n_left=3), confirmed(x=2, n_left=5), confirmed(8, 9, x=3, n_left=3))
    assert "It is not over" in found.words() and "Not compared" not in found.words()
    assert "every other" not in found.words().replace("every other that is compared", "")


def test_where_every_config_mostly_gives_no_value_none_is_to_be_taken():
    found = confirmation(confirmed(0.1, 0.2, x=1, n_no_value=3), confirmed(0.3, 0.4, x=2, n_failed=3), confirmed(x=3))
    words = found.words()
    assert "Take none of them: most repeats of every config gave no value." in words
    assert found.lead is None and "Take the first" not in words and "leads" not in words
    assert "config = {" in confirmation(confirmed(1.0)).words()
    assert "config = {" not in words and "config = {" not in found._repr_html_()


def test_config_without_a_value_is_last_and_its_failures_are_shown():
    found = confirmation(confirmed(n_failed=2, n_no_value=1, x=1), confirmed(5.0, 6.0, x=2))
    assert [one.config["x"] for one in found.configs] == [2, 1]
    assert "2 failed, 1 without a value" in found.words()
    assert found.lead is None


def test_without_any_value_there_is_no_best_and_words_say_it():
    found = confirmation(confirmed(n_failed=5))
    assert "No repeat has a finite loss" in found.words() and "No repeat" in found._repr_html_()
    with pytest.raises(TuneError, match="No repeat has a finite 'loss'"):
        _ = found.best


def test_config_that_breaks_a_bound_more_often_than_not_is_not_the_best():
    bound = MetricConstraint("latency", True, 20)
    found = confirmation(
        confirmed(1.0, 1.0, 1.0, n_out_of_bounds=2, x=1),
        confirmed(2.0, 2.0, n_out_of_bounds=1, x=2),
        constraints=[bound],
    )
    assert found.best.config == {"x": 2}
    assert "2 broke latency <= 20" in found.words()


LATENCY = MetricConstraint("latency", True, 20)


def test_config_that_keeps_the_bounds_is_not_compared_with_one_that_breaks_them():
    found = confirmation(
        confirmed(0.5, 0.51, 0.52, x=1), confirmed(0.1, 0.11, 0.12, n_out_of_bounds=3, x=2), constraints=[LATENCY]
    )
    assert found.best.config == {"x": 1} and found.lead is None
    assert "leads" not in found.words()
    assert "Not compared with config 2: most of its repeats broke latency <= 20." in found.words()


def test_best_of_those_that_all_break_the_bounds_is_said_to_be_that():
    worse, better = confirmed(0.5, 0.51, n_out_of_bounds=2, x=1), confirmed(0.1, 0.11, n_out_of_bounds=2, x=2)
    found = confirmation(worse, better, constraints=[LATENCY])
    words = "No config keeps latency <= 20 in at least half of its repeats; the best of them is the first: its mean"
    assert words in found.words() and "Take the first" not in found.words()
    assert found.lead is not None and found.lead.by == pytest.approx(0.4)
    assert "No config keeps latency <= 20" in confirmation(better, constraints=[LATENCY]).words()


def test_optimism_of_the_search_is_said():
    assert (
        "The search had seen 0.5 of it: 1 better than the repeats" in confirmation(confirmed(1, 2, claimed=0.5)).words()
    )
    assert "the repeats are no worse" in confirmation(confirmed(1, 2, claimed=1.5)).words()
    up = confirmation(confirmed(1, 2, claimed=2.5), mode=Mode.MAX)
    assert "The search had seen 2.5 of it: 1 better than the repeats" in up.words()


def test_repeats_that_are_all_alike_are_not_taken_for_certainty():
    assert "sets its own seed" in confirmation(confirmed(1, 1), confirmed(2, 2)).words()
    assert "sets its own seed" not in confirmation(confirmed(1, 1), confirmed(2, 3)).words()
    assert "sets its own seed" in confirmation(confirmed(1, 1), confirmed(2)).words()


def test_values_that_are_alike_beside_repeats_without_one_are_no_sign_of_a_fixed_seed():
    words = confirmation(confirmed(1, 1, 1, n_no_value=1), confirmed(2, 2)).words()
    assert "sets its own seed" not in words
    assert "The values of each config are all the same: they say nothing about noise." in words


def test_html_shows_what_came_from_outside_and_does_nothing_else():
    evil = "<script>alert(1)</script>"
    one = Confirmed({evil: evil}, (1.0, 2.0), 0.5, 1, 0, n_out_of_bounds=1)
    bound = MetricConstraint(evil, True, 1)
    text = Confirmation([one, one], metric=evil, mode=Mode.MIN, constraints=[bound])._repr_html_()
    assert "<script" not in text and text.count("&lt;script&gt;") >= 4
