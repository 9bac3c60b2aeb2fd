"""What state a trial takes after its attempt: every outcome, told and untold."""

from __future__ import annotations

import pytest

from tunesmith.events import Clone, ConcludeAttempt, Decision, EndReason, NodeLost, Verdict
from tunesmith.resources import Node
from tunesmith.schedulers import FIFOScheduler
from tunesmith.stoppers import NoopStopper
from tunesmith.trial import AttemptOutcome, TrialStatus

from .world import World, of, started

OUT, T = AttemptOutcome, TrialStatus


class Saying(FIFOScheduler):
    """Says what the config of the test says, at step 1."""

    def __init__(self, verdict):
        self.verdict = verdict

    def decide(self, trial, report):
        clone = Clone(0, "c1", {"x": 9}) if self.verdict is Verdict.CLONE else None
        return Decision(self.verdict, "told", clone=clone) if report.step == 1 else Decision()


def one(verdict=Verdict.CONTINUE, **spec):
    world = World(n_slots=1, scheduler=lambda: Saying(verdict), **{"n_trials": 1, **spec})
    world.begin()
    return world


def conclusion(records):
    return of(records, ConcludeAttempt)[0]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (OUT.RETURNED, T.COMPLETED),
        (OUT.STOPPED, T.PENDING),  # nobody told it to: as if it was lost
        (OUT.RAISED, T.FAILED),
        (OUT.EXITED, T.FAILED),
        (OUT.SIGNALLED, T.FAILED),
        (OUT.LOST, T.PENDING),
        (OUT.PREEMPTED, T.PENDING),
        (OUT.INVALID, T.INVALID),
    ],
)
def test_an_attempt_that_was_told_nothing(outcome, status):
    world = one()
    assert conclusion(world.end(0, outcome, error="E: e")).status is status


@pytest.mark.parametrize(("n_reports", "reason"), [(0, "returned without any report"), (2, "returned")])
def test_the_reason_of_a_return_says_whether_anything_was_reported(n_reports, reason):
    """F5."""
    world = one()
    for step in range(1, n_reports + 1):
        world.report(0, step)
    found = conclusion(world.end(0))
    assert (found.status, found.reason) == (T.COMPLETED, reason)
    assert world.trials[0].reason == reason


@pytest.mark.parametrize("outcome", list(OUT))
@pytest.mark.parametrize(
    ("verdict", "status"),
    [(Verdict.STOP, T.STOPPED), (Verdict.COMPLETE, T.COMPLETED), (Verdict.PAUSE, T.PAUSED), (Verdict.CLONE, T.PENDING)],
)
def test_an_attempt_that_was_answered_ends_as_it_was_told_however_it_ends(verdict, status, outcome):
    world = one(verdict)
    world.report(0, 1, checkpoint="c1")
    found = conclusion(world.end(0, outcome, error="E: e"))
    assert (found.status, found.reason) == (status, "told")
    assert world.trials[0].n_failures == 0


@pytest.mark.parametrize("outcome", list(OUT))
@pytest.mark.parametrize("is_answered", [False, True])
def test_an_attempt_that_was_interrupted_goes_on_at_a_resume_unless_it_returned(outcome, is_answered):
    world = one()
    world.interrupt()
    if is_answered:
        world.report(0, 1)
    expected = T.COMPLETED if outcome is OUT.RETURNED and not is_answered else T.INTERRUPTED
    assert conclusion(world.end(0, outcome, error="E: e")).status is expected
    assert world.trials[0].n_failures == 0


@pytest.mark.parametrize("is_answered", [False, True])
def test_an_attempt_that_a_budget_ends_goes_on_with_a_further_budget(is_answered):
    world = one(time_budget_s=10.0)
    world.handle(at=20.0)
    if is_answered:
        world.report(0, 1)
    found = conclusion(world.end(0, OUT.STOPPED))
    assert (found.status, found.reason) == (T.INTERRUPTED, "the time budget of 10 s is used up")
    assert world.resumed().status() == "RU"


def test_an_attempt_that_a_stopper_ends_with_the_experiment_is_stopped():
    class Enough(NoopStopper):
        def should_end(self):
            return "it is enough"

    world = World(n_slots=1, n_trials=1, stopper=Enough)
    world.begin()
    world.handle()
    if world.state.running:
        world.end(0, OUT.STOPPED)
    assert world.ending.why is EndReason.STOPPER


def test_what_the_scheduler_stopped_before_an_interrupt_stays_stopped():
    """Regression: the second Ctrl-C turned it into INTERRUPTED, and a resume would have run it again."""
    world = one(Verdict.STOP)
    world.report(0, 1)
    world.interrupt(1)
    world.interrupt(2)
    assert conclusion(world.end(0, OUT.STOPPED)).status is T.STOPPED


