"""Trials that have reached a stop and cannot be paused there."""

from __future__ import annotations

import math

import pytest

from tunesmith.events import ConfigsSuggested, StopAttempt, StopPaused, Suggest, Thaw
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.methods import FreezeThaw
from tunesmith.methods.curve_board import Ladder, read_board
from tunesmith.methods.review import reviewed
from tunesmith.models.cube import Cube
from tunesmith.protocols import Curve, History
from tunesmith.space import Space, uniform
from tunesmith.testing.samples import LOSS, PLACEMENT
from tunesmith.trial import Checkpoint, Trial, TrialStatus

from .curve_world import never, played, script, valley

LADDER = Ladder(max_t=27, grace_period=2, factor=3)
RUNNING, COMPLETED, STOPPED = TrialStatus.RUNNING, TrialStatus.COMPLETED, TrialStatus.STOPPED
SAVED = (Checkpoint("c", step=1, attempt=1),)


class Chances:
    """In place of a model: each trial's chance, by index."""

    def __init__(self, *chances):
        self._chances = chances

    def chance(self, trials):
        return [self._chances[trial.index] for trial in trials]


def review(*trials, chances=(), target=2.0):
    """Trials as (status, values, further facts)."""
    found = tuple(
        Trial(
            index=i,
            trial_id=str(i),
            config={"x": i / 10},
            status=status,
            placement=PLACEMENT if status is RUNNING else None,
            **facts,
        )
        for i, (status, _, facts) in enumerate(trials)
    )
    curves = tuple(Curve(list(range(1, len(v) + 1)), list(v), list(range(len(v))), len(v)) for _, v, _ in trials)
    history = History(Space({"x": uniform(0, 1)}), LOSS, 0, found, curves)
    board = read_board(history, Cube(history.space, seed=0), LADDER)
    return reviewed(history, board, LADDER, target_of=lambda trial: target, model_of=lambda: Chances(*chances))


# ---------------------------------------------------------------- one review


def test_without_checkpoints_a_trial_at_its_stop_goes_on_to_the_next_or_ends_by_its_chance():
    good, bad = (RUNNING, [1.0, 0.5], {}), (RUNNING, [9.0, 8.0], {})
    assert review(good, bad, chances=(0.3, 0.01)) == [
        Thaw(0, "a chance of 30% to become the best by 27", max_t=6),
        StopPaused(1, "a chance of 1.0% to become the best by 27"),
    ]


def test_the_best_third_at_a_stop_goes_on_whatever_the_model_thinks_of_it():
    trials = [(RUNNING, [1.0, float(i)], {}) for i in range(7)]
    found = review(*trials, chances=(0.0,) * 7)
    assert [type(one) for one in found] == [Thaw] * 2 + [StopPaused] * 5


def test_ranks_are_by_the_values_seen_at_the_stop_and_not_by_later_ones():
    trials = [(RUNNING, [2.0, 1.5], {})] + [(STOPPED, [2.0, 3.0, 0.1, 0.1, 0.1], {}) for _ in range(4)]
    assert [type(one) for one in review(*trials, chances=(0.0,) * 5)] == [Thaw]


def test_a_trial_that_is_not_at_its_stop_yet_or_at_the_end_is_left_alone():
    assert review((RUNNING, [1.0], {}), (RUNNING, [1.0] * 27, {}), (RUNNING, [], {})) == []


def test_a_trial_that_was_told_to_end_is_not_told_again():
    assert review((RUNNING, [1.0, 1.0, 1.0], {"stop_asked": "no chance"})) == []


def test_a_trial_that_waits_to_be_started_again_is_left_alone():
    assert review((TrialStatus.PENDING, [1.0, 1.0, 1.0], {})) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trial_whose_last_value_is_no_number_ends(value):
    assert review((RUNNING, [1.0, value], {})) == [StopPaused(0, "its last value is no finite number")]


