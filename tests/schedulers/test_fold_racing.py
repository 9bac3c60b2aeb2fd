import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.errors import ConfigError
from tunesmith.events import InterruptRequested, Verdict
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.schedulers import FoldRacing
from tunesmith.schedulers.fold_standings import FoldStandings
from tunesmith.space import uniform
from tunesmith.testing import simulate
from tunesmith.testing.simulation import Simulation
from tunesmith.trial import Mode, Objective, TrialStatus

from .floor import Floor

CONTINUE, STOP = Verdict.CONTINUE, Verdict.STOP
BEST = [1.0, 2.0, 3.0, 2.0, 2.0]  #: mean 2, standard deviation 0.707


def make(**arguments) -> FoldRacing:
    scheduler = FoldRacing(**{"metric": "loss", "mode": "min", **arguments})
    scheduler.bind(None)
    return scheduler


def play(floor, trial, losses, *, first=0):
    """Report folds until one stops the trial; the answers."""
    answers = []
    for fold, loss in enumerate(losses, first):
        answers.append(floor.report(trial, fold + 1, fold=fold, loss=loss))
        if answers[-1].verdict is STOP:
            break
    return answers


def floor_with(losses=BEST, **arguments) -> Floor:
    """A trial with these folds has returned."""
    floor = Floor(make(**arguments))
    play(floor, 0, losses)
    floor.conclude(0, TrialStatus.COMPLETED)
    return floor


# ---------------------------------------------------------------- the test


def test_a_trial_that_is_worse_on_each_of_four_folds_is_stopped_and_the_reason_has_the_numbers():
    answers = play(floor_with(), 1, [loss + 0.1 for loss in BEST])
    assert [answer.verdict for answer in answers] == [CONTINUE] * 3 + [STOP]
    assert answers[-1].words() == (
        "mean loss 2.1 against 2 of trial 0 on the same 4 folds, p = 0.0625 (Wilcoxon signed-rank test)"
    )


def test_a_trial_that_is_better_on_one_large_fold_goes_on():
    # Ranks 4, 1, 2, 3: the fold that is better has the largest.
    answers = play(floor_with(), 1, [0.0, 2.3, 3.4, 2.5])
    assert answers[-1].verdict is CONTINUE


def test_the_mean_alone_stops_nobody():
    # One bad fold: the mean is far worse, and the test is not impressed.
    answers = play(floor_with(), 1, [0.9, 1.9, 12.0, 1.9])
    assert answers[-1].verdict is CONTINUE


def test_hard_folds_and_easy_ones_cancel_out():
    hard = [1.0, 100.0, 1000.0, 10.0, 5.0]
    answers = play(floor_with(hard), 1, [loss + 0.01 for loss in hard])
    assert answers[-1].verdict is STOP


def test_mode_max_turns_the_comparison_round_and_the_reason_has_the_users_sign():
    floor = floor_with([0.9, 0.8, 0.7, 0.8, 0.8], mode="max")
    assert play(floor, 1, [0.91, 0.81, 0.71, 0.81])[-1].verdict is CONTINUE
    stopped = play(floor, 2, [0.89, 0.79, 0.69, 0.79])[-1]
    assert stopped.verdict is STOP
    assert stopped.words().startswith("mean loss 0.79 against 0.8 of trial 0 on the same 4 folds")


def test_the_t_test_finds_an_even_difference_on_fewer_folds():
    losses = [1.2, 2.22, 3.21]
    assert play(floor_with(min_folds=2, test="t"), 1, losses)[1].verdict is STOP
    assert play(floor_with(min_folds=3, test="t"), 1, losses)[2].words().endswith("(paired t test)")
    assert play(floor_with(min_folds=3), 1, losses)[-1].verdict is CONTINUE


def test_no_test_decides_below_min_folds():
    answers = play(floor_with(min_folds=5), 1, [loss + 0.1 for loss in BEST])
    assert [answer.verdict for answer in answers] == [CONTINUE] * 5


def test_a_level_that_four_folds_cannot_reach_waits_for_more():
    losses = [1.0, 2.0] * 5
    answers = play(floor_with(losses, p=0.01), 1, [loss + 0.1 for loss in losses])
    assert len(answers) == 7 and answers[-1].verdict is STOP


# ---------------------------------------------------------------- before the test


def test_two_folds_worse_by_more_than_the_spread_are_enough():
    answers = play(floor_with(), 1, [loss + 0.75 for loss in BEST])
    assert [answer.verdict for answer in answers] == [CONTINUE, STOP]
    assert answers[-1].words() == (
        "loss is worse than that of trial 0 on all of 2 folds, by 0.75 or more, above 0.707107, the standard deviation "
        "of its 5 folds"
    )


