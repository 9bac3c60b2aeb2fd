"""What a user asked a reporter to show: the arguments of `CLIReporter`, checked and in one shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tunesmith.errors import ConfigError
from tunesmith.trial import parse_objective


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """Columns map a key to its heading; None means: choose them from what is there."""

    metric_columns: dict[str, str] | None = None
    parameter_columns: dict[str, str] | None = None
    total_samples: int | None = None
    max_progress_rows: int = 20
    max_error_rows: int = 20
    infer_limit: int = 3
    print_intermediate_tables: bool | None = None
    metric: str | None = None
    mode: str | None = None
    sort_by_metric: bool = False


def parse_columns(columns: Sequence[str] | Mapping[str, str] | None, argument: str) -> dict[str, str] | None:
    """The keys with their headings, from a list of keys or a dict of headings.

    Raises: ConfigError naming `argument` for anything else.
    """
    if columns is None:
        return None
    if isinstance(columns, Mapping):
        return {str(key): str(heading) for key, heading in columns.items()}
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise ConfigError(f"{argument} is {columns!r}. Give a list of names, or a dict of names and headings.")
    return {str(key): str(key) for key in columns}


def check_metric(metric: str | None, mode: str | None) -> None:
    """Raise ConfigError unless metric and mode were given together, or not at all, and the mode is one there is."""
    parse_objective(metric, mode)


def check_limit(value: int, argument: str) -> int:
    """The number of rows.

    Raises: ConfigError if it is not a whole number of 0 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{argument} is {value!r}. Give a whole number of 0 or more.")
    return value
