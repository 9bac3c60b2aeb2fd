"""Stoppers: they end a trial, or the experiment, by a rule that needs no comparison. `Stopper` is for users' own."""

from tunesmith.stoppers.combined import CombinedStopper, parse_stop, shortest_timeout_s
from tunesmith.stoppers.experiment_plateau import ExperimentPlateauStopper
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
    "ExperimentPlateauStopper",
    "FunctionStopper",
    "MaximumIterationStopper",
    "NoopStopper",
    "Stopper",
    "StopperAdapter",
    "TimeoutStopper",
    "TrialPlateauStopper",
    "parse_stop",
    "result_dict",
    "shortest_timeout_s",
]
