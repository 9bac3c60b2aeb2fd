"""A driver dies, another one goes on from the log."""

from __future__ import annotations

import pytest
from campaigns.simulate.checks import facts
from campaigns.simulate.schedulers import Synchronous

from tunesmith.events import (
    AnswerReport,
    Clone,
    ConcludeAttempt,
    Decision,
    DeleteCheckpoint,
    EndReason,
    SessionStarted,
    StartAttempt,
    Suggest,
    Verdict,
)
from tunesmith.resources import Node
from tunesmith.schedulers import ASHAScheduler, FIFOScheduler
from tunesmith.spec import CheckpointPolicy
from tunesmith.trial import AttemptOutcome

from .world import World, of, started


def test_what_ran_runs_again_before_anything_new():
    world = World(n_slots=3, n_trials=9, n_ahead=3)
    world.begin()
    world.end(1)
    again = world.resumed()
    assert again.status() == "RU CO RU RU" + " PE" * (len(again.trials) - 4)
    assert [again.trials[i].attempt for i in (0, 2, 3)] == [2, 2, 2]


def test_with_fewer_slots_those_that_have_begun_go_first_in_their_order():
    world = World(n_slots=3, n_trials=9, n_ahead=3)
    world.begin()
    again = World(n_slots=1, n_trials=9, n_ahead=3, log=world.log)
    again.begin(epoch=2)
    assert again.status().startswith("RU PE PE PE")
    assert list(again.state.pending)[:3] == [1, 2, 3]


def test_it_starts_from_the_newest_checkpoint_and_later_steps_are_superseded():
    world = World(n_slots=1, n_trials=1)
    world.begin()
    for step in (1, 2, 3, 4):
        world.report(0, step, checkpoint=f"c{step}" if step in (1, 3) else None)
    again = world.resumed()
    [start] = of(again.log[len(world.log) :], StartAttempt)
    assert (start.checkpoint, start.start_step, start.start_time_s) == ("c3", 3, 3.0)
    trial = again.trials[0]
    assert (trial.step, trial.best_step, trial.n_reports) == (3, 3, 4)
    assert [record for record in again.report(0, 4) if type(record).__name__ == "TrialReported"]


def test_without_a_checkpoint_it_starts_anew():
    world = World(n_slots=1, n_trials=1)
    world.begin()
    world.report(0, 1)
    trial = world.resumed().trials[0]
    assert (trial.step, trial.metrics, trial.best_value, trial.attempt) == (0, None, None, 2)


def test_interrupted_trials_go_on_and_failed_ones_do_not():
    world = World(n_slots=3, n_trials=3)
    world.begin()
    world.fail(0)
    world.interrupt()
    world.end(1, AttemptOutcome.STOPPED)
    world.end(2)
    assert world.status() == "FA IN CO"
    again = world.resumed()
    assert again.status() == "FA RU CO"
    assert again.ending is None
    again.end(1)
    assert again.experiment.is_done


class Saying(FIFOScheduler):
    def __init__(self, verdict):
        self.verdict = verdict

    def decide(self, trial, report):
        return Decision(self.verdict, "told", clone=Clone(0, "c1", {"x": 9}) if self.verdict is Verdict.CLONE else None)


@pytest.mark.parametrize(("verdict", "status"), [(Verdict.STOP, "ST"), (Verdict.COMPLETE, "CO"), (Verdict.CLONE, "RU")])
def test_a_decision_that_was_recorded_holds_though_the_driver_died_before_the_attempt_ended(verdict, status):
    """Regression: the trial ran again, and ASHA, which decides each rung once, let it pass."""
    world = World(n_slots=1, n_trials=1, scheduler=lambda: Saying(verdict))
    world.begin()
    world.report(0, 1, checkpoint="c1")
    again = world.resumed()
    assert again.status() == status
    assert again.trials[0].attempt == (2 if verdict is Verdict.CLONE else 1)


def test_a_pause_that_was_recorded_holds_too():
    world = World(n_slots=1, n_trials=2, scheduler=lambda: Synchronous(n_at_once=2))
    world.begin()
    world.report(0, 2, checkpoint="c2")
    again = world.resumed()
    assert again.status() == "PA RU"


def test_what_a_budget_or_an_interrupt_had_told_to_end_goes_on():
    for spec in ({"max_total_steps": 1}, {}):
        world = World(n_slots=1, n_trials=1, **spec)
        world.begin()
        world.report(0, 1)
        if not spec:
            world.interrupt()
        assert world.resumed(max_total_steps=None).status() == "RU"


def test_with_fewer_samples_those_that_never_began_stay_where_they_are():
    world = World(n_slots=2, n_trials=20, n_ahead=4)
    world.begin()
    world.interrupt()
    for trial in (0, 1):
        world.end(trial, AttemptOutcome.STOPPED)
    again = world.resumed(n_trials=3)
    assert again.status().split()[:4] == ["RU", "RU", "PE", "PE"]
    for trial in (0, 1, 2):
        again.end(trial)
    assert again.ending.why is EndReason.FINISHED
    assert set(again.status().split()[3:]) == {"PE"}


def test_a_checkpoint_that_is_gone_gives_way_to_the_one_before_and_costs_no_failure():
    world = World(n_slots=1, n_trials=1, checkpoint_policy=CheckpointPolicy(keep_all=True))
    world.begin()
    for step in (1, 2, 3):
        world.report(0, step, checkpoint=f"c{step}")
    again = world.resumed()
    for expected in ("c2", "c1", None):
        records = again.end(0, AttemptOutcome.NO_CHECKPOINT, error="The checkpoint to start from is gone.")
        [start] = of(records, StartAttempt)
        assert (start.checkpoint, start.start_step) == (expected, int(expected[1]) if expected else 0)
    assert (again.trials[0].n_failures, again.trials[0].n_losses) == (0, 0)
    replayed = again.new_experiment()
    replayed.replay(again.log)
    assert facts(replayed) == facts(again.experiment)


