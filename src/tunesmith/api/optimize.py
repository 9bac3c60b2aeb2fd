"""`tune.minimize` and `tune.maximize`: the short face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api.run import run
from tunesmith.errors import ConfigError
from tunesmith.methods import AutoScheduler
from tunesmith.schedulers import FIFOScheduler
from tunesmith.trialside.functions import ANONYMOUS_METRIC


def minimize(
    trainable: Callable[..., Any] | Any,
    space: Mapping[str, Any],
    *,
    num_samples: int = 100,
    max_t: int | None = None,
    metric: str | Sequence[str] | None = None,
    **run_arguments: Any,
) -> ExperimentAnalysis:
    """Find the config with the smallest objective. Search and early stopping are chosen for you.

    The objective is `metric`, else the number that the function returns, else the only metric it reports.

    Args:
        metric: a list for several objectives, all to be made small; see `run` for one small and another large.
        max_t: the last step of a full training: poor trials are stopped before it. None: all run to their end.
        run_arguments: any further argument of `run`.
    """
    return _optimize(trainable, space, mode="min", num_samples=num_samples, max_t=max_t, metric=metric, **run_arguments)


def maximize(
    trainable: Callable[..., Any] | Any,
    space: Mapping[str, Any],
    *,
    num_samples: int = 100,
    max_t: int | None = None,
    metric: str | Sequence[str] | None = None,
    **run_arguments: Any,
) -> ExperimentAnalysis:
    """Find the config with the largest objective; see `minimize`."""
    return _optimize(trainable, space, mode="max", num_samples=num_samples, max_t=max_t, metric=metric, **run_arguments)


def _optimize(
    trainable: Callable[..., Any] | Any,
    space: Mapping[str, Any],
    *,
    mode: str,
    num_samples: int,
    max_t: int | None,
    metric: str | Sequence[str] | None,
    **run_arguments: Any,
) -> ExperimentAnalysis:
    if "config" in run_arguments or "mode" in run_arguments:
        raise ConfigError(
            "The space is the second argument here and the mode is in the name: leave out config= and mode=."
        )
    if "scheduler" not in run_arguments:
        run_arguments["scheduler"] = FIFOScheduler() if max_t is None else AutoScheduler(max_t)
    return run(
        trainable,
        config=space,
        metric=metric or ANONYMOUS_METRIC,
        mode=[mode] * len(metric) if isinstance(metric, list | tuple) else mode,
        num_samples=num_samples,
        **run_arguments,
    )