def test_one_fold_must_be_worse_by_three_spreads():
    assert play(floor_with(), 1, [1.0 + 2.1])[-1].verdict is CONTINUE
    assert play(floor_with(), 1, [1.0 + 2.2])[-1].words() == (
        "loss is worse than that of trial 0 by 2.2 on fold 0, above 3 times 0.707107, the standard deviation of its 5 "
        "folds"
    )


def test_a_best_trial_of_two_folds_has_no_spread_to_go_by():
    floor = Floor(make())
    play(floor, 0, [1.0, 2.0])
    assert play(floor, 1, [1e6, 1e6])[-1].verdict is CONTINUE


def test_folds_of_the_best_trial_that_are_all_equal_are_no_spread():
    assert play(floor_with([1.0] * 5), 1, [1.1, 1.1, 1.1])[-1].verdict is CONTINUE


# ---------------------------------------------------------------- who is compared with whom


def test_whoever_is_ahead_in_folds_is_not_stopped():
    floor = Floor(make())
    play(floor, 0, BEST[:3])
    assert play(floor, 1, [9.0] * 3)[-1].verdict is STOP
    floor = Floor(make())
    play(floor, 1, [9.0] * 4)
    play(floor, 0, BEST[:3])
    assert floor.report(1, 5, fold=4, loss=9.0).verdict is CONTINUE


def test_the_last_fold_of_a_whole_trial_stops_it_no_more():
    floor = floor_with()
    play(floor, 1, [1.05, 1.95, 3.0, 2.0])
    assert floor.report(1, 5, fold=4, loss=99.0).verdict is CONTINUE


def test_a_trial_with_a_lucky_first_fold_is_not_the_one_to_beat():
    floor = floor_with()
    play(floor, 1, [0.0])
    assert play(floor, 2, [0.9, 1.9, 2.9, 1.9])[-1].verdict is CONTINUE


def test_folds_are_matched_by_number_in_any_order():
    floor = floor_with([1.0, 10.0, 100.0, 1000.0, 5.0])
    for step, (fold, loss) in enumerate([(3, 999.0), (1, 9.0), (2, 99.0), (0, 0.9)], 1):
        assert floor.report(1, step, fold=fold, loss=loss).verdict is CONTINUE


def test_a_fold_that_is_reported_again_takes_the_place_of_its_value():
    floor = floor_with()
    play(floor, 1, [1.1, 2.1, 3.1])
    floor.report(1, 4, fold=2, loss=1.0)
    assert floor.report(1, 5, fold=3, loss=2.1).verdict is CONTINUE
    floor.scheduler.check_invariants()


def test_folds_after_the_step_of_a_restart_are_forgotten():
    floor = floor_with()
    play(floor, 1, [0.0, 0.0, 0.0])  # would be the best one
    floor.start(1, start_step=1)
    floor.scheduler.check_invariants()
    answers = play(floor, 1, [2.1, 3.1, 2.1], first=1)
    assert [answer.verdict for answer in answers] == [CONTINUE] * 3  # fold 0 still speaks for it
    floor.start(1)
    assert play(floor, 1, [loss + 0.1 for loss in BEST])[-1].verdict is STOP


def test_a_fold_without_a_number_ends_a_trial_once_there_is_one_with_numbers():
    floor = Floor(make())
    assert floor.report(0, 1, fold=0, loss=math.nan).verdict is CONTINUE
    play(floor, 1, BEST)
    stopped = floor.report(2, 1, fold=0, loss=math.inf)
    assert stopped.verdict is STOP
    assert stopped.words() == "loss is inf on fold 0; trial 1 has a number on each of 5 folds"


@pytest.mark.parametrize("metrics", [{"loss": 9.0}, {"fold": 0}, {"fold": 0.5, "loss": 9.0}, {"fold": -1, "loss": 9.0}])
def test_reports_without_fold_or_metric_are_counted_and_not_judged(metrics):
    floor = floor_with()
    assert floor.report(1, 1, **metrics).verdict is CONTINUE
    assert floor.scheduler.describe() == [
        "Using FoldRacing: num_stopped=0, best loss 2 over 5 folds of trial 0",
        "1 reports without 'fold' or 'loss' not judged",
    ]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"min_folds": 1}, "min_folds is 1. Give a whole number of 2 or more"),
        ({"min_folds": 2.5}, "min_folds is 2.5"),
        ({"p": 0.5}, "p is 0.5. Give a number above 0 and below 0.5"),
        ({"p": 0}, "p is 0. Give a number above 0"),
        ({"p": "small"}, "p is 'small'. Give a number"),
        ({"test": "sign"}, "test is 'sign'. Give 'wilcoxon' or 't'"),
        ({"mode": "up"}, "mode is 'up'"),
    ],
)
def test_arguments_that_make_no_sense_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        FoldRacing(**arguments)


