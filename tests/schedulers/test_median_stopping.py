import math
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.errors import ConfigError
from tunesmith.events import ConcludeAttempt, ConfigsSuggested, EndReason, StartAttempt, Suggestion, Thaw, Verdict
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.protocols import StartNew
from tunesmith.resources import Placement, Resources
from tunesmith.schedulers import MedianStoppingRule
from tunesmith.space import uniform
from tunesmith.stores import MemoryStore
from tunesmith.testing import simulate
from tunesmith.testing.simulation import Simulation
from tunesmith.trial import TrialStatus

from .floor import Floor, wasted_starts

WORDS = "no new trial is left, and it was paused first"
CONTINUE, STOP, PAUSE = Verdict.CONTINUE, Verdict.STOP, Verdict.PAUSE


def make(**arguments) -> MedianStoppingRule:
    defaults = {"time_attr": "training_iteration", "metric": "loss", "mode": "min", "grace_period": 1}
    scheduler = MedianStoppingRule(**{**defaults, **arguments})
    scheduler.bind(None)
    return scheduler


def play_curves(floor, curves, n_steps):
    for step in range(1, n_steps + 1):
        for trial, losses in curves.items():
            floor.report(trial, step, loss=losses[step - 1])


# ---------------------------------------------------------------- the rule, by hand


def test_a_trial_is_stopped_when_its_best_is_worse_than_the_median_of_running_means():
    floor = Floor(make())
    play_curves(floor, {0: [5, 3, 1], 1: [4, 4, 4], 2: [9, 7, 5]}, 3)
    # Running means at 3 are 3, 4 and 7, so the median is 4.
    assert floor.report(3, 3, loss=4.0).verdict is CONTINUE
    decision = floor.report(4, 3, loss=4.5)
    assert decision.verdict is STOP
    assert decision.words() == "best loss 4.5 is worse than 4, the median of 4 running means at 3"


def test_the_best_so_far_counts_and_not_the_last_value():
    floor = Floor(make())
    play_curves(floor, {0: [3, 3, 3], 1: [4, 4, 4], 2: [5, 5, 5]}, 3)
    assert floor.report(3, 1, loss=2.0).verdict is CONTINUE
    assert floor.report(3, 2, loss=9.0).verdict is CONTINUE


def test_mode_max_turns_the_comparison_round_and_the_reason_has_the_users_sign():
    floor = Floor(make(mode="max"))
    play_curves(floor, {0: [3], 1: [4], 2: [5]}, 1)
    assert floor.report(3, 1, loss=4.0).verdict is CONTINUE
    assert floor.report(4, 1, loss=3.5).words() == ("best loss 3.5 is worse than 4, the median of 4 running means at 1")


def test_no_trial_is_stopped_within_the_grace_period_and_means_begin_with_it():
    floor = Floor(make(grace_period=2))
    play_curves(floor, {0: [99, 3], 1: [99, 4], 2: [99, 5]}, 2)
    assert floor.report(3, 1, loss=100.0).verdict is CONTINUE
    assert floor.report(3, 2, loss=4.5).numbers["median"] == 4


@pytest.mark.parametrize(("n_others", "verdict"), [(2, CONTINUE), (3, STOP)])
def test_so_many_others_as_required_must_have_come_as_far(n_others, verdict):
    floor = Floor(make())
    play_curves(floor, {trial: [1.0, 1.0] for trial in range(n_others)}, 2)
    floor.report(8, 1, loss=0.5)
    assert floor.report(9, 2, loss=7.0).verdict is verdict


def test_times_of_others_are_looked_up_where_they_lie_between_reports():
    floor = Floor(make(time_attr="time_total_s", grace_period=0.0))
    for trial, losses in enumerate([[3.0, 1.0, 0.0], [4.0, 2.0, 0.0], [6.0, 4.0, 0.0]]):
        for step, loss in enumerate(losses, 1):
            floor.report(trial, step, time_total_s=10.0 * step + trial, loss=loss)
    # At 25 s the first two reports of each count: means 2, 3 and 5.
    decision = floor.report(3, 1, time_total_s=25.0, loss=4.0)
    assert (decision.verdict, decision.numbers["median"], decision.numbers["n_others"]) == (STOP, 3.0, 3)


