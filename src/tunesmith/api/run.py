"""`tune.run`: Ray Tune's face."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api.callbacks import AnyCallback
from tunesmith.api.changes import parse_on_change
from tunesmith.api.driver import drive
from tunesmith.api.plan import make_executor, make_plan
from tunesmith.api.resume import parse_resume
from tunesmith.callbacks import ProgressReporter, default_reporter
from tunesmith.errors import ConfigError, TuneError, TunesmithError
from tunesmith.protocols import Executor, Scheduler, Searcher
from tunesmith.resources import PlacementGroupFactory
from tunesmith.stores.root import results_folder
from tunesmith.trial import TrialStatus
from tunesmith.trialside.call import run_trainable
from tunesmith.trialside.current import TRIAL_VARIABLE, attach_from_environment, has_own_session
from tunesmith.trialside.session import TrialStopped

_log = logging.getLogger("tunesmith")

#: Arguments of Ray Tune's `run` that have no meaning here; they are taken, so that old code runs, and said so.
_WITHOUT_EFFECT = frozenset(
    {
        "log_to_file",
        "trial_name_creator",
        "trial_dirname_creator",
        "sync_config",
        "export_formats",
        "restore",
        "server_port",
        "reuse_actors",
        "trial_executor",
        "queue_trials",
        "loggers",
        "_remote",
    }
)


def run(
    run_or_experiment: Any,
    name: str | None = None,
    metric: str | Sequence[str] | None = None,
    mode: str | Sequence[str] | None = None,
    stop: Any = None,
    time_budget_s: float | timedelta | None = None,
    config: Mapping[str, Any] | None = None,
    resources_per_trial: Mapping[str, Any] | PlacementGroupFactory | None = None,
    num_samples: int = 1,
    local_dir: str | Path | None = None,
    search_alg: str | Searcher | None = None,
    scheduler: str | Scheduler | None = None,
    keep_checkpoints_num: int | None = None,
    checkpoint_score_attr: str | None = None,
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = False,
    verbose: int = 2,
    progress_reporter: ProgressReporter | None = None,
    *,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
    warm_start: Any = None,
    parameter_constraints: Any = (),
    constraints: Mapping[str, str] | None = None,
    max_failures: int = 0,
    fail_fast: bool | str = False,
    resume: bool | str = False,
    raise_on_failed_trial: bool = True,
    callbacks: Sequence[AnyCallback] | None = None,
    max_concurrent_trials: int | None = None,
    storage_path: str | Path | None = None,
    max_total_steps: int | None = None,
    executor: str | Executor | None = None,
    capacity: Mapping[str, float] | None = None,
    seed: int | None = None,
    durability: str = "normal",
    grace_s: float = 10.0,
    first_report_timeout_s: float | None = None,
    report_timeout_s: float | None = None,
    nan_policy: str = "ignore",
    on_change: Mapping[str, str] | None = None,
    takeover: bool = False,
    **ray_arguments: Any,
) -> ExperimentAnalysis:
    """Tune a training function (or class) over a space, and return the results.

    Args:
        run_or_experiment: `f(config)`, `f(config, checkpoint_dir=None)`, or a subclass of `Trainable`.
        name: of the experiment and its folder. None makes a new one; an existing one is gone on with.
        metric, mode: what is optimised ("min" or "max"); may go to the scheduler instead. Lists of the same length for
            several objectives: see `result.pareto`.
        stop: when a trial or the experiment ends: {"training_iteration": 10}, f(trial_id, result), or a Stopper.
        config: the search space.
        resources_per_trial: {"cpu": 2, "gpu": 0.5, "license": 1}, or a PlacementGroupFactory for trials with workers;
            one CPU by default.
        num_samples: samples in total, also after a resume; each is a whole grid where there is one. -1: endless.
        search_alg: "auto" (the default) learns from the results; "random", "grid", "gp", ... or a Searcher.
        points_to_evaluate: configs to try first, such as the defaults; what one leaves out is drawn.
        warm_start: earlier experiments (results or folders; spaces may differ), or lists of (config, value).
        parameter_constraints: functions of a config that say whether it is allowed: `lambda c: c["a"] < c["b"]`.
        constraints: bounds of reported metrics: {"latency": "<= 20"}. `result.best` is the best result that keeps them.
        local_dir, storage_path: where experiments lie; ~/tunesmith_results, or the variable TUNESMITH_RESULTS.
        verbose: 0 silent, 1 progress and summary, 2 and a line per trial, 3 and a line per result.
        max_failures: further attempts of a trial that failed; -1 is endless.
        resume: True, "LOCAL" or "REMOTE": an experiment of this name must exist; "AUTO": go on if it does (also without
            this word); "PROMPT": ask. "ERRORED" runs failed trials again from their last checkpoint, "RESTART_ERRORED"
            from scratch; with "_ONLY" no trial begins that had not begun. "AUTO+ERRORED" joins two.
        callbacks: objects of subclasses of `Callback`, and trackers (docs/tracking.md). They slow nothing down.
        capacity: what may be used here, where it differs from what is found: {"cpu": 4, "license": 2}.
        grace_s: seconds that a trial which must end gets before SIGKILL.
        first_report_timeout_s, report_timeout_s: an attempt without a report for so long, after its start or after a
            report, is ended and counts as failed. None: no limit; the display says STALLED.
        nan_policy: of an objective that is NaN: "ignore" (it ranks last), "stop" its trial, or "fail" the attempt.
        on_change: what differences do when going on: {"space": "refuse", "objective": "refuse", "code": "warn"} unless
            given; the first two may be "allow", and code "ignore" or "refuse".
        fail_fast: True ends the experiment at the first trial that fails for good; "raise" also raises TuneError,
            whatever `raise_on_failed_trial` says.
    Raises: ConfigError, SpaceError, ResourceError, TrainableError before anything is started; TuneError at the end if
        trials failed, unless `raise_on_failed_trial` is False, or if it could not go on for a reason that is no
        trial's. `tune.load(folder)` then has the results.
    """
    _run_in_session_if_inside_one(run_or_experiment)
    _check_ray_arguments(ray_arguments)
    how, changes = parse_resume(resume, name), parse_on_change(on_change)
    plan = make_plan(
        run_or_experiment,
        name=name,
        metric=metric,
        mode=mode,
        config=config,
        num_samples=num_samples,
        stop=stop,
        time_budget_s=time_budget_s,
        max_total_steps=max_total_steps,
        resources_per_trial=resources_per_trial,
        search_alg=search_alg,
        points_to_evaluate=points_to_evaluate,
        warm_start=warm_start,
        parameter_constraints=parameter_constraints,
        constraints=constraints,
        scheduler=scheduler,
        keep_checkpoints_num=keep_checkpoints_num,
        checkpoint_score_attr=checkpoint_score_attr,
        checkpoint_freq=checkpoint_freq,
        checkpoint_at_end=checkpoint_at_end,
        max_failures=max_failures,
        fail_fast=fail_fast,
        max_concurrent_trials=max_concurrent_trials,
        grace_s=grace_s,
        first_report_timeout_s=first_report_timeout_s,
        report_timeout_s=report_timeout_s,
        nan_policy=nan_policy,
        seed=seed,
    )
    reporter = progress_reporter or default_reporter()
    analysis = drive(
        plan,
        root=results_folder(storage_path or local_dir),
        executor=make_executor(executor, capacity),
        reporter=reporter if verbose > 0 else None,
        callbacks=callbacks or (),
        verbose=verbose,
        on_change=changes,
        resume=how,
        takeover=takeover,
        durability=durability,
    )
    if raise_on_failed_trial or fail_fast == "raise":
        _raise_on_failures(analysis)
    return analysis


def _check_ray_arguments(given: Mapping[str, Any]) -> None:
    """Refuse what nobody knows; name what is taken and has no effect."""
    unknown = set(given) - _WITHOUT_EFFECT
    if unknown:
        raise ConfigError(f"tune.run does not know {', '.join(sorted(map(repr, unknown)))}. See help(tunesmith.run).")
    without_effect = sorted(key for key, value in given.items() if value)
    if without_effect:
        _log.warning("These arguments have no effect here: %s.", ", ".join(without_effect))


def _raise_on_failures(analysis: ExperimentAnalysis) -> None:
    failed = [trial for trial in analysis.trials if trial.state is TrialStatus.FAILED]
    if not failed and all(trial.state is TrialStatus.INVALID for trial in analysis.trials):
        failed = analysis.trials  # some may be refused, but if all are there is nothing to return
    if not failed:
        return
    names = [str(trial) for trial in failed]
    first, stats = failed[0], analysis.stats()
    error = first.error or "no traceback"
    if first.reason and first.reason not in error:
        error = f"{first.reason}\n{error}"
    why = f" The experiment ended early: {stats['detail']}." if stats["status"] == "failed" and stats["detail"] else ""
    shown = names if len(names) <= 10 else [*names[:10], f"and {len(names) - 10} more"]
    raise TuneError(
        f"Trials did not complete: {', '.join(shown)}.{why} All results are kept in {analysis.folder}; "
        "raise_on_failed_trial=False returns them, and resume='ERRORED' with its name runs what failed again."
        f"\nThe first failure:\n{error}"
    )


def _run_in_session_if_inside_one(trainable: Callable[..., Any] | Any) -> None:
    """A script that a trial re-executes (as Lightning's DDP does) is part of that trial: train, and leave."""
    if "TUNESMITH_TEMPLATE" in os.environ:
        raise TunesmithError(
            "tune.run was called while a worker process was importing your code. Put the call under "
            "`if __name__ == '__main__':`, or into a function that the training module does not call at import."
        )
    if has_own_session() or TRIAL_VARIABLE not in os.environ:
        return
    session = attach_from_environment()
    assert session is not None
    try:
        run_trainable(trainable, session)
    except TrialStopped:
        pass
    sys.exit(0)
