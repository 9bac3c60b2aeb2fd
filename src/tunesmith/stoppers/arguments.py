"""Checks of what users pass to stoppers."""

from __future__ import annotations

from numbers import Real
from typing import Any

from tunesmith.errors import ConfigError


def metric_name(value: Any) -> str:
    """The name of one metric, or a ConfigError."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"metric is {value!r}. Give the name of one reported value.")
    return value


def whole(name: str, value: Any, *, at_least: int) -> int:
    """A whole number of `at_least` or more, or a ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigError(f"{name} is {value!r}. Give a whole number of {at_least} or more.")
    return value


def positive(name: str, value: Any) -> float:
    """A number above 0, or a ConfigError; NaN is none."""
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) > 0:
        raise ConfigError(f"{name} is {value!r}. Give a number above 0.")
    return float(value)
