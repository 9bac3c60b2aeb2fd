import math
from datetime import timedelta

import numpy as np
import pytest

from tunesmith.errors import ConfigError
from tunesmith.stoppers import DictStopper, MaximumIterationStopper, NoopStopper, TimeoutStopper

from .drive import hand_over, make_report, make_trial, play

# ---------------------------------------------------------------- noop and maximum iteration


def test_noop_stops_nothing():
    stopper = NoopStopper()
    assert play(stopper, [make_report(0, 1, loss=math.nan), make_report(0, 10**9)]) == ["continue"] * 2
    assert stopper.should_end() is None


def test_iteration_limit_completes_each_trial_for_itself():
    stopper = MaximumIterationStopper(3)
    reports = [make_report(0, 1), make_report(1, 2), make_report(0, 2), make_report(1, 3), make_report(0, 7)]
    assert play(stopper, reports) == ["continue", "continue", "continue", "complete", "complete"]
    assert hand_over(stopper, reports[-1]).words() == "reached 3 iterations"


@pytest.mark.parametrize("max_iter", [0, -1, 2.5, "3", True])
def test_iteration_limit_that_cannot_be_meant_is_refused(max_iter):
    with pytest.raises(ConfigError, match=r"max_iter is .* Give a whole number of 1 or more"):
        MaximumIterationStopper(max_iter)


# ---------------------------------------------------------------- dict


@pytest.mark.parametrize(
    ("limits", "report", "words"),
    [
        ({"training_iteration": 10}, make_report(0, 9), None),
        ({"training_iteration": 10}, make_report(0, 10), "reached training_iteration >= 10"),
        ({"training_iteration": 10}, make_report(0, 3, training_iteration=30.0), "reached training_iteration >= 10"),
        ({"time_total_s": 2.5}, make_report(0, 1, time_total_s=2.6), "reached time_total_s >= 2.5"),
        ({"acc": 0.9}, make_report(0, 1, acc=0.9), "reached acc >= 0.9"),
        ({"acc": 0.9}, make_report(0, 1, acc=math.nan), None),
        ({"acc": 0.9}, make_report(0, 1, acc=math.inf), "reached acc >= 0.9"),
        ({"acc": np.float64(0.9)}, make_report(0, 1, acc=0.95), "reached acc >= 0.9"),
        ({"epoch": np.int64(3)}, make_report(0, 1, epoch=3.0), "reached epoch >= 3"),
        ({"loss": -1, "acc": 0.9}, make_report(0, 1, acc=0.95, loss=-2.0), "reached acc >= 0.9"),
        ({"timestamp": 1000}, make_report(0, 1, at=1000.5), "reached timestamp >= 1000"),
        ({}, make_report(0, 1), None),
    ],
)
def test_trial_completes_when_a_value_reaches_its_limit(limits, report, words):
    assert hand_over(DictStopper(limits), report).words() == words


def test_numbers_of_an_infinite_value_can_be_written_as_json():
    assert hand_over(DictStopper({"acc": 1}), make_report(0, 1, acc=math.inf)).numbers["value"] == "inf"


def test_key_that_nobody_reports_is_an_error_at_the_first_report():
    report = make_report(4, 1, accuracy=0.5, loss=1.0)
    with pytest.raises(
        ConfigError,
        match=r"'acuracy', which trial 4 did not report; it has accuracy, loss, training_it.*mean 'accuracy'",
    ):
        DictStopper({"acuracy": 0.9}).decide(make_trial(report), report)


def test_key_that_another_trial_reported_may_come_late():
    stopper = DictStopper({"acc": 0.9})
    hand_over(stopper, make_report(0, 1, acc=0.1))
    assert play(stopper, [make_report(1, 1, loss=1.0), make_report(1, 2, acc=1.0)]) == ["continue", "complete"]


def test_key_may_be_missing_in_later_reports():
    stopper = DictStopper({"acc": 0.9})
    reports = [make_report(0, 1, acc=0.1), make_report(0, 2, loss=1.0), make_report(0, 3, acc=0.9)]
    assert play(stopper, reports) == ["continue", "continue", "complete"]


@pytest.mark.parametrize("limits", [{"acc": "0.9"}, {"acc": math.nan}, {"a": {"b": 1}}, {3: 4}, {"acc": None}])
def test_limit_that_cannot_be_meant_is_refused(limits):
    with pytest.raises(ConfigError, match="stop"):
        DictStopper(limits)


# ---------------------------------------------------------------- timeout


@pytest.mark.parametrize("timeout", [60, 60.0, timedelta(minutes=1)])
def test_no_jump_of_the_wall_clock_in_the_records_ends_the_experiment(timeout):
    """F40: the deadline is kept by the experiment, on a clock that does not jump."""
    stopper = TimeoutStopper(timeout)
    for at in (1000.0, 4600.0, -2600.0):
        hand_over(stopper, make_report(0, 1, at=at))
        assert stopper.should_end() is None
    assert stopper.timeout_s == 60.0


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "60", True, timedelta(0)])
def test_timeout_that_cannot_be_meant_is_refused(timeout):
    with pytest.raises(ConfigError, match=r"timeout is .* Give a number above 0"):
        TimeoutStopper(timeout)
