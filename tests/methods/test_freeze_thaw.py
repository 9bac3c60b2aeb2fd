"""Searcher and scheduler in one: what is trained, how far, and why it ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tunesmith.errors import ConfigError
from tunesmith.events import EndReason, StopPaused, Suggestion, Thaw, TrialReported, Verdict
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.methods import FreezeThaw
from tunesmith.protocols import Wait
from tunesmith.searchers import AutoSearch, RandomSearch
from tunesmith.space import choice, grid_search, uniform
from tunesmith.testing import Simulation, simulate
from tunesmith.testing.samples import LOSS
from tunesmith.trial import Checkpoint, Mode, Objective, Trial, TrialStatus

from .curve_world import XY, always, best, ending, n_steps, never, played, script, valley

COMPLETED, STOPPED, PAUSED = TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.PAUSED


# ---------------------------------------------------------------- what is trained


@pytest.fixture(scope="module")
def usual():
    return played(script(), n_trials=20, n_workers=4, make=lambda: FreezeThaw(max_t=27))


def test_few_trials_are_trained_to_the_end_and_the_others_are_given_up_at_a_stop(usual):
    steps = {status: sorted(trial.step for trial in usual.trials if trial.status is status) for status in TrialStatus}
    assert set(steps[COMPLETED]) == {27}
    assert set(steps[STOPPED]) <= {2, 6}
    assert len(steps[COMPLETED]) + len(steps[STOPPED]) == 20
    assert 1 <= len(steps[COMPLETED]) <= 8
    assert n_steps(usual) < 20 * 27 / 2
    assert best(usual) == min(trial.best_value for trial in usual.trials if trial.status is COMPLETED)


def test_reasons_are_words_with_numbers(usual):
    assert {trial.reason for trial in usual.trials if trial.status is COMPLETED} == {"reached max_t"}
    for trial in usual.trials:
        if trial.status is STOPPED:
            assert trial.reason.startswith("a chance of ") and trial.reason.endswith("% to become the best by 27")
    reasons = {trial.proposed_by for trial in usual.trials}
    assert any("by a Gaussian process of" in reason for reason in reasons)
    assert "spread evenly over the space" in reasons


def test_its_description_says_what_was_paused(usual):
    [line] = usual.scheduler.describe()
    n_given_up = sum(trial.status is STOPPED for trial in usual.trials)
    n_thawed = sum(trial.attempt - 1 for trial in usual.trials)
    assert line == (
        f"Using FreezeThaw: stops at 2, 6 of 27; paused {n_thawed + n_given_up} times, thawed {n_thawed} times; "
        f"{n_given_up} trials given up"
    )


def test_it_comes_closer_to_the_best_end_than_random_search_with_as_many_steps():
    """Seeds are fixed. How far both are from the best end differs by a factor of 16 on geometric average."""
    space, lowest = {name: uniform(0, 1) for name in "abcd"}, math.exp(-27 / 4)

    def bowl(config, step):
        return sum((value - 0.3 - 0.13 * i) ** 2 for i, value in enumerate(config.values())) + math.exp(-step / 4)

    gains = []
    for seed in range(4):
        facts = {"space": space, "n_workers": 2, "seed": seed}
        ours = played(script(bowl, n_steps=27), make=lambda: FreezeThaw(max_t=27), n_trials=40, **facts)
        plain = simulate(script(bowl, n_steps=27), n_trials=math.ceil(n_steps(ours) / 27), **facts)
        gains.append(math.log((best(plain) - lowest) / (best(ours) - lowest)))
    assert np.mean(gains) > math.log(5)


def test_points_to_evaluate_come_first():
    points = [{"x": 0.9, "y": 0.1}, {"x": 0.25}]
    run = played(script(), make=lambda: FreezeThaw(max_t=9, points_to_evaluate=points), n_trials=5)
    assert run.trials[0].config == points[0]
    assert run.trials[1].config["x"] == 0.25


def test_the_parts_of_a_grid_are_tried_in_turn():
    run = played(script(), space={"x": grid_search([0.1, 0.3, 0.9]), "y": uniform(0, 1)}, n_trials=12)
    assert [trial.config["x"] for trial in run.trials] == [0.1, 0.3, 0.9] * 4


def test_a_grid_without_other_leaves_is_repeated_as_often_as_was_asked():
    run = played(script(), space={"x": grid_search([0.1, 0.3, 0.9])}, n_trials=9)
    assert [trial.config["x"] for trial in run.trials] == [0.1, 0.3, 0.9] * 3


def test_a_space_in_which_nothing_varies_is_trained_as_often_as_was_asked():
    assert len(played(script(), space={}, n_trials=4).trials) == 4


def test_when_all_configs_were_tried_trials_without_a_chance_are_given_up_too():
    space = {"x": choice([0.1, 0.3, 0.5, 0.9]), "y": choice([0.1, 0.7, 0.9])}
    run = played(script(), space=space, n_trials=50)
    assert len(run.trials) == 12
    assert any(trial.status is STOPPED for trial in run.trials)
    assert ending(run).why is EndReason.EXHAUSTED


# ---------------------------------------------------------------- trainings without curves


@pytest.mark.parametrize("saves", [always, never])
def test_where_trainings_report_once_configs_are_those_of_the_search_without_curves(saves):
    def once(config, first_step):
        yield SimulatedStep(1.0, {"loss": valley(config, 1)}, saves(1))

    ours = played(once, n_trials=10, n_workers=1, make=lambda: FreezeThaw(max_t=27))
    plain = simulate(once, space=XY, searcher=AutoSearch(), n_trials=10, n_workers=1, seed=1)
    assert [trial.config for trial in ours.trials] == [trial.config for trial in plain.trials]
    assert {trial.status for trial in ours.trials} == {COMPLETED}


def test_where_trainings_end_before_the_first_stop_it_is_the_same():
    short = script(n_steps=4)
    ours = played(short, n_trials=9, n_workers=1, make=lambda: FreezeThaw(max_t=1000))
    plain = simulate(short, space=XY, searcher=AutoSearch(), n_trials=9, n_workers=1, seed=1)
    assert [trial.config for trial in ours.trials] == [trial.config for trial in plain.trials]


# ---------------------------------------------------------------- values that are missing or no numbers


def test_a_trial_that_ends_in_nan_is_given_up_whatever_it_was_before():
    run = played(script(lambda config, step: valley(config, step) if step < 3 or config["y"] < 0.6 else math.nan))
    spoilt = [trial for trial in run.trials if trial.reason == "its last value is no finite number"]
    assert spoilt
    assert {(trial.status, trial.step) for trial in spoilt} == {(STOPPED, 3)}


def test_a_trial_is_not_judged_before_it_has_reported_the_metric():
    run = played(script(lambda config, step: valley(config, step) if step % 4 == 0 else None), n_trials=8)
    assert {trial.step for trial in run.trials if trial.status is STOPPED} <= {4, 8}


# ---------------------------------------------------------------- as a scheduler


def bound(**arguments):
    scheduler = FreezeThaw(**{"max_t": 27, **arguments})
    scheduler.bind(LOSS)
    return scheduler


def decision(scheduler, step, *, metrics=None, **trial):
    metrics = {"loss": 1.0} if metrics is None else metrics
    report = TrialReported(0, 1, step, metrics, time_total_s=10.0 * step, at=0.0)
    facts = {"index": 0, "trial_id": "t", "config": {}, "status": TrialStatus.RUNNING, "attempt": 1}
    return scheduler.decide(Trial(**{**facts, **trial}), report)


def test_a_trial_is_paused_where_it_was_to_be_trained_to():
    verdicts = [decision(bound(), step).verdict for step in (1, 2, 3)]
    assert verdicts == [Verdict.CONTINUE, Verdict.PAUSE, Verdict.PAUSE]
    verdicts = [decision(bound(), step, max_t=6).verdict for step in (2, 5, 6)]
    assert verdicts == [Verdict.CONTINUE, Verdict.CONTINUE, Verdict.PAUSE]
    assert decision(bound(), 7, max_t=6).words() == "trained to 7 of 27"


def test_a_trial_that_has_reached_the_end_is_completed_with_or_without_a_value():
    for metrics in (None, {"other": 1.0}):
        assert decision(bound(), 27, metrics=metrics).verdict is Verdict.COMPLETE


@pytest.mark.parametrize("metrics", [{}, {"other": 1.0}])
def test_a_report_without_the_metric_is_not_judged(metrics):
    assert decision(bound(), 5, metrics=metrics).verdict is Verdict.CONTINUE


@pytest.mark.parametrize("time", [{}, {"epoch": math.nan}])
def test_a_report_without_a_time_is_not_judged(time):
    found = decision(bound(time_attr="epoch"), 50, metrics={"loss": 1.0, **time})
    assert found.verdict is Verdict.CONTINUE


def test_whoever_thaws_a_trial_gets_it_trained_to_the_next_stop():
    saved = (Checkpoint("c", step=2, attempt=1, time_total_s=20.0, metrics={"loss": 1.0, "epoch": 2.0}),)
    for time_attr in ("training_iteration", "epoch"):
        scheduler = bound(time_attr=time_attr)
        at = {"attempt": 2, "checkpoints": saved, "max_t": 2}
        found = [decision(scheduler, step, metrics={"loss": 1.0, "epoch": step}, **at).verdict for step in (3, 6)]
        assert found == [Verdict.CONTINUE, Verdict.PAUSE]


def test_a_checkpoint_of_the_attempt_itself_puts_nothing_off():
    saved = (Checkpoint("c", step=2, attempt=1, metrics={"loss": 1.0}),)
    assert decision(bound(), 2, checkpoints=saved).verdict is Verdict.PAUSE


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_t": 0}, "max_t is 0. Give a number above 0."),
        ({"max_t": math.inf}, "max_t is inf."),
        ({"max_t": "27"}, "max_t is '27'."),
        ({"max_t": True}, "max_t is True."),
        ({"max_t": 9, "grace_period": 10}, r"grace_period is 10. Give a number up to max_t \(9\)."),
        ({"max_t": 9, "grace_period": 0}, "grace_period is 0."),
        ({"max_t": 9, "reduction_factor": 1}, "reduction_factor is 1. Give 1.1 or more."),
        ({"max_t": 9, "time_attr": 3}, "time_attr is 3. Give the name of a reported value, e.g. 'training_iteration'."),
        ({"max_t": 9, "n_initial": 0}, "n_initial is 0."),
    ],
)
def test_bad_arguments_are_answered_with_what_is_allowed(arguments, words):
    with pytest.raises(ConfigError, match=words):
        FreezeThaw(**arguments)


@pytest.mark.parametrize(
    ("max_t", "first"), [(100, 6), (27, 2), (16, 1), (9, 1), (1, 0.0625), (0.5, 0.03125), (3600, 225)]
)
def test_the_first_stop_is_a_sixteenth_of_the_way_and_one_step_at_least(max_t, first):
    assert f"stops at {first:g}" in bound(max_t=max_t).describe()[0]


def test_the_metric_is_named_in_one_place():
    assert FreezeThaw(metric="loss", mode="min", max_t=9).bind(None) == LOSS
    assert FreezeThaw(max_t=9).bind(LOSS) == LOSS
    with pytest.raises(ConfigError, match="Give both in one of the two places only"):
        FreezeThaw(metric="loss", mode="min", max_t=9).bind(LOSS)
    with pytest.raises(ConfigError, match="no metric to compare trials by"):
        FreezeThaw(max_t=9).bind(None)
    with pytest.raises(ConfigError, match=r"on one metric\. For several use scheduler='mo_asha'"):
        FreezeThaw(max_t=9).bind(Objective(("a", "b"), (Mode.MIN, Mode.MIN)))


def test_given_another_searcher_it_only_pauses_and_the_experiment_ends_all_the_same():
    run = Simulation(script(), space=XY, searcher=RandomSearch(), scheduler=FreezeThaw(max_t=9), n_trials=6)
    run.run()
    assert {trial.status for trial in run.trials} == {COMPLETED}


# ---------------------------------------------------------------- one answer


def asked_last(run, kind):
    """The last request that was answered with such a thing."""
    return next(entry for entry in reversed(run.asked) if kind is type(entry[3]) or _has(entry[3], kind))


def _has(answer, kind):
    return isinstance(answer, list) and any(isinstance(one, kind) for one in answer)


def test_a_thaw_goes_to_the_next_stop_and_a_new_config_to_the_first(usual):
    for history, _, _, answer in usual.asked:
        for one in answer if isinstance(answer, list) else ():
            if isinstance(one, Thaw):
                assert one.max_t == {2: 6, 6: 27}[history.trials[one.trial].step]
                assert "by a Gaussian process of" in one.reason
            elif isinstance(one, Suggestion):
                assert one.max_t == 2


def test_while_trials_run_it_waits_with_those_of_no_chance_and_then_gives_all_of_them_up(usual):
    history, _, _, answer = asked_last(usual, Wait)
    assert any(trial.status is TrialStatus.RUNNING for trial in history.trials)
    assert history.n_left == 0
    assert answer.reason == "nothing is worth training beside what runs"
    history, _, _, answer = asked_last(usual, StopPaused)
    assert {one.trial for one in answer} == {trial.index for trial in history.trials if trial.status is PAUSED}
