"""Searchers that also say which paused trials go on, and which end."""

from __future__ import annotations

from tunesmith.events import (
    CONTINUE,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    EndReason,
    StartAttempt,
    StopAttempt,
    StopPaused,
    Suggest,
    Suggestion,
    Thaw,
    Verdict,
)
from tunesmith.experiment import Experiment
from tunesmith.protocols import StartNew
from tunesmith.schedulers import FIFOScheduler
from tunesmith.space import Space
from tunesmith.stoppers import NoopStopper
from tunesmith.trial import AttemptOutcome, TrialStatus

from .world import World, of, started

PAUSE = Decision(Verdict.PAUSE, "enough for now")


class PausesAtEach(FIFOScheduler):
    """Pauses at every step below 9."""

    def decide(self, trial, report):
        return PAUSE if report.step < 9 else CONTINUE

    def choose_next(self, paused):
        return StartNew()


class ThawWorld(World):
    """Requests are answered by hand: `answer`."""

    def __init__(self, **arguments):
        super().__init__(scheduler=PausesAtEach, answers_itself=False, **arguments)

    def new_experiment(self):
        scheduler = PausesAtEach()
        return Experiment(
            self.spec,
            space=Space({}),
            objective=scheduler.bind(self.spec.objective),
            scheduler=scheduler,
            stopper=NoopStopper(),
            curves_by="training_iteration",
            thaws=True,
        )

    def answer(self, n=0, *, thaws=(), stops=(), max_t=None, **changes):
        """The searcher's answer to the open request."""
        return self.handle(
            ConfigsSuggested(
                self.request.request,
                tuple(Suggestion({"x": i}, max_t=max_t) for i in range(n)),
                thaws=tuple(Thaw(trial, "promising", max_t=max_t) for trial in thaws),
                stops=tuple(StopPaused(trial, "hopeless") for trial in stops),
                **changes,
            )
        )

    @property
    def request(self):
        """The request that is open, None if none is."""
        return next(iter(self.state.requests.values()), None)

    def pause(self, trial, step=None):
        """It reports with a checkpoint, and its attempt ends."""
        self.report(trial, step, checkpoint=f"t{trial}/c{step}")
        return self.end(trial, AttemptOutcome.STOPPED)


def with_paused(n=2, **arguments):
    """A world of so many paused trials, and an open request."""
    world = ThawWorld(**{"n_slots": 1, "n_trials": n, **arguments})
    world.begin()
    for i in range(n):
        world.answer(1)
        world.pause(i, 1)
    assert world.status() == " ".join(["PA"] * n)
    return world


def test_it_is_asked_while_any_trial_is_paused_although_no_new_one_may_start():
    world = with_paused(2)
    assert world.request.n == 1
    assert world.experiment.history().n_left == 0


def test_no_paused_trial_starts_before_the_searcher_has_said_so():
    world = with_paused(2)
    assert world.state.running == set()
    assert started(world.answer(thaws=[1])) == [1]
    assert world.trials[1].attempt == 2


def test_a_thawed_trial_goes_on_from_its_checkpoint_and_with_its_new_wish():
    world = with_paused(2)
    [start] = of(world.answer(thaws=[1], max_t=6), StartAttempt)
    assert (start.checkpoint, start.start_step) == ("t1/c1", 1)
    assert world.trials[1].max_t == 6


def test_it_is_asked_for_no_more_than_there_is_room_for_and_trials_to_go_on():
    world = with_paused(2, n_slots=1, n_trials=3)
    assert world.request.n == 1
    wide = ThawWorld(n_slots=8, n_trials=3)
    wide.begin()
    assert wide.request.n == 3
    wide.answer(3)
    for i in range(3):
        wide.report(i, 1, checkpoint=f"t{i}/c")
    wide.handle(*[wide.ended(i, AttemptOutcome.STOPPED) for i in range(3)])
    assert wide.request.n == 3
    wide.answer(thaws=[2])
    assert wide.request.n == 2


def test_no_more_trials_begin_than_were_asked_for_whatever_it_proposes():
    world = with_paused(2)
    world.answer(5, thaws=[0])
    assert len(world.trials) == 2


def test_stopped_trials_end_with_its_reason():
    world = with_paused(2)
    records = world.answer(stops=[0, 1])
    assert [(record.trial, record.status, record.reason) for record in of(records, ConcludeAttempt)] == [
        (0, TrialStatus.STOPPED, "hopeless"),
        (1, TrialStatus.STOPPED, "hopeless"),
    ]
    assert world.ending.why is EndReason.FINISHED


def test_thaws_of_trials_that_are_over_or_unknown_leave_no_trace():
    world = with_paused(3)
    world.answer(stops=[0])
    records = world.answer(thaws=[0, 7, 1])
    assert [thaw.trial for thaw in of(records, ConfigsSuggested)[0].thaws] == [1]
    assert started(records) == [1]


