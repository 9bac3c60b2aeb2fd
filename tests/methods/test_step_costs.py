"""What training costs with each config, and what follows for the choice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from tunesmith.events import Suggestion, Thaw
from tunesmith.methods import FreezeThaw
from tunesmith.methods.curve_board import Ladder, read_board
from tunesmith.methods.step_costs import StepCosts
from tunesmith.models.cube import Cube
from tunesmith.protocols import Curve, History
from tunesmith.rng import generator
from tunesmith.space import Space, choice, uniform
from tunesmith.testing.samples import LOSS
from tunesmith.trial import Trial, TrialStatus

SPACE = Space({"x": uniform(0.0, 1.0), "kind": choice(["a", "b"])})
LADDER = Ladder(max_t=27, grace_period=3, factor=3)
N = 12


def config_of(i):
    return {"x": (i + 0.5) / N, "kind": "ab"[i % 2]}


def history(seconds, *, values=lambda i: 1.0 + i / 100, n=N, paused=()):
    """Trials that have trained for 3 steps, each of which took `seconds(config)`; None: nobody knows."""
    trials, curves = [], []
    for i in range(n):
        status = TrialStatus.PAUSED if i in paused else TrialStatus.STOPPED
        trials.append(Trial(i, f"t{i}", config_of(i), status, attempt=1, step=3))
        step_s = seconds(config_of(i))
        totals_s = [] if step_s is None else [step_s * k for k in (1, 2, 3)]
        losses = [values(i) + 1.0 / k for k in (1, 2, 3)]
        curves.append(Curve([1.0, 2.0, 3.0], losses, [3 * i + k for k in range(3)], 3, totals_s))
    return History(SPACE, LOSS, 3, tuple(trials), tuple(curves))


def costs(found):
    cube = Cube(SPACE, seed=0)
    board = read_board(found, cube, LADDER)
    return StepCosts(cube, board), cube, board


def rows(cube, *configs):
    return np.array([cube.encode(config) for config in configs])


def test_costs_are_logs_beside_the_median_of_the_configs_seen():
    found, cube, _ = costs(history(lambda config: 5.0 * math.exp(2.4 * config["x"])))
    assert found.differ
    low, middle, high = found.of_new(rows(cube, *({"x": x, "kind": "a"} for x in (0.1, 0.5, 0.9))))
    assert middle == pytest.approx(0.0, abs=0.1)
    assert 0.4 < high < 1.0  # few trials, cautious costs
    assert -1.0 < low < -0.4


def test_options_have_costs():
    found, cube, _ = costs(history(lambda config: 3.0 if config["kind"] == "a" else 1.0))
    a, b = found.of_new(rows(cube, {"x": 0.4, "kind": "a"}, {"x": 0.4, "kind": "b"}))
    assert 0.7 < a - b < math.log(3.0)


def test_a_cost_is_bounded_by_a_factor_of_three():
    found, cube, board = costs(history(lambda config: 1000.0 ** config["x"], paused=range(N)))
    new = found.of_new(rows(cube, {"x": 0.0, "kind": "a"}, {"x": 1.0, "kind": "a"}))
    assert new == pytest.approx([-math.log(3.0), math.log(3.0)])
    known = found.of(board.paused)
    assert (known.min(), known.max()) == pytest.approx((-math.log(3.0), math.log(3.0)))


def test_trials_that_are_known_cost_what_they_took():
    found, _, board = costs(history(lambda config: 4.0 if config["x"] > 0.5 else 1.0, paused=(0, N - 1)))
    cheap, dear = found.of(board.paused)
    assert dear - cheap == pytest.approx(math.log(4.0))


NO_DIFFERENCE = {
    "unknown": history(lambda config: None),
    "equal": history(lambda config: 4.0),
    "within a few per cent": history(lambda config: 4.0 + 0.4 * config["x"]),
    "few trials": history(lambda config: 10.0 ** config["x"], n=4),
    "no time at all": history(lambda config: 0.0),
}


@pytest.mark.parametrize("found", NO_DIFFERENCE.values(), ids=NO_DIFFERENCE)
def test_durations_do_not_count_where_they_hardly_differ(found):
    made, cube, board = costs(found)
    assert not made.differ
    assert made.of_new(rows(cube, {"x": 0.0, "kind": "a"})).tolist() == [0.0]
    assert made.of(board.running).tolist() == []


def suggested(found, n):
    return FreezeThaw(max_t=27, grace_period=3).suggest(found, generator(3, "suggest", n), 1)


def with_durations(seconds, n):
    return suggested(history(seconds, n=n, values=lambda i: 1.0), n)


@pytest.mark.parametrize("n", [N, N - 1], ids=["optimism", "expected improvement"])
def test_equal_durations_change_no_choice(n):
    assert with_durations(lambda config: 7.0, n) == with_durations(lambda config: None, n)


def test_what_is_alike_is_chosen_where_it_is_cheaper_but_by_optimism_as_ever():
    [new] = with_durations(lambda config: 10.0 ** config["x"], N - 1)
    assert isinstance(new, Suggestion)
    assert "expected improvement per second" in new.reason
    assert new.config["x"] < 0.3
    [mirrored] = with_durations(lambda config: 10.0 ** -config["x"], N - 1)
    assert mirrored.config["x"] > 0.7
    assert with_durations(lambda config: 10.0 ** config["x"], N) == with_durations(lambda config: None, N)


def test_of_paused_trials_that_promise_the_same_the_cheaper_goes_on():
    for seconds, first in ((lambda config: 10.0 ** config["x"], 4), (lambda config: 10.0 ** -config["x"], 6)):
        found = replace(history(seconds, n=N - 1, values=lambda i: 1.0, paused=(4, 6)), n_left=0)
        [thaw] = suggested(found, N - 1)
        assert isinstance(thaw, Thaw)
        assert thaw.trial == first
