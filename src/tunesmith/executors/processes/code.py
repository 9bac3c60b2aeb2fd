"""The user's code on its way to the workers: one pickle, once per experiment, in one direction only."""

from __future__ import annotations

import functools
import io
import logging
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle

from tunesmith.errors import TrainableError

_log = logging.getLogger("tunesmith")
_CACHED = type(functools.lru_cache(lambda: None))
_LARGE_BYTES = 256 * 2**20


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # it has no types
    """cloudpickle, and functions under `functools.lru_cache`, which it would look for by name in the worker."""

    def reducer_override(self, value: Any) -> Any:
        """Rebuild a cached function of the script from the function inside; those of modules go by name."""
        if isinstance(value, _CACHED) and _lives_in_script(value):
            return _rebuilt_cache, (value.__wrapped__, value.cache_parameters())
        return super().reducer_override(value)


def _rebuilt_cache(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _lives_in_script(function: Any) -> bool:
    return function.__module__ == "__main__" or "<locals>" in function.__qualname__


def pack_trainable(trainable: Any) -> bytes:
    """The trainable with the globals it uses, pickled.

    Raises: TrainableError naming the captured variable that cannot be pickled.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(trainable)
    except Exception as error:
        culprit = next((name for name, value in captured_values(trainable) if not _is_picklable(value)), None)
        what = f"its variable {culprit!r} cannot be pickled" if culprit else "it cannot be pickled"
        raise TrainableError(
            f"The trainable cannot be sent to worker processes: {what} ({type(error).__name__}: {error}). "
            f"Create such an object (lock, open file, connection) inside the function."
        ) from error
    if buffer.tell() > _LARGE_BYTES:
        largest = max(captured_values(trainable), key=lambda item: _pickled_size(item[1]), default=("?", None))
        _log.warning(
            "The trainable is %.0f MiB with what it captures, most of it %r. It is sent once and shared by all trials.",
            buffer.tell() / 2**20,
            largest[0],
        )
    return buffer.getvalue()


def captured_values(trainable: Any) -> list[tuple[str, Any]]:
    """Names and values that travel with a function: its closure, the globals it reads, a partial's arguments."""
    found: list[tuple[str, Any]] = []
    for function in _functions_in(trainable):
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=False):
            try:
                found.append((name, cell.cell_contents))
            except ValueError:
                continue
        if _lives_in_script(function):
            known = function.__globals__
            found += [(name, known[name]) for name in function.__code__.co_names if name in known]
    found += [(str(name), value) for name, value in getattr(trainable, "keywords", {}).items()]
    found += [(f"argument {i}", value) for i, value in enumerate(getattr(trainable, "args", ()))]
    return found


def _functions_in(trainable: Any) -> list[Callable[..., Any] | Any]:
    target = trainable
    while hasattr(target, "func"):
        target = target.func
    if isinstance(target, type):
        return [value for value in vars(target).values() if hasattr(value, "__code__")]
    target = getattr(target, "__func__", target)
    return [target] if hasattr(target, "__code__") else []


def _is_picklable(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:
        return False
    return True


def _pickled_size(value: Any) -> int:
    try:
        return len(cloudpickle.dumps(value))
    except Exception:
        return 0
