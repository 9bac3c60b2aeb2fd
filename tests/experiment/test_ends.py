"""How an experiment ends: budgets, stoppers, interrupts, nothing left."""

from __future__ import annotations

import math

import pytest

from tunesmith.errors import ConfigError
from tunesmith.events import (
    AttemptStarted,
    CheckpointSaved,
    ConfigsSuggested,
    EndReason,
    InterruptRequested,
    StopAttempt,
    Suggest,
)
from tunesmith.spec import check_spec
from tunesmith.stoppers import CombinedStopper, NoopStopper, TimeoutStopper
from tunesmith.testing.samples import make_spec
from tunesmith.trial import AttemptOutcome

from .world import World, of, started


def test_the_experiment_is_finished_when_all_trials_are_over():
    world = World(n_slots=2, n_trials=3)
    world.begin()
    for trial in range(3):
        assert world.ending is None
        world.end(trial)
    assert world.ending.why is EndReason.FINISHED
    assert world.experiment.is_done


def test_no_trials_at_all_is_finished_at_once():
    world = World(n_trials=0)
    world.begin()
    assert world.ending.why is EndReason.FINISHED


# ---------------------------------------------------------------- budgets


def test_the_time_budget_is_a_deadline_and_ends_what_runs():
    world = World(time_budget_s=100.0)
    world.begin()
    assert world.experiment.next_deadline() == pytest.approx(100.0)
    assert of(world.handle(at=99.0), StopAttempt) == []
    records = world.handle(at=world.experiment.next_deadline())
    assert world.ending.why is EndReason.TIME_BUDGET
    assert [(stop.trial, stop.is_immediate) for stop in of(records, StopAttempt)] == [(0, False), (1, False)]
    assert world.experiment.next_deadline() == math.inf
    assert not world.experiment.is_done
    world.handle(world.ended(0, AttemptOutcome.STOPPED), world.ended(1, AttemptOutcome.STOPPED))
    assert world.experiment.is_done
    assert world.status() == "IN IN"


@pytest.mark.parametrize("budget_s", [None, 500.0])
def test_a_timeout_among_the_stoppers_is_a_deadline_too(budget_s):
    stopper = CombinedStopper(NoopStopper(), TimeoutStopper(100.0))
    world = World(stopper=lambda: stopper, time_budget_s=budget_s)
    world.begin()
    world.report(0, at=50.0)
    assert world.experiment.next_deadline() == pytest.approx(100.0)
    world.handle(at=100.0)
    assert (world.ending.why, world.ending.detail) == (EndReason.TIME_BUDGET, "the time budget of 100 s is used up")


def test_a_deadline_that_was_slept_through_ends_the_experiment_once():
    world = World(time_budget_s=1.0)
    world.begin()
    world.handle(at=1e6)
    assert world.handle(at=2e6) == []


def test_the_time_budget_counts_from_each_sessions_start():
    world = World(time_budget_s=100.0)
    world.begin()
    world.handle(at=60.0)
    again = world.resumed()
    again.handle(at=60.0)
    assert again.ending is None


def test_the_step_budget_counts_results_of_all_trials():
    world = World(max_total_steps=3)
    world.begin()
    world.report(0)
    world.report(1)
    world.report(0, 1)  # a repeat is no step
    assert world.ending is None
    world.report(1)
    assert world.ending.why is EndReason.STEP_BUDGET
    assert world.ending.detail == "3 of 3 steps are reported"


def test_a_report_of_the_pass_that_ends_the_experiment_is_answered_first_and_stopped_at_the_next():
    """A stop and the answer to a report in one pass: the trial hears the answer, then the stop."""
    world = World(max_total_steps=1)
    world.begin()
    kinds = [type(record).__name__ for record in world.report(0)]
    assert kinds == ["TrialReported", "AnswerReport", "EndExperiment", "StopAttempt", "StopAttempt"]
    records = world.report(0)
    assert records[1].decision.words() == "1 of 1 steps are reported"
    world.end(0, AttemptOutcome.STOPPED)
    assert world.status() == "IN RU"


class EndsAt(NoopStopper):
    def __init__(self):
        self.n = 0

    def observe(self, record):
        self.n += type(record).__name__ == "TrialReported"

    def should_end(self):
        return "it is enough" if self.n >= 2 else None


def test_a_stopper_ends_the_experiment():
    world = World(stopper=EndsAt)
    world.begin()
    world.report(0)
    world.report(1)
    assert (world.ending.why, world.ending.detail) == (EndReason.STOPPER, "it is enough")


@pytest.mark.parametrize(
    "wrong",
    [{"time_budget_s": 0.0}, {"time_budget_s": -1.0}, {"time_budget_s": math.nan}, {"max_total_steps": 0},
     {"max_concurrent_trials": 0}, {"max_failures": -2}, {"n_trials": -1}],
)  # fmt: skip
def test_a_budget_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ConfigError):
        check_spec(make_spec(**wrong))


# ---------------------------------------------------------------- interrupts


def test_the_first_interrupt_starts_nothing_more_and_asks_politely():
    world = World(n_slots=2, n_trials=10)
    world.begin()
    records = world.interrupt()
    assert [stop.is_immediate for stop in of(records, StopAttempt)] == [False, False]
    assert started(world.end(0, AttemptOutcome.STOPPED)) == []
    world.end(1, AttemptOutcome.STOPPED)
    assert world.experiment.is_done
    assert world.status() == "IN IN"
    assert world.ending.why.is_resumable