def test_without_a_metric_it_says_what_is_missing():
    with pytest.raises(ConfigError, match="FoldRacing has no metric"):
        FoldRacing().bind(None)


# ---------------------------------------------------------------- any order of anything

LOSSES = st.sampled_from([0.0, 0.5, 1.0, 1.25, -3.0, 1e308, -1e308, math.nan, math.inf, -math.inf])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), LOSSES, st.integers(0, 9)), max_size=60), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_reports_and_restarts_keep_the_standings_and_a_replay_agrees(events, is_t):
    floor, steps = Floor(make(min_folds=2, test="t" if is_t else "wilcoxon")), dict.fromkeys(range(5), 0)
    for trial, fold, loss, kind in events:
        if kind == 0:
            steps[trial] //= 2
            floor.start(trial, start_step=steps[trial])
        else:
            steps[trial] += 1
            decision = floor.report(trial, steps[trial], fold=fold, loss=loss)
            assert decision.verdict is CONTINUE or decision.words()
        floor.scheduler.check_invariants()
    again = make(min_folds=2, test="t" if is_t else "wilcoxon")
    for record in floor.log:
        again.observe(record)
    assert again.describe() == floor.scheduler.describe()


def test_the_incumbent_is_the_first_of_those_with_the_most_folds_and_the_best_mean():
    standings = FoldStandings()
    assert standings.incumbent() is None
    for trial, losses in {3: [1.0], 1: [5.0, 5.0], 2: [4.0, 6.0], 4: [math.nan, 0.0, 0.0]}.items():
        for fold, loss in enumerate(losses):
            standings.add(trial, step=fold + 1, fold=fold, loss=loss)
    assert [standings.incumbent(), standings.incumbent(but=1)] == [1, 2]


# ---------------------------------------------------------------- whole experiments

SCORE = Objective(("score",), (Mode.MAX,))
N_FOLDS = 10


def folds_of(config, first_step):
    """10 folds: some are harder, for everybody; on each there is noise of the trial's own."""
    for step in range(first_step, N_FOLDS + 1):
        noise = random.Random(f"{config['level']} {step}").gauss(0.0, 0.02)
        yield SimulatedStep(1.0, {"score": config["level"] - 0.03 * (step % 3) + noise, "fold": step - 1})


def raced(**arguments) -> Simulation:
    return simulate(
        folds_of, space={"level": uniform(0.0, 1.0)}, objective=SCORE, n_trials=40, n_workers=4, **arguments
    )


def true_best(found):
    whole = [trial for trial in found.trials if len(trial.folds) == N_FOLDS]
    return max(whole, key=lambda trial: trial.best_value)


@pytest.mark.parametrize("seed", range(5))
def test_racing_keeps_the_winner_for_half_of_the_folds(seed):
    full, racing = raced(seed=seed), raced(seed=seed, scheduler=FoldRacing())
    assert true_best(racing).index == true_best(full).index
    n_full, n_raced = (sum(trial.n_reports for trial in found.trials) for found in (full, racing))
    assert n_full == 400
    assert n_raced <= 200
    assert {trial.status for trial in racing.trials} == {TrialStatus.COMPLETED, TrialStatus.STOPPED}


def test_an_interrupted_race_goes_on_as_the_whole_one_does():
    whole = raced(seed=1, scheduler=FoldRacing())

    def interrupt(simulation):
        if simulation.experiment.state.n_steps >= 60 and not interrupted:
            interrupted.append(True)
            simulation.executor.post(InterruptRequested(1, "SIGINT"))

    interrupted: list[bool] = []
    part = Simulation(
        folds_of, space={"level": uniform(0.0, 1.0)}, objective=SCORE, n_trials=40, n_workers=4, seed=1,
        scheduler=FoldRacing(), on_pass=interrupt,
    )  # fmt: skip
    part.run()
    assert any(trial.status is TrialStatus.INTERRUPTED for trial in part.trials)
    rest = raced(seed=1, scheduler=FoldRacing(), store=part.store)
    assert true_best(rest).config == true_best(whole).config
    assert all(trial.status.is_over for trial in rest.trials)
