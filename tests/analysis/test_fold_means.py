"""The best of an experiment whose trials report folds."""

from __future__ import annotations

import math

import pytest

import tunesmith as tune
from tunesmith.api import load
from tunesmith.trial import Checkpoint, MetricConstraint, Mode, Objective, TrialStatus

from ..stores.store_samples import answer, cross_validated, make_spec, make_trial, report, start, write_folds

NAN = math.nan
SCOPES = ["last", "all", "avg", "last-5-avg", "last-10-avg"]
#: Of trial 1 the last fold is the best of all, of trial 2 the only one; trial 3 has the best mean.
SERIES = [[3.0, 3.0, 3.0], [5.0, 4.0, 0.1], [0.0], [2.0, 2.5, 3.0], [NAN, 0.0, 0.0]]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "e"


def test_best_is_the_best_mean_over_the_most_folds_with_the_step_of_the_last(folder):
    write_folds(folder, SERIES)
    best = load(folder).best
    assert (best.trial.index, best.value, best.step, best.checkpoint) == (3, 2.5, 3, None)
    assert "best loss=2.5 (trial abcde_00003, step 3)" in repr(load(folder))


@pytest.mark.parametrize("scope", SCOPES)
def test_in_every_scope_the_mean_over_the_most_folds_decides(folder, scope):
    write_folds(folder, SERIES)
    analysis = load(folder)
    assert analysis.get_best_trial(scope=scope).index == 3
    assert analysis.get_best_trial("loss", "max", scope).index == 1


@pytest.mark.parametrize("scope", SCOPES)
def test_so_it_is_without_an_objective(folder, scope):
    write_folds(folder, SERIES, metric=None)
    assert load(folder).get_best_trial("loss", "min", scope).index == 3


def test_time_and_step_keep_ray_tunes_meaning(folder):
    write_folds(folder, SERIES)
    assert load(folder).get_best_trial("training_iteration", "min").index == 2


def test_where_no_trial_is_whole_none_is_best(folder, caplog):
    write_folds(folder, [[NAN, 0.0], [0.0, math.inf]])
    assert load(folder).get_best_trial() is None
    with pytest.raises(tune.errors.TuneError, match="No trial reported a finite 'loss'"):
        load(folder).best


def test_of_a_fold_that_was_reported_again_the_last_value_counts(folder):
    reports = [report(0, 1, step, metrics=m) for step, m in enumerate([{"loss": 9.0, "fold": 0}, {"loss": 1.0}], 1)]
    reports.append(report(0, 1, 3, metrics={"loss": 4.0, "fold": 0.0}))
    analysis = written(folder, reports, make_trial(0, status=TrialStatus.COMPLETED, metrics=reports[-1].metrics))
    assert (analysis.best.value, analysis.best.step) == (4.0, 3)


def test_a_fold_that_a_restart_superseded_does_not_count(folder):
    again = start(0, 2, checkpoint="c", start_step=1)
    reports = [report(0, 1, 1, metrics={"loss": 2.0, "fold": 0}), report(0, 1, 2, metrics={"loss": 9.0, "fold": 1})]
    later = report(0, 2, 2, metrics={"loss": 4.0, "fold": 1})
    analysis = written(folder, [*reports, again, later], make_trial(0, attempt=2, metrics=later.metrics))
    assert (analysis.best.value, analysis.best.step) == (3.0, 2)


def written(folder, records, trial):
    with tune.stores.create_store(folder, make_spec()) as store:
        log = [start(0)]
        for record in records:
            log += [record, answer(record)] if hasattr(record, "metrics") else [record]
        store.append(log, [trial])
    return load(folder)


def test_with_constraints_the_last_report_keeps_them(folder):
    bound = MetricConstraint("loss", is_upper=False, bound=1.0)
    write_folds(folder, [[2.0, 2.5], [1.0, 0.5]], objective=Objective(("loss",), (Mode.MIN,), (bound,)))
    analysis = load(folder)
    assert analysis.best.trial.index == 0
    assert analysis.get_best_trial().index == 0


def test_observations_are_means_and_a_recommendation_is_of_the_most_folds(folder):
    with tune.stores.create_store(folder, make_spec(space=SPACE, seed=1)) as store:
        for index, values in enumerate([[2.0, 2.0], [1.8, 2.0], [0.1]]):
            config = {"lr": 0.1 * (index + 1)}
            trial = cross_validated(index, values, config=config)
            reports = [report(index, 1, i + 1, metrics={"loss": v, "fold": i}) for i, v in enumerate(values)]
            store.append([start(index, config=config), *(r for one in reports for r in (one, answer(one)))], [trial])
    analysis = load(folder)
    assert [value for _, value in analysis.observations()] == [2.0, 1.9, 0.1]
    assert tune.recommend(analysis, {"lr": tune.uniform(0, 1)}).config["lr"] != pytest.approx(0.3)


SPACE = tune.space.Space({"lr": tune.uniform(0, 1)}).describe()


def test_a_checkpoint_of_the_last_fold_belongs_to_the_best(folder):
    saved = Checkpoint("trials/c2", step=2, attempt=1)
    with tune.stores.create_store(folder, make_spec()) as store:
        reports = [report(0, 1, 1, metrics={"loss": 1.0, "fold": 0})]
        reports.append(report(0, 1, 2, metrics={"loss": 2.0, "fold": 1}, checkpoint="trials/c2"))
        records = [start(0), *(record for one in reports for record in (one, answer(one)))]
        store.append(records, [cross_validated(0, [1.0, 2.0], checkpoints=(saved,))])
    best = load(folder).best
    assert (best.value, best.step) == (1.5, 2)
    assert best.checkpoint is not None and best.checkpoint.endswith("trials/c2")
