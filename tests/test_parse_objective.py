from __future__ import annotations

import math

import pytest

from tunesmith.errors import ConfigError
from tunesmith.trial import MetricConstraint, Mode, Objective, parse_objective


def test_one_metric_is_a_list_of_one():
    assert parse_objective("loss", "min") == parse_objective(["loss"], ("min",)) == Objective(("loss",), (Mode.MIN,))


def test_several_metrics_keep_their_order_and_modes():
    found = parse_objective(["loss", "speed"], ["min", "max"])
    assert found == Objective(("loss", "speed"), (Mode.MIN, Mode.MAX))
    assert (found.metric, found.mode) == ("loss", Mode.MIN)


def test_neither_metric_nor_mode_is_no_objective():
    assert parse_objective(None, None) is None
    assert parse_objective(None, None, {}) is None


@pytest.mark.parametrize(
    ("metric", "mode", "words"),
    [
        ("loss", None, "Give both, or neither"),
        (None, "min", "Give both, or neither"),
        (["loss", "speed"], "min", "2 metrics and 1 modes"),
        (["loss"], ["min", "max"], "1 metrics and 2 modes"),
        ([], [], "0 metrics and 0 modes"),
        ("loss", "least", "mode is 'least'"),
        (["loss", 5], ["min", "max"], "name of a reported value"),
    ],
)
def test_what_is_no_objective_is_refused_with_what_was_given(metric, mode, words):
    with pytest.raises(ConfigError, match=words):
        parse_objective(metric, mode)


@pytest.mark.parametrize(
    ("words", "is_upper", "bound"),
    [
        ("<= 20", True, 20.0),
        ("<20", True, 20.0),
        (" >=  -1.5e-3 ", False, -0.0015),
        ("> 0", False, 0.0),
    ],
)
def test_a_bound_is_read_with_its_direction(words, is_upper, bound):
    found = parse_objective("loss", "min", {"latency": words})
    assert found.constraints == (MetricConstraint("latency", is_upper, bound),)


@pytest.mark.parametrize(
    "words", ["20", "== 20", "<= twenty", "<=", "<= nan", "<= inf", "<= 1 2", 20, None, ("<=", 20)]
)
def test_what_is_no_bound_is_refused_with_its_metric(words):
    with pytest.raises(ConfigError, match="The constraint on 'latency' is"):
        parse_objective("loss", "min", {"latency": words})


def test_constraints_need_an_objective():
    with pytest.raises(ConfigError, match="Give metric and mode too"):
        parse_objective(None, None, {"latency": "<= 20"})


@pytest.mark.parametrize(
    ("words", "value", "excess"), [("<= 20", 23, 3), ("<= 20", 20, 0), (">= 5", 3, 2), (">= 5", 9, -4)]
)
def test_the_excess_is_positive_where_the_bound_is_broken(words, value, excess):
    (bound,) = parse_objective("loss", "min", {"latency": words}).constraints
    assert bound.excess(value) == excess
    assert math.isnan(bound.excess(math.nan))
