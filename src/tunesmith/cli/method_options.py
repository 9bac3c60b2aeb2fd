"""How trials are chosen and ended: options that `run` and `resume` share, and what `tune.run` is given for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from tunesmith.errors import ConfigError

_F = Callable[..., Any]
#: The names of these options among the parameters of a command.
METHOD_OPTIONS = ("max_t", "scheduler", "grace_period", "reduction_factor", "search", "stops")
_OF_SCHEDULER = ("max_t", "grace_period", "reduction_factor")
_NO_STOP = "none"
_OPTIONS = (
    click.option("--max-t", type=click.IntRange(1), help="Steps of a full training: poor trials are stopped before."),
    click.option("--scheduler", help="auto (with --max-t), asha, hyperband, median_stopping, fifo, ..."),
    click.option("--grace-period", type=click.IntRange(1), help="Steps before a trial may be stopped."),
    click.option("--reduction-factor", type=float, help="Of the scheduler: one in so many goes on."),
    click.option("--search", help="auto, random, grid, gp, tpe, ..."),
    click.option(
        "--stop", "stops", multiple=True, metavar="NAME=VALUE", help="End a trial there: training_iteration=10."
    ),
)


def method_options(command: _F) -> _F:
    """The options of METHOD_OPTIONS."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def allow_change_option(command: _F) -> _F:
    """`--allow-change`: what may differ from the experiment that is gone on with."""
    return click.option(
        "--allow-change",
        "allowed",
        multiple=True,
        type=click.Choice(["space", "objective"]),
        help="Go on though this differs from before.",
    )(command)


def is_given(value: Any) -> bool:
    """Whether it is more than click's word for an option that was left out. 0 equals False, and is a value."""
    return value is not None and value is not False and value != ()


def method_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """What `tune.run` is given for those of METHOD_OPTIONS that are there.

    Raises: ConfigError.
    """
    found: dict[str, Any] = {}
    if "search" in options:
        found["search_alg"] = options["search"]
    if options.get("stops"):
        found["stop"] = parse_stops(options["stops"])
    if (scheduler := _scheduler(options)) is not None:
        found["scheduler"] = scheduler
    return found


def parse_stops(texts: Iterable[str]) -> dict[str, float] | None:
    """`training_iteration=10` and the like, as `stop=` of `tune.run` takes them; `none` is None.

    Raises: ConfigError.
    """
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        if text == _NO_STOP:
            continue
        try:
            found[name] = float(value)
        except ValueError:
            raise ConfigError(f"--stop {text!r} is no NAME=NUMBER, such as training_iteration=10.") from None
    return found or None


def _scheduler(options: Mapping[str, Any]) -> Any:
    """The scheduler that was named, or chosen where it is known how far a full training goes. Raises ConfigError."""
    keywords = {name: options[name] for name in _OF_SCHEDULER if name in options}
    name = options.get("scheduler")
    if name is None and not keywords:
        return None
    if name is None and "max_t" not in keywords:
        raise ConfigError(f"--{next(iter(keywords)).replace('_', '-')} needs --max-t, or a --scheduler.")
    from tunesmith.methods import create_scheduler

    return create_scheduler(name or "auto", **keywords)
