"""The model of a board: what it is fitted to, and what it makes of trials that run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tunesmith.methods.curve_board import Ladder, read_board
from tunesmith.methods.curve_model import CurveFits, CurveModel, standardised
from tunesmith.models.cube import Cube
from tunesmith.models.threads import one_blas_thread
from tunesmith.protocols import Curve, History
from tunesmith.space import Space, uniform
from tunesmith.testing.samples import LOSS
from tunesmith.trial import Trial, TrialStatus

from .curve_world import valley

SPACE = Space({"x": uniform(0, 1), "y": uniform(0, 1)})
CUBE = Cube(SPACE, seed=0)
LADDER = Ladder(max_t=27, grace_period=2, factor=3)


@pytest.fixture(autouse=True)
def one_thread():
    """As it is used: small matrices are slower with several."""
    with one_blas_thread():
        yield


def board_of(n, *, n_steps=2, n_running=0):
    """Trials paused after so many steps, the last few running; report by report in turn."""
    rng = np.random.default_rng(0)
    trials, curves = [], []
    for i in range(n):
        config = {"x": float(rng.uniform()), "y": float(rng.uniform())}
        status = TrialStatus.RUNNING if i >= n - n_running else TrialStatus.PAUSED
        trials.append(Trial(index=i, trial_id=str(i), config=config, status=status))
        times = list(range(1, n_steps + 1))
        curves.append(
            Curve(times, [valley(config, time) for time in times], [i * 100 + time for time in times], n_steps)
        )
    return read_board(History(SPACE, LOSS, 0, tuple(trials), tuple(curves)), CUBE, LADDER)


def model_of(board, fits=None):
    return CurveModel(CUBE, board, (fits or CurveFits()).fit(CUBE, board))


def test_a_good_trial_has_a_better_chance_than_a_poor_one():
    board = board_of(15)
    chances = model_of(board).chance(board.paused)
    losses = np.array([board.losses[board.trial == trial.place][-1] for trial in board.paused])
    assert chances[np.argmin(losses)] > 5 * chances[np.argmax(losses)]
    assert np.all((chances >= 0) & (chances <= 1))


def test_trials_that_run_count_as_trained_to_their_end_from_the_start():
    board = board_of(12, n_running=3)
    model = model_of(board)
    mean, sd = model.final_of(board.running)
    idle = model_of(replace(board, running=()))
    mean_idle, sd_idle = idle.final_of(board.running)
    assert np.allclose(mean, mean_idle, atol=1e-8)
    assert np.all(sd < 0.9 * sd_idle)


def test_counting_on_a_trial_makes_others_like_it_promise_less():
    board = board_of(12)
    model = model_of(board)
    near = board.rows[[3]] + 1e-3
    before = model.final(near)
    model.count_on([3])
    after = model.final(near)
    assert after[0] == pytest.approx(before[0], abs=1e-8)
    assert after[1] < before[1]


def test_the_configs_with_points_are_sorted_by_their_expected_ends():
    board = board_of(12)
    model = model_of(board)
    means = [model.final_of([trial])[0][0] for trial in board.paused]
    assert np.array_equal(model.by_final, board.rows[np.argsort(means, kind="stable")])


def test_hyperparameters_are_those_of_the_first_points_whoever_asked_before():
    """Refitted with each of the first 40 points, then when there are 1.2 times as many."""
    few, more = board_of(50), board_of(55)
    theta, _ = CurveFits().fit(CUBE, few)
    used = CurveFits()
    used.fit(CUBE, board_of(8))
    assert np.array_equal(used.fit(CUBE, few)[0], theta)
    assert np.array_equal(used.fit(CUBE, more)[0], theta)
    assert not np.array_equal(used.fit(CUBE, board_of(70))[0], theta)


def test_a_fit_does_not_rest_on_points_that_give_way_to_the_next(monkeypatch):
    """Else every report would be a new fit."""
    n_fits = []
    monkeypatch.setattr(
        "tunesmith.methods.curve_model._fit", lambda cube, data: n_fits.append(len(data.y)) or (None, None)
    )
    fits = CurveFits()
    for n_steps in (2, 3, 4, 5):
        fits.fit(CUBE, board_of(10, n_steps=n_steps))
    assert n_fits == [10]


def test_the_posterior_rests_on_the_newest_point_of_each_trial_at_least(monkeypatch):
    monkeypatch.setattr("tunesmith.methods.curve_model._N_MAX_POINTS", 30)
    board = board_of(20, n_steps=9)
    assert len(board.losses) == 60
    model = model_of(board)
    assert model.n_points == 30
    newest = [board.losses[board.trial == trial.place][-1] for trial in board.paused]
    assert len(newest) == 20
    assert np.argmin(model.final_of(board.paused)[0]) == np.argmin(newest)


@pytest.mark.parametrize(
    "losses", [[3.0], [2.0, 2.0, 2.0], [0.0, 0.0, 1.0], [-1e308, 1e308, 5.0], [1e-300, 1.0, 1e300], [1.0, 2.0, 4.0]]
)
def test_losses_of_any_scale_are_made_finite_and_keep_their_order(losses):
    y = standardised(np.array(losses))
    assert np.isfinite(y).all()
    assert np.all((np.diff(y[np.argsort(losses, kind="stable")])) >= 0)


def test_a_model_of_a_single_point_is_possible():
    model = model_of(board_of(1))
    mean, sd = model.final(CUBE.sample(np.random.default_rng(0), 3))
    assert np.isfinite(mean).all()
    assert np.all(sd > 0)
