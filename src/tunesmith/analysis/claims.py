"""What a search says its best configs are worth: the values that a confirmation looks at again."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from tunesmith.analysis.experiment_analysis import CLONES, ExperimentAnalysis
from tunesmith.analysis.fold_means import of_most_folds
from tunesmith.analysis.scores import feasible_trials, metric_over_folds, points
from tunesmith.errors import ConfigError, TuneError
from tunesmith.stores import Reader
from tunesmith.trial import Mode, Objective, TrialStatus

#: Steps of an experiment by value within their trial, the first of equals first.
_BEST_STEP = """SELECT trial, step, v FROM (SELECT trial, step, v,
    row_number() OVER (PARTITION BY trial ORDER BY v {order}, step) AS place FROM ({source})
    WHERE typeof(v) <> 'text') WHERE place = 1"""
_FAILED = (TrialStatus.FAILED.value, TrialStatus.INVALID.value)
_CONFIG = "SELECT config FROM trial_configs WHERE trial = ?"


@dataclass(frozen=True)
class Claim:
    """The best value that one config had in the search."""

    text: str  #: the config as the store keeps it
    value: float
    step: int  #: of that value; where folds are reported, of the last of them
    trial: int  #: index of the trial that reported it
    n_folds: int = 0  #: that the value is the mean over; 0 where it is of one report


def single_objective(result: ExperimentAnalysis) -> Objective:
    """The objective of an experiment that has exactly one. Raises: ConfigError."""
    objective = result.reader.spec.objective
    if objective is None:
        raise ConfigError("The experiment was run without a metric. Run it with metric and mode to confirm its best.")
    if len(objective.metrics) > 1:
        raise ConfigError(
            f"The experiment has the objectives {', '.join(objective.metrics)}, and a confirmation compares one "
            "number. result.pareto has the configs that no other beats; run those you would take again."
        )
    return objective


def best_claims(result: ExperimentAnalysis, top: int) -> list[Claim]:
    """The `top` best configs, no two the same, best first; those of failed trials are left out.

    Where trials report folds: by the mean over the most folds. With constraints: of reports that keep them. Clones of
    population based training take no part: what they reached is no single config's.

    Raises: ConfigError where there is not exactly one objective; TuneError where no trial is left.
    """
    objective = single_objective(result)
    reader, mode = result.reader, objective.mode
    rows = reader.query("SELECT trial FROM trial_states WHERE status IN (?, ?)", _FAILED)
    left_out = {trial for (trial,) in [*rows, *reader.query(CLONES)]}
    found = [one for one in _best_of_each(reader, objective, left_out) if math.isfinite(one[2])]
    best: dict[str, Claim] = {}
    for trial, step, value, n_folds in sorted(found, key=lambda one: (mode.as_loss(one[2]), one[0])):
        if len(best) == top:
            break
        text = config_text(reader, trial)
        best.setdefault(same_text(text), Claim(text, value, step, trial, n_folds))
    if not best:
        raise TuneError(
            f"No trial of {reader.spec.name!r} that did not fail has a finite {objective.metric!r}: there is nothing "
            "to confirm. Look at result.errors."
        )
    return list(best.values())


def config_text(reader: Reader, trial: int) -> str:
    """The trial's config as the store keeps it."""
    return str(reader.query(_CONFIG, (trial,))[0][0])


def same_text(text: str) -> str:
    """A stored config in a form that is equal for equal configs."""
    return json.dumps(json.loads(text), sort_keys=True)


def _best_of_each(reader: Reader, objective: Objective, left_out: set[int]) -> list[tuple[int, int, float, int]]:
    """Trial, step, value and number of folds of the best of each trial that may be called one of the best."""
    if means := metric_over_folds(reader, objective.metric):
        feasible = feasible_trials(reader, objective.constraints) - left_out
        eligible = of_most_folds(mean for trial, mean in means.items() if trial in feasible)
        return [(mean.trial, mean.step, mean.value, mean.n_folds) for mean in eligible]
    source, values = points(reader, objective.metric, constraints=objective.constraints)
    order = "" if objective.mode is Mode.MIN else "DESC"
    rows = reader.query(_BEST_STEP.format(order=order, source=source), values)
    return [(trial, step, float(v), 0) for trial, step, v in rows if trial not in left_out]
