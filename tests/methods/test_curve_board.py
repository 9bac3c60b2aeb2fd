"""What of the curves a model is shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from tunesmith.methods.curve_board import Ladder, is_without_curves, n_decisions, read_board
from tunesmith.models.cube import Cube
from tunesmith.protocols import Curve, History
from tunesmith.space import Space, uniform
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

LADDER = Ladder(max_t=27, grace_period=2, factor=3)
PAUSED, RUNNING, COMPLETED, STOPPED = (
    TrialStatus.PAUSED,
    TrialStatus.RUNNING,
    TrialStatus.COMPLETED,
    TrialStatus.STOPPED,
)


def curve(values, times=None, first_order=1):
    times = list(range(1, len(values) + 1)) if times is None else times
    return Curve(list(map(float, times)), list(values), [first_order + i for i in range(len(values))], len(values))


def history(*pairs, mode=Mode.MIN, space=None):
    """Trials of the configs x = 0.0, 0.1, ... in these states, with these curves."""
    trials = tuple(
        Trial(index=i, trial_id=str(i), config={"x": i / 10}, status=status) for i, (status, _) in enumerate(pairs)
    )
    space = Space(space or {"x": uniform(0, 1)})
    return History(space, Objective(("loss",), (mode,)), 0, trials, tuple(found for _, found in pairs))


def board_of(*pairs, **more):
    found = history(*pairs, **more)
    return read_board(found, Cube(found.space, seed=0), LADDER)


def falling(n):
    return [1.0 / step for step in range(1, n + 1)]


# ---------------------------------------------------------------- the ladder


@pytest.mark.parametrize(
    ("max_t", "grace", "factor", "levels"),
    [
        (27, 2, 3, (2, 6)),  # 18 lies too close to the end
        (81, 1, 3, (1, 3, 9, 27)),
        (100, 6, 3, (6, 18, 54)),
        (2, 1, 3, (1,)),
        (1, 1, 3, ()),
        (16, 1, 2, (1, 2, 4, 8)),
    ],
)
def test_levels_are_powers_of_the_factor_and_none_lies_just_below_the_end(max_t, grace, factor, levels):
    assert Ladder(max_t=max_t, grace_period=grace, factor=factor).levels == levels


def test_the_next_level_lies_above_a_time_that_is_on_one():
    assert [LADDER.next_after(time) for time in (0, 1.9, 2, 5, 6, 26, 27, 40)] == [2, 2, 6, 6, 27, 27, 27, 27]


def test_a_factor_of_time_is_the_same_step_anywhere_and_the_end_is_1():
    assert LADDER.tau(27) == pytest.approx(1.0)
    assert LADDER.tau(6) - LADDER.tau(2) == pytest.approx(LADDER.tau(18) - LADDER.tau(6))
    assert math.isfinite(LADDER.tau(0))
    assert math.isfinite(LADDER.tau(-3))


# ---------------------------------------------------------------- points


def test_of_a_curve_the_first_report_at_or_beyond_each_level_counts_and_the_last():
    board = board_of((RUNNING, curve(falling(9))))
    assert board.losses.tolist() == [1 / 2, 1 / 6, 1 / 9]
    assert np.allclose(board.tau, [LADDER.tau(2), LADDER.tau(6), LADDER.tau(9)])
    assert board.orders.tolist() == [2, 6, 9]
    assert board.is_lasting.tolist() == [True, True, False]


def test_reports_that_skip_levels_count_once():
    board = board_of((STOPPED, curve([3.0, 2.0, 1.0], times=[1, 8, 30])))
    assert board.losses.tolist() == [2.0, 1.0]
    assert board.is_lasting.all()


def test_the_last_value_of_a_trial_that_came_to_its_own_end_is_its_final_one():
    board = board_of((COMPLETED, curve(falling(10))), (STOPPED, curve(falling(10))))
    assert board.tau[board.trial == 0][-1] == 1.0
    assert board.tau[board.trial == 1][-1] == pytest.approx(LADDER.tau(10))


def test_a_metric_to_be_made_large_is_turned():
    assert board_of((STOPPED, curve([1.0, 2.0])), mode=Mode.MAX).losses.tolist() == [-2.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_and_times_that_are_not_finite_are_no_points(bad):
    board = board_of((STOPPED, curve([1.0, bad])), (STOPPED, curve([0.5, 0.4], times=[2, math.inf])))
    assert board.losses.tolist() == [0.5]
    assert np.isfinite(board.tau).all()


def test_trials_without_points_are_on_the_board_only_while_they_are_open():
    board = board_of(
        (TrialStatus.FAILED, curve([])),
        (TrialStatus.PENDING, curve([])),
        (RUNNING, curve([])),
        (STOPPED, curve([math.nan])),
    )
    assert [trial.index for trial in board.running] == [1, 2]
    assert len(board.rows) == 2
    assert board.n_seen == 0


def test_a_paused_trial_whose_last_value_is_no_number_does_not_go_on():
    board = board_of((PAUSED, curve([1.0, 0.5])), (PAUSED, curve([1.0, math.nan])), (PAUSED, curve([1.0, math.inf])))
    assert [trial.index for trial in board.paused] == [0]
    assert board.spoilt == (1, 2)


def test_open_trials_say_how_far_they_are():
    board = board_of((PAUSED, curve(falling(2))), (RUNNING, curve(falling(7))), (RUNNING, curve([])))
    assert [trial.time for trial in (*board.paused, *board.running)] == [2, 7, 0]


def test_trials_outside_a_space_that_was_narrowed_are_left_out():
    board = board_of((PAUSED, curve(falling(2))), (PAUSED, curve(falling(2))), space={"x": uniform(0.05, 1)})
    assert [trial.index for trial in board.paused] == [1]
    assert board.trial.tolist() == [0]


# ---------------------------------------------------------------- many configs


def many(n):
    """A quarter of them at the second level; the value says the config."""
    pairs = [(PAUSED, curve([1.0, i / n] if i % 4 else [1.0, 0.9, 0.8, 0.7, 0.6, i / n])) for i in range(n)]
    return board_of(*pairs, (RUNNING, curve([5.0, 5.0])), space={"x": uniform(0, 100)})


def test_of_many_configs_those_that_came_furthest_and_then_the_best_are_kept():
    board, n = many(100), 100
    focused = board.focused(40)
    assert focused.n_seen <= 41
    kept = {trial.index for trial in focused.paused}
    assert {i for i in range(n) if i % 4 == 0} <= kept
    assert {1, 2} <= kept
    assert len({i for i in kept if i > 50 and i % 4}) >= 3, "the rest is shared out evenly"


def test_trials_that_run_are_kept_whatever_they_promise():
    assert [trial.index for trial in many(100).focused(40).running] == [100]


def test_a_focused_board_agrees_with_itself():
    board, focused = many(100), many(100).focused(30)
    for trial in (*focused.paused, *focused.running):
        mine = focused.losses[focused.trial == trial.place].tolist()
        [before] = [other for other in (*board.paused, *board.running) if other.index == trial.index]
        assert mine == board.losses[board.trial == before.place].tolist()
        assert np.array_equal(focused.rows[trial.place], board.rows[before.place])
    assert np.all(np.diff(focused.trial) >= 0)


def test_few_configs_are_all_kept():
    board = many(20)
    assert board.focused(21) is board


# ---------------------------------------------------------------- decisions


def trial_at(attempt, max_t, status, n_steps):
    """A history of one trial that was begun so often, wanted to go so far, and is so far."""
    found = history((status, curve(falling(n_steps))))
    [trial] = found.trials
    return replace(found, trials=(replace(trial, attempt=attempt, max_t=max_t),))


@pytest.mark.parametrize(
    ("attempt", "max_t", "status", "n_steps", "expected"),
    [
        (0, 2, TrialStatus.PENDING, 0, 1),  # it was decided that it starts
        (1, 2, RUNNING, 1, 1),
        (1, 2, PAUSED, 2, 1),
        (2, 6, RUNNING, 2, 2),
        (2, 6, PAUSED, 6, 2),
        (3, 27, COMPLETED, 27, 3),
        (4, 6, RUNNING, 4, 2),  # two of its starts were after crashes
        (1, 6, PAUSED, 2, 1),  # whoever wanted it to go on died before it did
        (1, 6, RUNNING, 3, 1),  # it could not be paused, and just went on
    ],
)
def test_starts_and_thaws_are_counted_and_restarts_after_a_crash_are_not(attempt, max_t, status, n_steps, expected):
    assert n_decisions(trial_at(attempt, max_t, status, n_steps), LADDER) == expected


# ---------------------------------------------------------------- trainings without curves


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], False),
        ([(RUNNING, curve([1.0]))], False),  # it may report again
        ([(COMPLETED, curve([1.0])), (RUNNING, curve([]))], True),
        ([(COMPLETED, curve([1.0], times=[5])), (RUNNING, curve([1.0], times=[5]))], True),
        ([(COMPLETED, curve([1.0])), (TrialStatus.FAILED, curve([]))], True),
        ([(COMPLETED, curve([1.0])), (RUNNING, curve(falling(2)))], False),
        ([(COMPLETED, curve(falling(5), times=[0.1, 0.2, 0.3, 0.4, 0.5]))], True),
        ([(COMPLETED, curve([1.0])), (PAUSED, curve([1.0], times=[5]))], False),
        ([(COMPLETED, curve(falling(27)))], False),
    ],
)
def test_there_are_no_curves_where_trainings_end_with_their_first_report_or_before_the_first_level(pairs, expected):
    assert is_without_curves(history(*pairs), LADDER) is expected
