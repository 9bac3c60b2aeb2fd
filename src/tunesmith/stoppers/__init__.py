"""Stoppers: they end a trial, or the experiment, by a rule that needs no comparison. `Stopper` is for users' own."""

from tunesmith.stoppers.combined import CombinedStopper, bind_stopper, parse_stop, shortest_timeout_s
from tunesmith.stoppers.experiment_plateau import ExperimentPlateauStopper
from tunesmith.stoppers.finished_trials import ExpectedImprovementPerHour, NoImprovement
from tunesmith.stoppers.maximum_iteration import MaximumIterationStopper
from tunesmith.stoppers.metric_dict import DictStopper
from tunesmith.stoppers.noop import NoopStopper
from tunesmith.stoppers.result import result_dict
from tunesmith.stoppers.timeout import TimeoutStopper
from tunesmith.stoppers.trial_plateau import TrialPlateauStopper
from tunesmith.stoppers.user import FunctionStopper, Stopper, StopperAdapter

__all__ = [
    "CombinedStopper",
    "DictStopper",
    "ExpectedImprovementPerHour",
    "ExperimentPlateauStopper",
    "FunctionStopper",
    "MaximumIterationStopper",
    "NoImprovement",
    "NoopStopper",
    "Stopper",
    "StopperAdapter",
    "TimeoutStopper",
    "TrialPlateauStopper",
    "bind_stopper",
    "parse_stop",
    "result_dict",
    "shortest_timeout_s",
]
