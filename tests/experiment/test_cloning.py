"""Clones: a trial goes on from another one's checkpoint, with another config; by hand, record by record."""

from __future__ import annotations

import pytest

from tunesmith.errors import TransitionError
from tunesmith.events import (
    AnswerReport,
    Clone,
    Decision,
    DeleteCheckpoint,
    SessionStarted,
    StartAttempt,
    StopPaused,
    Thaw,
    Verdict,
)
from tunesmith.experiment.invariants import check_invariants
from tunesmith.protocols import Hold, StartNew
from tunesmith.resources import Node, Resources
from tunesmith.schedulers import FIFOScheduler
from tunesmith.spec import CheckpointPolicy
from tunesmith.trial import AttemptOutcome, TrialStatus

from .world import World, of, started, verdicts

NEW = {"x": 99}


class Cloning(FIFOScheduler):
    """Trial 1 becomes a clone of trial 0, as often as it reports one of the steps."""

    def __init__(self, *, at=(3,), donor=0, checkpoint="a2"):
        self.at, self.clone = at, Clone(donor, checkpoint, NEW)

    def decide(self, trial, report):
        if trial.index == 1 and report.step in self.at:
            return Decision(Verdict.CLONE, "of {donor}", {"donor": self.clone.donor}, self.clone)
        return Decision()


def world_of(*, scheduler=Cloning, **spec):
    """Trial 0 has saved a2 at step 2, trial 1 b1 at step 1; both run, and two checkpoints of each are kept."""
    spec = {"checkpoint_policy": CheckpointPolicy(keep_num=2), **spec}
    world = World(n_slots=2, n_trials=2, scheduler=scheduler, **spec)
    world.begin()
    world.report(0, 1, metrics={"loss": 0.9})
    world.report(0, 2, metrics={"loss": 0.2}, checkpoint="a2")
    world.report(1, 1, metrics={"loss": 0.5}, checkpoint="b1")
    return world


def clone_told(**changes):
    """Trial 1 was told at step 3."""
    world = world_of(**changes)
    world.report(1, 2, metrics={"loss": 0.7})
    world.report(1, 3, metrics={"loss": 0.4}, checkpoint="b3")
    return world


def cloned(**changes):
    """Trial 1 runs from a2."""
    world = clone_told(**changes)
    world.end(1, AttemptOutcome.STOPPED)
    return world


def paths(world, trial):
    return [saved.path for saved in world.trials[trial].checkpoints]


def test_a_clone_starts_from_the_donors_checkpoint_with_the_new_config():
    world = clone_told()
    [start] = of(world.end(1, AttemptOutcome.STOPPED), StartAttempt)
    assert (start.trial, start.attempt, start.donor, start.config) == (1, 2, 0, NEW)
    assert (start.checkpoint, start.start_step, start.start_time_s) == ("a2", 2, 2.0)
    trial = world.trials[1]
    assert (trial.config, trial.step, trial.time_total_s, trial.n_failures) == (NEW, 2, 2.0, 0)


def test_until_the_clone_starts_the_trial_is_what_it_was():
    world = clone_told()
    trial = world.trials[1]
    assert (trial.config, trial.step, paths(world, 1)) == ({"x": 1}, 3, ["b1", "b3"])


def test_what_the_donor_reached_is_not_the_clones():
    trial = cloned().trials[1]
    assert trial.metrics == {"loss": 0.5}
    assert (trial.best_value, trial.best_step) == (0.5, 1)  # step 3, with 0.4, is superseded


def test_a_best_of_the_clones_own_below_the_step_it_goes_on_from_stands():
    world = world_of(scheduler=lambda: Cloning(at=(2,)))
    world.report(1, 2, metrics={"loss": 0.1})
    world.end(1, AttemptOutcome.STOPPED)
    assert (world.trials[1].best_value, world.trials[1].best_step) == (0.1, 2)
    assert world.trials[1].metrics == {"loss": 0.1}, "its own last report, until it reports again"


def test_a_clone_that_is_retried_shows_again_what_it_had_reported_before_it_was_one():
    world = cloned()
    world.report(1, 4, metrics={"loss": 0.3})
    world.end(1, AttemptOutcome.LOST)
    assert (world.trials[1].step, world.trials[1].metrics) == (2, {"loss": 0.5})


def test_steps_go_on_from_the_donors():
    world = cloned()
    assert verdicts(world.report(1, 2, metrics={"loss": 0.7})) == [Verdict.REFUSE]
    assert verdicts(world.report(1, 3, metrics={"loss": 0.3})) == [Verdict.CLONE]


