"""The repeats of a search's best configs, read out of the experiment that ran them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tunesmith.analysis.claims import Claim
from tunesmith.analysis.confirmation import Confirmation
from tunesmith.analysis.confirmed import Confirmed
from tunesmith.analysis.experiment_analysis import ExperimentAnalysis
from tunesmith.analysis.scores import feasible_trials, metric_over_folds, points
from tunesmith.trial import MetricConstraint, Trial, TrialStatus

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_BY_STEP = "SELECT trial, step, v FROM ({source}) ORDER BY trial, step"
_NOTHING = (math.nan, False)


def judge(
    claims: Sequence[Claim],
    configs: Sequence[dict[str, Any]],
    result: ExperimentAnalysis,
    *,
    repeats: int,
    constraints: Sequence[MetricConstraint] = (),
) -> Confirmation:
    """Read the repeats of the claims out of their experiment, in which trial i repeats claim i % len(claims).

    Args:
        configs: those of the claims, in their order.
        repeats: how many of each there are to be.
    """
    objective, n = result.reader.spec.objective, len(claims)
    assert objective is not None
    trials = result.reader.trials()
    values = _judged(result, objective.metric, [claims[trial.index % n] for trial in trials], constraints)
    found = [
        _confirmed(claim, config, trials[place::n], values, repeats=repeats)
        for place, (claim, config) in enumerate(zip(claims, configs, strict=True))
    ]
    return Confirmation(found, metric=objective.metric, mode=objective.mode, result=result, constraints=constraints)


def _confirmed(
    claim: Claim,
    config: dict[str, Any],
    trials: Sequence[Trial],
    values: dict[int, tuple[float, bool]],
    *,
    repeats: int,
) -> Confirmed:
    """One claim by its repeats. Args: values: of trials by index, and whether they keep the constraints."""
    failed = [trial for trial in trials if trial.status in (TrialStatus.FAILED, TrialStatus.INVALID)]
    over = [trial for trial in trials if trial.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED)]
    seen = [values[trial.index] for trial in over if math.isfinite(values.get(trial.index, _NOTHING)[0])]
    return Confirmed(
        config=config,
        values=tuple(value for value, _ in seen),
        claimed=claim.value,
        step=claim.step,
        trial=claim.trial,
        n_failed=len(failed),
        n_no_value=len(over) - len(seen),
        n_left=max(repeats, len(trials)) - len(over) - len(failed),
        n_out_of_bounds=sum(not keeps for _, keeps in seen),
    )


def _judged(
    result: ExperimentAnalysis, metric: str, claims: Sequence[Claim], constraints: Sequence[MetricConstraint]
) -> dict[int, tuple[float, bool]]:
    """For each trial its value at the step of its claim, or the last before it, and whether that report keeps the
    constraints.

    A trial that reports folds has its mean over them, and keeps the constraints if its last report does. Over fewer
    folds than were claimed there is none: folds differ, and the mean over some of them is no estimate of that over all.

    Args: claims: of each trial, by index.
    """
    reader = result.reader
    means = metric_over_folds(reader, metric)
    if means or any(claim.n_folds for claim in claims):
        feasible = feasible_trials(reader, constraints)
        enough = {trial: mean for trial, mean in means.items() if mean.n_folds >= claims[trial].n_folds}
        return {trial: (mean.value, trial in feasible) for trial, mean in enough.items()}
    source, parameters = points(reader, metric, constraints=constraints)
    keeping = {(trial, step) for trial, step, _ in reader.query(_BY_STEP.format(source=source), parameters)}
    source, parameters = points(reader, metric)
    return {
        trial: (_WORDS[v] if isinstance(v, str) else float(v), (trial, step) in keeping)
        for trial, step, v in reader.query(_BY_STEP.format(source=source), parameters)
        if step <= claims[trial].step
    }
