"""What the trials that are over say about their configs: a value, or that the config leads to none."""

from __future__ import annotations

import math

from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.scores import Scope, best_of_each, scores
from tunesmith.stores import Reader
from tunesmith.trial import Trial, TrialStatus

#: Trials that have had the config of another: what they reached belongs to no one config.
CLONES = "SELECT trial FROM trial_configs WHERE first_config IS NOT NULL"
_ENDED = (TrialStatus.COMPLETED, TrialStatus.STOPPED)


def observed(reader: Reader, chosen: ChosenMetric) -> list[tuple[Trial, float]]:
    """Each trial that is over and did not fail, with its best finite value among reports that keep the constraints."""
    best = best_of_each(reader, chosen.name, mode=chosen.mode, constraints=chosen.constraints)
    value = {one.trial: one.value for one in best}
    return [
        (trial, value[trial.index])
        for trial in _of_one_config(reader)
        if trial.status in _ENDED and trial.index in value
    ]


def diverged(reader: Reader, chosen: ChosenMetric) -> list[Trial]:
    """Each trial that failed, or is over and reported nothing of the metric but NaN and the bad infinity."""
    found = scores(reader, chosen.name, mode=chosen.mode, scope=Scope.ALL)
    is_bad = {index for index, value in found.items() if not chosen.mode.as_loss(value) < math.inf}
    return [
        trial
        for trial in _of_one_config(reader)
        if trial.status is TrialStatus.FAILED or (trial.status in _ENDED and trial.index in is_bad)
    ]


def _of_one_config(reader: Reader) -> list[Trial]:
    """Without clones: what they reached says nothing about one config, they were trained with several."""
    clones = {trial for (trial,) in reader.query(CLONES)}
    return [trial for trial in reader.trials() if trial.index not in clones]
