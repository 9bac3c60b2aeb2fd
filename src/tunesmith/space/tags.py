"""Values as JSON: natives stay as they are, everything else becomes a dict whose single key starts with `$`.

{"$tuple": [...]}            a tuple
{"$float": "NaN"}            NaN, Infinity, -Infinity
{"$int": "9007199254740993"} an integer beyond 2**53 (hexadecimal where it has thousands of digits)
{"$str": "\\ud800"}           text with lone surrogates, which no UTF-8 store takes
{"$dict": [[k, v], ...]}     a dict with keys that are not text, or that look like one of these tags
{"$object": "label", ...}    anything else: a readable label, and facts by which a space finds the object again
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.base import MAX_EXACT_INT
from tunesmith.space.labels import object_label

#: Levels of nesting in a config or space; a list that holds itself ends here with an error.
MAX_DEPTH = 100
_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

#: Given an object that JSON does not know, its tagged dict, or None for the default label.
TagObject = Callable[[Any], dict[str, Any] | None]
#: Given a tagged dict `{"$object": ...}`, the object.
FindObject = Callable[[dict[str, Any]], Any]


def encode_value(value: Any, *, tag_object: TagObject, depth: int = 0) -> Any:
    """The value as JSON-able tree with tags.

    Raises: SpaceError if it is nested deeper than MAX_DEPTH.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value if _is_utf8(value) else {"$str": value.encode("unicode_escape").decode("ascii")}
    if kind is float:
        return value if math.isfinite(value) else {"$float": _float_name(value)}
    if kind is int:
        return value if -MAX_EXACT_INT <= value <= MAX_EXACT_INT else {"$int": _int_text(value)}
    if depth > MAX_DEPTH:
        raise SpaceError(
            f"a value is nested deeper than {MAX_DEPTH} levels. Flatten it, or see whether it holds itself."
        )
    if kind is list:
        return [encode_value(item, tag_object=tag_object, depth=depth + 1) for item in value]
    if kind is tuple:
        return {"$tuple": [encode_value(item, tag_object=tag_object, depth=depth + 1) for item in value]}
    if kind is dict:
        return _encode_dict(value, tag_object=tag_object, depth=depth + 1)
    return _encode_other(value, tag_object=tag_object, depth=depth)


def _encode_dict(value: dict[Any, Any], *, tag_object: TagObject, depth: int) -> dict[str, Any]:
    pairs = [
        (
            encode_value(key, tag_object=tag_object, depth=depth),
            encode_value(item, tag_object=tag_object, depth=depth),
        )
        for key, item in value.items()
    ]
    if all(type(key) is str and not key.startswith("$") for key, _ in pairs):
        return dict(pairs)
    return {"$dict": [list(pair) for pair in pairs]}


def _encode_other(value: Any, *, tag_object: TagObject, depth: int) -> Any:
    """NumPy scalars become numbers, known objects their tag, subclasses of natives the native, the rest a label."""
    scalar = plain_scalar(value)
    if scalar is not value:
        return encode_value(scalar, tag_object=tag_object, depth=depth)
    tagged = tag_object(value)
    if tagged is not None:
        return tagged
    if not isinstance(value, Enum):
        natives: tuple[Callable[[Any], Any], ...] = (int, float, str, list, tuple, dict)
        for native in natives:
            if isinstance(value, native):  # type: ignore[arg-type]
                return encode_value(native(value), tag_object=tag_object, depth=depth)
    return {"$object": object_label(value)}


def decode_value(tree: Any, *, find_object: FindObject) -> Any:
    """The value that `encode_value` made the tree from; tagged objects are looked up with `find_object`.

    Raises: SpaceError if a tag is unknown or its content is not what it should be.
    """
    if isinstance(tree, list):
        return [decode_value(item, find_object=find_object) for item in tree]
    if not isinstance(tree, dict):
        return tree
    tag = next(iter(tree), "")
    if not tag.startswith("$"):
        return {key: decode_value(item, find_object=find_object) for key, item in tree.items()}
    try:
        return _decode_tag(tag, tree, find_object=find_object)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, SpaceError):
            raise
        raise SpaceError(
            f"stored value {object_label(tree)} cannot be read. It is damaged or was written by a newer tunesmith."
        ) from error


def _decode_tag(tag: str, tree: dict[str, Any], *, find_object: FindObject) -> Any:
    content = tree[tag]
    match tag:
        case "$tuple":
            return tuple(decode_value(item, find_object=find_object) for item in content)
        case "$dict":
            pairs = [
                (decode_value(k, find_object=find_object), decode_value(v, find_object=find_object)) for k, v in content
            ]
            return dict(pairs)
        case "$float":
            return _SPECIAL_FLOATS[content]
        case "$int":
            return int(content, 0)
        case "$str":
            return content.encode("ascii").decode("unicode_escape")
        case "$object":
            return find_object(tree)
    raise KeyError(tag)


def plain_scalar(value: Any) -> Any:
    """The Python number, bool or text in a NumPy scalar; any other value itself."""
    if type(value).__module__ != "numpy" or getattr(value, "ndim", None) != 0:
        return value
    item = value.item()
    return item if type(item) in (bool, int, float, str) else value


def is_native(value: Any, depth: int = 0) -> bool:
    """Whether encoding and decoding gives an equal value of the same types back without knowing the space."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return True
    if depth > MAX_DEPTH:
        return False
    if kind in (list, tuple):
        return all(is_native(item, depth + 1) for item in value)
    if kind is dict:
        return all(is_native(key, depth + 1) and is_native(item, depth + 1) for key, item in value.items())
    return False


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _float_name(value: float) -> str:
    return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")


def _int_text(value: int) -> str:
    """Decimal, or hexadecimal beyond the length at which Python refuses to convert decimals (4300 digits)."""
    return str(value) if value.bit_length() < 10_000 else hex(value)
