"""Experiments in the tools that people follow them in: W&B, MLflow, TensorBoard; and as CSV and JSON lines.

Each tracker is a callback in a process of its own (docs/adr/0012-callbacks-and-trackers.md). Third-party packages are
imported there, or where `setup_wandb` or `setup_mlflow` is called, and nowhere else.
"""

from tunesmith.trackers.files import CSVLoggerCallback, JsonLoggerCallback
from tunesmith.trackers.mlflow import MLflowLoggerCallback
from tunesmith.trackers.mlflow_in_trial import mlflow_mixin, setup_mlflow
from tunesmith.trackers.supervisor import TrackerProcess, make_tracker_processes, sync
from tunesmith.trackers.tensorboard import TBXLoggerCallback, TensorBoardLoggerCallback
from tunesmith.trackers.tracker import Tracker
from tunesmith.trackers.wandb import WandbLoggerCallback
from tunesmith.trackers.wandb_in_trial import setup_wandb, wandb_mixin

__all__ = [
    "CSVLoggerCallback",
    "JsonLoggerCallback",
    "MLflowLoggerCallback",
    "TBXLoggerCallback",
    "TensorBoardLoggerCallback",
    "Tracker",
    "TrackerProcess",
    "WandbLoggerCallback",
    "make_tracker_processes",
    "mlflow_mixin",
    "setup_mlflow",
    "setup_wandb",
    "sync",
    "wandb_mixin",
]
