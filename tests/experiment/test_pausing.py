"""Pause and thaw, through a scheduler made for it."""

from __future__ import annotations

import pytest
from campaigns.simulate.schedulers import Synchronous

from tunesmith.errors import TransitionError
from tunesmith.events import CONTINUE, Decision, EndReason, StopPaused, Thaw, Verdict
from tunesmith.protocols import StartNew
from tunesmith.schedulers import FIFOScheduler
from tunesmith.trial import AttemptOutcome, TrialStatus

from .world import World, of, started


def play(world):
    """Every running trial reports with a checkpoint, and ends where it is told to."""
    for _ in range(1000):
        if world.experiment.is_done:
            return
        index = min(world.state.running)
        world.report(index, checkpoint=f"t{index}/c{world.trials[index].step + 1}")
        if index in world.state.answered:
            world.end(index, AttemptOutcome.STOPPED)
    raise AssertionError("the experiment does not end")


def test_paused_trials_give_up_their_slots_and_come_back():
    world = World(n_slots=2, n_trials=4, scheduler=Synchronous)
    world.begin()
    play(world)
    assert world.ending.why is EndReason.FINISHED
    assert {trial.status for trial in world.trials} == {TrialStatus.COMPLETED, TrialStatus.STOPPED}
    assert max(trial.attempt for trial in world.trials) == 3
    assert all(trial.step == 6 for trial in world.trials if trial.status is TrialStatus.COMPLETED)


def test_a_thawed_attempt_starts_from_the_checkpoint_of_the_pause():
    world = World(n_slots=1, n_trials=1, scheduler=lambda: Synchronous(n_at_once=1))
    world.begin()
    world.report(0, 1, checkpoint="c1")
    world.report(0, 2, checkpoint="c2")
    records = world.end(0, AttemptOutcome.STOPPED)
    [start] = of(records, type(records[-1]))
    assert (start.attempt, start.checkpoint, start.start_step, start.start_time_s) == (2, "c2", 2, 2.0)


def test_a_paused_trial_holds_no_slot():
    world = World(n_slots=1, n_trials=2, scheduler=lambda: Synchronous(n_at_once=2))
    world.begin()
    world.report(0, 2, checkpoint="c2")
    assert started(world.end(0, AttemptOutcome.STOPPED)) == [1]
    assert world.status() == "PA RU"


def test_a_scheduler_that_holds_everything_for_ever_ends_the_experiment_and_not_the_users_patience():
    world = World(n_slots=1, n_trials=1, scheduler=lambda: Synchronous(n_at_once=1, holds=True))
    world.begin()
    world.report(0, 2, checkpoint="c2")
    world.end(0, AttemptOutcome.STOPPED)
    assert world.ending.why is EndReason.FAILED
    assert "the scheduler holds every slot with 0 pending and 1 paused trials" in world.ending.detail
    assert world.status() == "PA"


def test_paused_trials_stay_paused_when_a_budget_or_an_interrupt_ends_the_experiment():
    for spec in ({"max_total_steps": 2}, {}):
        world = World(n_slots=1, n_trials=2, scheduler=lambda: Synchronous(n_at_once=2), **spec)
        world.begin()
        world.report(0, 2, checkpoint="c2")
        world.end(0, AttemptOutcome.STOPPED)
        if spec:
            world.report(1, 1)
        else:
            world.interrupt()
        world.end(1, AttemptOutcome.STOPPED)
        assert world.experiment.is_done
        assert world.status() == "PA IN"


def test_a_lost_trial_goes_on_though_the_scheduler_holds_every_slot():
    """Whoever waits for a trial to reach its rung must not keep it from getting there."""
    world = World(n_slots=1, n_trials=1, scheduler=lambda: Synchronous(n_at_once=1, holds=True))
    world.begin()
    assert started(world.end(0, AttemptOutcome.LOST)) == [0]


class Naming(FIFOScheduler):
    def __init__(self, action):
        self.action = action

    def choose_next(self, paused):
        return self.action