@pytest.mark.parametrize(("verdict", "status"), [(Verdict.PAUSE, T.PAUSED), (Verdict.CLONE, T.INTERRUPTED)])
def test_nothing_is_queued_when_a_budget_is_used_up(verdict, status):
    world = one(verdict, time_budget_s=10.0)
    world.report(0, 1, checkpoint="c1")
    world.handle(at=20.0)
    assert conclusion(world.end(0, OUT.STOPPED)).status is status


def test_a_pause_before_an_interrupt_stays_a_pause():
    world = one(Verdict.PAUSE)
    world.report(0, 1, checkpoint="c1")
    world.interrupt()
    assert conclusion(world.end(0, OUT.STOPPED)).status is T.PAUSED


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("max_failures", "outcome", "n_attempts"),
    [
        (0, OUT.RAISED, 1),
        (1, OUT.RAISED, 2),
        (3, OUT.EXITED, 4),
        (0, OUT.SIGNALLED, 1),
        (3, OUT.SIGNALLED, 2),  # F16: an interpreter's crash repeats
        (-1, OUT.SIGNALLED, 2),
    ],
)
def test_a_failing_trial_gets_so_many_attempts(max_failures, outcome, n_attempts):
    world = one(max_failures=max_failures)
    world.report(0, 1)
    while world.trials[0].status is T.RUNNING:
        world.end(0, outcome, error="E: e")
        world.handle(at=world.now + 60.0)
    assert (world.trials[0].status, world.trials[0].attempt) == (T.FAILED, n_attempts)
    assert world.trials[0].error == "E: e"


def test_endless_retries_wait_longer_and_longer_up_to_half_a_minute():
    world = one(max_failures=-1)
    waits = []
    for _ in range(1200):  # 2.0**1024 is too much for a float
        records = world.fail(0)
        waits.append(conclusion(records).not_before - world.now)
        world.handle(at=world.experiment.next_deadline())
        assert world.trials[0].status is T.RUNNING
    assert [round(wait, 3) for wait in waits[:8]] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert round(waits[-1], 3) == 30.0


def test_a_retry_starts_from_the_newest_checkpoint_and_supersedes_the_steps_above():
    world = one(max_failures=1)
    for step in (1, 2, 3):
        world.report(0, step, checkpoint="c2" if step == 2 else None)
    world.fail(0)
    start = started(world.handle(at=1.0))
    trial = world.trials[0]
    assert start == [0]
    assert (trial.step, trial.attempt, trial.best_value, trial.best_step) == (2, 2, 0.5, 2)
    assert (trial.time_total_s, trial.metrics, trial.n_reports) == (2.0, {"loss": 0.5}, 3)


def test_a_failure_message_is_the_last_line_of_the_traceback():
    world = one()
    records = world.fail(0, error="Traceback ...\n  File x\nValueError: no\n\n")
    assert conclusion(records).reason == "ValueError: no"


# ---------------------------------------------------------------- losses


def test_the_first_loss_costs_no_wait_and_the_fourth_fails_a_trial_that_comes_no_further():
    world = one()
    waits = []
    while world.trials[0].status is T.RUNNING:
        found = conclusion(world.end(0, OUT.LOST, error="killed"))
        waits.append(found.not_before and found.not_before - world.now)
        world.handle(at=world.now + 60.0)
    assert [wait and round(wait, 3) for wait in waits] == [None, 0.5, 1.0, None]
    assert world.trials[0].status is T.FAILED
    assert world.trials[0].reason == "lost 4 times without coming further: killed"
    assert world.trials[0].n_failures == 0


def test_a_result_in_between_forgives_losses():
    world = one()
    for step in range(1, 12):
        world.report(0, step, checkpoint=f"c{step}")
        world.end(0, OUT.LOST)
        world.handle(at=world.now + 60.0)
    assert (world.trials[0].status, world.trials[0].n_losses) == (T.RUNNING, 11)


def test_a_trial_that_is_lost_at_the_same_step_again_and_again_fails():
    """Regression: the report before each loss forgave it, and the trial ran for ever."""
    world = one()
    for _ in range(4):
        world.report(0, 1)
        world.end(0, OUT.LOST)
        world.handle(at=world.now + 60.0)
    assert (world.trials[0].status, world.trials[0].n_losses) == (T.FAILED, 4)


def test_fail_fast_counts_a_trial_that_was_lost_too_often():
    world = one(fail_fast=True)
    while world.state.running:
        world.end(0, OUT.LOST)
        world.handle(at=world.now + 60.0)
    assert world.ending.why is EndReason.FAILED
    assert world.ending.detail.startswith("trial 0 failed and fail_fast is set: lost 4 times")


def test_a_crash_is_tried_again_once_however_many_exceptions_there_were():
    world = one(max_failures=10)
    for outcome in (OUT.RAISED, OUT.RAISED, OUT.SIGNALLED, OUT.RAISED):
        world.end(0, outcome, error="E: e")
        world.handle(at=world.now + 60.0)
    assert world.trials[0].status is T.RUNNING
    world.end(0, OUT.SIGNALLED, error="killed by SIGSEGV")
    assert (world.status(), world.trials[0].n_failures) == ("FA", 5)
    assert world.trials[0].reason == "crashed twice, and is not tried again: killed by SIGSEGV"


