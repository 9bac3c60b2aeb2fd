"""From a user's arguments to a spec and the parts that run it. What is wrong is refused before a folder is made."""

from __future__ import annotations

import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from tunesmith.api.api_keys import warn_of_secrets, without_api_keys
from tunesmith.api.scheduling import make_deciders
from tunesmith.api.source import source_digest
from tunesmith.errors import ConfigError
from tunesmith.protocols import Executor, Scheduler, Searcher, Stopper
from tunesmith.resources import parse_resources
from tunesmith.rng import new_seed
from tunesmith.space import Space
from tunesmith.space.constraints import parse_constraints
from tunesmith.spec import CheckpointPolicy, ExperimentSpec, NanPolicy, check_number, check_spec
from tunesmith.stoppers import NoopStopper, bind_stopper, parse_stop
from tunesmith.trial import Mode
from tunesmith.trialside.call import check_trainable
from tunesmith.trialside.current import TRIAL_VARIABLE
from tunesmith.trialside.trainable import trainable_name

_log = logging.getLogger("tunesmith")


class Plan(NamedTuple):
    """All that an experiment needs but its folder."""

    spec: ExperimentSpec
    space: Space
    trainable: Any
    searcher: Searcher
    scheduler: Scheduler
    stopper: Stopper


def make_plan(
    trainable: Any,
    *,
    name: str | None,
    metric: str | Sequence[str] | None,
    mode: str | Sequence[str] | None,
    config: Mapping[str, Any] | None,
    num_samples: int,
    stop: Any,
    time_budget_s: float | timedelta | None,
    max_total_steps: int | None,
    resources_per_trial: Any,
    search_alg: str | Searcher | None,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None,
    warm_start: Any,
    parameter_constraints: Any,
    scheduler: str | Scheduler | None,
    keep_checkpoints_num: int | None,
    checkpoint_score_attr: str | None,
    checkpoint_freq: int,
    checkpoint_at_end: bool,
    max_failures: int,
    fail_fast: bool | str,
    max_concurrent_trials: int | None,
    grace_s: float,
    first_report_timeout_s: float | None,
    report_timeout_s: float | None,
    nan_policy: str,
    seed: int | None,
    constraints: Mapping[str, str] | None = None,
) -> Plan:
    """The plan in the words of `tune.run`. Raises ConfigError, SpaceError, ResourceError or TrainableError."""
    check_trainable(trainable)
    n_samples = None if num_samples == -1 else check_number("num_samples", num_samples)
    seed = new_seed() if seed is None else check_number("seed", seed)
    config = without_api_keys(config)
    warn_of_secrets(config)
    tree = dict(config) if isinstance(config, Mapping) else {} if config is None else config
    space = Space(tree, parse_constraints(parameter_constraints))
    searcher, bound, objective = make_deciders(
        space,
        metric=metric,
        mode=mode,
        constraints=constraints,
        search_alg=search_alg,
        scheduler=scheduler,
        points_to_evaluate=points_to_evaluate,
        warm_start=warm_start,
    )
    _look_ahead(space, searcher, n_samples, seed=seed)
    stopper = bind_stopper(parse_stop(stop), objective)
    spec = ExperimentSpec(
        experiment_id=uuid.uuid4().hex,
        name="" if name is None else name,
        trainable_name=trainable_name(trainable),
        source_digest=source_digest(trainable),
        space=space.describe(),
        space_fingerprint=space.fingerprint,
        objective=objective,
        seed=seed,
        n_trials=None if n_samples is None else n_samples * space.n_grid,
        resources=parse_resources(resources_per_trial),
        max_concurrent_trials=max_concurrent_trials,
        time_budget_s=time_budget_s.total_seconds() if isinstance(time_budget_s, timedelta) else time_budget_s,
        max_total_steps=max_total_steps,
        max_failures=max_failures,
        fail_fast=fail_fast,  # type: ignore[arg-type]  # check_spec looks at it
        grace_s=grace_s,
        first_report_timeout_s=first_report_timeout_s,
        report_timeout_s=report_timeout_s,
        nan_policy=_nan_policy(nan_policy),
        checkpoint_policy=_checkpoint_policy(keep_checkpoints_num, checkpoint_score_attr),
        checkpoint_freq=checkpoint_freq,
        checkpoint_at_end=bool(checkpoint_at_end),
        searcher_name=_searcher_name(searcher),
        scheduler_name=type(bound).__name__,
        stopper_name="" if type(stopper) is NoopStopper else type(stopper).__name__,
        created_at=time.time(),
        tunesmith_version=_version(),
    )
    return Plan(check_spec(spec), space, trainable, searcher, bound, stopper)


