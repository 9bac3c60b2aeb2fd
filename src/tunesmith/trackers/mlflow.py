"""MLflow: a run for the experiment, and in it one for each trial."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.hooks import LiveTrial
from tunesmith.trackers.mlflow_store import (
    MAX_CHARS,
    PARENT_TAG,
    RUN_TAG,
    as_params,
    find_experiment,
    find_orphans,
    find_run,
    opening,
    with_clean_names,
)
from tunesmith.trackers.tracker import Secret, Tracker, passwords_in
from tunesmith.trackers.values import as_file_name, decision_words, end_facts, flat_masked, measurements
from tunesmith.trial import TrialStatus

_COUNTED = "training_iteration"  #: every report has it, so its history counts the reports that are there
_N_PARAMS, _N_METRICS = 100, 1000  #: in one call
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  #: error codes of MLflow that no second try changes
_STATUS = {TrialStatus.FAILED: "FAILED", TrialStatus.INVALID: "FAILED", TrialStatus.INTERRUPTED: "KILLED"}


class MLflowLoggerCallback(Tracker):
    """Logs to MLflow, with Ray Tune's arguments: an experiment, a run for the whole, nested ones for trials.

    Without `tracking_uri` MLflow decides, as it does elsewhere: MLFLOW_TRACKING_URI, or a database in the current
    folder. After a crash or a resume a trial goes on in its own run, which is found by a tag.
    """

    extra = "mlflow"
    modules: ClassVar[tuple[str, ...]] = ("mlflow",)

    def __init__(
        self,
        tracking_uri: str | None = None,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        upload_timeout: float = 1800.0,
    ) -> None:
        """Args:
            experiment_name: of MLflow's experiment; None: MLFLOW_EXPERIMENT_NAME, or the name of this one.
            tags: of all runs.
            tracking_token: for a server that wants one; MLFLOW_TRACKING_TOKEN does as well.
            save_artifact: log checkpoints as artifacts.
            upload_timeout: seconds that one checkpoint may take.
        Raises: MissingExtraError without the package mlflow or mlflow-skinny.
        """
        super().__init__()
        self._uri, self._registry_uri = tracking_uri, registry_uri
        self._name, self._tags = experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME"), dict(tags or {})
        self._token = None if tracking_token is None else Secret(tracking_token)
        self._saves_artifacts, self._upload_timeout_s = save_artifact, float(upload_timeout)
        self._client: Any = None
        self._mlflow_id = self._experiment_id = self._parent = ""
        self._runs: dict[LiveTrial, str] = {}
        self._waiting: dict[LiveTrial, list[list[Any]]] = {}  #: metrics of reports that are sent together
        self._n_logged: dict[LiveTrial, int] = {}  #: reports that a run has had before this process began

    def identity(self) -> Mapping[str, Any]:
        """See Tracker."""
        uri = self._uri or os.environ.get("MLFLOW_TRACKING_URI")
        folder = str(Path.cwd()) if uri is None else None  # MLflow's own choice is a database there
        return {"tracking_uri": uri, "experiment_name": self._name, "folder": folder}

    def secrets(self) -> Collection[str]:
        """See Tracker."""
        token = () if self._token is None else (self._token.reveal(),)
        return (*token, *passwords_in(self._uri, self._registry_uri))

    def time_limit_s(self, hook: str) -> float:
        """See Tracker: a checkpoint may be large."""
        uploads = self._saves_artifacts and hook == "on_trial_save"
        return max(self._upload_timeout_s, self.call_timeout_s) if uploads else self.call_timeout_s

    def is_refusal(self, error: Exception) -> bool:
        """See Tracker."""
        return super().is_refusal(error) or getattr(error, "error_code", None) in _REFUSED

    def environment(self) -> Mapping[str, str]:
        """See Tracker."""
        return {} if self._token is None else {"MLFLOW_TRACKING_TOKEN": self._token.reveal()}

    def setup(self, *_: Any, **info: Any) -> None:
        """See Callback."""
        from mlflow import get_tracking_uri
        from mlflow.tracking import MlflowClient

        self._experiment_id = info["experiment_id"]
        with opening(self._uri or get_tracking_uri(), Path(info["folder"])):
            self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._registry_uri)
            self._mlflow_id = find_experiment(self._client, self._name or info["experiment_name"])
        self._parent = self._find_or_create(info["experiment_name"], self._experiment_id, {})
        self._client.update_run(self._parent, status="RUNNING")  # it goes on, if it had ended

    def log_trial_start(self, trial: LiveTrial) -> None:
        """See LoggerCallback."""
        run = self._run_of(trial)
        self._client.update_run(run, status="RUNNING")
        if trial.trial.attempt > 1:  # a parameter cannot change in MLflow; a clone's does
            self._client.set_tag(run, "tunesmith.config", str(flat_masked(trial.config))[:MAX_CHARS])

    def log_trial_result(self, iteration: int, trial: LiveTrial, result: dict[str, Any]) -> None:
        """See LoggerCallback."""
        from mlflow.entities import Metric, RunTag

        run = self._run_of(trial)
        if trial.n_reports <= self._n_logged.get(trial, 0):
            return
        at_ms = int(1000 * (trial.trial.reported_at or 0.0))
        values = with_clean_names(measurements(result))
        metrics = [Metric(name, value, at_ms, trial.step) for name, value in values.items()]
        self._waiting.setdefault(trial, []).append(metrics)
        if (words := decision_words(trial)) is not None:
            facts = {"tunesmith.decision": words[0], "tunesmith.reason": words[1]}
            self._client.log_batch(run, tags=[RunTag(name, value[:MAX_CHARS]) for name, value in facts.items()])

    def flush(self) -> Collection[int]:
        """See Tracker."""
        for trial, reports in self._waiting.items():
            try:
                self._send(trial, reports)
            except Exception as error:
                if not self.is_refusal(error):
                    raise
                print(f"Reports of {trial.name} are left out, MLflow refuses them: {error}", file=sys.stderr)
        self._waiting.clear()
        return ()

    def _send(self, trial: LiveTrial, reports: Sequence[Sequence[Any]]) -> None:
        batch: list[Any] = []
        for metrics in reports:  # a report in one call: it is there as a whole or not at all
            if len(batch) + len(metrics) > _N_METRICS:
                self._client.log_batch(self._run_of(trial), metrics=batch)
                batch = []
            batch += metrics
        self._client.log_batch(self._run_of(trial), metrics=batch)

    def log_trial_save(self, trial: LiveTrial) -> None:
        """See LoggerCallback."""
        path = trial.checkpoint.path
        if not self._saves_artifacts or path is None or not Path(path).is_dir():
            return  # retention was faster
        try:
            self._client.log_artifacts(
                self._run_of(trial), path, artifact_path=f"checkpoints/{as_file_name(Path(path).name)}"
            )
        except OSError:
            if Path(path).is_dir():
                raise

    def log_trial_end(self, trial: LiveTrial, failed: bool = False) -> None:
        """See LoggerCallback."""
        self._finish(trial)

    def on_trial_pause(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """See Callback."""
        self.flush()
        self._client.update_run(self._run_of(trial), status="SCHEDULED")

    def on_experiment_end(self, trials: Sequence[LiveTrial], **info: Any) -> None:
        """See Callback."""
        for trial in trials:
            if trial in self._runs and trial.state in (TrialStatus.RUNNING, TrialStatus.INTERRUPTED):
                self._finish(trial, status="KILLED")
        for run in find_orphans(self._client, self._mlflow_id, self._experiment_id):
            self._client.set_tag(run, PARENT_TAG, self._parent)
        is_cut_off = any(trial.state in (TrialStatus.RUNNING, TrialStatus.INTERRUPTED) for trial in trials)
        self._client.set_terminated(self._parent, status="KILLED" if is_cut_off else "FINISHED")

    # ------------------------------------------------------------ runs

    def _run_of(self, trial: LiveTrial) -> str:
        if trial not in self._runs:
            key = f"{self._experiment_id}/{trial.index}"
            self._runs[trial] = run = self._find_or_create(trial.name, key, {PARENT_TAG: self._parent}, trial=trial)
            self._log_params(run, as_params(trial.config))
        return self._runs[trial]

    def _find_or_create(self, name: str, key: str, tags: Mapping[str, str], *, trial: LiveTrial | None = None) -> str:
        """The run that has the key, or a new one with it."""
        run = find_run(self._client, self._mlflow_id, key)
        if run is not None:
            if trial is not None:
                self._n_logged[trial] = len(self._client.get_metric_history(run, _COUNTED))
            return run
        given = {name: str(value) for name, value in self._tags.items()}
        created = self._client.create_run(self._mlflow_id, run_name=name, tags={**given, **tags, RUN_TAG: key})
        new: str = created.info.run_id
        return new

    def _log_params(self, run: str, params: Mapping[str, str]) -> None:
        """Those that the run does not have: a clone's other values are in a tag."""
        from mlflow.entities import Param

        there = self._client.get_run(run).data.params
        new = [Param(name, value) for name, value in params.items() if name not in there]
        for i in range(0, len(new), _N_PARAMS):
            self._client.log_batch(run, params=new[i : i + _N_PARAMS])

    def _finish(self, trial: LiveTrial, status: str | None = None) -> None:
        self.flush()
        run = self._run_of(trial)
        for name, words in end_facts(trial).items():
            self._client.set_tag(run, f"tunesmith.{name}", words[:MAX_CHARS])
        self._client.set_terminated(run, status=status or _STATUS.get(trial.state, "FINISHED"))
