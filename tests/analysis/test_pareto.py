import logging
import math
import random

import pytest

from tunesmith.api import load
from tunesmith.errors import ConfigError, TuneError
from tunesmith.events import DeleteCheckpoint
from tunesmith.stores import create_store
from tunesmith.trial import Checkpoint, TrialStatus, parse_objective

from ..stores.store_samples import answer, make_spec, make_trial, report, run_of, start

NAN, INF = math.nan, math.inf
TWO = parse_objective(["loss", "speed"], ["min", "max"])
BOUND = {"latency": "<= 20"}


def write(folder, runs, *, objective=TWO):
    """An experiment with one trial for each list of reports."""
    with create_store(folder, make_spec(objective=objective)) as store:
        for index, reports in enumerate(runs):
            values = [metrics["loss"] for metrics in reports if math.isfinite(metrics.get("loss", NAN))]
            best = min(values, default=None)
            trial = make_trial(
                index,
                status=TrialStatus.COMPLETED,
                step=len(reports),
                n_reports=len(reports),
                metrics=reports[-1] if reports else None,
                best_value=best,
                best_step=None if best is None else 1 + [m.get("loss") for m in reports].index(best),
            )
            store.append([start(index), *run_of(index, reports)], [trial])
    return load(folder)


def two(loss, speed, **more):
    return {"loss": loss, "speed": speed, **more}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "experiment"


def indices(analysis):
    return [point.trial.index for point in analysis.pareto]


# ---------------------------------------------------------------- the Pareto set


def test_the_pareto_set_is_of_trials_that_none_dominates_best_first_by_the_first_metric(folder):
    analysis = write(folder, [[two(3, 9)], [two(1, 5)], [two(2, 5)], [two(2, 7)], [two(2, 7)], [two(4, 8)]])
    assert indices(analysis) == [1, 3, 4, 0]
    assert [point.values for point in analysis.pareto] == [(1, 5), (2, 7), (2, 7), (3, 9)]


def test_a_trial_counts_by_its_last_report_all_from_that_step(folder):
    analysis = write(folder, [[two(1, 1, size=5), two(2, 2, size=6)], [two(3, 1)]])
    (point,) = analysis.pareto
    assert (point.step, point.metrics, point.config) == (2, two(2, 2, size=6), make_trial(0).config)


@pytest.mark.parametrize("last", [{"loss": 0.0}, two(NAN, 9), two(0, NAN), two(-INF, 9), two(0, INF)])
def test_a_trial_without_all_objectives_as_finite_numbers_takes_no_part(folder, last):
    assert indices(write(folder, [[last], [two(1, 1)]])) == [1]


def test_with_one_objective_the_set_is_the_best_trials(folder):
    analysis = write(
        folder, [[{"loss": 2.0}], [{"loss": 1.0}], [{"loss": 1.0}]], objective=parse_objective("loss", "min")
    )
    assert indices(analysis) == [1, 2]


def test_a_filled_in_key_and_an_odd_name_may_be_objectives(folder):
    objective = parse_objective(['odd "name"/ü.x[0]', "training_iteration"], ["max", "min"])
    reports = [{'odd "name"/ü.x[0]': 1.0, "loss": 0.0}]
    assert [point.values for point in write(folder, [reports, reports * 2], objective=objective).pareto] == [(1.0, 1.0)]


def test_without_trials_the_set_is_empty(folder):
    assert write(folder, []).pareto == []
    assert len(load(folder).pareto_dataframe()) == 0


def test_without_an_objective_there_is_no_set(folder):
    analysis = write(folder, [[two(1, 1)]], objective=None)
    with pytest.raises(ConfigError, match="metric is None"):
        analysis.pareto


def test_the_set_equals_a_plain_comparison_of_all_pairs(folder):
    rng = random.Random(0)
    values = [(rng.randrange(30), rng.randrange(30)) for _ in range(200)]
    analysis = write(folder, [[two(float(a), float(b))] for a, b in values])
    beaten = [any(c <= a and d >= b and (c, d) != (a, b) for c, d in values) for a, b in values]
    assert sorted(indices(analysis)) == [i for i, is_beaten in enumerate(beaten) if not is_beaten]


# ---------------------------------------------------------------- checkpoints and clones


def test_a_point_has_the_checkpoint_of_its_step_if_it_is_kept(folder):
    with create_store(folder, make_spec(objective=TWO)) as store:
        for index in range(2):
            path = f"t{index}/c1"
            saved = report(index, metrics=two(index, index), checkpoint=path)
            trial = make_trial(
                index,
                step=1,
                n_reports=1,
                metrics=saved.metrics,
                checkpoints=(Checkpoint(path=path, step=1, attempt=1),),
            )
            store.append([start(index), saved, answer(saved)], [trial])
        store.append([DeleteCheckpoint(1, "t1/c1")], [make_trial(1, step=1, n_reports=1, metrics=two(1, 1))])
    assert [point.checkpoint for point in load(folder).pareto] == [str(folder / "t0/c1"), None]


def test_a_clone_that_has_not_reported_yet_counts_with_the_config_that_reported(folder):
    with create_store(folder, make_spec(objective=TWO)) as store:
        first = report(0, metrics=two(1, 1))
        trial = make_trial(0, config={"lr": 9.0}, attempt=2, step=1, n_reports=1, metrics=two(1, 1))
        store.append([start(0), first, answer(first), start(0, attempt=2, config={"lr": 9.0}, start_step=1)], [trial])
    assert load(folder).pareto[0].config == make_trial(0).config


