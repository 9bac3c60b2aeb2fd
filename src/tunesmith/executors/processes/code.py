"""The user's code on its way to the workers: one pickle, once per experiment, in one direction only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from tunesmith.errors import TrainableError
from tunesmith.executors.pickling import dumps, lives_in_script
from tunesmith.space import objects_in, path_name

_log = logging.getLogger("tunesmith")
_LARGE_BYTES = 256 * 2**20
_ADVICE = "Create such an object (lock, open file, connection) inside the function."


class PackedTrainable(NamedTuple):
    """A trainable that was packed elsewhere."""

    code: bytes


def pack_trainable(trainable: Any) -> bytes:
    """The trainable with the globals it uses, pickled.

    Raises: TrainableError naming the captured variable that cannot be pickled.
    """
    if isinstance(trainable, PackedTrainable):
        return trainable.code
    try:
        packed = dumps(trainable)
    except Exception as error:
        culprit = next((name for name, value in captured_values(trainable) if not _is_picklable(value)), None)
        what = f"its variable {culprit!r} cannot be pickled" if culprit else "it cannot be pickled"
        raise TrainableError(
            f"The trainable cannot be sent to worker processes: {what} ({type(error).__name__}: {error}). {_ADVICE}"
        ) from error
    if len(packed) > _LARGE_BYTES:
        largest = max(captured_values(trainable), key=lambda item: _pickled_size(item[1]), default=("?", None))
        _log.warning(
            "The trainable is %.0f MiB with what it captures, most of it %r. It is sent once and shared by all trials.",
            len(packed) / 2**20,
            largest[0],
        )
    return packed


def check_config(tree: Any) -> None:
    """Raise TrainableError, naming the key, if an object in a config or a space cannot be pickled.

    Of a space that is its constants and options: what `sample_from` will return is not known before there is a config.
    """
    for path, _, value in objects_in(tree):
        try:
            dumps(value)
        except Exception as error:
            raise TrainableError(
                f"The config cannot be sent to worker processes: its value {path_name(path)!r} cannot be pickled "
                f"({type(error).__name__}: {error}). {_ADVICE}"
            ) from error


def why_not_sent(config: Any, error: Exception) -> str:
    """The words for a config that could not be sent: its value that cannot be pickled, else the error itself."""
    try:
        check_config(config)
    except TrainableError as found:
        return str(found)
    return f"The config cannot be sent to a worker process: {type(error).__name__}: {error}"


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
        if lives_in_script(function):
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
        dumps(value)
    except Exception:
        return False
    return True


def _pickled_size(value: Any) -> int:
    try:
        return len(dumps(value))
    except Exception:
        return 0