def test_the_donor_goes_on_untouched():
    world = cloned()
    assert (world.trials[0].config, world.trials[0].attempt, world.trials[0].status) == ({"x": 0}, 1, "RUNNING")


def test_an_own_checkpoint_beyond_the_donors_step_is_superseded_and_one_before_it_is_kept():
    world = clone_told()
    records = world.end(1, AttemptOutcome.STOPPED)
    assert of(records, DeleteCheckpoint) == [DeleteCheckpoint(1, "b3")]
    assert paths(world, 1) == ["b1", "a2"]


def test_where_all_checkpoints_are_to_be_kept_none_is_deleted():
    world = clone_told(checkpoint_policy=CheckpointPolicy(keep_all=True))
    assert of(world.end(1, AttemptOutcome.STOPPED), DeleteCheckpoint) == []


def test_the_first_own_checkpoint_takes_the_place_of_the_donors():
    world = cloned()
    world.experiment.scheduler = FIFOScheduler()
    world.report(1, 3, checkpoint="b3-2")
    assert paths(world, 1) == ["b1", "b3-2"]
    assert [saved.donor for saved in world.trials[1].checkpoints] == [None, None]


@pytest.mark.parametrize("outcome", [AttemptOutcome.LOST, AttemptOutcome.RAISED])
def test_a_clone_that_is_lost_or_fails_starts_again_from_the_donors_checkpoint(outcome):
    world = cloned(max_failures=1)
    world.end(1, outcome, error="E: e")
    world.handle(at=100.0)
    start = of(world.log, StartAttempt)[-1]
    assert (start.attempt, start.checkpoint, start.start_step, start.config) == (3, "a2", 2, NEW)


def test_a_clone_is_retried_from_its_own_checkpoint_once_it_has_one():
    world = cloned()
    world.report(1, 4, checkpoint="b4")
    world.end(1, AttemptOutcome.LOST)
    start = of(world.log, StartAttempt)[-1]
    assert (start.checkpoint, start.start_step, start.config, start.donor) == ("b4", 4, NEW, None)


# ---------------------------------------------------------------- retention


def test_the_donors_checkpoint_is_kept_from_the_decision_until_the_clone_has_one_of_its_own():
    world = clone_told(checkpoint_policy=CheckpointPolicy(keep_num=0))
    deleted = of(world.report(0, 3, checkpoint="a3"), DeleteCheckpoint)
    world.end(1, AttemptOutcome.STOPPED)
    deleted += of(world.report(0, 4, checkpoint="a4"), DeleteCheckpoint)
    assert DeleteCheckpoint(0, "a2") not in deleted
    assert "a2" in paths(world, 0)


def test_the_donors_retention_goes_on_when_the_clone_needs_its_checkpoint_no_more():
    world = cloned(checkpoint_policy=CheckpointPolicy(keep_num=0))
    world.report(0, 3, checkpoint="a3")
    world.report(1, 4, checkpoint="b4")
    records = world.end(1, AttemptOutcome.LOST)
    assert DeleteCheckpoint(0, "a2") in records
    assert paths(world, 0) == ["a3"]


def test_a_checkpoint_that_its_donor_no_longer_counts_goes_when_the_clone_needs_it_no_more():
    """Trial 0 becomes a clone itself and goes back: a2 is superseded, but trial 1 runs from it."""

    class Both(FIFOScheduler):
        def decide(self, trial, report):
            if trial.index == 1 and report.step == 3 and trial.attempt == 1:
                return Decision(Verdict.CLONE, "one", {}, Clone(0, "a2", NEW))
            if trial.index == 0 and report.step == 3:
                return Decision(Verdict.CLONE, "two", {}, Clone(1, "b1", NEW))
            return Decision()

    world = cloned(scheduler=Both)
    world.report(0, 3)
    records = world.end(0, AttemptOutcome.STOPPED)
    assert paths(world, 0) == ["b1"]
    assert DeleteCheckpoint(0, "a2") not in records
    world.report(1, 4, checkpoint="b4")
    assert of(world.end(1, AttemptOutcome.LOST), DeleteCheckpoint) == [DeleteCheckpoint(0, "a2")]


def test_a_clone_that_ends_without_a_checkpoint_of_its_own_keeps_the_donors():
    world = cloned(checkpoint_policy=CheckpointPolicy(keep_num=0))
    world.report(1, 4)
    world.end(1)
    world.report(0, 3, checkpoint="a3")
    assert world.trials[1].checkpoint.path == "a2"
    assert "a2" in paths(world, 0)


# ---------------------------------------------------------------- donors whose checkpoint is gone


