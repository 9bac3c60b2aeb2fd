"""What commands print: JSON that every parser takes, and tables that fit the screen and cannot steer it."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

_ENDLESS = 1_000_000  #: columns where nobody looks at a screen: a program shall get all there is
_GAP = "  "
_MIN_LAST = 20  #: the last column takes what is left, but not less


def plain(value: Any) -> Any:
    """The value as JSON has it: numbers that JSON lacks as the words NaN, Infinity and -Infinity."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value)


def masked(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what is called like a password: programs hand on and keep what they are given."""
    return {str(name): _masked(str(name), value) for name, value in config.items()}


def _masked(name: str, value: Any) -> Any:
    from tunesmith.callbacks.text import is_secret

    if isinstance(value, Mapping):
        return masked(value)
    if isinstance(value, list | tuple):
        return [_masked(name, entry) for entry in value]
    return "***" if is_secret(name, value) else value


def print_json(value: Any) -> None:
    """One JSON document."""
    click.echo(_utf_8(json.dumps(plain(value), indent=2, ensure_ascii=False)))


def is_utf_8(text: str) -> bool:
    """Whether it can be written; bytes of names and arguments that are no text Python keeps as lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _utf_8(text: str) -> str:
    """The text, with bytes that make none as `\\udcff`, which JSON understands."""
    return text.encode(errors="backslashreplace").decode()


def width() -> int:
    """Columns of the terminal; without end where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _ENDLESS


def table(
    headings: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = (), drops: bool = True
) -> list[str]:
    """Lines of a table. Columns are dropped from the last but the first two, until a row is one line of the screen.

    Args:
        right: headings of columns that are aligned right, as numbers are.
        drops: False where somebody asked for these columns: then all are there, however long a line gets.
    """
    from rich.cells import cell_len, set_cell_size

    from tunesmith.callbacks.text import clean

    cells = [[clean(cell) for cell in row] for row in [list(headings), *rows]]
    widths = [max(cell_len(row[i]) for row in cells) for i in range(len(headings))]
    room = width()
    n = len(headings)
    while drops and n > 2 and sum(widths[:n]) + len(_GAP) * (n - 1) - max(0, widths[n - 1] - _MIN_LAST) > room:
        n -= 1
    widths[n - 1] = min(
        widths[n - 1], max(8 if drops else cell_len(cells[0][n - 1]), room - sum(widths[: n - 1]) - len(_GAP) * (n - 1))
    )
    lines = []
    for row in cells:
        fitted = []
        for i in range(n):
            text, cut = row[i], widths[i]
            if cell_len(text) > cut:
                text = set_cell_size(text, cut - 1).rstrip() + "…"
            padding = " " * (cut - cell_len(text))
            fitted.append(padding + text if headings[i] in right else text + padding)
        lines.append(_GAP.join(fitted).rstrip())
    return lines


def number(value: Any) -> str:
    """A number for people, nothing where there is none."""
    from tunesmith.callbacks.text import format_number

    return "" if value is None else format_number(value) if isinstance(value, int | float) else str(value)


def when(at: float | None) -> str:
    """A wall time in local time."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def say(line: str, *, is_raw: bool = False) -> None:
    """A line of text on the output; a raw one with its escape sequences, wherever it goes."""
    click.echo(_utf_8(line), color=True if is_raw else None)


def warn(line: str) -> None:
    """A line for people, beside the output."""
    click.echo(_utf_8(line), err=True)
