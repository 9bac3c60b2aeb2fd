"""What an experiment found: the best config, the trials, tables. Reads the folder only; runs no user code."""

from __future__ import annotations

from tunesmith.analysis.experiment_analysis import Best, ExperimentAnalysis
from tunesmith.analysis.pareto import ParetoPoint
from tunesmith.analysis.recommendation import Recommendation, recommend
from tunesmith.analysis.scores import Scope
from tunesmith.analysis.trial_view import CheckpointView, TrialView

__all__ = [
    "Best",
    "CheckpointView",
    "ExperimentAnalysis",
    "ParetoPoint",
    "Recommendation",
    "Scope",
    "TrialView",
    "recommend",
]
