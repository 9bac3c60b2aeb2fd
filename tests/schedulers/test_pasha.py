import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.events import EndReason, Thaw, Verdict
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.schedulers import ASHAPromotionScheduler, PASHAScheduler
from tunesmith.schedulers.rank_noise import LearningCurve, RankNoise, is_ranking_stable, rank_swap_distance
from tunesmith.space import uniform
from tunesmith.stores import MemoryStore
from tunesmith.testing import simulate
from tunesmith.testing.simulation import Simulation
from tunesmith.trial import TrialStatus

from .floor import Floor, wasted_starts
from .test_asha_promotion import MOVES, AskedOften, repr_of, script_of

PAUSE, CONTINUE = Verdict.PAUSE, Verdict.CONTINUE


def make(**arguments) -> PASHAScheduler:
    scheduler = PASHAScheduler(**{"metric": "loss", "mode": "min", "max_t": 8, "reduction_factor": 2, **arguments})
    scheduler.bind(None)
    return scheduler


def curve_of(*losses: float, first: int = 1) -> LearningCurve:
    curve = LearningCurve()
    for time, loss in enumerate(losses, first):
        curve.add(time, loss)
    return curve


# ---------------------------------------------------------------- noise of ranks


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ([5, 4, 3], [6, 5, 4], None),  # never swapped
        ([5, 4, 3], [4, 5, 4], None),  # swapped once
        ([5, 4, 3.25], [6, 3, 4], 0.75),  # swapped and swapped back
        ([6, 3, 4], [5, 4, 3.25], 0.75),
        ([5, 4, 3, 2, 1], [6, 3, 3, 3, 9], 8),  # a tie on the way back
        ([5, 4, 3, 9], [6, 3, 4], 1),  # at the last time that both have
        ([5, math.nan, 3], [6, 3, 4], None),  # what is not finite is passed over
        ([], [1, 2], None),
    ],
)
def test_distance_of_curves_that_swap_ranks_and_swap_back(one, other, distance):
    assert rank_swap_distance(curve_of(*one), curve_of(*other)) == distance


def test_times_that_only_one_curve_has_are_passed_over():
    assert rank_swap_distance(curve_of(0, 2, 3, 4), curve_of(1, 9, 1, first=2)) == 3


def test_what_a_restart_supersedes_is_no_part_of_a_curve():
    curve = curve_of(5, 4, 3)
    curve.add(2, 9)
    assert (curve.times, curve.losses) == ([1, 2], [5, 9])


@pytest.mark.parametrize(
    ("top", "before", "epsilon", "is_stable"),
    [
        ({0: 1, 1: 2, 2: 3}, {0: 10, 1: 20, 2: 30}, 0, True),
        ({0: 1, 1: 3, 2: 2}, {0: 10, 1: 20, 2: 30}, 0, False),
        ({0: 1, 1: 3, 2: 2}, {0: 10, 1: 20, 2: 30}, 10, True),  # 1 and 2 are within epsilon of each other
        ({0: 2, 1: 1, 2: 3}, {0: 10, 1: 20, 2: 21}, 5, False),
        ({0: 3, 1: 2, 2: 1}, {0: 10, 1: 20, 2: 30}, 10, False),  # chains do not count: places 1 and 3 are 20 apart
        ({4: 1}, {4: 7}, 0, True),
        ({0: 2, 1: 1}, {0: 5, 1: 5}, 0, True),  # equals at the lower rung
    ],
)
def test_ranking_is_stable_if_each_place_is_held_by_a_trial_as_good_as_before(top, before, epsilon, is_stable):
    assert is_ranking_stable(top, before, epsilon) is is_stable


def test_epsilon_is_the_90th_percentile_and_stays_until_there_are_new_distances():
    noise = RankNoise()
    noise.add(curve_of(5, 4, 3), [curve_of(6, 5, 4)])
    assert noise.epsilon == 0.0
    noise.add(curve_of(5, 4, 3), [curve_of(6, 3, 3 + distance) for distance in range(1, 12)])
    assert noise.epsilon == pytest.approx(10.0)  # of 1, 2, ..., 11
    noise.start_over()
    noise.add(curve_of(5, 4, 3), [curve_of(6, 5, 4)])
    assert noise.epsilon == pytest.approx(10.0)
    noise.add(curve_of(5, 4, 3), [curve_of(6, 3, 5)])
    assert noise.epsilon == 2.0


# ---------------------------------------------------------------- the rule, by hand


def promote_two(floor, losses_at_2):
    """Trials 0 to 3 at rung 1 with losses 1 to 4; the best two go on to rung 2."""
    for trial in range(4):
        floor.report(trial, 1, loss=1.0 + trial)
    for trial, loss in enumerate(losses_at_2):
        assert floor.scheduler.choose_next(()).trial == trial
        floor.start(trial, start_step=1)
        assert floor.report(trial, 2, loss=loss).verdict is PAUSE


def test_top_rung_stays_while_both_rungs_rank_alike():
    floor = Floor(make())
    promote_two(floor, [0.5, 0.6])
    assert not isinstance(floor.scheduler.choose_next(()), Thaw)
    assert floor.scheduler.describe()[0] == "Using PASHA: top rung 2 of 8, epsilon 0"


def test_top_rung_grows_when_the_rankings_disagree_and_the_best_is_promoted():
    floor = Floor(make())
    promote_two(floor, [0.6, 0.5])
    assert floor.scheduler.describe()[0] == "Using PASHA: top rung 4 of 8, epsilon 0"
    assert floor.scheduler.choose_next(()) == Thaw(1, "rank 1 of 2 at rung 2, of which 1 go on")