def test_where_trials_save_checkpoints_the_next_one_is_waited_for():
    for other in ((RUNNING, [1.0], {"checkpoints": SAVED}), (TrialStatus.PAUSED, [1.0, 1.0], {"checkpoints": SAVED})):
        assert review((RUNNING, [1.0] * 3, {}), other) == []


def test_checkpoints_of_the_end_are_no_promise_of_earlier_ones():
    for other in ((COMPLETED, [1.0] * 5, {"checkpoints": SAVED}), (RUNNING, [1.0] * 27, {"checkpoints": SAVED})):
        assert [type(one) for one in review((RUNNING, [1.0] * 3, {}), other, chances=(0.5, 0.5))] == [Thaw]


def test_a_checkpoint_is_not_waited_for_longer_than_half_of_the_way_to_the_end():
    """Half on the logarithmic scale: from step 2 of 27 to step 7.3."""
    for n_steps, kind in ((7, []), (8, [Thaw])):
        own = (RUNNING, [1.0] * n_steps, {"checkpoints": SAVED})
        assert [type(one) for one in review(own, chances=(0.5,))] == kind


# ---------------------------------------------------------------- whole experiments


def test_without_checkpoints_poor_trials_are_stopped_at_the_stops_and_the_description_says_so():
    run = played(script(saves=never), n_trials=20, make=lambda: FreezeThaw(max_t=27))
    ends = [(trial.status, trial.step) for trial in run.trials]
    assert set(ends) <= {(STOPPED, 3), (STOPPED, 7), (COMPLETED, 27)}  # told at step 2, it ends at its next report
    assert sum(status is COMPLETED for status, _ in ends) < 10
    assert all(trial.attempt == 1 for trial in run.trials)
    n_stopped = sum(status is STOPPED for status, _ in ends)
    assert list(run.scheduler.describe()) == [
        f"Using FreezeThaw: stops at 2, 6 of 27; no checkpoints to pause trials with; {n_stopped} trials given up"
    ]


def test_a_trial_is_told_to_end_once():
    run = played(script(saves=never), n_trials=20, make=lambda: FreezeThaw(max_t=27))
    told = [record.trial for record in run.log if isinstance(record, StopAttempt)]
    assert told
    assert len(told) == len(set(told))
    assert sum(len(record.stops) for record in run.log if isinstance(record, ConfigsSuggested)) == len(told)


def test_it_is_asked_about_trials_at_their_stop_even_when_there_is_room_for_no_new_one():
    run = played(script(saves=never), n_trials=3, n_workers=3)
    assert any(record.n == 0 for record in run.log if isinstance(record, Suggest))


def test_where_only_the_end_is_saved_poor_trials_are_stopped_as_if_nothing_was():
    saves_end, saves_nothing = (
        played(script(saves=saves), n_trials=25, make=lambda: FreezeThaw(max_t=27))
        for saves in (lambda step: step == 27, never)
    )
    assert [trial.step for trial in saves_end.trials] == [trial.step for trial in saves_nothing.trials]


def test_where_every_fifth_step_is_saved_trials_are_paused_there():
    run = played(script(saves=lambda step: step % 5 == 0), n_trials=20, make=lambda: FreezeThaw(max_t=27))
    assert {trial.step for trial in run.trials} <= {3, 5, 7, 10, 27}
    assert {trial.step for trial in run.trials} >= {5, 27}
    assert any(trial.attempt > 1 for trial in run.trials)


def test_a_trial_that_saves_its_best_only_and_improves_no_more_is_ended_all_the_same():
    def diverging(config, first_step):
        """Half of them get worse from step 2 on, and save nothing then."""
        for step in range(first_step, 28):
            is_poor = config["x"] > 0.5 and step > 1
            yield SimulatedStep(1.0, {"loss": step if is_poor else valley(config, step)}, saves_checkpoint=not is_poor)

    run = played(diverging, n_trials=16, make=lambda: FreezeThaw(max_t=27))
    poor = [trial for trial in run.trials if trial.config["x"] > 0.5]
    assert (STOPPED, 9) in [(trial.status, trial.step) for trial in poor]