@pytest.mark.parametrize(
    ("source", "grace_s", "asked"),
    [("SIGINT", 60.0, None), ("SIGTERM", 60.0, 20.0), ("SIGHUP", 60.0, 20.0), ("SIGTERM", 5.0, 5.0)],
)
def test_a_termination_signal_leaves_no_more_grace_than_the_platform_does(source, grace_s, asked):
    world = World(grace_s=grace_s)
    world.begin()
    records = world.handle(InterruptRequested(1, source))
    assert [(stop.trial, stop.grace_s) for stop in of(records, StopAttempt)] == [(0, asked), (1, asked)]


def test_a_termination_signal_shortens_the_grace_of_what_was_told_to_end_before():
    world = World(time_budget_s=10.0, grace_s=60.0)
    world.begin()
    world.handle(at=10.0)
    records = world.handle(InterruptRequested(1, "SIGTERM"))
    assert [(stop.trial, stop.grace_s) for stop in of(records, StopAttempt)] == [(0, 20.0), (1, 20.0)]
    assert world.ending.why is EndReason.TIME_BUDGET


def test_the_second_interrupt_kills_whatever_runs():
    world = World()
    world.begin()
    world.interrupt(1)
    world.end(0)
    records = world.interrupt(2)
    assert [(stop.trial, stop.is_immediate) for stop in of(records, StopAttempt)] == [(1, True)]


def test_a_second_interrupt_may_be_the_first_that_is_seen():
    world = World()
    world.begin()
    assert [stop.is_immediate for stop in of(world.interrupt(2), StopAttempt)] == [False, False, True, True]


def test_an_interrupt_while_a_budget_ends_the_experiment_keeps_the_budgets_word():
    world = World(time_budget_s=1.0)
    world.begin()
    world.handle(at=2.0)
    world.interrupt(2)
    world.end(0, AttemptOutcome.STOPPED)
    assert world.status() == "IN RU"
    assert world.ending.why is EndReason.TIME_BUDGET


def test_an_interrupt_before_anything_runs_ends_at_once():
    world = World(answers_itself=False)
    world.begin()
    world.interrupt()
    assert world.experiment.is_done


# ---------------------------------------------------------------- after the end


def test_configs_that_arrive_after_the_end_start_no_trials():
    world = World(answers_itself=False)
    [request] = of(world.begin(), Suggest)
    world.interrupt()
    assert world.handle(world.suggested(request.request, request.n)) == []
    assert world.trials == []


def test_trials_that_never_got_a_slot_stay_pending_and_do_not_hold_up_the_end():
    world = World(n_slots=1, n_trials=5, n_ahead=4, time_budget_s=1.0)
    world.begin()
    world.handle(at=2.0)
    world.end(0, AttemptOutcome.STOPPED)
    assert world.experiment.is_done
    assert world.status() == "IN PE PE PE PE"


def test_an_attempt_whose_process_never_came_up_is_waited_for():
    world = World(n_slots=1, n_trials=1)
    world.begin()
    world.interrupt()
    assert not world.experiment.is_done
    world.end(0, AttemptOutcome.LOST)
    assert world.experiment.is_done
    assert world.status() == "IN"


def test_nothing_is_remembered_of_attempts_that_are_over():
    world = World(n_slots=4, n_trials=40, max_failures=1)
    world.begin()
    outcomes = list(AttemptOutcome)
    while not world.experiment.is_done:
        for index in sorted(world.state.running):
            world.report(index, checkpoint=f"t{index}/{world.trials[index].step}")
            world.end(index, outcomes[(index + world.trials[index].attempt) % len(outcomes)], error="E: e")
        world.handle(at=world.now + 60.0)
    state = world.state
    for left in (state.answered, state.stopping, state.ended, state.not_before, state.requests, state.in_use,
                 state.failures.losses, state.running, state.pending, state.paused):  # fmt: skip
        assert not left
    assert state.pool.used().cpu == pytest.approx(0.0)


# ---------------------------------------------------------------- events that are wrong


@pytest.mark.parametrize("trial", [-1, 5])
def test_events_of_unknown_trials_leave_no_trace(trial):
    world = World()
    world.begin()
    assert world.handle(AttemptStarted(trial, 1, 0.0)) == []
    world.now = 1.0
    from tunesmith.events import AttemptEnded

    assert world.handle(AttemptEnded(trial, 1, AttemptOutcome.RAISED, 0.0)) == []


def test_events_of_superseded_attempts_leave_no_trace():
    world = World(n_trials=2)
    world.begin()
    world.end(0, AttemptOutcome.LOST)
    before = world.trials[0]
    assert world.handle(AttemptStarted(0, 1, 9.0, pid=77)) == []
    assert world.handle(world.ended(0, AttemptOutcome.RAISED, attempt=1)) == []
    assert world.trials[0] == before


def test_answers_to_requests_that_nobody_made_leave_no_trace():
    world = World()
    world.begin()
    assert world.handle(ConfigsSuggested(99, ())) == []
    assert world.handle(ConfigsSuggested(1, ())) == []  # answered already


def test_a_record_that_only_the_experiment_makes_is_refused_as_an_event():
    world = World()
    world.begin()
    with pytest.raises(TypeError, match="CheckpointSaved is no event of an executor"):
        world.handle(CheckpointSaved(0, 1, 1, "c1", 0.0))