# ---------------------------------------------------------------- constraints


def bounded(metric="loss", mode="min", constraints=BOUND):
    return parse_objective(metric, mode, constraints)


def test_the_best_is_the_best_report_that_keeps_the_constraints_itself(folder):
    runs = [
        [{"loss": 0.1, "latency": 30.0}, {"loss": 0.5, "latency": 20.0}],
        [{"loss": 0.3, "latency": 19.0}, {"loss": 0.2, "latency": 21.0}],
        [{"loss": 0.0}, {"loss": 0.0, "latency": NAN}, {"loss": 0.0, "latency": INF}],
    ]
    analysis = write(folder, runs, objective=bounded())
    assert (analysis.best.trial.index, analysis.best.step, analysis.best.value) == (1, 1, 0.3)
    assert "best loss=0.3 (trial abcde_00001, step 1)" in repr(analysis)


def test_an_infinitely_good_metric_keeps_its_bound(folder):
    runs = [[{"loss": 1.0, "latency": -INF}]]
    assert write(folder, runs, objective=bounded()).best.value == 1.0


def test_a_lower_bound_and_several_bounds_are_kept_together(folder):
    runs = [[{"loss": 1.0, "latency": 5.0, "acc": 0.8}], [{"loss": 2.0, "latency": 5.0, "acc": 0.9}]]
    objective = bounded(constraints={"latency": "<= 20", "acc": ">= 0.9"})
    assert write(folder, runs, objective=objective).best.trial.index == 1


def test_the_objective_itself_may_be_bounded(folder):
    runs = [[{"loss": 1.0}, {"loss": 3.0}, {"loss": 2.0}]]
    assert write(folder, runs, objective=bounded(constraints={"loss": ">= 1.5"})).best.value == 2.0


def test_where_nothing_is_feasible_best_says_so_with_what_comes_closest(folder):
    runs = [[{"loss": 0.1, "latency": 30.0}], [{"loss": 0.9, "latency": 21.5}], [{"loss": 0.0}]]
    analysis = write(folder, runs, objective=bounded())
    with pytest.raises(
        TuneError, match=r"No result keeps latency <= 20. The closest .* is train_abcde_00001: latency 21.5"
    ):
        analysis.best
    assert "best" not in repr(analysis)


def test_where_nothing_was_reported_best_does_not_blame_the_constraints(folder):
    with pytest.raises(TuneError, match="No trial reported a finite 'loss'"):
        write(folder, [[{"x": 1.0, "latency": 30.0}]], objective=bounded()).best


def test_the_pareto_set_is_of_feasible_trials(folder):
    runs = [[two(0, 9, latency=21.0)], [two(1, 1, latency=20.0)], [two(2, 2, latency=1.0)], [two(3, 2, latency=1.0)]]
    analysis = write(folder, runs, objective=bounded(["loss", "speed"], ["min", "max"]))
    assert indices(analysis) == [1, 2]
    assert [point.is_feasible for point in analysis.pareto] == [True, True]


def test_where_no_trial_is_feasible_the_pareto_set_is_of_the_closest_and_says_so(folder, caplog):
    runs = [[two(0, 9, latency=25.0)], [two(1, 1, latency=21.0)], [two(2, 2)], [two(5, 0, latency=21.0)]]
    analysis = write(folder, runs, objective=bounded(["loss", "speed"], ["min", "max"]))
    with caplog.at_level(logging.WARNING):
        assert indices(analysis) == [1, 3]
    assert [point.is_feasible for point in analysis.pareto] == [False, False]
    assert "No trial's last report keeps latency <= 20" in caplog.text


def test_the_best_trial_by_the_experiments_own_objective_keeps_the_constraints(folder, caplog):
    runs = [[{"loss": 0.1, "latency": 30.0}], [{"loss": 0.3, "latency": 19.0}]]
    analysis = write(folder, runs, objective=bounded())
    assert (analysis.best_trial.index, analysis.best_config) == (1, make_trial(1).config)
    assert analysis.get_best_trial("loss", "min").index == 0
    assert analysis.observations() == [(make_trial(1).config, 0.3)]
    assert len(analysis.observations("loss", "min")) == 2


def test_there_is_no_best_trial_where_none_is_feasible(folder, caplog):
    analysis = write(folder, [[{"loss": 0.1, "latency": 30.0}]], objective=bounded())
    assert analysis.best_trial is None
    assert "No result keeps latency <= 20" in caplog.text


# ---------------------------------------------------------------- the table


def test_the_table_has_metrics_step_checkpoint_and_config_of_each_point(folder):
    frame = write(folder, [[two(1, 1)], [two(2, 2), two(2, 3)]]).pareto_dataframe()
    assert frame[["loss", "speed", "training_iteration", "trial_id", "config/lr"]].values.tolist() == [
        [1, 1, 1, "abcde_00000", 0.1],
        [2, 3, 2, "abcde_00001", 0.2],
    ]
    assert frame["is_feasible"].tolist() == [True, True]
    assert frame["checkpoint"].isna().all()


def test_a_metric_named_like_a_column_of_ours_wins(folder):
    frame = write(folder, [[two(1, 1, checkpoint=7.0)]]).pareto_dataframe()
    assert frame["checkpoint"].tolist() == [7.0]