def test_when_it_waits_and_nothing_runs_a_paused_trial_goes_on_rather_than_none():
    world = with_paused(2)
    assert started(world.answer()) == [0]


def test_when_it_is_exhausted_what_is_paused_is_trained_further_and_the_experiment_ends():
    world = with_paused(2)
    world.answer(is_exhausted=True)
    for _ in range(40):
        if world.experiment.is_done:
            break
        [index] = world.state.running
        step = world.trials[index].step + 1
        if step == 9:
            world.end(index)
        else:
            world.pause(index, step)
    assert world.status() == "CO CO"


def test_while_trials_run_it_is_asked_again_only_when_there_are_news():
    world = ThawWorld(n_slots=3, n_trials=2)
    world.begin()
    world.answer(2)
    world.pause(0, 1)
    world.answer()
    assert world.request is None
    world.handle()
    assert world.request is None
    world.report(1, 1, checkpoint="c")
    assert world.request is not None


# ---------------------------------------------------------------- trials that cannot be paused


def unpaused():
    """One trial that was to be paused, and had nothing saved."""
    world = ThawWorld(n_slots=1, n_trials=1)
    world.begin()
    world.answer(1)
    world.report(0, 1)
    return world


def test_a_trial_without_a_checkpoint_goes_on_and_the_searcher_is_asked_about_it():
    world = unpaused()
    assert world.status() == "RU"
    assert world.request.n == 0


def test_a_trial_that_may_go_on_has_a_new_wish_and_is_asked_about_at_its_next_pause():
    world = unpaused()
    world.answer(thaws=[0], max_t=6)
    assert world.trials[0].max_t == 6
    assert world.request is None
    world.report(0, 2)
    assert world.request.n == 0


def test_a_trial_that_is_not_to_go_on_is_told_at_its_next_report():
    world = unpaused()
    [stop] = of(world.answer(stops=[0]), StopAttempt)
    assert (stop.trial, stop.reason) == (0, "hopeless")
    world.report(0, 2)
    world.end(0, AttemptOutcome.STOPPED)
    assert (world.trials[0].status, world.trials[0].reason) == (TrialStatus.STOPPED, "hopeless")


def test_a_trial_that_was_told_to_end_already_is_neither_stopped_again_nor_news():
    """Else a searcher that repeats itself would be asked for ever, at one instant."""
    world = ThawWorld(n_slots=2, n_trials=2)
    world.begin()
    world.answer(1)
    world.report(0, 1)
    world.answer(stops=[0])
    assert world.request.n == 1
    [record] = of(world.answer(stops=[0]), ConfigsSuggested)
    assert record.stops == ()
    assert world.request is None


def test_others_are_not_asked_about_trials_that_cannot_be_paused():
    world = World(scheduler=PausesAtEach, n_slots=1, n_trials=1)
    world.begin()
    assert of(world.report(0, 1), Suggest) == []


# ---------------------------------------------------------------- resumes


def test_after_a_crash_it_is_asked_anew_about_trials_that_were_to_go_on():
    world = with_paused(2, n_trials=3)
    world.answer(1)
    world.handle()
    world.report(2, 1)
    log = list(world.log)
    again = ThawWorld(n_slots=1, n_trials=3, log=log)
    again.begin(epoch=2)
    assert again.status() == "PA PA RU"
    again.pause(2, 1)
    assert again.request.n == 1
    assert started(again.answer(thaws=[0])) == [0]


def test_a_wish_to_go_on_that_a_crash_left_undone_is_asked_for_again():
    world = ThawWorld(n_slots=2, n_trials=2, max_concurrent_trials=1)
    world.begin()
    world.answer(1)
    world.pause(0, 1)
    log = list(world.log)
    record = ConfigsSuggested(world.request.request, (), thaws=(Thaw(0, "promising", max_t=6),))
    again = ThawWorld(n_slots=2, n_trials=2, max_concurrent_trials=1, log=[*log, record])
    assert list(again.state.thaws) == [0]
    again.begin(epoch=2)
    assert again.status() == "PA"
    assert again.request.n == 1
    assert again.trials[0].max_t == 6


def test_what_an_answer_cost_is_shared_by_its_configs_and_thaws():
    world = with_paused(n_trials=4, n_slots=2)
    world.answer(1, thaws=[0], cpu_s=6.0)
    assert world.state.pace.costs_s[-1] == 3.0
    world.pause(0, 2)
    world.answer(0, thaws=[1], cpu_s=5.0)
    assert world.state.pace.costs_s[-1] == 5.0
    n = len(world.state.pace.costs_s)
    world.pause(2, 1)
    world.answer(0, stops=[0], cpu_s=9.0)
    assert len(world.state.pace.costs_s) == n
