"""What runs inside a trial: the session, reports, checkpoints, class trainables.

Imports the standard library only: a trial must start in milliseconds.
"""

from __future__ import annotations

from tunesmith.trialside.call import InvalidConfig, check_trainable, run_trainable
from tunesmith.trialside.channel import Answer, Channel, DriverLost, SocketChannel
from tunesmith.trialside.checkpoint import Checkpoint
from tunesmith.trialside.current import (
    attach_from_environment,
    get_session,
    inline_session,
    session_environment,
    set_session,
)
from tunesmith.trialside.functions import (
    ANONYMOUS_METRIC,
    TrialContext,
    checkpoint_dir,
    get_checkpoint,
    get_context,
    get_experiment_name,
    get_trial_dir,
    get_trial_id,
    get_trial_index,
    get_trial_name,
    get_trial_resources,
    is_session_enabled,
    report,
)
from tunesmith.trialside.metrics import clean_metrics
from tunesmith.trialside.session import ReportDecision, Session, TrialFacts, TrialStopped
from tunesmith.trialside.trainable import Trainable, trainable_name, with_parameters

__all__ = [
    "ANONYMOUS_METRIC",
    "Answer",
    "Channel",
    "Checkpoint",
    "DriverLost",
    "InvalidConfig",
    "ReportDecision",
    "Session",
    "SocketChannel",
    "Trainable",
    "TrialContext",
    "TrialFacts",
    "TrialStopped",
    "attach_from_environment",
    "check_trainable",
    "checkpoint_dir",
    "clean_metrics",
    "get_checkpoint",
    "get_context",
    "get_experiment_name",
    "get_session",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_index",
    "get_trial_name",
    "get_trial_resources",
    "inline_session",
    "is_session_enabled",
    "report",
    "run_trainable",
    "session_environment",
    "set_session",
    "trainable_name",
    "with_parameters",
]
