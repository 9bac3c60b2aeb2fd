"""The facts that an attempt is started with, the same for every executor."""

from __future__ import annotations

import base64
import logging
import math
import time
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.events import AnswerReport, AttemptEnded, StartAttempt, StopAttempt
from tunesmith.executors.pickling import dumps
from tunesmith.experiment.state import as_told
from tunesmith.protocols import Launch
from tunesmith.rng import derived_seed
from tunesmith.trial import AttemptOutcome, TrialStatus

_log = logging.getLogger("tunesmith")


def session_facts(launch: Launch, command: StartAttempt) -> dict[str, Any]:
    """What the session of this attempt must know, JSON-able: the `welcome` frame of `trialside.wire`."""
    trial_id, trial_name = launch.trial_names(command.trial)
    folder = launch.folder
    resources = command.placement.resources
    return {
        "type": "welcome",
        "experiment_id": launch.experiment_id,
        "experiment_name": launch.experiment_name,
        "trial_index": command.trial,
        "trial_id": trial_id,
        "trial_name": trial_name,
        "attempt": command.attempt,
        "folder": str(folder),
        "trial_dir": str(folder / "trials" / f"{command.trial:05d}"),
        "resources": {"cpu": resources.cpu, "gpu": resources.gpu, **resources.custom},
        "gpus": list(command.placement.gpus),
        "start_step": command.start_step,
        "start_time_s": command.start_time_s,
        "start_checkpoint": str(folder / command.checkpoint) if command.checkpoint else None,
        "seed": derived_seed(launch.seed, f"trial/{command.attempt}", command.trial),
        "log": str(log_path(launch, command.trial)),
        **config_fields(command.config),
    }


def end_without_checkpoint(launch: Launch, command: StartAttempt) -> AttemptEnded | None:
    """The end of an attempt that cannot begin, since its checkpoint was deleted; None where it can (F33)."""
    if command.checkpoint is None or (launch.folder / command.checkpoint).is_dir():
        return None
    text = f"The checkpoint {command.checkpoint} is gone: the trial goes on from an earlier one, or from its start."
    _log.warning("Trial %d: %s", command.trial, text)
    return AttemptEnded(command.trial, command.attempt, AttemptOutcome.NO_CHECKPOINT, time.time(), text)


def make_log_folder(launch: Launch) -> None:
    """Make the folder of the logs, before anything runs. Raises: TunesmithError where that is not possible."""
    folder = launch.folder / "logs"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise TunesmithError(f"The folder of the trials' logs cannot be made: {error}.") from error


def log_path(launch: Launch, trial: int) -> Path:
    """The trial's log file."""
    return launch.folder / "logs" / f"{trial:05d}.log"


def template_log_path(launch: Launch) -> Path:
    """The log of the process that the trials are forked from."""
    return launch.folder / "logs" / f"template{'-' if launch.place else ''}{launch.place}.log"


class PackedConfig(dict[str, Any]):
    """A config that was packed where its objects live: what `config_fields` made of it."""


def is_interruption(answer: AnswerReport, stop: StopAttempt | None) -> bool:
    """Whether the answer ends its attempt for no other reason than `stop`, which leaves the trial to go on later."""
    if stop is None or (stop.trial, stop.attempt) != (answer.trial, answer.attempt):
        return False
    return stop.status_after is TrialStatus.INTERRUPTED and answer.decision == as_told(stop)


def config_fields(config: dict[str, Any]) -> dict[str, Any]:
    """The config as JSON where that keeps it whole, else pickled: it may hold classes and functions."""
    if isinstance(config, PackedConfig):
        return dict(config)
    if _is_plain(config):
        return {"config": config}
    return {"config": None, "config_pickle": base64.b64encode(dumps(config)).decode()}


def _is_plain(value: Any) -> bool:
    kind: type = type(value)
    if kind in (str, bool, type(None)):
        return True
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(_is_plain(item) for item in value)
    return kind is dict and all(type(key) is str and _is_plain(item) for key, item in value.items())