def test_a_checkpoint_that_the_donor_does_not_keep_is_no_clone_and_that_is_on_record():
    """F86."""
    world = clone_told(scheduler=lambda: Cloning(checkpoint="gone"))
    answer = of(world.log, AnswerReport)[-1]
    assert answer.decision.verdict is Verdict.CONTINUE
    assert answer.decision.words() == "trial 0 was to be cloned, and does not keep gone"


def test_a_donors_checkpoint_that_is_gone_at_the_start_is_forgotten_and_the_trial_goes_on_from_its_own():
    """F86."""
    world = cloned()
    records = world.end(1, AttemptOutcome.NO_CHECKPOINT, error="gone")
    assert DeleteCheckpoint(0, "a2") in records
    assert paths(world, 0) == []
    start = of(records, StartAttempt)[-1]
    assert (start.trial, start.checkpoint, start.start_step) == (1, "b1", 1)


def test_a_clone_whose_donor_lost_the_checkpoint_before_the_start_goes_on_as_it_was():
    """F86."""
    world = clone_told()
    world.experiment._record(DeleteCheckpoint(0, "a2"))
    start = of(world.end(1, AttemptOutcome.STOPPED), StartAttempt)[-1]
    assert (start.donor, start.config, start.checkpoint, start.start_step) == (None, {"x": 1}, "b3", 3)


@pytest.mark.parametrize("donor", [-1, 7])
def test_a_donor_that_does_not_exist_is_no_donor(donor):
    world = clone_told(scheduler=lambda: Cloning(donor=donor))
    assert of(world.log, AnswerReport)[-1].decision.verdict is Verdict.CONTINUE


def test_a_borrowed_checkpoint_cannot_be_lent_on():
    world = world_of(scheduler=lambda: Cloning(at=(2,)))
    world.report(1, 2)
    world.end(1, AttemptOutcome.STOPPED)
    world.experiment.scheduler = Cloning(at=(3,), donor=1, checkpoint="a2")
    assert verdicts(world.report(1, 3)) == [Verdict.CONTINUE]


def test_a_scheduler_that_says_clone_and_not_of_whom_is_told_so():
    class Mute(FIFOScheduler):
        def decide(self, trial, report):
            return Decision(Verdict.CLONE, "somehow")

    world = World(n_slots=1, n_trials=1, scheduler=Mute)
    world.begin()
    with pytest.raises(TransitionError, match="CLONE without a clone"):
        world.report(0, 1)


# ---------------------------------------------------------------- itself as donor, paused trials


def test_a_trial_that_is_its_own_donor_goes_on_with_another_config():
    world = clone_told(scheduler=lambda: Cloning(donor=1, checkpoint="b3"))
    world.end(1, AttemptOutcome.STOPPED)
    trial = world.trials[1]
    assert (trial.config, trial.step, trial.best_value, paths(world, 1)) == (NEW, 3, 0.4, ["b1", "b3"])
    assert trial.metrics == {"loss": 0.4}
    assert world.state.borrowing.loans == {}


class Waiting(FIFOScheduler):
    """Trial 1 pauses at its step 3 and comes back as a clone of trial 0, with what it is given."""

    def __init__(self, **thaw):
        self.thaw = thaw

    def decide(self, trial, report):
        return Decision(Verdict.PAUSE, "waits") if trial.index == 1 and report.step == 3 else Decision()

    def choose_next(self, paused):
        return Thaw(1, "its turn", **self.thaw) if paused else StartNew()


def test_a_paused_trial_may_come_back_as_a_clone():
    world = cloned(scheduler=lambda: Waiting(clone=Clone(0, "a2", NEW)))
    start = of(world.log, StartAttempt)[-1]
    assert (start.trial, start.donor, start.config, start.checkpoint, start.start_step) == (1, 0, NEW, "a2", 2)


# ---------------------------------------------------------------- ends and resumes


def replayed(world):
    again = world.new_experiment()
    again.replay(world.log)
    return again


@pytest.mark.parametrize("make", [clone_told, cloned])
def test_a_replay_stands_where_the_live_one_stands(make):
    world = make()
    again = replayed(world)
    assert [repr(trial) for trial in again.trials] == [repr(trial) for trial in world.trials]
    for name in ("borrowing", "in_use", "resources"):
        assert getattr(again.state, name) == getattr(world.state, name), name