@pytest.mark.parametrize("action", [Thaw(0, "why"), StopPaused(0, "why"), Thaw(77, "why"), StopPaused(-1, "why")])
def test_a_scheduler_that_names_a_trial_that_is_not_paused_is_told_so(action):
    world = World(n_slots=1, scheduler=lambda: Naming(action))
    with pytest.raises(TransitionError, match=f"named trial {action.trial} as a paused one; paused are none"):
        world.begin()


class Wishing(FIFOScheduler):
    """Pauses a trial at its first step, and wants a new one; `otherwise` is a function of the paused indices."""

    def __init__(self, otherwise):
        self.otherwise = otherwise

    def decide(self, trial, report):
        return Decision(Verdict.PAUSE, "enough for now") if report.step == 1 else CONTINUE

    def choose_next(self, paused):
        return StartNew(otherwise=self.otherwise([trial.index for trial in paused]) if paused else None)


def with_two_paused(otherwise, **arguments):
    """The world of one slot, and the records of the pass in which the second of two trials has paused."""
    world = World(**{"n_slots": 1, "n_trials": 2, "scheduler": lambda: Wishing(otherwise), **arguments})
    world.begin()
    pause(world, 0)
    return world, pause(world, 1)


def pause(world, trial):
    world.report(trial, 1, checkpoint=f"t{trial}/c1")
    return world.end(trial, AttemptOutcome.STOPPED)


def the_newest(paused):
    return Thaw(paused[-1], "the newest")


def test_where_no_new_trial_comes_the_scheduler_says_which_paused_one_goes_on():
    world, records = with_two_paused(the_newest)
    assert started(records) == [1]
    assert world.status() == "PA RU"


def test_where_no_new_trial_comes_paused_ones_are_stopped_one_after_the_other_if_the_scheduler_says_so():
    world, records = with_two_paused(lambda paused: StopPaused(paused[-1], f"the last of {len(paused)}"))
    assert started(records) == []
    assert [trial.reason for trial in world.trials] == ["the last of 1", "the last of 2"]
    assert world.status() == "ST ST"
    assert world.ending.why is EndReason.FINISHED


def test_where_no_new_trial_comes_and_the_scheduler_says_nothing_the_oldest_paused_one_goes_on():
    _, records = with_two_paused(lambda paused: None)
    assert started(records) == [0]


def test_a_new_trial_that_may_come_is_preferred_to_what_is_said_for_otherwise():
    world, records = with_two_paused(the_newest, n_trials=3)
    assert started(records) == [2]
    assert world.status() == "PA PA RU"


def test_while_another_trial_runs_nothing_is_done_otherwise():
    world = World(n_slots=2, n_trials=2, scheduler=lambda: Wishing(the_newest))
    world.begin()
    assert started(pause(world, 0)) == []
    assert world.status() == "PA RU"
    assert started(world.end(1)) == [0]


def test_while_a_failed_trial_waits_for_its_retry_nothing_is_done_otherwise():
    world = World(n_slots=1, n_trials=2, scheduler=lambda: Wishing(the_newest), max_failures=1)
    world.begin()
    pause(world, 0)
    assert started(world.fail(1)) == []
    assert world.status() == "PA PE"
    assert started(world.handle(at=world.experiment.next_deadline())) == [1]


@pytest.mark.parametrize("is_exhausted", [True, False])
def test_while_the_searcher_is_asked_nothing_is_done_otherwise(is_exhausted):
    """Its answer is that there is no config: for good, or until a trial that runs has news."""
    world = World(n_slots=1, n_trials=None, scheduler=lambda: Wishing(the_newest), answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 1))
    assert started(pause(world, 0)) == []
    assert world.status() == "PA"
    assert started(world.handle(world.suggested(2, 0, is_exhausted=is_exhausted))) == [0]


def test_what_is_stopped_otherwise_is_news_for_a_searcher_that_waits():
    world = World(
        n_slots=1,
        n_trials=3,
        scheduler=lambda: Wishing(lambda paused: StopPaused(paused[-1], "makes room")),
        answers_itself=False,
    )
    world.begin()
    for request in (1, 2):
        world.handle(world.suggested(request, 1))
        pause(world, request - 1)
    world.handle(world.suggested(3, 0))
    assert world.status() == "PA ST"
    assert started(world.handle(world.suggested(4, 1))) == [2]
