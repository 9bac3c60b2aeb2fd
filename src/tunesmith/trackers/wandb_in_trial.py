"""Weights & Biases inside a trial: for training code that logs more than it reports."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.trackers.mixin import Finish, with_open_run
from tunesmith.trackers.tracker import read_key, require
from tunesmith.trackers.values import masked
from tunesmith.trackers.wandb import run_id
from tunesmith.trialside.current import get_session


def setup_wandb(
    config: Mapping[str, Any] | None = None,
    api_key: str | None = None,
    api_key_file: str | None = None,
    rank_zero_only: bool = True,
    **kwargs: Any,
) -> Any:
    """A W&B run of this trial: `run = setup_wandb(config, project="mnist"); run.log({...})`. Outside a trial, any run.

    It is grouped by experiment, named after the trial, goes on as the same run when the trial is tried again or
    resumed, and is finished when the trial ends. What a trial that is killed logged last is lost: the driver's
    `WandbLoggerCallback` loses nothing. A trial that has returned is left half of `tune.run`'s `grace_s` to end, the
    upload of its run included: call `run.finish()` in the function where that is too short.

    Args:
        config: what to show as the run's config; None: the trial's.
        api_key, api_key_file: without them W&B looks for WANDB_API_KEY and for what `wandb login` left.
        rank_zero_only: of the processes of a distributed training only the one with RANK 0 gets a run, the others one
            that does nothing.
        kwargs: further arguments of `wandb.init`.
    Raises: MissingExtraError without the package wandb; ConfigError if `api_key_file` cannot be read.
    """
    require(("wandb",), "wandb")
    import wandb

    key = read_key(api_key, api_key_file)
    if key is not None:
        os.environ["WANDB_API_KEY"] = key.reveal()
    session = get_session()
    given: dict[str, Any] = {"config": masked(config) if config is not None else None, "reinit": "finish_previous"}
    if session is not None:
        facts = session.facts
        facts.trial_dir.mkdir(parents=True, exist_ok=True)
        given |= {
            "id": f"{run_id(facts.experiment_id, facts.trial_index)}-t",  # another one than the callback's
            "name": facts.trial_name,
            "group": facts.experiment_name,
            "dir": str(facts.trial_dir),
            "resume": "allow",
            "allow_val_change": True,
            "config": masked(facts.config if config is None else config),
        }
    if rank_zero_only and os.environ.get("RANK", "0") != "0":
        given["mode"] = "disabled"
    run = wandb.init(**{**given, **kwargs})
    if session is not None:
        atexit.register(lambda: run.finish(exit_code=0 if session.outcome in (None, "returned", "stopped") else 1))
    return run


def wandb_mixin(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a training function: it has an open run, `wandb.log({...})`, set up from `config["wandb"]`.

    That entry holds arguments of `setup_wandb`, such as {"project": "mnist", "api_key_file": "~/.wandb_key"}; the
    function gets the config without it.

    Raises: ConfigError for a class: call `setup_wandb(config, ...)` in its `setup`.
    """

    def open_run(config: dict[str, Any], **settings: Any) -> Finish:
        run = setup_wandb(config, **settings)
        return lambda is_good: run.finish(exit_code=0 if is_good else 1)

    return with_open_run(function, tool="wandb", open_run=open_run)
