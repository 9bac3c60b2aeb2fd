"""A fingerprint of the trainable's code, by which a resume notices that it has changed."""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import sys
import sysconfig
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

from tunesmith.space.source import source_text

_log = logging.getLogger("tunesmith")
_SCALARS = (str, bytes, int, float, complex, bool, type(None))
_MAX_ITEMS = 100  #: larger containers are data, which is not compared
_MAX_DEPTH = 4
_LIBRARIES = ("site-packages", "dist-packages")
#: Not compared either: a newer Python or tunesmith is no change of the user's code.
_NOT_THEIRS = (Path(sysconfig.get_path("stdlib")), Path(__file__).parents[1])


def source_digest(trainable: Any) -> str | None:
    """SHA-256 over the source of all that the trainable is made of; None where there is none.

    That is its function or class; what a decorator wraps, and the decorator; the bases of a class, and the class of an
    object; functions, classes and plain values of the same file that any of these names; plain arguments bound to it.
    Code of other files is not looked at, but for bases and decorators that are in no library.
    """
    parts = _Parts()
    try:
        parts.add(trainable)
    except Exception:  # of a user's object that answers oddly when it is looked at: no reason not to run
        _log.debug("The source of %r was not found out.", trainable, exc_info=True)
        return None
    return hashlib.sha256("\0".join(sorted(parts.texts)).encode(errors="replace")).hexdigest() if parts.texts else None


class _Parts:
    """What was found so far; a set, since the order in which a file has its functions is no change."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self._seen: dict[int, Any] = {}  #: by id; held, so that no id is used again

    def add(self, value: Any) -> None:
        """The value with all that belongs to it."""
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, functools.partial):
            self._bound(dict(enumerate(value.args)) | value.keywords)
            self.add(value.func)
        elif isinstance(value, MethodType):
            self.add(value.__func__)
            self.add(value.__self__ if isinstance(value.__self__, type) else type(value.__self__))
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        else:
            self.add(type(value))
            self._wrapped(value)

    def _function(self, function: FunctionType) -> None:
        self._wrapped(function)
        if hasattr(function, "__wrapped__") and _is_library(function.__code__.co_filename):
            return
        self._text(function)
        for name, value in _named(function):
            if _is_plain(value):
                self.texts.add(f"{name} = {value!r}")
            elif _is_neighbour(value, function):
                self.add(value)

    def _class(self, cls: type) -> None:
        self._bound(getattr(cls, "_parameters", None))  # of with_parameters
        for base in cls.__mro__:
            if base is cls or not _is_library(getattr(sys.modules.get(base.__module__), "__file__", None)):
                self._text(base)
                for member in vars(base).values():
                    function = getattr(member, "__func__", member)  # of a class or static method
                    if isinstance(function, FunctionType):
                        self.add(function)

    def _wrapped(self, value: Any) -> None:
        inner = getattr(value, "__wrapped__", None)
        if inner is not None:
            self.add(inner)

    def _bound(self, arguments: Any) -> None:
        if isinstance(arguments, Mapping):
            self.texts |= {f"{name} = {value!r}" for name, value in arguments.items() if _is_plain(value)}

    def _text(self, value: FunctionType | type) -> None:
        try:
            if isinstance(value, type):
                text = inspect.getsource(value)
            elif value.__name__ == "<lambda>":  # alone, not with the call that it is an argument of
                text = source_text(value)
            else:
                text = inspect.getsource(value.__code__)  # of the function, it would be the text of what it wraps
        except (OSError, TypeError, SyntaxError, IndexError):
            return
        self.texts.add(textwrap.dedent(text))


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The global values and those of an enclosing function that the function may use, by name."""
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__ and not name.startswith("__"):
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet
            continue


def _names(code: CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _is_neighbour(value: Any, function: FunctionType) -> bool:
    """Whether the value is a function or class of the file that the function is in."""
    if isinstance(value, type):
        return value.__module__ == function.__module__
    inner = inspect.unwrap(value) if callable(value) else None
    return isinstance(inner, FunctionType) and inner.__globals__ is function.__globals__


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether the value is the same in every run that writes it the same."""
    if type(value) in _SCALARS:
        return True
    if type(value) not in (list, tuple, dict) or len(value) > _MAX_ITEMS or depth >= _MAX_DEPTH:
        return False
    items = [*value, *value.values()] if isinstance(value, dict) else value
    return all(_is_plain(item, depth + 1) for item in items)


def _is_library(file: str | None) -> bool:
    if file is None:
        return False
    path = Path(file)
    return any(part in _LIBRARIES for part in path.parts) or any(folder in path.parents for folder in _NOT_THEIRS)
