"""The old decorators of training functions, which open a run of another tool around each call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.trialside.session import TrialStopped

Finish = Callable[[bool], object]  #: ends the run; whether it ended well


def with_open_run(function: Callable[..., Any], *, tool: str, open_run: Callable[..., Finish]) -> Callable[..., Any]:
    """The function with a run open while it is called; it gets the config without the entry `tool`.

    Args: open_run: is given that config, and what the entry holds as keywords.
    Raises: ConfigError for a class.
    """
    if isinstance(function, type):
        raise ConfigError(
            f"{tool}_mixin decorates functions. In {function.__name__}.setup call setup_{tool}(config, ...)."
        )

    @functools.wraps(function)
    def with_run(config: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        rest = {key: value for key, value in config.items() if key != tool}
        finish = open_run(rest, **config.get(tool, {}))
        is_good = False
        try:
            result = function(rest, *arguments, **named)
            is_good = True
        except TrialStopped:
            is_good = True
            raise
        finally:
            finish(is_good)
        return result

    return with_run