@pytest.mark.parametrize(("verdict", "status"), [(Verdict.STOP, "ST"), (Verdict.COMPLETE, "CO"), (Verdict.PAUSE, "PA")])
def test_what_the_scheduler_makes_of_a_last_report_after_an_interrupt_holds(verdict, status):
    """Regression: the trial went on at the resume, past the rung at which it was to be stopped."""
    world = World(n_slots=1, n_trials=1, scheduler=lambda: Saying(verdict))
    world.begin()
    world.interrupt()
    [answer] = of(world.report(0, 1, checkpoint="c1"), AnswerReport)
    assert (answer.decision.verdict, answer.decision.words()) == (verdict, "told")
    world.end(0, AttemptOutcome.STOPPED)
    assert world.status() == status
    world.resumed()


def test_an_interrupt_ends_a_trial_that_nobody_else_would_end_and_it_goes_on_later():
    world = World(n_slots=1, n_trials=1)
    world.begin()
    world.interrupt()
    [answer] = of(world.report(0, 1, checkpoint="c1"), AnswerReport)
    assert (answer.decision.verdict, answer.decision.words()) == (Verdict.STOP, "interrupted")
    world.end(0, AttemptOutcome.STOPPED)
    assert world.status() == "IN"
    assert world.resumed().trials[0].step == 1


def test_the_conclusions_of_the_old_sessions_orders_are_records():
    world = World(n_slots=1, n_trials=1, scheduler=lambda: Saying(Verdict.STOP))
    world.begin()
    world.report(0, 1)
    again = world.resumed()
    [conclusion] = of(again.log[len(world.log) :], ConcludeAttempt)
    assert (conclusion.trial, conclusion.reason) == (0, "told")


def test_requests_of_the_old_session_are_asked_anew_and_old_answers_ignored():
    world = World(n_slots=1, n_trials=1, answers_itself=False)
    world.begin()
    again = world.resumed()
    assert again.state.requests == {2: Suggest(2, 1)}
    assert again.handle(again.suggested(1, 1)) == []
    assert started(again.handle(again.suggested(2, 1))) == [0]


def test_a_finished_experiment_that_is_given_more_trials_goes_on():
    world = World(n_slots=1, n_trials=1)
    world.begin()
    world.end(0)
    assert world.experiment.is_done
    again = world.resumed(n_trials=2)
    assert again.status() == "CO RU"


def test_any_prefix_of_the_log_can_be_resumed():
    """The log is written pass by pass, but the fold does not depend on that."""
    world = World(n_slots=2, n_trials=6, max_failures=1, scheduler=lambda: ASHAScheduler(max_t=4, reduction_factor=2))
    world.begin()
    turn = 0
    while not world.experiment.is_done:
        turn += 1
        if not world.state.running:
            world.handle(at=world.now + 60)
            continue
        index = sorted(world.state.running)[turn % len(world.state.running)]
        if turn % 7 == 0:
            world.fail(index)
        elif turn % 11 == 0:
            world.end(index, AttemptOutcome.LOST)
        else:
            world.report(index, metrics={"loss": (index * 7 + turn) % 5}, checkpoint=f"{index}/{turn}")
            if index in world.state.answered:
                world.end(index, AttemptOutcome.STOPPED)
    for n in range(1, len(world.log)):
        cut = World(n_slots=2, n_trials=6, max_failures=1, scheduler=world.make_scheduler, log=world.log[:n])
        cut.begin(epoch=2)
        while not cut.experiment.is_done:
            for index in sorted(cut.state.running):
                cut.end(index)
            cut.handle(at=cut.now + 60)
        assert len(cut.trials) == 6
        replayed = cut.new_experiment()
        replayed.replay(cut.log)
        assert facts(replayed) == facts(cut.experiment)


def failed_twice():
    """Trial 0 has a checkpoint at step 2 and failed for good; trial 1 runs."""
    world = World(n_slots=2, n_trials=2, max_failures=1)
    world.begin()
    world.report(0, 1)
    world.report(0, 2, checkpoint="c2")
    world.fail(0)
    world.handle(at=100.0)
    world.fail(0)
    assert world.status() == "FA RU"
    return world


@pytest.mark.parametrize(("is_from_scratch", "start"), [(False, ("c2", 2)), (True, (None, 0))])
def test_a_failed_trial_is_run_again_on_request_with_its_failures_forgiven(is_from_scratch, start):
    world = failed_twice()
    n_before = len(world.log)
    again = World(n_slots=2, n_trials=2, max_failures=1, log=world.log)
    again.handle(SessionStarted(2, 0.0, (Node("here", cpu=2.0),), (0,), is_from_scratch))
    [began] = [record for record in of(again.log[n_before:], StartAttempt) if record.trial == 0]
    assert (began.checkpoint, began.start_step, began.attempt) == (*start, 3)
    deleted = [record.path for record in of(again.log[n_before:], DeleteCheckpoint)]
    assert deleted == (["c2"] if is_from_scratch else [])
    again.fail(0)
    assert again.status() == "PE RU", "the one retry it may have, again"
    assert again.trials[0].n_failures == 3


def test_what_was_forgiven_is_still_known_to_the_driver_after_the_next():
    world = failed_twice()
    again = World(n_slots=2, n_trials=2, max_failures=1, log=world.log)
    again.handle(SessionStarted(2, 0.0, (Node("here", cpu=2.0),), (0,)))
    again.fail(0)
    third = again.resumed()
    third.fail(0)
    assert third.status() == "FA RU"