def test_what_is_not_finite_enters_no_mean_and_is_never_a_best():
    floor = Floor(make())
    play_curves(floor, {0: [3, math.nan], 1: [4, math.inf], 2: [5, -math.inf], 3: [math.nan, math.nan]}, 2)
    assert floor.report(4, 2, loss=4.0).verdict is CONTINUE
    decision = floor.report(5, 2, loss=math.nan)
    assert decision.words() == "loss was never a number; the median of 4 running means at 2 is 4"
    assert floor.report(6, 2, loss=-math.inf).verdict is STOP


def test_reports_without_metric_or_time_are_ignored_and_counted():
    floor = Floor(make(time_attr="epoch"))
    assert floor.report(0, 1, loss=1.0).verdict is CONTINUE
    assert floor.report(0, 2, epoch=1.0).verdict is CONTINUE
    assert floor.scheduler.describe() == [
        "Using MedianStoppingRule: num_stopped=0.",
        "2 reports without 'loss' or 'epoch' ignored",
    ]


def test_what_a_restart_supersedes_is_forgotten():
    floor = Floor(make())
    play_curves(floor, {0: [3, 3], 1: [4, 4], 2: [1, 1]}, 2)
    floor.conclude(2, TrialStatus.PENDING)
    floor.start(2, start_step=1)
    assert floor.report(3, 2, loss=9.0).verdict is CONTINUE  # only two have come as far now
    floor.report(2, 2, loss=7.0)
    decision = floor.report(4, 2, loss=9.0)  # running means 3, 4, (1 + 7) / 2 and 9
    assert (decision.verdict, decision.numbers["median"], decision.numbers["n_others"]) == (STOP, 4.0, 4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"grace_period": -1}, "grace_period is -1. Give a number of 0 or more"),
        ({"min_samples_required": 2.5}, "min_samples_required is 2.5. Give a whole number"),
        ({"min_time_slice": "1"}, "min_time_slice is '1'"),
        ({"mode": "low"}, "mode is 'low'"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused(arguments, expected):
    with pytest.raises(ConfigError, match=expected):
        MedianStoppingRule(**arguments)


def test_arguments_stand_in_ray_tunes_order():
    scheduler = MedianStoppingRule("epoch", "accuracy", "max", 5.0, 4, 10, False)
    assert scheduler.bind(None).metric == "accuracy"
    assert (scheduler._grace_period, scheduler._n_required, scheduler._verdict) == (5.0, 4, PAUSE)


# ---------------------------------------------------------------- pauses


def make_soft_floor() -> Floor:
    floor = Floor(make(hard_stop=False))
    play_curves(floor, {0: [3, 3], 1: [4, 4], 2: [5, 5]}, 2)
    return floor


def test_without_hard_stop_a_trial_pauses_at_a_report_with_a_checkpoint():
    floor = make_soft_floor()
    assert floor.report(3, 1, saves=False, loss=9.0).verdict is CONTINUE
    assert floor.report(3, 2, loss=9.0).verdict is PAUSE
    assert floor.scheduler.describe() == ["Using MedianStoppingRule: num_stopped=1."]


def test_paused_trials_wait_for_new_ones_and_then_go_on_in_the_order_of_their_pauses():
    floor = make_soft_floor()
    for trial in (5, 4, 3):
        assert floor.report(trial, 1, loss=9.0).verdict is PAUSE
    assert floor.scheduler.choose_next(()) == StartNew(otherwise=Thaw(5, WORDS))
    floor.start(5, start_step=1)  # no new one came
    assert floor.scheduler.choose_next(()) == Thaw(4, WORDS)
    assert floor.report(5, 2, loss=9.0).verdict is CONTINUE  # it is not judged again


@pytest.mark.parametrize("status", [TrialStatus.PENDING, TrialStatus.INTERRUPTED])
def test_while_one_that_went_on_is_not_over_the_others_follow_at_once(status):
    floor = make_soft_floor()
    for trial in (5, 4):
        floor.report(trial, 1, loss=9.0)
    floor.start(5, start_step=1)
    floor.conclude(5, status)
    assert floor.scheduler.choose_next(()) == Thaw(4, WORDS)
    floor.start(5, start_step=1)
    floor.conclude(5, TrialStatus.COMPLETED)
    assert floor.scheduler.choose_next(()) == StartNew(otherwise=Thaw(4, WORDS))


def test_new_trials_come_before_those_that_wait_though_others_went_on():
    floor = make_soft_floor()
    for trial in (5, 4):
        floor.report(trial, 1, loss=9.0)
    floor.start(5, start_step=1)
    floor.record(ConfigsSuggested(2, (Suggestion({}),)))
    assert floor.scheduler.choose_next(()) == StartNew(otherwise=Thaw(4, WORDS))


def test_a_trial_that_the_searcher_thaws_is_no_sign_that_no_new_one_comes():
    floor = make_soft_floor()
    for trial in (5, 4):
        floor.report(trial, 1, loss=9.0)
    floor.record(ConfigsSuggested(2, (), thaws=(Thaw(5, "promising"),)))
    floor.start(5, start_step=1)
    assert floor.scheduler.choose_next(()) == StartNew(otherwise=Thaw(4, WORDS))


# ---------------------------------------------------------------- properties

VALUES = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, 1.0, math.nan, math.inf]))


