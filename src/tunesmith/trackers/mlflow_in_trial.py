"""MLflow inside a trial: for training code that logs more than it reports."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.trackers.mixin import Finish, with_open_run
from tunesmith.trackers.mlflow_store import PARENT_TAG, RUN_TAG, as_params, find_experiment, find_run, opening
from tunesmith.trackers.tracker import require
from tunesmith.trialside.current import get_session
from tunesmith.trialside.session import Session

_N_PARAMS = 100  #: in one call
_GOOD_ENDS = (None, "returned", "stopped")


def setup_mlflow(
    config: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    tracking_token: str | None = None,
    artifact_location: str | None = None,
    run_name: str | None = None,
    create_experiment_if_not_exists: bool = True,
    tags: Mapping[str, Any] | None = None,
    rank_zero_only: bool = True,
) -> Any:
    """MLflow with a run of this trial open: `mlflow = setup_mlflow(config); mlflow.log_metric("lr", lr, step=i)`.

    The run goes on when the trial is tried again or resumed, and ends with it. Where the driver has an
    `MLflowLoggerCallback` on the same MLflow experiment, it lies under that one's run of the whole. Outside a trial it
    is any run.

    Args:
        config: what to log as parameters; None: the trial's. A parameter keeps its first value: MLflow's rule.
        experiment_id, experiment_name: of MLflow's experiment, one of them; without both MLFLOW_EXPERIMENT_NAME, or the
            name of this experiment. Ray Tune wants one of them.
        tracking_token: for a server that wants one; MLFLOW_TRACKING_TOKEN does as well.
        create_experiment_if_not_exists: with False a missing one is an error (Ray Tune's default).
        rank_zero_only: of the processes of a distributed training only the one with RANK 0 gets MLflow, the others an
            object on which every call does nothing.
    Returns: the module `mlflow`.
    Raises: MissingExtraError without the package; ConfigError if there is no such experiment in MLflow.
    """
    if rank_zero_only and os.environ.get("RANK", "0") != "0":
        return _Nothing()
    require(("mlflow",), "mlflow")
    import mlflow

    if tracking_token is not None:
        os.environ["MLFLOW_TRACKING_TOKEN"] = tracking_token
    if tracking_uri is not None:
        mlflow.set_tracking_uri(tracking_uri)
    if registry_uri is not None:
        mlflow.set_registry_uri(registry_uri)
    session = get_session()
    with opening(mlflow.get_tracking_uri(), None if session is None else session.facts.folder):
        client = mlflow.MlflowClient()
        if experiment_id is None:
            default = "Default" if session is None else session.facts.experiment_name
            name = experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or default
            experiment_id = find_experiment(
                client, name, artifact_location=artifact_location, may_create=create_experiment_if_not_exists
            )
    mlflow.end_run()  # of an earlier call
    run = _start(mlflow, client, experiment_id, session, run_name, {k: str(v) for k, v in (tags or {}).items()})
    if config is None and session is not None:
        config = session.facts.config
    new = {name: value for name, value in as_params(config or {}).items() if name not in run.data.params}
    names = list(new)
    for i in range(0, len(names), _N_PARAMS):
        mlflow.log_params({name: new[name] for name in names[i : i + _N_PARAMS]})
    return mlflow


def mlflow_mixin(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a training function: it has an open run, `mlflow.log_metric(...)`, set up from `config["mlflow"]`.

    That entry holds arguments of `setup_mlflow`, such as {"experiment_name": "mnist", "tracking_uri": "sqlite:///m.db"};
    the function gets the config without it.

    Raises: ConfigError for a class: call `setup_mlflow(config, ...)` in its `setup`.
    """

    def open_run(config: dict[str, Any], **settings: Any) -> Finish:
        mlflow = setup_mlflow(config, **settings)
        return lambda is_good: mlflow.end_run("FINISHED" if is_good else "FAILED")

    return with_open_run(function, tool="mlflow", open_run=open_run)


def _start(
    mlflow: Any, client: Any, experiment_id: str, session: Session | None, name: str | None, tags: dict[str, str]
) -> Any:
    """Open the trial's run, or a new one outside a trial."""
    if session is None:
        return mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=tags)
    facts = session.facts
    key = f"{facts.experiment_id}/{facts.trial_index}-t"  # another one than the callback's
    found = find_run(client, experiment_id, key)
    if found is not None:
        run = mlflow.start_run(run_id=found)
    else:
        parent = find_run(client, experiment_id, facts.experiment_id)
        tags |= {RUN_TAG: key} if parent is None else {RUN_TAG: key, PARENT_TAG: parent}
        run = mlflow.start_run(experiment_id=experiment_id, run_name=name or facts.trial_name, tags=tags)
    atexit.register(lambda: mlflow.end_run("FINISHED" if session.outcome in _GOOD_ENDS else "FAILED"))
    return run


class _Nothing:
    """Every attribute and every call of it is the same nothing."""

    def __getattr__(self, name: str) -> _Nothing:
        return self

    def __call__(self, *arguments: Any, **named: Any) -> _Nothing:
        return self

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *error: object) -> None:
        return None
