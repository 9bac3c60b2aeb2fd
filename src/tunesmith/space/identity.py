"""Sameness of options: by type and value, so that 1, 1.0 and True are three options."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.base import Domain
from tunesmith.space.tags import MAX_DEPTH

_SCALARS = (str, int, bool, type(None))


def identity_key(value: Any, depth: int = 0) -> Hashable:
    """A hashable key, equal for two values of the same type and value, containers by content.

    What can be neither hashed nor looked into is its own object only; so are two `sample_from` functions.
    """
    kind = type(value)
    if kind in _SCALARS:
        return (kind, value)
    if kind is float:
        return (kind, value if value == value else "nan")
    if depth > MAX_DEPTH:
        raise SpaceError(
            f"an option is nested deeper than {MAX_DEPTH} levels. Flatten it, or see whether it holds itself."
        )
    if kind is list or kind is tuple:
        return (kind, tuple(identity_key(item, depth + 1) for item in value))
    if kind is dict:
        return (kind, frozenset((identity_key(k, depth + 1), identity_key(v, depth + 1)) for k, v in value.items()))
    if isinstance(value, Domain):
        return (kind, getattr(value, "fn", value))
    try:
        hash(value)
    except Exception:
        return (kind, "id", id(value))
    return (kind, value)
