import math

import numpy as np
import pytest

from tunesmith.analysis.curves import learning_curves
from tunesmith.analysis.history import best_so_far, trial_history
from tunesmith.analysis.metric_choice import choose_metric
from tunesmith.analysis.reports import ActiveTime
from tunesmith.api import load
from tunesmith.errors import ConfigError
from tunesmith.events import SessionStarted
from tunesmith.stores import create_store
from tunesmith.trial import MetricConstraint, Mode, Objective, TrialStatus

from ..stores.store_samples import make_trial, report, start, write_folds
from .written import objective, spec_of, write

NAN, INF = math.nan, math.inf


def history(result, metric=None, mode=None):
    return trial_history(result.reader, choose_metric(result.reader, metric, mode))


def progress(result, metric=None, mode=None):
    return best_so_far(result.reader, choose_metric(result.reader, metric, mode))


def equal(array, expected):
    return np.array_equal(np.asarray(array, float), np.asarray(expected, float), equal_nan=True)


@pytest.mark.parametrize(
    ("mode", "value", "best"),
    [("min", [NAN, 2, 1, NAN, 3], [NAN, 2, 1, 1, 1]), ("max", [NAN, 4, 1, NAN, 3], [NAN, 4, 4, 4, 4])],
)
def test_history_goes_by_the_best_finite_value_of_each_trial(tmp_path, mode, value, best):
    series = [[NAN], [4, 2], [1, INF if mode == "min" else -INF], [], [3]]
    found = history(write(tmp_path / "e", series, mode=Mode(mode)))
    assert equal(found.value, value)
    assert equal(found.best, best)


def test_history_tells_what_each_trial_became(tmp_path):
    states = [TrialStatus.FAILED, TrialStatus.STOPPED]
    assert history(write(tmp_path / "e", [[1], [2]], states=states)).state == tuple(states)


def test_a_trial_that_breaks_a_constraint_is_no_best(tmp_path):
    bounded = Objective(("loss",), (Mode.MIN,), (MetricConstraint("size", True, 5.0),))
    result = write(tmp_path / "e", [[{"loss": 2, "size": 1}], [{"loss": 1, "size": 9}]], objective=bounded)
    found = history(result)
    assert found.is_feasible.tolist() == [True, False]
    assert found.best.tolist() == [2, 2]
    assert progress(result).value.tolist() == [2, 2]
    assert progress(result, "loss").value.tolist() == [2, 1, 1]


BOUNDED = Objective(("loss",), (Mode.MIN,), (MetricConstraint("lat", True, 20.0),))
#: The best loss of the first is of a report that breaks the bound; the last report of the second breaks it.
LUCKY_BUT_SLOW = [
    [{"loss": 0.1, "lat": 50}, {"loss": 0.5, "lat": 10}],
    [{"loss": 0.3, "lat": 10}, {"loss": 0.6, "lat": 30}],
]


def agrees_with_best(result):
    """The value that trial by trial, over reports and `best` agree on."""
    by_trial, by_report, best = history(result), progress(result), result.best
    assert by_trial.best[-1] == by_report.value[-1] == best.value
    assert by_report.trial[-1] == best.trial.index
    return best.value


def test_a_value_and_the_constraints_that_it_keeps_are_of_the_same_report(tmp_path):
    never = [{"loss": 0.2, "lat": 21}, {"loss": 0.05, "lat": 22}]
    result = write(tmp_path / "e", [*LUCKY_BUT_SLOW, never], objective=BOUNDED)
    found = history(result)
    assert found.value.tolist() == [0.5, 0.3, 0.05]
    assert found.is_feasible.tolist() == [True, True, False]
    assert agrees_with_best(result) == 0.3


@pytest.mark.parametrize(("mode", "endless"), [("min", -INF), ("max", INF)])
def test_an_infinitely_good_report_does_not_hide_the_finite_ones(tmp_path, mode, endless):
    result = write(tmp_path / "e", [[endless, 1.0], [2.0 if mode == "min" else 0.5]], mode=Mode(mode))
    assert history(result).value.tolist()[0] == 1.0
    assert agrees_with_best(result) == 1.0
    assert result.observations()[0] == ({}, 1.0)


def test_one_lucky_fold_is_no_best(tmp_path):
    write_folds(tmp_path / "e", [[1.0, 3.0], [0.1], [4.0, 6.0]], space={"tree": {}, "grids": []})
    result = load(tmp_path / "e")
    found = history(result)
    assert found.value.tolist() == [2, 0.1, 5]
    assert found.is_candidate.tolist() == [True, False, True]
    assert found.is_feasible.all()
    assert agrees_with_best(result) == 2


def test_observations_are_of_reports_that_keep_the_constraints(tmp_path):
    result = write(tmp_path / "e", LUCKY_BUT_SLOW, objective=BOUNDED)
    assert [value for _, value in result.observations()] == [0.5, 0.3]
    assert [value for _, value in result.observations("loss")] == [0.1, 0.3]


