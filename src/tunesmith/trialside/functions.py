"""What training code calls: `report`, `checkpoint_dir`, `get_checkpoint`, and the questions about its trial.

Outside a trial all of them work too, without effect, so that a training function can be tried out on its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import MetricError
from tunesmith.trialside.checkpoint import Checkpoint
from tunesmith.trialside.current import get_session
from tunesmith.trialside.session import OnStop, ReportDecision, check_on_stop, parse_report

#: The name of a metric that is given without one: `report(0.3)`, `return 0.3`.
ANONYMOUS_METRIC = "_metric"

_warned: set[str] = set()


def report(
    _metric: Any = None,
    /,
    *,
    step: int | None = None,
    checkpoint: Any = None,
    on_stop: OnStop = "raise",
    **metrics: Any,
) -> ReportDecision:
    """Report metrics: `report(loss=0.3)`, `report({"loss": 0.3}, step=e, checkpoint=folder)` or `report(0.3)`.

    Returns when the result is stored. Callable from threads and from child processes of the trial.

    Args:
        _metric: a dict of metrics (nested ones are flattened with '/'), or one number, stored as `_metric`.
        step: 1 or more, growing; counted where it is left out.
        checkpoint: the folder that was saved for this step; it is copied.
        on_stop: "raise" ends the trial, where it is to end, by an exception that `except Exception` lets by. "return"
            returns a decision with `should_stop`, for training that must end all its ranks together.
    Raises: MetricError, ReportError or CheckpointError for what cannot be stored.
    """
    gathered = gather(_metric, metrics)
    session = get_session()
    if session is None:
        check_on_stop(on_stop)
        parse_report(gathered, step)
        _warn_once("report() was called outside a trial: the metrics go nowhere.", stacklevel=3)
        return ReportDecision()
    return session.report(gathered, step=step, checkpoint=checkpoint, on_stop=on_stop)


def gather(positional: Any, named: Mapping[str, Any]) -> Mapping[str, Any]:
    """One mapping of all that was handed to `report`.

    Raises: MetricError if a name occurs in both.
    """
    if positional is None and named.keys() == {"metrics"} and isinstance(named["metrics"], Mapping):
        return dict(named["metrics"])  # Ray Tune's later signature: report(metrics={...})
    if positional is None:
        return named
    given: Mapping[str, Any] = positional if isinstance(positional, Mapping) else {ANONYMOUS_METRIC: positional}
    if not named:
        return given
    if twice := sorted(name for name in named if name in given):
        raise MetricError(f"Metric {twice[0]!r} is in the dict and among the keywords. Give it once.")
    return {**given, **named}


@contextmanager
def checkpoint_dir(step: Any) -> Iterator[str]:
    """A folder to save a checkpoint into; it goes with the report that follows.

    The folder has another name within the block than afterwards: keep no path into it. An exception leaves nothing.
    Outside a trial it is the current directory.
    """
    if step is None:
        raise ValueError("checkpoint_dir(step) was given None. Give the step, or another label of the checkpoint.")
    session = get_session()
    if session is None:
        _warn_once("checkpoint_dir() was used outside a trial: it saves into the current directory.", stacklevel=4)
        yield str(Path.cwd())
        return
    with session.saving(step) as folder:
        yield str(folder)


def get_checkpoint() -> Checkpoint | None:
    """The newest checkpoint of the trial: the one to start from, or the last one reported since; None without any."""
    session = get_session()
    return None if session is None or session.checkpoint is None else Checkpoint(session.checkpoint)


def is_session_enabled() -> bool:
    """Whether the calling code runs inside a trial."""
    return get_session() is not None


def get_trial_id() -> str | None:
    """The trial's id; None outside a trial."""
    return None if (session := get_session()) is None else session.facts.trial_id


def get_trial_name() -> str | None:
    """The trial's name; None outside a trial."""
    return None if (session := get_session()) is None else session.facts.trial_name


def get_trial_index() -> int | None:
    """The trial's number within the experiment, from 0; None outside a trial."""
    return None if (session := get_session()) is None else session.facts.trial_index


def get_trial_dir() -> str | None:
    """The trial's own folder, made where it is missing; None outside a trial."""
    return None if (session := get_session()) is None else str(session.make_trial_dir())


def get_trial_resources() -> dict[str, float] | None:
    """What the trial was given, such as {"cpu": 2.0, "gpu": 0.5}; None outside a trial."""
    return None if (session := get_session()) is None else dict(session.facts.resources)


def get_experiment_name() -> str | None:
    """The experiment's name; None outside a trial."""
    return None if (session := get_session()) is None else session.facts.experiment_name


class TrialContext:
    """The questions about the running trial under Ray's later names: `get_context().get_trial_id()`."""

    get_trial_id = staticmethod(get_trial_id)
    get_trial_name = staticmethod(get_trial_name)
    get_trial_dir = staticmethod(get_trial_dir)
    get_trial_resources = staticmethod(get_trial_resources)
    get_trial_index = staticmethod(get_trial_index)
    get_experiment_name = staticmethod(get_experiment_name)


def get_context() -> TrialContext:
    """The context of the calling code; outside a trial all its answers are None."""
    return TrialContext()


def _warn_once(message: str, *, stacklevel: int) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=stacklevel)
