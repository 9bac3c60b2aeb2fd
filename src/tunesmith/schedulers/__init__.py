"""Schedulers: they judge each report, and say what a free slot is used for."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.protocols import Scheduler
from tunesmith.schedulers.asha import ASHAScheduler, AsyncHyperBandScheduler
from tunesmith.schedulers.fifo import FIFOScheduler

__all__ = [
    "SCHEDULERS",
    "ASHAScheduler",
    "AsyncHyperBandScheduler",
    "FIFOScheduler",
    "create_scheduler",
]

#: What `scheduler="..."` may say, in Ray Tune's words.
SCHEDULERS: dict[str, type[Scheduler]] = {
    "fifo": FIFOScheduler,
    "async_hyperband": AsyncHyperBandScheduler,
    "asynchyperband": AsyncHyperBandScheduler,
    "asha": AsyncHyperBandScheduler,
}


def create_scheduler(name: str, **kwargs: Any) -> Scheduler:
    """The scheduler of this name, made with these keywords.

    Raises: ConfigError for an unknown name or keyword (Ray Tune drops unknown keywords without a word).
    """
    if name not in SCHEDULERS:
        close = get_close_matches(str(name), SCHEDULERS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"There is no scheduler {name!r}. Give one of {', '.join(sorted(SCHEDULERS))}.{hint}")
    made = SCHEDULERS[name]
    known = list(inspect.signature(made).parameters)
    unknown = sorted(set(kwargs) - set(known))
    if unknown:
        raise ConfigError(
            f"The scheduler {name!r} does not know {', '.join(unknown)}. It takes {', '.join(known) or 'no arguments'}."
        )
    return made(**kwargs)
