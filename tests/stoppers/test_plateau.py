import math
from collections import defaultdict, deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import ConfigError
from tunesmith.stoppers import ExperimentPlateauStopper, TrialPlateauStopper
from tunesmith.stoppers.deviation import standard_deviation

from .drive import hand_over, make_report, play


def curve(values, trial=0):
    return [make_report(trial, step, loss=value) for step, value in enumerate(values, start=1)]


@st.composite
def interleaved_curves(draw):
    """Reports of up to four trials, steps growing by one, values with many ties."""
    moves = draw(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 0.53125, 2.0])), max_size=40))
    steps = dict.fromkeys(range(4), 0)
    reports = []
    for trial, value in moves:
        steps[trial] += 1
        reports.append(make_report(trial, steps[trial], loss=value))
    return reports


# ---------------------------------------------------------------- standard deviation


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_standard_deviation_is_numpys(values):
    assert standard_deviation(values) == pytest.approx(float(np.std(values)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0], 0.0), ([0.1] * 7, 0.0), ([1e308, -1e308], 1e308), ([1.0, 3.0], 1.0), ([1e-300, 3e-300], 1e-300)],
)
def test_standard_deviation_of_extreme_values(values, expected):
    assert standard_deviation(values) == pytest.approx(expected, rel=1e-12, abs=1e-16)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_standard_deviation_with_an_unusable_value_is_nan(bad):
    assert math.isnan(standard_deviation([1.0, bad]))


# ---------------------------------------------------------------- of a trial


class NaiveTrialPlateau:
    """Ray Tune's rule in its own order of questions, with NumPy, as a reference."""

    def __init__(self, std, num_results, grace_period, threshold, mode):
        self.std, self.num_results, self.grace_period = std, num_results, grace_period
        self.threshold, self.mode = threshold, mode
        self.count, self.window = defaultdict(int), defaultdict(lambda: deque(maxlen=num_results))

    def __call__(self, trial, value):
        self.window[trial].append(value)
        self.count[trial] += 1
        if self.count[trial] < self.grace_period or len(self.window[trial]) < self.num_results:
            return False
        if self.threshold is not None:
            if self.mode == "min" and value > self.threshold:
                return False
            if self.mode == "max" and value < self.threshold:
                return False
        return bool(np.std(self.window[trial]) < self.std)


@given(
    interleaved_curves(),
    st.sampled_from([0.01, 0.1]),
    st.integers(2, 4),
    st.integers(0, 6),
    st.sampled_from([None, 0.25, 0.6]),
    st.sampled_from(["min", "max"]),
)
def test_trials_end_where_they_do_in_ray_tune(reports, std, num_results, grace_period, threshold, mode):
    ours = TrialPlateauStopper("loss", std, num_results, grace_period, threshold, mode)
    theirs = NaiveTrialPlateau(std, num_results, grace_period, threshold, mode)
    expected = ["stop" if theirs(report.trial, report.metrics["loss"]) else "continue" for report in reports]
    assert play(ours, reports) == expected
    assert ours.should_end() is None


def test_trial_on_a_plateau_is_stopped_and_told_why():
    stopper = TrialPlateauStopper("loss", std=0.01)
    assert play(stopper, curve([5.0, 1.0, 1.0, 1.0])) == ["continue"] * 4
    decision = hand_over(stopper, make_report(0, 5, loss=1.0))
    assert decision.verdict.value == "stop"
    assert decision.words() == "plateau: standard deviation 0 of the last 4 values of loss, below 0.01"


def test_reports_without_the_metric_neither_count_nor_break_a_plateau():
    stopper = TrialPlateauStopper("loss", num_results=2, grace_period=0)
    reports = [make_report(0, 1, loss=1.0), make_report(0, 2, acc=1.0), make_report(0, 3, loss=1.0)]
    assert play(stopper, reports) == ["continue", "continue", "stop"]


def test_nan_is_no_plateau():
    assert play(TrialPlateauStopper("loss"), curve([math.nan] * 6)) == ["continue"] * 6


