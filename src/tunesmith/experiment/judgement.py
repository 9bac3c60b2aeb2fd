"""Whether a report may become a result, before any comparison with other trials."""

from __future__ import annotations

import difflib
import math
from typing import NamedTuple

from msgspec.structs import replace

from tunesmith.events import CONTINUE, CheckpointSaved, Decision, ReportRefused, TrialReported, Verdict
from tunesmith.experiment.state import ExperimentState
from tunesmith.experiment.values import is_same
from tunesmith.spec import NanPolicy
from tunesmith.trial import Objective, fold_of, metric_value
from tunesmith.trialside.functions import ANONYMOUS_METRIC


class Judgement(NamedTuple):
    """The answer so far. With `instead`, that is recorded in place of the report, and the answer is final."""

    decision: Decision
    instead: ReportRefused | CheckpointSaved | None = None


def judge_report(state: ExperimentState, event: TrialReported, *, is_strict: bool) -> Judgement:
    """Accept the report (CONTINUE: others may still decide), end the trial with it, or refuse it.

    A trial that was told to end is judged like any other: what the scheduler makes of its last report must hold.

    Refused are reports of superseded attempts, reports after the one that ended the attempt, steps that do not grow,
    and a metric that is plainly misspelt (F8 to F10, F83 of the fault table).
    """
    if not state.runs(event.trial, event.attempt):
        return _refuse(event, "the attempt is over", Verdict.STOP)
    trial, told = state.trials[event.trial], state.answered.get(event.trial)
    is_repeat = event.step == trial.step and is_same(event.metrics, trial.metrics)
    if is_repeat and event.checkpoint is not None:
        saved = CheckpointSaved(event.trial, event.attempt, event.step, event.checkpoint, event.at)
        return Judgement(CONTINUE if told is None else _again(told.decision), saved)
    if told is not None:
        return _refuse(event, "the trial was told to stop", Verdict.STOP)
    if event.step <= trial.step:
        if is_repeat:
            return _refuse(event, "the same report again", Verdict.CONTINUE)
        text = f"Step {event.step} is reported after step {trial.step}. Steps must grow: report each step once."
        return _refuse(event, text, Verdict.REFUSE)
    misspelt = _misspelt_metric(state, event) if is_strict else None
    if misspelt is not None:
        return _refuse(event, misspelt, Verdict.REFUSE)
    if event.is_last:
        return Judgement(Decision(Verdict.COMPLETE, "the trial said it is done"))
    return Judgement(CONTINUE)


def judge_nan(objective: Objective | None, event: TrialReported, policy: NanPolicy) -> Decision:
    """What becomes of a trial whose objective is NaN, where that has been said (F3)."""
    if objective is None or policy is NanPolicy.IGNORE:
        return CONTINUE
    for metric in objective.metrics:
        value = metric_value(event.metrics, event.step, event.time_total_s, metric)
        if value is not None and math.isnan(value):
            verdict = Verdict.STOP if policy is NanPolicy.STOP else Verdict.REFUSE
            return Decision(
                verdict, "{metric} is NaN (nan_policy={policy})", {"metric": metric, "policy": policy.value}
            )
    return CONTINUE


def with_anonymous_metric(objective: Objective | None, event: TrialReported) -> TrialReported:
    """For an objective that was not named: the report with its only metric under the anonymous name as well.

    The number of a fold is no such metric. A function that returns its objective has it under that name already.
    """
    if objective is None or objective.metric != ANONYMOUS_METRIC:
        return event
    names = [name for name in event.metrics if name != "fold" or fold_of(event.metrics) is None]
    if len(names) != 1 or names[0] == ANONYMOUS_METRIC:
        return event
    return replace(event, metrics={**event.metrics, ANONYMOUS_METRIC: event.metrics[names[0]]})


def _refuse(event: TrialReported, why: str, verdict: Verdict) -> Judgement:
    refused = ReportRefused(event.trial, event.attempt, event.step, why)
    return Judgement(Decision(verdict, "{why}", {"why": why}), refused)


def _again(decision: Decision) -> Decision:
    """The same answer in words only: schedulers count a decision by its numbers, and this one was counted."""
    return Decision(decision.verdict, "{why}", {"why": decision.words() or decision.verdict.value})


def _misspelt_metric(state: ExperimentState, event: TrialReported) -> str | None:
    """The complaint about a metric that nobody has reported yet while a name one slip away is reported now."""
    objective = state.objective
    if objective is None:
        return None
    for metric in objective.metrics:
        if metric == ANONYMOUS_METRIC and len(event.metrics) > 1 and ANONYMOUS_METRIC not in event.metrics:
            names = ", ".join(map(repr, event.metrics))
            return f"The trial reports {names}: which one is the objective? Say so with metric=."
        if metric in state.metrics_seen or metric_value(event.metrics, event.step, 0.0, metric) is not None:
            continue
        close = difflib.get_close_matches(metric, list(event.metrics), n=1, cutoff=0.8)
        if close:
            return (
                f"The experiment optimises {metric!r}, but the trial reports {', '.join(map(repr, event.metrics))}. "
                f"Did you mean metric={close[0]!r}? Report {metric!r}, or change metric=."
            )
    return None


def missing_metric_note(objective: Objective | None, metrics_seen: list[str]) -> str | None:
    """The hint where nobody has reported the objective's metric so far; None if somebody has (F8)."""
    missing = [metric for metric in (objective.metrics if objective else ()) if metric not in metrics_seen]
    if not missing or objective is None or missing[0] in ("training_iteration", "time_total_s"):
        return None
    seen = ", ".join(map(repr, metrics_seen)) or "nothing"
    return f"No trial has reported the metric {missing[0]!r} so far, only {seen}. Report it, or change metric=."
