"""Short readable text for values: for tables, messages and the store. No memory addresses, no control characters."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

MAX_LABEL = 200
_ADDRESS = re.compile(r"(?: object)?(?: at)? 0x[0-9a-fA-F]+")


def one_line(text: str, limit: int = MAX_LABEL) -> str:
    """The text on one line of at most `limit` characters, whatever cannot be printed written as an escape."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def object_label(value: Any) -> str:
    """Where a class or function lives, or the `repr` of an instance without its address; the same in every run."""
    if isinstance(value, Enum):
        return one_line(f"{type(value).__module__}.{type(value).__qualname__}.{value.name}")
    name = _attribute(value, "__qualname__")
    if name is not None:
        module = _attribute(value, "__module__")
        return one_line(f"{module}.{name}" if module else name)
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"  # a repr that raises must not end an experiment
    return one_line(" ".join(_ADDRESS.sub("", text).split()))


def _attribute(value: Any, name: str) -> str | None:
    try:
        found = getattr(value, name, None)
    except Exception:
        return None
    return found if isinstance(found, str) else None


def label(value: Any) -> str:
    """A short label for tables: five digits of a float, the bare name of a class or function, text as it is."""
    if isinstance(value, Enum):
        return one_line(f"{type(value).__qualname__}.{value.name}", 80)
    if isinstance(value, float):
        return f"{float(value):.5g}"
    if isinstance(value, int):
        return str(value) if value.bit_length() < 200 else f"int of {value.bit_length()} bits"
    if isinstance(value, str):
        return one_line(value, 80)
    if type(value) in (list, tuple, dict):
        return one_line(_container_label(value), 80)
    name = _attribute(value, "__qualname__")
    return one_line(name if name is not None else object_label(value), 80)


def _container_label(value: Any, depth: int = 4) -> str:
    """At most eight entries a level and four levels: enough for a table, and safe on a list that holds itself."""
    if type(value) not in (list, tuple, dict):
        return label(value)
    if depth == 0:
        return "..."
    more = ["..."] if len(value) > 8 else []
    if isinstance(value, dict):
        entries = [f"{label(k)}: {_container_label(v, depth - 1)}" for k, v in list(value.items())[:8]]
        return "{" + ", ".join(entries + more) + "}"
    items = ", ".join([_container_label(item, depth - 1) for item in value[:8]] + more)
    if isinstance(value, list):
        return f"[{items}]"
    return f"({items},)" if len(value) == 1 else f"({items})"


def number_text(value: float) -> str:
    """A number as a user would write it: 1e-05, 0.1, 3 (not 3.0)."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    return repr(value)
