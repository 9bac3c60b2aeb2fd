"""Things made by a name that a user gives: what is unknown is refused, with what there is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from tunesmith.errors import ConfigError

T = TypeVar("T")


def made_by_name(kind: str, name: str, makers: Mapping[str, Callable[..., T]], kwargs: Mapping[str, object]) -> T:
    """What the maker of this name makes of these keywords.

    Args: kind: what the names are of, for messages: "scheduler".
    Raises: ConfigError for an unknown name or keyword (Ray Tune drops unknown keywords without a word).
    """
    if name not in makers:
        close = get_close_matches(str(name), makers, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"There is no {kind} {name!r}. Give one of {', '.join(sorted(makers))}.{hint}")
    maker = makers[name]
    known = list(inspect.signature(maker).parameters)
    unknown = sorted(set(kwargs) - set(known))
    if unknown:
        takes = ", ".join(known) or "no arguments"
        raise ConfigError(f"The {kind} {name!r} does not know {', '.join(unknown)}. It takes {takes}.")
    return maker(**kwargs)
