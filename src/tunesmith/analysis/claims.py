"""What a search says its best configs are worth: the values that a confirmation looks at again."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tunesmith.analysis.experiment_analysis import ExperimentAnalysis
from tunesmith.analysis.observations import CLONES
from tunesmith.analysis.scores import best_of_each, candidates
from tunesmith.errors import ConfigError, TuneError
from tunesmith.stores import Reader
from tunesmith.trial import Objective, TrialStatus

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
    every = best_of_each(reader, objective.metric, mode=mode, constraints=objective.constraints)
    found = candidates([one for one in every if one.trial not in left_out])
    best: dict[str, Claim] = {}
    for one in sorted(found, key=lambda one: (mode.as_loss(one.value), one.trial)):
        if len(best) == top:
            break
        text = config_text(reader, one.trial)
        best.setdefault(same_text(text), Claim(text, one.value, one.step, one.trial, one.n_folds))
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
