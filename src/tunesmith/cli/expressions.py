"""Text of a user as a tree of Python's syntax: read, never run."""

from __future__ import annotations

import ast
import warnings

_MAX_DIGITS = 300  #: beyond it a whole number has no float beside it


def parse_expression(text: str) -> ast.expr:
    """The tree of one expression.

    Raises: ValueError (SyntaxError among it) with a few words on what is wrong.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of literals such as 1or, for which Python has a warning
            node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(error.msg) from None
    except (RecursionError, MemoryError):
        raise ValueError("it is nested too deeply") from None
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and type(part.value) is int and abs(part.value) >= 10**_MAX_DIGITS:
            raise ValueError("a number has too many digits")
    return node
