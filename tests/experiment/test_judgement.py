"""What becomes a result, and what a report is answered."""

from __future__ import annotations

import math

import pytest

from tunesmith.events import AnswerReport, CheckpointSaved, Decision, ReportRefused, TrialReported, Verdict
from tunesmith.experiment.judgement import missing_metric_note
from tunesmith.schedulers import ASHAScheduler, FIFOScheduler
from tunesmith.spec import NanPolicy
from tunesmith.stoppers import DictStopper, NoopStopper
from tunesmith.trial import AttemptOutcome, Mode, Objective
from tunesmith.trialside.functions import ANONYMOUS_METRIC

from .world import World, of, verdicts

GO, STOP, DONE, NO, REST = Verdict.CONTINUE, Verdict.STOP, Verdict.COMPLETE, Verdict.REFUSE, Verdict.PAUSE


class Deciding(FIFOScheduler):
    """Answers every report the same way."""

    def __init__(self, verdict):
        self.verdict = verdict

    def decide(self, trial, report):
        return Decision(self.verdict, "so it is")


def began(**arguments):
    world = World(**{"n_slots": 2, "n_trials": 2, **arguments})
    world.begin()
    return world


def test_a_report_becomes_a_result_and_is_answered_once():
    world = began()
    records = world.report(0, 1)
    assert [type(record).__name__ for record in records] == ["TrialReported", "AnswerReport"]
    assert world.trials[0].n_reports == world.state.n_steps == 1


@pytest.mark.parametrize(
    ("step", "metrics", "verdict"),
    [
        (3, {"loss": 0.5}, GO),  # the same again
        (3, {"loss": 0.6}, NO),
        (2, {"loss": 0.5}, NO),
        (0, {"loss": 0.5}, NO),
        (-1, {"loss": 0.5}, NO),
        (3, {"loss": 0.5, "b": 1.0}, NO),
    ],
)
def test_a_step_that_does_not_grow_is_no_result(step, metrics, verdict):
    world = began()
    world.report(0, 3, metrics={"loss": 0.5})
    records = world.report(0, step, metrics=metrics)
    assert verdicts(records) == [verdict]
    assert of(records, TrialReported) == []
    assert world.state.n_steps == 1


def test_nan_repeats_nan():
    world = began()
    world.report(0, 1, metrics={"loss": float("nan")})
    assert verdicts(world.report(0, 1, metrics={"loss": float("nan")})) == [GO]


def test_a_trial_that_is_over_is_told_to_stop_and_nothing_changes():
    world = began()
    report = world.reported(0, 1)
    world.end(0)
    before = world.trials[0]
    records = world.handle(report)
    assert verdicts(records) == [STOP]
    assert of(records, ReportRefused)[0].why == "the attempt is over"
    assert world.trials[0] == before
    assert world.state.n_late_reports == 1
    assert world.state.answered == {}


def test_a_late_report_of_a_superseded_attempt_does_not_stop_the_next_one():
    """Regression: the answer to the dead attempt counted as told to the living one."""
    world = began()
    world.end(0, AttemptOutcome.LOST)
    assert world.trials[0].attempt == 2
    assert verdicts(world.report(0, 1, attempt=1)) == [STOP]
    assert verdicts(world.report(0, 1, attempt=2)) == [GO]


def test_a_report_after_a_pause_does_not_turn_it_into_a_stop():
    world = began(scheduler=lambda: Deciding(REST))
    world.report(0, 1, checkpoint="c1")
    assert verdicts(world.report(0, 2)) == [STOP]
    records = world.end(0, AttemptOutcome.STOPPED)
    assert of(records, type(records[1]))[0].status.value == "PAUSED"


def test_reports_of_unknown_trials_leave_no_trace():
    world = began()
    for trial in (-1, 2, 99):
        assert world.handle(TrialReported(trial, 1, 1, {}, 1.0, 0.0)) == []


def test_a_folder_after_the_last_report_is_kept_with_its_step():
    world = began(scheduler=lambda: Deciding(STOP))
    world.report(0, 1, metrics={"loss": float("nan")})
    records = world.report(0, 1, metrics={"loss": float("nan")}, checkpoint="c1", is_last=True)
    assert of(records, CheckpointSaved)[0].checkpoint == "c1"
    assert verdicts(records) == [STOP]
    assert world.trials[0].checkpoint.step == 1
    assert world.end(0, AttemptOutcome.STOPPED)[1].status.value == "STOPPED"


def test_a_decision_is_counted_once_when_a_folder_follows_it():
    world = began(scheduler=lambda: ASHAScheduler(max_t=9, first_arrivals="rank", reduction_factor=2))
    world.report(0, 1)
    world.report(0, 1, checkpoint="c1", is_last=True)
    assert "num_stopped=1" in world.experiment.scheduler.describe()[0]


def test_a_pause_without_a_checkpoint_is_put_off():
    world = began(scheduler=lambda: Deciding(REST))
    assert verdicts(world.report(0, 1)) == [GO]
    assert verdicts(world.report(0, 2, checkpoint="c2")) == [REST]


def test_the_last_report_completes_whatever_the_scheduler_thinks():
    world = began(scheduler=lambda: Deciding(STOP))
    assert verdicts(world.report(0, 1, is_last=True)) == [DONE]


def test_the_last_report_completes_also_where_the_trial_was_to_stop():
    """It has reached its end: at a resume there is nothing left to do."""
    world = began()
    world.interrupt()
    assert verdicts(world.report(0, 1, is_last=True)) == [DONE]
    assert world.end(0, AttemptOutcome.STOPPED)[1].status.value == "COMPLETED"