def test_preemptions_are_counted_apart_and_never_fail_a_trial():
    world = one()
    for _ in range(20):
        world.end(0, OUT.PREEMPTED)
        world.handle(at=world.now + 60.0)
    trial = world.trials[0]
    assert (trial.status, trial.n_preemptions, trial.n_losses, trial.n_failures) == (T.RUNNING, 20, 0, 0)


def test_the_trials_of_a_lost_node_start_again_elsewhere():
    world = World(n_trials=4)
    world.begin(nodes=(Node("a", 2.0), Node("b", 2.0)))
    assert [trial.placement.node for trial in world.trials] == ["a", "a", "b", "b"]
    world.handle(NodeLost("a"))
    assert world.status() == "PE PE RU RU"
    assert [trial.n_preemptions for trial in world.trials] == [1, 1, 0, 0]
    assert [trial.n_losses + trial.n_failures for trial in world.trials] == [0, 0, 0, 0]
    world.handle(world.ended(2))
    assert world.status() == "RU PE CO RU"
    assert world.handle(world.ended(0, OUT.LOST, attempt=1)) == []


def test_without_any_node_left_the_experiment_ends_resumably():
    world = World(n_trials=2)
    world.begin()
    world.handle(NodeLost("here"))
    assert world.ending.why is EndReason.FAILED
    assert "no node is left for 2 pending and 0 paused trials: each asks for 1 CPU" in world.ending.detail
    assert world.resumed().status() == "RU RU"


# ---------------------------------------------------------------- the breakers


def test_alike_failures_before_any_report_end_the_experiment():
    world = World(n_slots=1, n_trials=100)
    world.begin()
    for trial in range(5):
        assert world.ending is None
        world.fail(trial)
    assert world.ending.why is EndReason.FAILED
    assert world.ending.detail == "the first 5 trials failed alike before any report: ValueError: no"
    assert world.experiment.is_done


def test_parallel_trials_that_all_fail_alike_end_it_too():
    world = World(n_slots=8, n_trials=100)
    world.begin()
    world.handle(*(world.ended(i, OUT.RAISED, error="ValueError: no") for i in range(8)))
    assert world.experiment.is_done
    assert world.status() == "FA FA FA FA FA FA FA FA"


@pytest.mark.parametrize("max_failures", [1, -1])
def test_failures_that_are_alike_break_the_circuit_before_they_are_tried_again(max_failures):
    world = World(n_slots=8, n_trials=100, max_failures=max_failures)
    world.begin()
    while world.state.running:
        world.fail(min(world.state.running))
    assert len([trial for trial in world.trials if trial.attempt > 1]) == 0
    assert world.ending.why is EndReason.FAILED
    assert world.experiment.is_done


def test_trials_that_still_run_may_show_that_not_all_fail():
    """Regression: small configs that fail at once ended the experiment under a large one that was fine."""
    world = World(n_slots=6, n_trials=100)
    world.begin()
    for trial in range(1, 6):
        assert len(started(world.fail(trial))) == (trial < 5), "after the fifth nothing more is started"
    while world.state.running - {0}:
        world.fail(max(world.state.running))
    assert world.ending is None
    assert len(started(world.report(0, 1))) == 5, "it reported: the others were to blame"


def test_different_failures_do_not_end_it():
    world = World(n_slots=1, n_trials=20)
    world.begin()
    for trial in range(20):
        world.fail(trial, error=f"ValueError: {trial}")
    assert world.ending.why is EndReason.FINISHED


@pytest.mark.parametrize("success", ["report", "return"])
def test_one_trial_that_got_somewhere_keeps_the_breaker_open(success):
    world = World(n_slots=2, n_trials=20)
    world.begin()
    if success == "report":
        world.report(0, 1)
    else:
        world.end(0)
    for trial in range(1, 20):
        world.fail(trial)
    assert world.ending is None or world.ending.why is EndReason.FINISHED


def test_retries_of_one_trial_are_one_trial():
    world = World(n_slots=1, n_trials=3, max_failures=9)
    world.begin()
    for _ in range(9):
        world.fail(0)
        world.handle(at=world.now + 60.0)
    assert world.ending is None


def test_after_a_resume_the_breaker_counts_anew():
    world = World(n_slots=1, n_trials=100)
    world.begin()
    world.report(0, 1)
    again = world.resumed()
    for trial in range(6):  # trial 0 had reported before
        again.fail(trial)
    assert again.ending.why is EndReason.FAILED


def test_fail_fast_ends_at_the_first_failure():
    world = World(n_slots=2, n_trials=10, fail_fast=True)
    world.begin()
    world.fail(0)
    assert world.ending.why is EndReason.FAILED
    assert world.ending.detail == "trial 0 failed and fail_fast is set: ValueError: no"
    assert not world.experiment.is_done
    world.end(1, OUT.STOPPED)
    assert world.experiment.is_done
    assert world.status() == "FA IN"
