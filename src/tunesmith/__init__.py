"""Hyperparameter tuning that starts many trials, stops the poor ones early and never loses a result.

    import tunesmith as tune

    result = tune.minimize(train, {"lr": tune.loguniform(1e-5, 1e-1)}, num_samples=50, max_t=20)
    result.best.config

Everything public is here or in `tunesmith.schedulers`, `.searchers`, `.stoppers`. Names are loaded when first used:
`import tunesmith` is cheap, in the user's script and in every trial.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.analysis import ExperimentAnalysis, recommend
    from tunesmith.api import load, maximize, minimize, run
    from tunesmith.api.confirm import confirm
    from tunesmith.api.replay import replay
    from tunesmith.api.simulation import simulate
    from tunesmith.api.study import Study
    from tunesmith.callbacks import CLIReporter, JupyterNotebookReporter, ProgressReporter
    from tunesmith.errors import TuneError, TunesmithError
    from tunesmith.hooks import Callback
    from tunesmith.methods import create_scheduler
    from tunesmith.resources import PlacementGroupFactory
    from tunesmith.searchers import create_searcher
    from tunesmith.space import (
        choice,
        grid_search,
        lograndint,
        loguniform,
        qlograndint,
        qloguniform,
        qrandint,
        qrandn,
        quniform,
        randint,
        randn,
        sample_from,
        uniform,
    )
    from tunesmith.stoppers import Stopper
    from tunesmith.trialside.call import InvalidConfig
    from tunesmith.trialside.checkpoint import Checkpoint
    from tunesmith.trialside.functions import (
        checkpoint_dir,
        get_checkpoint,
        get_context,
        get_trial_dir,
        get_trial_id,
        get_trial_name,
        get_trial_resources,
        is_session_enabled,
        report,
    )
    from tunesmith.trialside.session import TrialStopped
    from tunesmith.trialside.trainable import Trainable, with_parameters

_SPACE_NAMES = [
    "choice",
    "grid_search",
    "lograndint",
    "loguniform",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "sample_from",
    "uniform",
]
_FUNCTION_NAMES = [
    "checkpoint_dir",
    "get_checkpoint",
    "get_context",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "is_session_enabled",
    "report",
]

#: Public name -> the module that holds it.
_HOMES = {
    **dict.fromkeys(_SPACE_NAMES, "tunesmith.space"),
    **dict.fromkeys(_FUNCTION_NAMES, "tunesmith.trialside.functions"),
    **dict.fromkeys(("load", "maximize", "minimize", "run"), "tunesmith.api"),
    **dict.fromkeys(("ExperimentAnalysis", "recommend"), "tunesmith.analysis"),
    **dict.fromkeys(("CLIReporter", "JupyterNotebookReporter", "ProgressReporter"), "tunesmith.callbacks"),
    **dict.fromkeys(("TuneError", "TunesmithError"), "tunesmith.errors"),
    **dict.fromkeys(("Trainable", "with_parameters"), "tunesmith.trialside.trainable"),
    "Callback": "tunesmith.hooks",
    "Checkpoint": "tunesmith.trialside.checkpoint",
    "InvalidConfig": "tunesmith.trialside.call",
    "PlacementGroupFactory": "tunesmith.resources",
    "Stopper": "tunesmith.stoppers",
    "Study": "tunesmith.api.study",
    "TrialStopped": "tunesmith.trialside.session",
    "confirm": "tunesmith.api.confirm",
    "create_scheduler": "tunesmith.methods",
    "create_searcher": "tunesmith.searchers",
    "replay": "tunesmith.api.replay",
    "simulate": "tunesmith.api.simulation",
}

__all__ = [
    "CLIReporter",
    "Callback",
    "Checkpoint",
    "ExperimentAnalysis",
    "InvalidConfig",
    "JupyterNotebookReporter",
    "PlacementGroupFactory",
    "ProgressReporter",
    "Stopper",
    "Study",
    "Trainable",
    "TrialStopped",
    "TuneError",
    "TunesmithError",
    "checkpoint_dir",
    "choice",
    "confirm",
    "create_scheduler",
    "create_searcher",
    "get_checkpoint",
    "get_context",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "grid_search",
    "is_session_enabled",
    "load",
    "lograndint",
    "loguniform",
    "maximize",
    "minimize",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "recommend",
    "replay",
    "report",
    "run",
    "sample_from",
    "simulate",
    "uniform",
    "with_parameters",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
