"""What a confirmation reads from stores: the claims of a search, and the values of the repeats."""

from __future__ import annotations

import math

import pytest

from tunesmith.analysis.claims import best_claims
from tunesmith.analysis.repeats import judge
from tunesmith.errors import ConfigError, TuneError
from tunesmith.trial import MetricConstraint, Mode, Objective, TrialStatus

from .written import objective, write

MIN = objective(loss="min")
COMPLETED, FAILED = TrialStatus.COMPLETED, TrialStatus.FAILED


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
    claims = [(claim.trial, claim.value, claim.step, claim.n_folds) for claim in best_claims(result, 3)]
    assert claims == [(0, 2.0, 2, 2), (2, 5.0, 2, 2)]


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


def test_repeats_over_folds_count_all_of_them_however_many_reports_they_took(tmp_path):
    """The search's trial took 1 report for each fold; a repeat that trained longer has its last folds later."""
    short = [{"loss": v, "fold": k} for k, v in enumerate([1.0, 3.0, 8.0])]
    search = write(tmp_path / "s", [short], objective=MIN)
    long = [one for one in [{"loss": 9.0, "fold": k} for k in range(3)] for _ in range(4)]
    found = judge(best_claims(search, 1), [{}], write(tmp_path / "c", [short, long], objective=MIN), repeats=2)
    assert found.configs[0].values == (4.0, 9.0)


@pytest.mark.parametrize("missing", [[{"loss": 0.1, "fold": 0}], [{"loss": 0.1}], []])
def test_repeat_with_fewer_folds_than_the_search_is_without_a_value(tmp_path, missing):
    folds = [{"loss": v, "fold": k} for k, v in enumerate([1.0, 3.0])]
    search = write(tmp_path / "s", [folds], objective=MIN)
    found = judge(best_claims(search, 1), [{}], write(tmp_path / "c", [folds, missing], objective=MIN), repeats=2)
    assert (found.configs[0].values, found.configs[0].n_no_value) == ((2.0,), 1)
    found = judge(best_claims(search, 1), [{}], write(tmp_path / "d", [missing], objective=MIN), repeats=1)
    assert (found.configs[0].values, found.configs[0].n_no_value) == ((), 1)
