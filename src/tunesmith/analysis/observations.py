"""What the trials that are over say about their configs: a value, or that the config leads to none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunesmith.analysis.experiment_analysis import CLONES, ExperimentAnalysis
from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.scores import Scope, best_of_each, scores
from tunesmith.trial import TrialStatus

if TYPE_CHECKING:
    from tunesmith.analysis.trial_view import TrialView

_ENDED = (TrialStatus.COMPLETED, TrialStatus.STOPPED)


def observed(result: ExperimentAnalysis, chosen: ChosenMetric) -> list[tuple[TrialView, float]]:
    """Each trial that is over and did not fail, with its best finite value among reports that keep the constraints."""
    best = best_of_each(result.reader, chosen.name, mode=chosen.mode, constraints=chosen.constraints)
    value = {one.trial: one.value for one in best}
    return [
        (trial, value[trial.index])
        for trial in _of_one_config(result)
        if trial.state in _ENDED and trial.index in value
    ]


def diverged(result: ExperimentAnalysis, chosen: ChosenMetric) -> list[TrialView]:
    """Each trial that failed, or is over and reported nothing of the metric but NaN and the bad infinity."""
    found = scores(result.reader, chosen.name, mode=chosen.mode, scope=Scope.ALL)
    is_bad = {index for index, value in found.items() if not chosen.mode.as_loss(value) < math.inf}
    return [
        trial
        for trial in _of_one_config(result)
        if trial.state is TrialStatus.FAILED or (trial.state in _ENDED and trial.index in is_bad)
    ]


def _of_one_config(result: ExperimentAnalysis) -> list[TrialView]:
    """Without clones: what they reached says nothing about one config, they were trained with several."""
    clones = {trial for (trial,) in result.reader.query(CLONES)}
    return [trial for trial in result.trials if trial.index not in clones]
