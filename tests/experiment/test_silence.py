"""F4: attempts that say nothing for too long are ended, and count as failures."""

from __future__ import annotations

import math

import pytest
from campaigns.simulate.checks import facts

from tunesmith.errors import ConfigError
from tunesmith.events import ConcludeAttempt, EndReason, StopAttempt, Verdict
from tunesmith.spec import check_spec
from tunesmith.testing.samples import make_spec
from tunesmith.trial import AttemptOutcome, TrialStatus

from .world import World, of, started, verdicts


def one(**spec):
    limits = {"first_report_timeout_s": 60.0, "report_timeout_s": 10.0}
    world = World(n_slots=1, **{"n_trials": 1, **limits, **spec})
    world.begin()
    return world


def stops(records):
    return [(stop.trial, stop.reason, stop.status_after, stop.is_immediate) for stop in of(records, StopAttempt)]


def test_an_attempt_that_never_reports_is_ended_at_the_first_limit():
    world = one()
    world.started(0)
    assert world.experiment.next_deadline() == pytest.approx(60.0, abs=1e-3)
    assert stops(world.handle(at=59.0)) == []
    reason = "no report within 60 s of its start (first_report_timeout_s)"
    assert stops(world.handle(at=60.0)) == [(0, reason, TrialStatus.FAILED, False)]
    assert stops(world.handle(at=200.0)) == [], "once is enough: the ladder does the rest"
    assert world.experiment.next_deadline() == math.inf


def test_the_limit_between_reports_begins_anew_with_each():
    world = one()
    world.report(0, at=55.0)
    world.report(0, at=64.0)
    assert world.experiment.next_deadline() == pytest.approx(74.0, abs=1e-3)
    assert stops(world.handle(at=74.0))[0][1] == "no report for 10 s (report_timeout_s)"


def test_the_first_limit_counts_from_when_the_process_has_come_up():
    world = one()
    world.handle(at=30.0)
    world.started(0)
    assert stops(world.handle(at=60.0)) == []
    assert len(stops(world.handle(at=90.0))) == 1


def test_a_driver_that_was_asleep_itself_lets_all_limits_begin_anew():
    """F41: a suspended laptop, a stopped container; the trials may have slept too."""
    world = one()
    assert stops(world.handle(at=3600.0)) == []
    assert world.experiment.next_deadline() == pytest.approx(3660.0, abs=1e-3)
    assert len(stops(world.handle(at=3660.0))) == 1


def test_without_limits_nobody_is_ended():
    world = one(first_report_timeout_s=None, report_timeout_s=None)
    assert world.experiment.next_deadline() == math.inf
    assert stops(world.handle(at=1e9)) == []
    world.report(0)
    assert stops(world.handle(at=2e9)) == []


@pytest.mark.parametrize("outcome", sorted(set(AttemptOutcome) - {AttemptOutcome.RETURNED}))
def test_it_counts_as_a_failure_and_is_tried_again_from_its_checkpoint(outcome):
    world = one(max_failures=1)
    world.report(0, 1, checkpoint="c1")
    world.handle(at=world.experiment.next_deadline())
    [conclusion] = of(world.end(0, outcome), ConcludeAttempt)
    assert conclusion.status is TrialStatus.PENDING
    trial = world.trials[0]
    assert (trial.n_failures, trial.error) == (1, "no report for 10 s (report_timeout_s)")
    assert started(world.handle(at=200.0)) == [0]
    assert world.trials[0].step == 1
    world.handle(at=world.experiment.next_deadline())
    world.end(0, outcome, error="Traceback\nKilled: 9")
    assert world.status() == "FA"
    assert world.trials[0].error == "Traceback\nKilled: 9\nno report within 60 s of its start (first_report_timeout_s)"
    assert world.trials[0].reason == "no report within 60 s of its start (first_report_timeout_s)"


def test_one_that_returns_before_the_ladder_reaches_it_is_complete():
    world = one()
    world.handle(at=world.experiment.next_deadline())
    world.end(0)
    assert (world.status(), world.trials[0].n_failures) == ("CO", 0)


@pytest.mark.parametrize("outcome", [AttemptOutcome.RETURNED, AttemptOutcome.STOPPED])
def test_one_that_wakes_up_keeps_its_report_and_fails_all_the_same(outcome):
    world = one()
    world.handle(at=world.experiment.next_deadline())
    assert verdicts(world.report(0, 1)) == [Verdict.STOP]
    world.end(0, outcome)
    assert (world.status(), world.trials[0].n_reports, world.trials[0].n_failures) == ("FA", 1, 1)


def test_the_breaker_counts_those_that_all_hang_at_their_start():
    world = World(n_slots=3, n_trials=9, n_alike_failures=3, first_report_timeout_s=5.0)
    world.begin()
    while world.state.running:
        world.handle(at=world.experiment.next_deadline())
        for trial in sorted(world.state.running):
            world.end(trial, AttemptOutcome.STOPPED)
    assert world.ending.why is EndReason.FAILED
    assert "trials failed alike" in world.ending.detail


def test_an_interrupt_takes_the_place_of_the_limit():
    world = one()
    world.interrupt()
    assert world.experiment.next_deadline() == math.inf
    assert stops(world.handle(at=1e6)) == []
    world.end(0, AttemptOutcome.STOPPED)
    assert world.status() == "IN"


def test_an_interrupt_after_the_limit_lets_the_trial_go_on_at_the_resume():
    world = one()
    world.handle(at=world.experiment.next_deadline())
    world.interrupt()
    world.end(0, AttemptOutcome.STOPPED)
    assert world.status() == "IN"


def test_a_trial_that_had_been_given_up_by_a_driver_that_died_runs_again():
    world = one()
    world.handle(at=world.experiment.next_deadline())
    again = world.resumed()
    assert (again.status(), again.trials[0].attempt) == ("RU", 2)
    replayed = world.new_experiment()
    replayed.replay(again.log)
    assert facts(replayed) == facts(again.experiment)


@pytest.mark.parametrize("name", ["first_report_timeout_s", "report_timeout_s"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan])
def test_a_limit_that_cannot_be_meant_is_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        check_spec(make_spec(**{name: value}))
