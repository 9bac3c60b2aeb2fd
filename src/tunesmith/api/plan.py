"""From a user's arguments to a spec and the parts that run it. What is wrong is refused before a folder is made."""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.protocols import Executor, Scheduler, Searcher, Stopper
from tunesmith.resources import parse_resources
from tunesmith.rng import new_seed
from tunesmith.schedulers import FIFOScheduler, create_scheduler
from tunesmith.searchers import RandomSearch, create_searcher
from tunesmith.space import Space
from tunesmith.spec import CheckpointPolicy, ExperimentSpec, NanPolicy, check_spec
from tunesmith.stoppers import parse_stop, shortest_timeout_s
from tunesmith.trial import Mode, Objective, parse_objective
from tunesmith.trialside.call import check_trainable
from tunesmith.trialside.trainable import trainable_name

RESULTS_FOLDER = "~/tunesmith_results"


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
    scheduler: str | Scheduler | None,
    keep_checkpoints_num: int | None,
    checkpoint_score_attr: str | None,
    max_failures: int,
    fail_fast: bool | str,
    max_concurrent_trials: int | None,
    grace_s: float,
    first_report_timeout_s: float | None,
    report_timeout_s: float | None,
    nan_policy: str,
    seed: int | None,
) -> Plan:
    """The plan in the words of `tune.run`. Raises ConfigError, SpaceError, ResourceError or TrainableError."""
    check_trainable(trainable)
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < -1 or num_samples == 0:
        raise ConfigError(f"num_samples is {num_samples!r}. Give a whole number of 1 or more, or -1 for endless.")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        raise ConfigError(f"seed is {seed!r}. Give a whole number of 0 or more.")
    space = Space(dict(config) if isinstance(config, Mapping) else {} if config is None else config)
    searcher = _searcher(search_alg)
    bound = create_scheduler(scheduler) if isinstance(scheduler, str) else scheduler or FIFOScheduler()
    objective = bound.bind(_objective(metric, mode, bound))
    stopper = parse_stop(stop)
    spec = ExperimentSpec(
        experiment_id=uuid.uuid4().hex,
        name=name or "",
        trainable_name=trainable_name(trainable),
        source_digest=source_digest(trainable),
        space=space.describe(),
        space_fingerprint=space.fingerprint,
        objective=objective,
        seed=new_seed() if seed is None else seed,
        n_trials=None if num_samples == -1 else num_samples * space.n_grid,
        resources=parse_resources(resources_per_trial),
        max_concurrent_trials=max_concurrent_trials,
        time_budget_s=_time_budget_s(time_budget_s, stopper),
        max_total_steps=max_total_steps,
        max_failures=max_failures,
        fail_fast=bool(fail_fast),
        grace_s=grace_s,
        first_report_timeout_s=first_report_timeout_s,
        report_timeout_s=report_timeout_s,
        nan_policy=_nan_policy(nan_policy),
        checkpoint_policy=_checkpoint_policy(keep_checkpoints_num, checkpoint_score_attr),
        searcher_name=type(searcher).__name__,
        scheduler_name=type(bound).__name__,
        created_at=time.time(),
        tunesmith_version=_version(),
    )
    check_spec(spec)
    return Plan(spec, space, trainable, searcher, bound, stopper)


def _searcher(search_alg: str | Searcher | None) -> Searcher:
    if search_alg is None:
        return RandomSearch()
    return create_searcher(search_alg) if isinstance(search_alg, str) else search_alg


def _objective(
    metric: str | Sequence[str] | None, mode: str | Sequence[str] | None, scheduler: Scheduler
) -> Objective | None:
    """The objective of the call, where it gives both; a half in the call and a half in the scheduler is refused."""
    if (metric is None) != (mode is None):
        raise ConfigError(
            f"metric is {metric!r} and mode is {mode!r}. Give both here, or both to the {type(scheduler).__name__}."
        )
    return parse_objective(metric, mode)


def _nan_policy(policy: str) -> NanPolicy:
    if policy not in list(NanPolicy):
        raise ConfigError(f"nan_policy is {policy!r}. Give {', '.join(repr(known.value) for known in NanPolicy)}.")
    return NanPolicy(policy)


def _time_budget_s(budget: float | timedelta | None, stopper: Stopper) -> float | None:
    given = budget.total_seconds() if isinstance(budget, timedelta) else budget
    if given is not None and (isinstance(given, bool) or not isinstance(given, int | float) or math.isnan(given)):
        raise ConfigError(f"time_budget_s is {budget!r}. Give seconds or a timedelta.")
    limits = [limit for limit in (given, shortest_timeout_s(stopper)) if limit is not None]
    return min(limits, default=None)


def _checkpoint_policy(keep_num: int | None, score_attr: str | None) -> CheckpointPolicy:
    """Ray Tune's words: "loss" ranks by the largest, "min-loss" by the smallest."""
    if keep_num is not None and keep_num < 1:
        raise ConfigError(f"keep_checkpoints_num is {keep_num!r}. Give 1 or more, or None for the best and the last.")
    if score_attr is None:
        return CheckpointPolicy(keep_num=keep_num)
    is_min = score_attr.startswith("min-")
    metric = score_attr.removeprefix("min-")
    return CheckpointPolicy(keep_num=keep_num, score_metric=metric, score_mode=Mode.MIN if is_min else Mode.MAX)


def source_digest(trainable: Any) -> str | None:
    """A fingerprint of the trainable's source text, to notice a change at resume; None where there is no source."""
    target = trainable
    while hasattr(target, "func"):
        target = target.func
    try:
        return hashlib.sha256(inspect.getsource(target).encode()).hexdigest()
    except (OSError, TypeError):
        return None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tunesmith")
    except PackageNotFoundError:
        return "0+unknown"


def make_executor(executor: str | Executor | None, capacity: Mapping[str, float] | None) -> Executor:
    """The executor by name: "processes" (the default), "inline", or one that was made."""
    if executor is None:
        executor = "inline" if sys.platform == "win32" else "processes"
    if executor == "processes":
        from tunesmith.executors.processes import ProcessExecutor

        return ProcessExecutor(capacity)
    if executor == "inline":
        from tunesmith.executors.inline import InlineExecutor

        return InlineExecutor(capacity)
    if isinstance(executor, str):
        raise ConfigError(f"executor is {executor!r}. Give 'processes' or 'inline'.")
    return executor


def results_folder(local_dir: str | Path | None) -> Path:
    """Where experiments lie: the argument, else the variable TUNESMITH_RESULTS, else a folder in the user's home."""
    import os

    return Path(local_dir or os.environ.get("TUNESMITH_RESULTS") or RESULTS_FOLDER).expanduser().resolve()


def trial_names(spec: ExperimentSpec) -> Callable[[int], tuple[str, str]]:
    """A trial's index -> its id and its name."""
    from tunesmith.experiment.state import trial_id

    def names(index: int) -> tuple[str, str]:
        found = trial_id(spec.experiment_id, index)
        return found, f"{spec.trainable_name}_{found}"

    return names
