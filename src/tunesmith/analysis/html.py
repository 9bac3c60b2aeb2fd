"""Results as HTML for notebooks. All text is escaped here: configs, names and errors come from anywhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from tunesmith.callbacks.text import clean


def text(words: object) -> str:
    """Foreign text as HTML that shows it and does nothing else."""
    return html.escape(clean(words), quote=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; headings and cells are foreign text."""
    head = "".join(f'<th style="text-align:left;padding:2px 10px 2px 0">{text(heading)}</th>' for heading in headings)
    lines = (f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def lines(words: Iterable[str]) -> str:
    """Lines of foreign text, set as they are."""
    return f'<pre style="white-space:pre-wrap">{chr(10).join(text(line) for line in words)}</pre>'


def _cell(words: object) -> str:
    return f'<td style="text-align:left;padding:2px 10px 2px 0">{text(words)}</td>'


def number(value: Any) -> str:
    """Six digits; empty for None."""
    return f"{value:.6g}" if isinstance(value, float | int) else "" if value is None else str(value)
