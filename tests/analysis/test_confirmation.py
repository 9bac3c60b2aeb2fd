"""What repeats say of configs: exact numbers, which to take, and words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from tunesmith.analysis.claims import best_claims
from tunesmith.analysis.confirmation import Confirmation, Confirmed, judge
from tunesmith.analysis.intervals import mean_of, t_interval, welch_interval
from tunesmith.errors import ConfigError, TuneError
from tunesmith.trial import MetricConstraint, Mode, Objective, TrialStatus

from .written import objective, write

MIN = objective(loss="min")
COMPLETED, FAILED = TrialStatus.COMPLETED, TrialStatus.FAILED


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


def test_config_without_a_value_is_last_and_its_failures_are_shown():
    found = confirmation(confirmed(n_failed=2, n_no_value=1, x=1), confirmed(5.0, 6.0, x=2))
    assert [one.config["x"] for one in found.configs] == [2, 1]
    assert "2 failed, 1 without a finite value" in found.words()
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


def test_html_shows_what_came_from_outside_and_does_nothing_else():
    evil = "<script>alert(1)</script>"
    one = Confirmed({evil: evil}, (1.0, 2.0), 0.5, 1, 0, n_out_of_bounds=1)
    bound = MetricConstraint(evil, True, 1)
    text = Confirmation([one, one], metric=evil, mode=Mode.MIN, constraints=[bound])._repr_html_()
    assert "<script" not in text and text.count("&lt;script&gt;") >= 4


# ---------------------------------------------------------------- claims


def test_claims_are_the_best_different_configs_that_did_not_fail(tmp_path):
    result = write(
        tmp_path / "e",
        [[5.0, 1.0, 1.0], [0.5], [2.0, 4.0], [3.0, 0.75], [math.nan]],
        configs=[{"x": 1, "y": 0}, {"x": 2}, {"x": 3}, {"y": 0, "x": 1}, {"x": 5}],
        states=[COMPLETED, FAILED, TrialStatus.STOPPED, COMPLETED, COMPLETED],
        objective=MIN,
    )
    claims = best_claims(result, 5)
    assert [(claim.trial, claim.value, claim.step) for claim in claims] == [(3, 0.75, 2), (2, 2.0, 1)]
    assert len(best_claims(result, 1)) == 1


def test_first_of_equal_steps_is_claimed_and_max_takes_the_largest(tmp_path):
    result = write(tmp_path / "e", [[1.0, 7.0, 7.0]], objective=objective(loss="max"))
    assert [(claim.value, claim.step) for claim in best_claims(result, 3)] == [(7.0, 2)]


def test_claims_keep_the_constraints(tmp_path):
    bound = Objective(("loss",), (Mode.MIN,), (MetricConstraint("latency", True, 20),))
    reports = [{"loss": 1.0, "latency": 30.0}, {"loss": 2.0, "latency": 10.0}]
    result = write(tmp_path / "e", [reports], objective=bound)
    assert [(claim.value, claim.step) for claim in best_claims(result, 3)] == [(2.0, 2)]


def test_claims_over_folds_are_means_over_the_most(tmp_path):
    folds = [[{"loss": v, "fold": k} for k, v in enumerate(values)] for values in ([1.0, 3.0], [0.1], [4.0, 6.0])]
    result = write(tmp_path / "e", folds, configs=[{"x": i} for i in range(3)], objective=MIN)
    assert [(claim.trial, claim.value, claim.step) for claim in best_claims(result, 3)] == [(0, 2.0, 2), (2, 5.0, 2)]


@pytest.mark.parametrize(
    ("which", "words"), [(None, "without a metric"), (objective(loss="min", size="min"), "objectives loss, size")]
)
def test_claims_need_one_metric(tmp_path, which, words):
    result = write(tmp_path / "e", [[1.0]], objective=which)
    with pytest.raises(ConfigError, match=words):
        best_claims(result, 1)


def test_without_a_finite_value_there_is_nothing_to_confirm(tmp_path):
    result = write(tmp_path / "e", [[math.nan], [1.0]], states=[COMPLETED, FAILED], objective=MIN)
    with pytest.raises(TuneError, match="nothing to confirm"):
        best_claims(result, 1)


# ---------------------------------------------------------------- judging


def test_repeats_are_judged_at_the_claimed_step_or_the_last_before_it(tmp_path):
    search = write(tmp_path / "s", [[9.0, 1.0], [2.0]], configs=[{"x": 1}, {"x": 2}], objective=MIN)
    series = [[9.0, 3.0, 0.0], [5.0, 0.0], [8.0], [7.0], [9.0, math.nan], [1.0], [1.0, 2.0], [6.0], [0.0], [6.5]]
    states = [COMPLETED] * 6 + [FAILED, COMPLETED, TrialStatus.INTERRUPTED, COMPLETED]
    repeats = write(tmp_path / "c", series, states=states, objective=MIN)
    found = judge(best_claims(search, 2), [{"x": 1}, {"x": 2}], repeats, repeats=6)
    first, second = sorted(found.configs, key=lambda one: one.config["x"])
    assert first.values == (3.0, 8.0)
    assert (first.n_no_value, first.n_failed, first.n_left) == (1, 1, 2)
    assert second.values == (5.0, 7.0, 1.0, 6.0, 6.5)
    assert (second.n_no_value, second.n_failed, second.n_left) == (0, 0, 1)
    assert "It is not over: the same call goes on." in found.words()


def test_repeats_that_break_a_bound_at_their_step_are_counted(tmp_path):
    bound = Objective(("loss",), (Mode.MIN,), (MetricConstraint("latency", True, 20),))
    search = write(tmp_path / "s", [[{"loss": 1.0, "latency": 10.0}]], objective=bound)
    series = [[{"loss": 1.5, "latency": at}] for at in (10.0, 21.0)]
    found = judge(
        best_claims(search, 1),
        [{}],
        write(tmp_path / "c", series, objective=MIN),
        repeats=2,
        constraints=bound.constraints,
    )
    assert (found.configs[0].n, found.configs[0].n_out_of_bounds) == (2, 1)


def test_repeats_over_folds_are_judged_by_their_means(tmp_path):
    folds = [[{"loss": v, "fold": k} for k, v in enumerate(values)] for values in ([1.0, 3.0], [2.0, 6.0])]
    search = write(tmp_path / "s", folds[:1], objective=MIN)
    found = judge(best_claims(search, 1), [{}], write(tmp_path / "c", folds, objective=MIN), repeats=2)
    assert found.configs[0].values == (2.0, 4.0)
