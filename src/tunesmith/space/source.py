"""The source text of a user's function, by which two runs compare their `sample_from` leaves."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from tunesmith.space.labels import object_label


def source_text(fn: Callable[..., Any]) -> str:
    """The text of `fn` alone, also of one lambda among several on a line; its qualified name where no source exists."""
    if not isinstance(fn, FunctionType):
        return object_label(fn)
    try:
        if fn.__name__ == "<lambda>":
            lines, _ = inspect.findsource(fn)
            found = _lambda_text("".join(lines), fn.__code__)
            if found is not None:
                return found
        return textwrap.dedent(inspect.getsource(fn)).strip()
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        return object_label(fn)


def _lambda_text(source: str, code: CodeType) -> str | None:
    """The smallest lambda of the file that starts on the line of `code` and whose body covers all its instructions."""
    start, end = _span(code)
    best: tuple[int, str] | None = None
    for node in _lambdas(source):
        body = node.body
        opens, closes = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
        if node.lineno != code.co_firstlineno or not (opens <= start and end <= closes):
            continue
        text = ast.get_source_segment(source, node)
        if text is not None and (best is None or len(text) < best[0]):
            best = (len(text), text)
    return best[1] if best else None


@functools.lru_cache(maxsize=4)
def _lambdas(source: str) -> tuple[ast.Lambda, ...]:
    return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda))


def _span(code: CodeType) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last (line, column) of the instructions; those without a width are the interpreter's own."""
    starts, ends = [], []
    for line, end_line, column, end_column in code.co_positions():
        if line is None or end_line is None or column is None or end_column is None or column == end_column:
            continue
        starts.append((line, column))
        ends.append((end_line, end_column))
    if not starts:
        raise ValueError("the code carries no positions")
    return min(starts), max(ends)