# ---------------------------------------------------------------- metrics


def test_a_misspelt_metric_is_refused_with_the_closest_name():
    world = began()
    records = world.report(0, 1, metrics={"lossy": 1.0})
    assert verdicts(records) == [NO]
    assert "optimises 'loss', but the trial reports 'lossy'. Did you mean metric='lossy'?" in records[0].why


def test_a_name_that_somebody_reported_is_not_misspelt():
    world = began()
    world.report(0, 1)
    assert verdicts(world.report(1, 1, metrics={"lossy": 1.0})) == [GO]


def test_a_misspelt_metric_passes_where_that_is_allowed():
    assert verdicts(began(is_strict_metric=False).report(0, 1, metrics={"lossy": 1.0})) == [GO]


def test_a_report_without_the_metric_is_kept_and_not_ranked():
    world = began(scheduler=lambda: ASHAScheduler(max_t=9))
    assert verdicts(world.report(0, 1, metrics={"accuracy": 1.0})) == [GO]
    assert world.trials[0].best_value is None
    assert world.trials[0].metrics == {"accuracy": 1.0}


@pytest.mark.parametrize("metric", ["training_iteration", "time_total_s"])
def test_filled_in_values_may_be_optimised(metric):
    world = began(objective=Objective((metric,), (Mode.MAX,)))
    assert verdicts(world.report(0, 4, metrics={"x": 0.0}, time_total_s=4.0)) == [GO]
    assert world.trials[0].best_value == 4.0


def test_an_unnamed_objective_is_the_only_metric():
    world = began(objective=Objective((ANONYMOUS_METRIC,), (Mode.MIN,)))
    world.report(0, 1, metrics={"whatever": 0.25})
    assert world.trials[0].best_value == 0.25
    assert world.trials[0].metrics == {"whatever": 0.25, ANONYMOUS_METRIC: 0.25}


def test_an_unnamed_objective_among_several_metrics_is_asked_for():
    world = began(objective=Objective((ANONYMOUS_METRIC,), (Mode.MIN,)))
    records = world.report(0, 1, metrics={"a": 1.0, "b": 2.0})
    assert verdicts(records) == [NO]
    assert "which one is the objective? Say so with metric=" in records[0].why


def test_nan_is_stored_and_never_the_best():
    world = began()
    for step, loss in enumerate([float("nan"), 2.0, float("nan"), float("inf"), 1.0], 1):
        world.report(0, step, metrics={"loss": loss})
    assert (world.trials[0].best_value, world.trials[0].best_step, world.trials[0].n_reports) == (1.0, 5, 5)


def test_the_hint_for_a_metric_that_never_came_names_what_did():
    note = missing_metric_note(Objective(("loss",), (Mode.MIN,)), ["accuracy"])
    assert note == "No trial has reported the metric 'loss' so far, only 'accuracy'. Report it, or change metric=."
    assert missing_metric_note(Objective(("loss",), (Mode.MIN,)), ["loss"]) is None


# ---------------------------------------------------------------- who decides


def test_the_stopper_is_asked_before_the_scheduler():
    world = began(scheduler=lambda: Deciding(STOP), stopper=lambda: DictStopper({"training_iteration": 1}))
    assert verdicts(world.report(0, 1)) == [DONE]


class Broken(NoopStopper):
    def decide(self, trial, report):
        raise KeyError("accuracy")


def test_a_stop_rule_that_raises_fails_its_trial_with_its_words():
    world = began(stopper=Broken)
    records = world.report(0, 1)
    assert verdicts(records) == [NO]
    assert "KeyError in the stop rule: 'accuracy'" in records[1].decision.words()


class Unaskable(NoopStopper):
    def should_end(self):
        raise RuntimeError("no idea")


def test_a_stop_rule_that_raises_about_the_end_ends_the_experiment_resumably():
    world = began(stopper=Unaskable)
    assert world.ending.why.is_resumable
    assert world.ending.detail == "RuntimeError in the stop rule: no idea"


# ---------------------------------------------------------------- NaN (F3)


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [(NanPolicy.IGNORE, Verdict.CONTINUE), (NanPolicy.STOP, Verdict.STOP), (NanPolicy.FAIL, Verdict.REFUSE)],
)
def test_what_a_nan_does_is_said_by_its_policy_and_it_is_stored_in_any_case(policy, verdict):
    world = World(n_slots=1, n_trials=1, nan_policy=policy)
    world.begin()
    [answer] = of(world.report(0, 1, metrics={"loss": math.nan, "x": 1.0}), AnswerReport)
    assert answer.decision.verdict is verdict
    assert (world.trials[0].step, world.trials[0].best_value) == (1, None)
    assert math.isnan(world.trials[0].metrics["loss"])
    if verdict is not Verdict.CONTINUE:
        assert answer.decision.words() == f"loss is NaN (nan_policy={policy.value})"


@pytest.mark.parametrize("metrics", [{"loss": math.inf}, {"loss": 1.0, "x": math.nan}, {"x": math.nan}])
def test_only_a_nan_of_the_objective_counts(metrics):
    world = World(n_slots=1, n_trials=1, nan_policy=NanPolicy.STOP)
    world.begin()
    assert verdicts(world.report(0, 1, metrics=metrics)) == [Verdict.CONTINUE]