def naive_median(history, trial, time, grace_period):
    """(median of the others' running means up to time, their number), from all reports as (trial, time, loss)."""
    means = []
    for other in {t for t, _, _ in history} - {trial}:
        reports = [(at, loss) for t, at, loss in history if t == other]
        counted = [loss for at, loss in reports if grace_period <= at <= time and math.isfinite(loss)]
        if counted and reports[-1][0] >= time:
            means.append(sum(counted) / len(counted))
    return (median(means), len(means)) if means else None


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([1, 1, 1, 2, 0.5]), VALUES), max_size=60),
    st.sampled_from([0, 1, 3]),
)
def test_every_median_is_that_of_the_rule_looked_up_naively(moves, grace_period):
    scheduler = make(time_attr="t", grace_period=grace_period)
    means, times, history = scheduler._means, dict.fromkeys(range(5), 0.0), []
    for step, (trial, ahead, loss) in enumerate(moves, 1):
        times[trial] += ahead
        found, expected = (
            means.median_of_others(trial, times[trial]),
            naive_median(history, trial, times[trial], grace_period),
        )
        assert (found is None) == (expected is None)
        if found is not None:
            assert found[1] == expected[1] and found[0] == pytest.approx(expected[0])
        means.add(trial, step=step, time=times[trial], loss=loss)
        history.append((trial, times[trial], loss))


def test_of_very_many_others_with_times_of_their_own_an_even_sample_is_looked_up():
    scheduler = make(time_attr="t", grace_period=0)
    for trial in range(5000):
        # Whoever is better has come farther: the median loss is 2499.5.
        scheduler._means.add(trial, step=1, time=10.0 + trial / 7, loss=4999.0 - trial)
        scheduler._means.add(trial, step=2, time=1000.0 + trial / 7, loss=4999.0 - trial)
    found = scheduler._means.median_of_others(9999, 900.5)
    assert found == pytest.approx((2499.5, 193), abs=25)


@given(
    st.lists(st.tuples(st.integers(0, 3), VALUES), max_size=40),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=3),
)
def test_after_a_restart_all_stands_as_if_the_superseded_reports_had_never_been(reports, restarts):
    lived, steps, kept = make(), dict.fromkeys(range(4), 0), []
    for trial, loss in reports:
        steps[trial] += 1
        lived._means.add(trial, step=steps[trial], time=float(steps[trial]), loss=loss)
        kept.append((trial, steps[trial], loss))
    for trial, step in restarts:
        lived.observe(StartAttempt(trial, 2, Placement("here", Resources()), start_step=step))
        kept = [(t, at, loss) for t, at, loss in kept if t != trial or at <= step]
    anew = make()
    for trial, step, loss in kept:
        anew._means.add(trial, step=step, time=float(step), loss=loss)
    assert lived._means._last_times == anew._means._last_times
    for time in range(1, 15):
        assert lived._means.median_of_others(9, float(time)) == anew._means.median_of_others(9, float(time))
        assert lived._means._means_at[float(time)] == anew._means._means_at[float(time)]