def _look_ahead(space: Space, searcher: Searcher, n_samples: int | None, *, seed: int) -> None:
    """Say what else only the trials would show (F67). Raises SpaceError for a given point outside the space (F77)."""
    if space.is_empty and n_samples != 1:
        _log.warning("Nothing varies in the space: all trials get the same config, and differ by their seeds only.")
    if (points := getattr(searcher, "points", None)) is not None:
        points.check(space, seed=seed)


def _searcher_name(searcher: Searcher) -> str:
    points = getattr(searcher, "points", None)
    has_points = points is not None and len(points) > 0
    return f"{type(searcher).__name__}{' with points_to_evaluate' if has_points else ''}"


def _nan_policy(policy: str) -> NanPolicy:
    if policy not in list(NanPolicy):
        raise ConfigError(f"nan_policy is {policy!r}. Give {', '.join(repr(known.value) for known in NanPolicy)}.")
    return NanPolicy(policy)


def _checkpoint_policy(keep_num: int | None, score_attr: str | None) -> CheckpointPolicy:
    """Ray Tune's words: "loss" ranks by the largest, "min-loss" by the smallest."""
    if not isinstance(score_attr, str):  # None, or something that check_spec refuses
        return CheckpointPolicy(keep_num=keep_num, score_metric=score_attr)
    is_min = score_attr.startswith("min-")
    metric = score_attr.removeprefix("min-")
    return CheckpointPolicy(keep_num=keep_num, score_metric=metric, score_mode=Mode.MIN if is_min else Mode.MAX)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tunesmith")
    except PackageNotFoundError:
        return "0+unknown"


def make_executor(executor: str | Executor | None, capacity: Mapping[str, float] | None) -> Executor:
    """The executor by name: "processes", "inline", "ray", or one that was made.

    The default is "ray" where RAY_ADDRESS names a cluster, unless this is a trial's process already; else "processes".
    """
    if executor is None:
        is_on_cluster = bool(os.environ.get("RAY_ADDRESS")) and TRIAL_VARIABLE not in os.environ
        executor = "ray" if is_on_cluster else "inline" if sys.platform == "win32" else "processes"
    if executor == "processes":
        from tunesmith.executors.processes import ProcessExecutor

        return ProcessExecutor(capacity)
    if executor == "inline":
        from tunesmith.executors.inline import InlineExecutor

        return InlineExecutor(capacity)
    if executor == "ray":
        return _ray_executor(capacity)
    if isinstance(executor, str):
        raise ConfigError(f"executor is {executor!r}. Give 'processes', 'inline' or 'ray'.")
    return executor


def _ray_executor(capacity: Mapping[str, float] | None) -> Executor:
    if capacity:
        raise ConfigError("capacity= is for this machine; on a Ray cluster each node has what `ray start` was told.")
    try:
        from tunesmith.executors.ray import RayExecutor
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError("The Ray executor needs Ray: pip install 'tunesmith[ray]'.") from error
    return RayExecutor()


def trial_names(spec: ExperimentSpec) -> Callable[[int], tuple[str, str]]:
    """A trial's index -> its id and its name."""
    from tunesmith.experiment.state import trial_id

    def names(index: int) -> tuple[str, str]:
        found = trial_id(spec.experiment_id, index)
        return found, f"{spec.trainable_name}_{found}"

    return names
