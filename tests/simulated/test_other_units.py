"""Training that is not counted in epochs: fractions of the data, tokens, seeds. Any value that grows will do."""

from __future__ import annotations

import pytest

from tunesmith.events import AnswerReport, Verdict
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.methods import FreezeThaw
from tunesmith.schedulers import ASHAPromotionScheduler, ASHAScheduler, MedianStoppingRule
from tunesmith.space import uniform
from tunesmith.testing import simulate
from tunesmith.trial import TrialStatus

#: What a report calls its unit, and three values of it.
UNITS = [("fraction", (0.1, 0.3, 1.0)), ("tokens", (1e6, 3e6, 9e6)), ("n_seeds", (1, 3, 9))]


def trained(scheduler, unit, times, *, saves, **arguments):
    def script(config, first_step):
        for step in range(first_step, len(times) + 1):
            metrics = {"loss": config["level"] + 0.3 / step, unit: times[step - 1]}
            yield SimulatedStep(1.0 * step, metrics, saves_checkpoint=saves)

    facts = {"space": {"level": uniform(0.0, 1.0)}, "n_trials": 24, "n_workers": 4, "seed": 3}
    return simulate(script, scheduler=scheduler, **facts, **arguments)


def by_step(found):
    """How many trials came to which step."""
    steps = [trial.step for trial in found.trials]
    return [steps.count(step) for step in (1, 2, 3)]


@pytest.mark.parametrize(("unit", "times"), UNITS)
def test_asha_decides_at_each_of_the_values_that_are_reported(unit, times):
    scheduler = ASHAScheduler(time_attr=unit, grace_period=times[0], max_t=times[2], reduction_factor=3)
    found = trained(scheduler, unit, times, saves=False)
    first, second, whole = by_step(found)
    assert first > second >= 1 and whole >= 1
    stops = [answer.decision.numbers for answer in found.store.records() if is_stop(answer)]
    assert {numbers["rung"] for numbers in stops} == set(times[:2])
    assert all(trial.status is TrialStatus.COMPLETED for trial in found.trials if trial.step == 3)


@pytest.mark.parametrize(("unit", "times"), UNITS)
def test_promotion_works_at_each_of_them_too(unit, times):
    scheduler = ASHAPromotionScheduler(time_attr=unit, grace_period=times[0], max_t=times[2], reduction_factor=3)
    first, second, whole = by_step(trained(scheduler, unit, times, saves=True))
    assert first > second >= 1 and whole >= 1


@pytest.mark.parametrize(("unit", "times"), UNITS)
def test_freeze_thaw_pauses_at_each_of_them_and_trains_the_best_to_the_end(unit, times):
    found = trained_by_freeze_thaw(unit, times, saves=True)
    paused_at = {answer.decision.numbers["time"] for answer in found.store.records() if is_pause(answer)}
    assert paused_at == set(times[:2])
    assert min(found.trials, key=lambda trial: trial.config["level"]).step == 3


@pytest.mark.parametrize(("unit", "times"), UNITS)
def test_freeze_thaw_ends_trials_at_them_that_save_no_checkpoints(unit, times):
    found = trained_by_freeze_thaw(unit, times, saves=False)
    assert {trial.step for trial in found.trials if trial.status is TrialStatus.STOPPED} <= {1, 2}
    assert 0 < by_step(found)[2] < 24
    assert min(found.trials, key=lambda trial: trial.config["level"]).step == 3


def trained_by_freeze_thaw(unit, times, *, saves):
    method = FreezeThaw(time_attr=unit, grace_period=times[0], max_t=times[2], reduction_factor=3)
    return trained(method, unit, times, saves=saves, searcher=method)


def is_stop(record):
    return isinstance(record, AnswerReport) and record.decision.verdict is Verdict.STOP


def is_pause(record):
    return isinstance(record, AnswerReport) and record.decision.verdict is Verdict.PAUSE


def test_the_median_stopping_rule_takes_fractions():
    scheduler = MedianStoppingRule(time_attr="fraction", grace_period=0.1, min_samples_required=3)
    first, second, whole = by_step(trained(scheduler, "fraction", (0.1, 0.3, 1.0), saves=False))
    assert first + second >= 6 and whole >= 6