@given(st.lists(st.tuples(st.integers(0, 5), VALUES, st.booleans()), max_size=60), st.booleans())
def test_a_replay_of_the_log_gives_the_same_state_and_deciding_leaves_no_trace(moves, hard_stop):
    lived, replayed, asked_once = (make(hard_stop=hard_stop) for _ in range(3))
    floor, other = Floor(lived), Floor(asked_once)
    steps, over = dict.fromkeys(range(6), 0), set()
    for trial, loss, saves in moves:
        if trial in over:
            continue
        steps[trial] += 1
        decision = floor.report(trial, steps[trial], saves=saves, loss=loss)
        lived.choose_next(())
        assert other.report(trial, steps[trial], saves=saves, loss=loss) == decision
        if decision.verdict is not CONTINUE:
            over.add(trial)
    for record in floor.log:
        replayed.observe(record)
    states = [{name: repr(value) for name, value in vars(s).items()} for s in (lived, replayed, asked_once)]
    assert states[0] == states[1] == states[2]


# ---------------------------------------------------------------- whole experiments


def curve(config, first_step):
    for step in range(first_step, 21):
        yield SimulatedStep(1.0, {"loss": config["level"] + 1 / step}, saves_checkpoint=True)


def run(hard_stop, store=None, epoch=1, **arguments):
    scheduler = MedianStoppingRule("training_iteration", grace_period=3, hard_stop=hard_stop)
    space = {"level": uniform(0.0, 1.0)}
    return Simulation(curve, space=space, scheduler=scheduler, store=store, n_trials=30, **arguments).run(epoch)


def test_an_experiment_stops_the_poor_half_and_ends():
    found = run(hard_stop=True)
    assert found.experiment.state.ending.why is EndReason.FINISHED
    stopped = [t for t in found.trials if t.status is TrialStatus.STOPPED]
    assert 5 < len(stopped) < 25
    assert min(found.trials, key=lambda t: t.config["level"]).status is TrialStatus.COMPLETED


def test_without_hard_stop_every_trial_comes_to_its_end_and_the_poor_ones_last():
    found = run(hard_stop=False)
    assert all(trial.status is TrialStatus.COMPLETED for trial in found.trials)
    starts = [record for record in found.log if isinstance(record, StartAttempt)]
    thaws = [start for start in starts if start.attempt > 1]
    assert len(thaws) > 5
    first_thaw, last_new = starts.index(thaws[0]), max(starts.index(s) for s in starts if s.attempt == 1)
    assert last_new < first_thaw
    assert wasted_starts(found) == []
    assert most_at_once(found.log[found.log.index(thaws[0]) :]) == 4, "those that were paused go on one by one"


def most_at_once(records):
    running, most = set(), 0
    for record in records:
        if isinstance(record, StartAttempt):
            running.add(record.trial)
        elif isinstance(record, ConcludeAttempt):
            running.discard(record.trial)
        most = max(most, len(running))
    return most


def test_an_experiment_with_crashes_ends():
    def crashing(config, first_step):
        for step in range(first_step, 21):
            error = "killed" if (step * 7 + int(config["level"] * 100)) % 13 == 0 and step != first_step else None
            yield SimulatedStep(1.0, {"loss": config["level"] + 1 / step}, saves_checkpoint=True, error=error)

    scheduler = MedianStoppingRule("training_iteration", grace_period=3)
    space = {"level": uniform(0.0, 1.0)}
    found = simulate(crashing, space=space, scheduler=scheduler, n_trials=30, max_failures=3)
    assert all(trial.status.is_over for trial in found.trials)
    assert any(trial.n_failures for trial in found.trials)


@pytest.mark.parametrize("hard_stop", [True, False])
def test_resumed_in_the_middle_it_ends_and_its_log_replays_to_the_same_state(hard_stop):
    whole = run(hard_stop)
    store = MemoryStore()
    store.append(whole.log[: len(whole.log) // 2], [])
    resumed = run(hard_stop, store=store, epoch=2)
    assert all(trial.status.is_over for trial in resumed.trials)
    replayed = make(grace_period=3, hard_stop=hard_stop)
    for record in resumed.log:
        replayed.observe(record)
    assert repr(replayed._means) == repr(resumed.scheduler._means)
    assert replayed.describe() == resumed.scheduler.describe()