def test_a_swap_within_the_noise_of_the_curves_lets_the_top_rung_be():
    """Rungs at 4 and 8. Curves 0 and 1 swap ranks at every report: what they differ by is noise."""
    floor = Floor(make(grace_period=4, max_t=64))
    for trial, losses in enumerate([[2, 4, 2, 3.0], [3, 3, 3, 3.5], [9, 9, 9, 9], [9, 9, 9, 9]]):
        for step, loss in enumerate(losses, 1):
            floor.report(trial, step, loss=loss)
    for trial, losses in enumerate([[2, 4, 2, 3.5], [3, 3, 3, 3.0]]):
        floor.start(trial, start_step=4)
        for step, loss in enumerate(losses, 5):
            floor.report(trial, step, loss=loss)
    assert floor.scheduler.describe()[0] == "Using PASHA: top rung 8 of 64, epsilon 0.5"


def test_the_top_rung_ends_at_max_t():
    floor = Floor(make(max_t=3))  # rungs at 1 and 2
    promote_two(floor, [0.6, 0.5])
    assert floor.scheduler.describe()[0] == "Using PASHA: top rung 3 of 3, epsilon 0"
    floor.start(1, start_step=2)
    assert floor.report(1, 3, loss=0.4).verdict is Verdict.COMPLETE


@pytest.mark.parametrize("max_t", [1, 1.5])
def test_a_ladder_without_a_second_rung_trains_to_max_t(max_t):
    floor = Floor(make(max_t=max_t))
    assert floor.scheduler.describe()[0] == f"Using PASHA: top rung {max_t:g} of {max_t:g}, epsilon 0"
    assert floor.report(0, 2, loss=1.0).verdict is Verdict.COMPLETE


def test_trials_without_a_finite_loss_at_both_rungs_are_left_out():
    floor = Floor(make())
    floor.report(9, 2, loss=0.1)  # it skipped rung 1
    floor.report(8, 1, loss=2.0)
    floor.report(7, 1, loss=3.0)
    floor.start(8, start_step=1)
    floor.report(8, 2, loss=math.nan)
    assert floor.scheduler.describe()[0].startswith("Using PASHA: top rung 2 of 8")


# ---------------------------------------------------------------- properties


@given(MOVES)
def test_a_replay_of_the_log_gives_the_same_state(moves):
    lived, replayed = make(max_t=20), make(max_t=20)
    floor = script_of(moves, lived)
    for record in floor.log:
        replayed.observe(record)
    assert repr_of(replayed) == repr_of(lived)
    lived.check_invariants()


@given(MOVES)
def test_decide_and_choose_next_leave_no_trace(moves):
    script_of(moves, AskedOften(make(max_t=20)))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(0, 1))
def test_soft_ranking_with_a_wider_epsilon_is_stable_where_a_narrower_one_is(losses, epsilon):
    top = dict(enumerate(losses))
    before = dict(enumerate(reversed(losses)))
    if is_ranking_stable(top, before, epsilon):
        assert is_ranking_stable(top, before, epsilon + 0.1)
    assert is_ranking_stable(top, top, 0.0)
    assert is_ranking_stable(top, before, 1.0)


# ---------------------------------------------------------------- whole experiments


def clean(config, first_step):
    """Curves that never cross."""
    for step in range(first_step, 82):
        yield SimulatedStep(1.0 + config["level"], {"loss": config["level"] + 1 / step}, saves_checkpoint=True)


def crossing(config, first_step):
    """What is best at first is worst at last, so that every rung turns the ranking round."""
    for step in range(first_step, 82):
        loss = math.cos(math.pi * math.log(step, 3)) * config["level"]
        yield SimulatedStep(1.0 + config["level"], {"loss": loss}, saves_checkpoint=True)


def run(script, kind=PASHAScheduler, **arguments):
    scheduler = kind(max_t=81, reduction_factor=3)
    found = simulate(script, space={"level": uniform(0.0, 1.0)}, scheduler=scheduler, n_trials=60, **arguments)
    scheduler.check_invariants()
    assert found.experiment.state.ending.why is EndReason.FINISHED
    assert all(trial.status.is_over for trial in found.trials)
    assert wasted_starts(found) == []
    return found


def test_where_the_ranking_is_clear_at_once_nothing_trains_beyond_the_second_rung():
    found = run(clean)
    assert max(trial.step for trial in found.trials) == 3
    assert found.experiment.state.n_steps < run(clean, ASHAPromotionScheduler).experiment.state.n_steps / 2


def test_where_every_rung_turns_the_ranking_round_it_trains_to_max_t():
    found = run(crossing)
    assert max(trial.step for trial in found.trials) == 81
    assert any(trial.status is TrialStatus.COMPLETED for trial in found.trials)


def test_resumed_in_the_middle_it_ends_and_its_log_replays_to_the_same_state():
    whole = run(crossing)
    for n_records in (100, 400):
        store = MemoryStore()
        store.append(whole.log[:n_records], [])
        scheduler = PASHAScheduler(max_t=81, reduction_factor=3)
        resumed = Simulation(
            crossing, space={"level": uniform(0.0, 1.0)}, scheduler=scheduler, store=store, n_trials=60
        )
        resumed.run(epoch=2)
        assert all(trial.status.is_over for trial in resumed.trials)
        replayed = make(max_t=81, reduction_factor=3)
        for record in resumed.log:
            replayed.observe(record)
        assert replayed.describe() == scheduler.describe()
