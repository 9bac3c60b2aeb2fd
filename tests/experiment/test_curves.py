"""The learning curves that a searcher is shown."""

from __future__ import annotations

import math

import pytest

from tunesmith.events import StartAttempt, TrialReported
from tunesmith.experiment.curves import CurveLog
from tunesmith.resources import Placement, Resources
from tunesmith.testing.samples import LOSS

PLACEMENT = Placement(node="here", resources=Resources())


def report(trial, step, **metrics):
    return TrialReported(trial, 1, step, metrics, time_total_s=10.0 * step, at=0.0)


def start(trial, start_step):
    return StartAttempt(trial, 2, PLACEMENT, {}, start_step=start_step)


def log_of(*records, time_attr="training_iteration", objective=LOSS):
    log = CurveLog(objective, time_attr=time_attr)
    for record in records:
        log.observe(record)
    return log


def test_curves_are_by_trial_and_numbered_in_the_order_of_the_log():
    log = log_of(report(0, 1, loss=5.0), report(2, 1, loss=3.0), report(0, 2, loss=4.0))
    first, second, third = log.snapshot(3)
    assert first.points() == ([1.0, 2.0], [5.0, 4.0])
    assert first.orders == [1, 3]
    assert second.points() == ([], [])
    assert third.points() == ([1.0], [3.0])


@pytest.mark.parametrize(
    ("time_attr", "times"), [("training_iteration", [2.0]), ("time_total_s", [20.0]), ("epoch", [0.5])]
)
def test_time_is_what_the_searcher_asked_for(time_attr, times):
    assert log_of(report(0, 2, loss=1.0, epoch=0.5), time_attr=time_attr).snapshot(1)[0].times == times


def test_a_restart_takes_out_the_reports_that_it_supersedes():
    reports = [report(0, step, loss=float(step)) for step in (1, 2, 3, 4)]
    [curve] = log_of(*reports, start(0, 2)).snapshot(1)
    assert curve.points() == ([1.0, 2.0], [1.0, 2.0])
    [curve] = log_of(*reports, start(0, 0)).snapshot(1)
    assert curve.points() == ([], [])
    [curve] = log_of(*reports, start(0, 2), report(0, 3, loss=9.0)).snapshot(1)
    assert (curve.points(), curve.orders) == (([1.0, 2.0, 3.0], [1.0, 2.0, 9.0]), [1, 2, 5])


def test_curves_say_how_long_the_trial_had_trained_by_each_point():
    log = log_of(report(0, 1, loss=5.0), report(0, 2, other=1.0), report(0, 3, loss=4.0), report(0, 4, loss=3.0))
    assert log.snapshot(1)[0].totals_s == [10.0, 30.0, 40.0]
    log.observe(start(0, 3))
    assert log.snapshot(1)[0].totals_s == [10.0, 30.0]


def test_a_snapshot_does_not_change_with_what_comes_after():
    log = log_of(report(0, 1, loss=5.0), report(0, 2, loss=4.0))
    [before] = log.snapshot(1)
    for record in (report(0, 3, loss=3.0), start(0, 1), report(0, 2, loss=8.0)):
        log.observe(record)
    assert before.points() == ([1.0, 2.0], [5.0, 4.0])
    assert log.snapshot(1)[0].points() == ([1.0, 2.0], [5.0, 8.0])


def test_reports_without_the_metric_or_the_time_are_no_points():
    log = log_of(report(0, 1, other=1.0), report(0, 2, loss=1.0), report(0, 3, loss=1.0, epoch=2.0), time_attr="epoch")
    assert log.snapshot(1)[0].points() == ([2.0], [1.0])


@pytest.mark.parametrize("time", [2.0, 1.0, math.nan])
def test_reports_whose_time_does_not_grow_are_no_points(time):
    log = log_of(
        report(0, 1, loss=5.0, epoch=2.0), report(0, 2, loss=4.0, epoch=time), report(0, 3, loss=3.0, epoch=3.0),
        time_attr="epoch",
    )  # fmt: skip
    assert log.snapshot(1)[0].points() == ([2.0, 3.0], [5.0, 3.0])


def test_values_that_are_no_numbers_are_kept_as_reported():
    [curve] = log_of(report(0, 1, loss=math.nan), report(0, 2, loss=math.inf)).snapshot(1)
    assert math.isnan(curve.values[0])
    assert curve.values[1] == math.inf


def test_without_an_objective_there_are_no_curves():
    assert log_of(report(0, 1, loss=1.0), objective=None).snapshot(1)[0].n == 0