def test_progress_has_each_improvement_and_the_end(tmp_path):
    found = progress(write(tmp_path / "e", [[3, 2, 2.5], [NAN, 1], [4]]))
    assert found.value.tolist() == [3, 2, 1, 1]
    assert found.n_steps.tolist() == [1, 2, 5, 6]
    assert found.n_trials.tolist() == [1, 1, 2, 3]
    assert found.time_s.tolist() == [1, 2, 2, 3]
    assert found.trial.tolist() == [0, 0, 1, 1]


def test_progress_of_larger_values(tmp_path):
    assert progress(write(tmp_path / "e", [[3, 2], [4]], mode=Mode.MAX)).value.tolist() == [3, 4, 4]


def test_progress_is_empty_without_a_finite_value(tmp_path):
    assert len(progress(write(tmp_path / "e", [[NAN], [INF], []])).value) == 0


def test_progress_of_another_metric(tmp_path):
    result = write(tmp_path / "e", [[{"loss": 1, "accuracy": 0.5}], [{"loss": 2, "accuracy": 0.75}]])
    assert progress(result, "accuracy", "max").value.tolist() == [0.5, 0.75, 0.75]


def test_folds_count_by_their_mean_over_the_most_folds(tmp_path):
    write_folds(tmp_path / "e", [[1.0, 3.0], [0.5], [1.0, 1.0]], space={"tree": {}, "grids": []})
    found = progress(load(tmp_path / "e"))
    assert found.value.tolist() == [2, 1, 1]
    assert found.n_steps.tolist() == [2, 5, 5]


def test_the_time_between_two_sessions_is_no_time_at_work(tmp_path):
    with create_store(tmp_path / "e", spec_of()) as store:
        first = report(0, 1, 1)  # at 1e9 + 1
        store.append([SessionStarted(1, 1e9, ()), start(0), first], [make_trial(0)])
        again = SessionStarted(2, 1e9 + 500, ())
        store.append([again, start(0, 2, start_step=1), report(0, 2, 501)], [make_trial(0)])
    active = ActiveTime(load(tmp_path / "e").reader)
    assert active.seconds(np.array([1e9, 1e9 + 1, 1e9 + 500, 1e9 + 501])).tolist() == [0, 1, 1, 2]


# ---------------------------------------------------------------- curves


def test_curves_have_gaps_where_a_value_is_missing_or_not_finite(tmp_path):
    result = write(tmp_path / "e", [[3, NAN, 2], [{"other": 1.0}, {"loss": INF}, {"loss": 1}], []])
    curves = learning_curves(result.reader, choose_metric(result.reader))
    assert [curve.trial for curve in curves] == [0, 1]
    assert equal(curves[0].value, [3, NAN, 2])
    assert equal(curves[1].value, [NAN, NAN, 1])
    assert curves[0].step.tolist() == [1, 2, 3]
    assert curves[0].time_s.tolist() == [0.5, 1, 1.5]


def test_curves_leave_out_what_a_later_attempt_repeated(tmp_path):
    with create_store(tmp_path / "e", spec_of()) as store:
        first = [start(0), *(report(0, 1, step, metrics={"loss": 9.0}) for step in (1, 2, 3))]
        store.append([SessionStarted(1, 1e9, ()), *first], [make_trial(0)])
        store.append([start(0, 2, start_step=1), report(0, 2, 2, metrics={"loss": 5.0})], [make_trial(0)])
    reader = load(tmp_path / "e").reader
    (curve,) = learning_curves(reader, choose_metric(reader))
    assert (curve.step.tolist(), curve.value.tolist()) == ([1, 2], [9, 5])
    assert best_so_far(reader, choose_metric(reader)).n_steps.tolist() == [1, 4, 4]


def test_there_are_no_curves_before_the_first_report(tmp_path):
    reader = write(tmp_path / "e", [[], []]).reader
    assert learning_curves(reader, choose_metric(reader)) == []


# ---------------------------------------------------------------- which metric


def test_an_unknown_metric_is_refused_with_those_there_are(tmp_path):
    reader = write(tmp_path / "e", [[{"loss": 1, "accuracy": 2}]]).reader
    with pytest.raises(ConfigError, match=r"Give one of accuracy, loss, training_iteration.*Did you mean 'accuracy'"):
        choose_metric(reader, "acuracy", "max")


def test_any_metric_is_taken_while_nothing_was_reported(tmp_path):
    assert choose_metric(write(tmp_path / "e", [[]]).reader, "accuracy", "max").name == "accuracy"


def test_a_metric_that_is_no_objective_needs_a_mode(tmp_path):
    reader = write(tmp_path / "e", [[{"loss": 1, "accuracy": 2}]]).reader
    with pytest.raises(ConfigError, match="Say which values of 'accuracy' are good"):
        choose_metric(reader, "accuracy")


def test_without_an_objective_a_metric_is_asked_for(tmp_path):
    reader = write(tmp_path / "e", [[1]], objective=None).reader
    with pytest.raises(ConfigError, match="Give one of loss"):
        choose_metric(reader)


def test_the_second_objective_has_its_own_mode(tmp_path):
    reader = write(tmp_path / "e", [[{"loss": 1, "size": 2}]], objective=objective(loss="min", size="max")).reader
    assert choose_metric(reader, "size").mode is Mode.MAX
    assert choose_metric(reader).n_objectives == 2