def test_steps_repeated_after_a_restart_count_once():
    stopper = TrialPlateauStopper("loss", num_results=3, grace_period=0)
    reports = [*curve([1.0, 1.0]), make_report(0, 2, loss=1.0), make_report(0, 3, loss=1.0)]
    assert play(stopper, reports) == ["continue", "continue", "continue", "stop"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"metric_threshold": 0.5},
        {"mode": "minimum"},
        {"std": 0},
        {"std": math.nan},
        {"num_results": 1},
        {"grace_period": -1},
        {"metric": 3},
    ],
)
def test_trial_plateau_that_cannot_be_meant_is_refused(arguments):
    with pytest.raises(ConfigError, match="Give"):
        TrialPlateauStopper(**{"metric": "loss", **arguments})


# ---------------------------------------------------------------- of the experiment


class NaiveExperimentPlateau:
    """Ray Tune's rule on a plain list, with NumPy, as a reference."""

    def __init__(self, std, top, mode, patience):
        self.std, self.top, self.mode, self.patience = std, top, mode, patience
        self.values, self.iterations = [], 0

    def has_plateaued(self):
        return len(self.values) == self.top and bool(np.std(self.values) <= self.std)

    def __call__(self, value):
        self.values = sorted([*self.values, value])
        self.values = self.values[: self.top] if self.mode == "min" else self.values[-self.top :]
        self.iterations = self.iterations + 1 if self.has_plateaued() else 0
        return self.has_plateaued() and self.iterations >= self.patience


@given(
    interleaved_curves(),
    st.sampled_from([0.001, 0.05]),
    st.integers(2, 5),
    st.sampled_from(["min", "max"]),
    st.integers(0, 3),
)
def test_experiment_ends_where_it_does_in_ray_tune(reports, std, top, mode, patience):
    ours = ExperimentPlateauStopper("loss", std, top, mode, patience)
    theirs = NaiveExperimentPlateau(std, top, mode, patience)
    for report in reports:
        has_ended = theirs(report.metrics["loss"])
        assert (hand_over(ours, report).verdict.value == "stop") == has_ended
        assert (ours.should_end() is not None) == has_ended


@given(interleaved_curves(), st.randoms(use_true_random=False))
def test_best_values_do_not_depend_on_the_order_of_reports(reports, draw):
    one, other = (ExperimentPlateauStopper("loss", top=3) for _ in range(2))
    for report in reports:
        one.observe(report)
    draw.shuffle(reports)
    for report in reports:
        other.observe(report)
    assert one._standing.best == other._standing.best


def test_experiment_on_a_plateau_says_why():
    stopper = ExperimentPlateauStopper("loss", top=2)
    play(stopper, [make_report(0, 1, loss=0.5), make_report(1, 1, loss=0.5)])
    assert stopper.should_end() == "plateau: standard deviation 0 of the 2 best values of loss, at most 0.001"


def test_deviation_equal_to_the_limit_is_a_plateau():
    assert play(ExperimentPlateauStopper("loss", std=0.25, top=2), curve([0.0, 0.5])) == ["continue", "stop"]


def test_unusable_and_missing_values_are_ignored():
    stopper = ExperimentPlateauStopper("loss", top=2)
    reports = [make_report(0, 1, loss=math.nan), make_report(0, 2, acc=1.0), make_report(0, 3, loss=-math.inf)]
    assert play(stopper, [*reports, make_report(0, 4, loss=1.0)]) == ["continue"] * 4
    assert hand_over(stopper, make_report(1, 1, loss=1.0)).verdict.value == "stop"


def test_step_repeated_after_a_restart_takes_one_place():
    stopper = ExperimentPlateauStopper("loss", top=2)
    assert play(stopper, [make_report(0, 1, loss=1.0), make_report(0, 1, loss=1.0)]) == ["continue"] * 2


@pytest.mark.parametrize(
    "arguments", [{"mode": "maximise"}, {"mode": None}, {"std": -1}, {"top": 1}, {"top": 2.0}, {"patience": -1}]
)
def test_experiment_plateau_that_cannot_be_meant_is_refused(arguments):
    with pytest.raises(ConfigError, match="Give"):
        ExperimentPlateauStopper("loss", **arguments)