@pytest.mark.parametrize("make", [clone_told, cloned])
def test_a_driver_that_dies_loses_no_clone(make):
    """Told to be one, or already running as one: the next driver starts it from the donor's checkpoint."""
    again = make().resumed()
    start = next(start for start in of(again.log, StartAttempt)[-2:] if start.trial == 1)
    assert (start.checkpoint, start.start_step, start.config) == ("a2", 2, NEW)
    assert again.trials[1].config == NEW


def test_an_interrupt_between_decision_and_start_loses_no_clone():
    world = clone_told()
    world.interrupt()
    for trial in (0, 1):
        world.end(trial, AttemptOutcome.STOPPED)
    assert (world.status(), world.trials[1].config) == ("IN IN", {"x": 1})
    assert world.resumed().trials[1].config == NEW


def test_a_trial_that_is_over_is_no_clone_any_more():
    world = clone_told(fail_fast=True)
    world.fail(0)
    world.end(1, AttemptOutcome.STOPPED)
    assert world.experiment.is_done
    check_invariants(world.state)
    assert world.trials[1].status is TrialStatus.INTERRUPTED


def test_from_scratch_a_clone_begins_without_the_donors_checkpoint_which_is_not_deleted():
    world = cloned()
    world.fail(1)
    world.end(0)
    assert world.status() == "CO FA"
    again = World(n_slots=2, n_trials=2, log=world.log)
    records = again.handle(SessionStarted(2, 0.0, (Node("here", cpu=2.0),), reruns=(1,), is_from_scratch=True))
    assert DeleteCheckpoint(1, "a2") not in records and DeleteCheckpoint(0, "a2") not in records
    [start] = of(records, StartAttempt)
    assert (start.checkpoint, start.start_step) == (None, 0)


# ---------------------------------------------------------------- resources


def sizes(world):
    return [(start.trial, start.placement.resources.cpu) for start in of(world.log, StartAttempt)]


def test_a_thawed_trial_holds_what_the_scheduler_says_where_that_is_free():
    world = World(n_slots=3, n_trials=2, scheduler=lambda: Waiting(resources=Resources(cpu=2.0)))
    world.begin()
    for step in (1, 2, 3):
        world.report(1, step, checkpoint=f"b{step}")
    world.end(1, AttemptOutcome.STOPPED)
    assert sizes(world) == [(0, 1.0), (1, 1.0), (1, 2.0)]
    world.end(1, AttemptOutcome.LOST)
    assert sizes(world)[-1] == (1, 2.0), "a retry holds as much"


def test_more_than_is_free_is_not_waited_for():
    world = World(n_slots=2, n_trials=2, scheduler=lambda: Waiting(resources=Resources(cpu=2.0)))
    world.begin()
    for step in (1, 2, 3):
        world.report(1, step, checkpoint=f"b{step}")
    world.end(1, AttemptOutcome.STOPPED)
    assert sizes(world) == [(0, 1.0), (1, 1.0), (1, 1.0)]


def test_what_a_trial_held_is_forgotten_by_another_driver_whose_machine_may_be_another():
    world = World(n_slots=3, n_trials=2, scheduler=lambda: Waiting(resources=Resources(cpu=2.0)))
    world.begin()
    for step in (1, 2, 3):
        world.report(1, step, checkpoint=f"b{step}")
    world.end(1, AttemptOutcome.STOPPED)
    assert sizes(world.resumed())[-2:] == [(0, 1.0), (1, 1.0)]


# ---------------------------------------------------------------- new trials that cannot be had


class OnlyNew(FIFOScheduler):
    """Wants nothing but new trials."""

    def decide(self, trial, report):
        return Decision(Verdict.PAUSE, "waits") if report.step == 1 else Decision()

    def choose_next(self, paused):
        return StartNew()


def test_a_scheduler_that_waits_for_a_new_trial_that_cannot_come_gets_a_paused_one():
    world = World(n_slots=1, n_trials=1, scheduler=OnlyNew)
    world.begin()
    world.report(0, 1, checkpoint="a1")
    assert started(world.end(0, AttemptOutcome.STOPPED)) == [0]


def test_a_hold_is_a_hold():
    class Holding(OnlyNew):
        def choose_next(self, paused):
            return Hold() if paused else StartNew()

    world = World(n_slots=1, n_trials=1, scheduler=Holding)
    world.begin()
    world.report(0, 1, checkpoint="a1")
    assert started(world.end(0, AttemptOutcome.STOPPED)) == []


def test_a_paused_trial_that_was_a_clone_may_be_stopped():
    class Stopping(Waiting):
        def choose_next(self, paused):
            return StopPaused(1, "enough") if paused else StartNew()

    world = cloned(scheduler=Stopping)
    assert world.trials[1].status is TrialStatus.STOPPED
