"""Specs, trials and records for the tests of stores and analysis, small but with every field in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.events import CONTINUE, AnswerReport, Decision, Record, StartAttempt, TrialReported, Verdict
from tunesmith.resources import Placement, Resources
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import create_store
from tunesmith.trial import FoldScore, Mode, Objective, Trial, TrialStatus, mean_over_folds

PLACEMENT = Placement(node="here", resources=Resources(cpu=2.0, gpu=0.5), gpus={"0": 0.5})


def make_spec(metric: str | None = "loss", mode: Mode = Mode.MIN, **changes: Any) -> ExperimentSpec:
    facts: dict[str, Any] = {
        "experiment_id": "e1",
        "name": "sample",
        "trainable_name": "train",
        "space": {"tree": {"lr": {"$domain": {"type": "uniform"}}, "layers": 2}, "grids": []},
        "space_fingerprint": "f",
        "objective": None if metric is None else Objective((metric,), (mode,)),
        "seed": 2**80,
        "n_trials": 10,
        "created_at": 1.5,
    }
    return ExperimentSpec(**{**facts, **changes})


def make_trial(index: int = 0, **changes: Any) -> Trial:
    facts: dict[str, Any] = {
        "index": index,
        "trial_id": f"abcde_{index:05d}",
        "config": {"lr": 0.1 * (index + 1), "layers": 2},
        "status": TrialStatus.RUNNING,
        "attempt": 1,
    }
    return Trial(**{**facts, **changes})


def start(trial: int = 0, attempt: int = 1, **changes: Any) -> StartAttempt:
    config = changes.pop("config", make_trial(trial).config)
    return StartAttempt(trial, attempt, PLACEMENT, config, **changes)


def report(trial: int = 0, attempt: int = 1, step: int = 1, **changes: Any) -> TrialReported:
    metrics = changes.pop("metrics", {"loss": 1.0 / step})
    return TrialReported(trial, attempt, step, metrics, 0.5 * step, 1e9 + step, **changes)


def answer(to: TrialReported, verdict: Verdict = Verdict.CONTINUE, reason: str | None = None) -> AnswerReport:
    plain = verdict is Verdict.CONTINUE and reason is None
    return AnswerReport(to.trial, to.attempt, to.step, CONTINUE if plain else Decision(verdict, reason))


def run_of(trial: int, values: list[dict[str, float]], attempt: int = 1, first_step: int = 1) -> list[Record]:
    """Reports of one trial, step by step, each answered with a plain continue."""
    records: list[Record] = []
    for step, metrics in enumerate(values, first_step):
        reported = report(trial, attempt, step, metrics=metrics)
        records += [reported, answer(reported)]
    return records


def cross_validated(index: int, values: list[float], **changes: Any) -> Trial:
    """A trial with these values of folds 0, 1, ... as the experiment's fold leaves it."""
    folds = tuple(FoldScore(fold, fold + 1, value) for fold, value in enumerate(values))
    mean = mean_over_folds(values)
    facts: dict[str, Any] = {
        "step": len(values),
        "n_reports": len(values),
        "metrics": {"loss": values[-1], "fold": len(values) - 1.0},
    }
    facts |= {"best_value": mean, "best_step": None if mean is None else len(values), "folds": folds}
    return make_trial(index, **{**facts, "status": TrialStatus.COMPLETED, **changes})


def write_folds(folder: Path, series: list[list[float]], **spec: Any) -> None:
    """An experiment with a cross-validated trial for each list of values."""
    with create_store(folder, make_spec(**spec)) as store:
        for index, values in enumerate(series):
            reports = [{"loss": value, "fold": fold} for fold, value in enumerate(values)]
            store.append([start(index), *run_of(index, reports)], [cross_validated(index, values)])
