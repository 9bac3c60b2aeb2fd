"""Weights & Biases: one run for each trial, grouped by experiment."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.hooks import LiveTrial
from tunesmith.trackers.tracker import Tracker, read_key
from tunesmith.trackers.values import decision_words, end_facts, flat_masked, masked, measurements
from tunesmith.trial import TrialStatus

_EXIT_CODES = {TrialStatus.COMPLETED: 0, TrialStatus.STOPPED: 0, TrialStatus.PAUSED: 0}
_FAILED, _CUT_OFF = 1, 255
_WHERE = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL")  #: variables that say where runs go
_MAX_METADATA = 90  #: entries of an artifact; W&B takes 100


class WandbLoggerCallback(Tracker):
    """Logs to Weights & Biases, with Ray Tune's arguments. `WANDB_MODE=offline` needs neither key nor network.

    A run has the trial's config, each report (with the number of the report as W&B's step and `training_iteration` as
    the axis), what a trial was told and why where that was not just to go on, and how it ended. After a crash or a
    resume a trial goes on in its own run: the id follows from the experiment and the trial.
    """

    extra = "wandb"
    modules: ClassVar[tuple[str, ...]] = ("wandb",)

    def __init__(
        self,
        project: str | None = None,
        group: str | None = None,
        api_key_file: str | None = None,
        api_key: str | None = None,
        excludes: Sequence[str] | None = None,
        log_config: bool = False,
        upload_checkpoints: bool = False,
        save_checkpoints: bool = False,
        upload_timeout: float = 1800.0,
        **kwargs: Any,
    ) -> None:
        """Args:
            project, group: None: WANDB_PROJECT_NAME or W&B's own default; WANDB_GROUP_NAME or the experiment's name.
            api_key_file, api_key: without them W&B looks for WANDB_API_KEY and for what `wandb login` left.
            excludes: names of metrics that are not logged; of nested ones the beginning is enough.
            log_config: log the config with each report too: population based training changes it.
            upload_checkpoints, save_checkpoints: log checkpoints as artifacts; the second is the older name.
            upload_timeout: seconds that the end of a run may take to upload its files.
            kwargs: further arguments of `wandb.init`: entity, tags, notes, mode, ...
        Raises: MissingExtraError without the package wandb; ConfigError if `api_key_file` cannot be read.
        """
        super().__init__()
        self._key = read_key(api_key, api_key_file)
        self._project = project or os.environ.get("WANDB_PROJECT_NAME")
        self._group = group or os.environ.get("WANDB_GROUP_NAME")
        self._excludes = tuple(excludes or ())
        self._logs_config, self._saves_checkpoints = log_config, upload_checkpoints or save_checkpoints
        self._upload_timeout_s, self._arguments = float(upload_timeout), kwargs
        self._runs: dict[LiveTrial, Any] = {}  #: open ones
        self._experiment: dict[str, Any] = {}  #: what `setup` was told

    def identity(self) -> Mapping[str, Any]:
        """See Tracker."""
        where = {name: self._arguments.get(name) for name in ("entity", "mode", "dir")}
        set_outside = {name: os.environ[name] for name in _WHERE if name in os.environ}
        return {"project": self._project, "group": self._group, **where, **set_outside}

    def secrets(self) -> Collection[str]:
        """See Tracker."""
        return () if self._key is None else (self._key.reveal(),)

    def environment(self) -> Mapping[str, str]:
        """See Tracker."""
        return {} if self._key is None else {"WANDB_API_KEY": self._key.reveal()}

    def time_limit_s(self, hook: str) -> float:
        """See Tracker: whatever ends runs may have to wait for their uploads, and checkpoints may be large."""
        uploads = hook in ("on_trial_complete", "on_trial_error", "on_trial_pause", "on_experiment_end")
        uploads = uploads or (self._saves_checkpoints and hook == "on_trial_save")
        return max(self._upload_timeout_s, self.call_timeout_s) if uploads else self.call_timeout_s

    def flush(self) -> Collection[int]:
        """See Tracker: W&B has its own process, and what that was sent for an open run may die with it."""
        return [trial.index for trial in self._runs]

    def setup(self, *_: Any, **info: Any) -> None:
        """See Callback."""
        self._experiment = info

    def log_trial_start(self, trial: LiveTrial) -> None:
        """See LoggerCallback."""
        if trial not in self._runs:
            self._runs[trial] = self._open(trial)
        else:  # a clone has another config from here on
            self._runs[trial].config.update(masked(trial.config), allow_val_change=True)

    def log_trial_result(self, iteration: int, trial: LiveTrial, result: dict[str, Any]) -> None:
        """See LoggerCallback."""
        run = self._run_of(trial)
        if trial.n_reports < run.step:  # W&B has it: it was told before our process died
            return
        row: dict[str, Any] = {
            name: value for name, value in measurements(result).items() if not self._is_excluded(name)
        }
        if (words := decision_words(trial)) is not None:
            row["tunesmith/decision"], row["tunesmith/reason"] = words
        if self._logs_config:
            row |= {f"config/{name}": value for name, value in flat_masked(trial.config).items()}
        run.log(row, step=trial.n_reports, commit=True)

    def log_trial_save(self, trial: LiveTrial) -> None:
        """See LoggerCallback."""
        path = trial.checkpoint.path
        if not self._saves_checkpoints or path is None or not Path(path).is_dir():
            return  # retention was faster
        import wandb

        metrics = [(k, v) for k, v in trial.checkpoint.metrics.items() if math.isfinite(v)]  # JSON has no others
        facts = {"step": trial.checkpoint.step, **dict(metrics[:_MAX_METADATA])}
        artifact = wandb.Artifact(f"checkpoint_{trial.trial_id}", type="model", metadata=facts)
        try:
            artifact.add_dir(path)
        except (OSError, ValueError):
            if Path(path).is_dir():
                raise
            return  # retention deleted it meanwhile
        self._run_of(trial).log_artifact(artifact, aliases=["latest", f"step-{trial.checkpoint.step}"])

    def log_trial_end(self, trial: LiveTrial, failed: bool = False) -> None:
        """See LoggerCallback."""
        self._close(trial)

    def on_trial_pause(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """See Callback: thousands of trials may be paused at once, so their runs are not kept open."""
        self._close(trial)

    def on_experiment_end(self, trials: Sequence[LiveTrial], **info: Any) -> None:
        """See Callback: whatever is still open was cut off, and goes on in the same run at a resume."""
        for trial in list(self._runs):
            self._close(trial)

    # ------------------------------------------------------------ runs

    def _open(self, trial: LiveTrial) -> Any:
        import wandb

        arguments = dict(self._arguments)
        settings = arguments.pop("settings", {})
        if isinstance(settings, Mapping):  # of this process, which is not the trial, there is nothing to say
            quiet = {"silent": True, "console": "off", "x_disable_stats": True, "x_save_requirements": False}
            settings = wandb.Settings(**{**quiet, **settings})
        facts = {"trial_id": trial.trial_id, "experiment_id": self._experiment["experiment_id"]}
        given = {
            "project": self._project,
            "group": self._group or self._experiment["experiment_name"],
            "name": trial.name,
            "job_type": trial.trainable_name,
            "dir": str(self._experiment["folder"]),
            **arguments,
            "id": run_id(self._experiment["experiment_id"], trial.index),
            "config": {**masked(trial.config), **facts, **(arguments.get("config") or {})},
            "allow_val_change": True,
            "resume": "allow",
            "reinit": "create_new",
            "settings": settings,
        }
        run = wandb.init(**given)
        run.define_metric("training_iteration")
        run.define_metric("*", step_metric="training_iteration")
        return run

    def _run_of(self, trial: LiveTrial) -> Any:
        """The trial's run; it is opened again for one that began before this process did."""
        if trial not in self._runs:
            self._runs[trial] = self._open(trial)
        return self._runs[trial]

    def _close(self, trial: LiveTrial) -> None:
        run = self._run_of(trial)
        run.summary.update({f"tunesmith/{name}": value for name, value in end_facts(trial).items()})
        if trial.state in (TrialStatus.FAILED, TrialStatus.INVALID):
            run.finish(exit_code=_FAILED)
        else:
            run.finish(exit_code=_EXIT_CODES.get(trial.state, _CUT_OFF))
        del self._runs[trial]

    def _is_excluded(self, name: str) -> bool:
        return any(name == entry or name.startswith(f"{entry}/") for entry in self._excludes)


def run_id(experiment_id: str, index: int) -> str:
    """The id of a trial's run: the same in every session."""
    return f"{experiment_id[:16]}-{index:05d}"
