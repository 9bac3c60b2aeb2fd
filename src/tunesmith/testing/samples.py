"""Small specs, trials and reports that the suites are made of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tunesmith.events import AnswerReport, Decision, Record, StartAttempt, TrialReported, Verdict
from tunesmith.protocols import Scheduler, Stopper
from tunesmith.resources import Placement, Resources
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

LOSS = Objective(("loss",), (Mode.MIN,))
PLACEMENT = Placement(node="here", resources=Resources())


def make_spec(space: Space | None = None, **changes: Any) -> ExperimentSpec:
    """A spec of 10 trials that minimise "loss"."""
    space = space or Space({})
    facts: dict[str, Any] = {
        "experiment_id": "e" * 32,
        "name": "sample",
        "trainable_name": "train",
        "space": space.describe(),
        "space_fingerprint": space.fingerprint,
        "objective": LOSS,
        "seed": 7,
        "n_trials": 10,
    }
    return ExperimentSpec(**{**facts, **changes})


def make_report(trial: int, step: int, **metrics: float) -> TrialReported:
    """A report of the trial's first attempt, at one step per second."""
    return TrialReported(trial, 1, step, metrics, time_total_s=float(step), at=1000.0 + step)


def running(report: TrialReported) -> Trial:
    """The trial as it stands when this report is judged."""
    return Trial(
        index=report.trial,
        trial_id=f"sample_{report.trial:05d}",
        config={"lr": 0.1},
        status=TrialStatus.RUNNING,
        attempt=report.attempt,
        n_reports=report.step,
        step=report.step,
        metrics=report.metrics,
        time_total_s=report.time_total_s,
        placement=PLACEMENT,
    )


def interleaved(n_trials: int, n_steps: int, *, seed: int, metric: str = "loss") -> list[TrialReported]:
    """Every trial's reports, each trial's own in order and the trials' mixed, NaN, ties and gaps among the values."""
    draw = random.Random(seed)
    next_step = dict.fromkeys(range(n_trials), 1)
    reports = []
    while next_step:
        trial = draw.choice(sorted(next_step))
        step = next_step[trial]
        value = draw.choice([draw.random(), float("nan"), float("inf"), -float("inf"), 0.5, trial / (1 + step)])
        metrics = {} if draw.random() < 0.1 else {metric: value}
        reports.append(make_report(trial, step, **metrics))
        next_step[trial] += 1
        if next_step[trial] > n_steps:
            del next_step[trial]
    return reports


def play(judge: Scheduler | Stopper, reports: Sequence[TrialReported]) -> list[Record]:
    """The log of these reports, judged and observed as an experiment does; whoever was stopped reports no more."""
    log: list[Record] = []
    ended: set[int] = set()
    started: set[int] = set()
    for report in reports:
        if report.trial in ended:
            continue
        news: list[Record] = []
        if report.trial not in started:
            started.add(report.trial)
            news.append(StartAttempt(report.trial, report.attempt, PLACEMENT, {"lr": 0.1}))
            judge.observe(news[0])
        decision = judge.decide(running(report), report)
        news += [report, AnswerReport(report.trial, report.attempt, report.step, decision)]
        for record in news[-2:]:
            judge.observe(record)
        if decision.verdict is not Verdict.CONTINUE:
            ended.add(report.trial)
        log += news
    return log


def decisions(log: Sequence[Record]) -> list[tuple[int, int, Decision]]:
    """Every answer in the log as (trial, step, decision)."""
    return [(record.trial, record.step, record.decision) for record in log if isinstance(record, AnswerReport)]
