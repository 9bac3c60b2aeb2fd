import math

import numpy as np
import pytest

from tunesmith.plots.axes import duration_axis, log_ticks, round_ticks, tick_text, value_axis
from tunesmith.plots.thinning import best_and_spread, spread, thin_line
from tunesmith.trial import Mode


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-5, -1, ["1e-5", "1e-4", "0.001", "0.01", "0.1"]),
        (0, 1, ["1", "2", "5", "10"]),
        (-0.1, 0.5, ["0.8", "1", "2", "3"]),
        (-20, 20, ["1e-20", "1e-15", "1e-10", "1e-5", "1", "1e5", "1e10", "1e15", "1e20"]),
        (0.31, 0.32, None),
    ],
)
def test_logarithmic_axes_have_round_ticks(low, high, ticks):
    found = log_ticks(low, high)
    if ticks is None:
        assert found == {}
    else:
        assert len(found["ticktext"]) <= 9
        assert set(found["ticktext"]) <= set(ticks) | {"0.9", "3", "4", "5", "6", "7"}
        assert [float(text) for text in found["ticktext"]] == pytest.approx(found["tickvals"])


def test_ticks_of_linear_axes_are_round():
    assert round_ticks(0.787, 0.843, 6) == [0.79, 0.8, 0.81, 0.82, 0.83, 0.84]
    assert round_ticks(0, 1, 6) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert round_ticks(3, 3, 6) == [3]


@pytest.mark.parametrize(
    ("value", "text"), [(0.001, "0.001"), (20.0, "20"), (1e-5, "1e-5"), (2.5e7, "2.5e7"), (0, "0")]
)
def test_a_tick_is_written_short(value, text):
    assert tick_text(value) == text


@pytest.mark.parametrize(("seconds", "unit"), [(10, "s"), (600, "min"), (1e5, "h"), (1e6, "days")])
def test_times_have_the_unit_of_the_longest(seconds, unit):
    assert duration_axis(seconds)[1] == unit


def test_good_values_are_never_beyond_the_axis():
    values = np.array([1.0] * 50 + [1.1] * 50 + [-500.0, 900.0])
    low = value_axis(values, Mode.MIN)
    assert (low.low < -500, low.high < 100, low.n_beyond) == (True, True, 1)
    high = value_axis(values, Mode.MAX)
    assert (high.high > 900, high.low > -100, high.n_beyond) == (True, True, 1)


def test_only_values_to_be_minimised_have_a_logarithmic_axis():
    accuracies = np.array([0.0005, 0.1, 0.9, 0.99])
    assert value_axis(accuracies, Mode.MIN).is_log
    assert not value_axis(accuracies, Mode.MAX).is_log


@pytest.mark.parametrize("mode", Mode)
def test_an_axis_of_all_values_holds_the_outliers_too(mode):
    axis = value_axis(np.array([1.0] * 50 + [1.1] * 50 + [-500.0, 900.0]), mode, has_all=True)
    assert (axis.low < -500, axis.high > 900, axis.notes) == (True, True, [])


@pytest.mark.parametrize("values", [[], [math.nan], [3.0], [0.0, 0.0], [1e-300, 1e300], [-1e308, 1e308]])
def test_an_axis_has_a_length_whatever_the_values(values):
    axis = value_axis(np.array(values, float), Mode.MIN)
    assert math.isfinite(axis.low) and math.isfinite(axis.high) and axis.low < axis.high


def test_a_spread_has_both_ends():
    assert spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread(101, 3).tolist() == [0, 50, 100]


def test_a_thinned_line_keeps_its_ends_and_its_extremes():
    y = np.sin(np.linspace(0, 40, 1000))
    y[333], y[777] = 5.0, -5.0
    kept = thin_line(y, 50)
    assert {0, 333, 777, 999} <= set(kept.tolist())
    assert len(kept) <= 50
    assert len(thin_line(np.full(1000, math.nan), 50)) <= 50


def test_the_best_are_kept_and_the_others_spread():
    losses = np.array([math.nan, *range(98, -1, -1)], float)
    kept = best_and_spread(losses, 10)
    assert len(kept) == 10
    assert set(range(95, 100)) <= set(kept.tolist())
    assert {0, 94} <= set(kept.tolist())
