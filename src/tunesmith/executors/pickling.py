"""How the user's code and objects are pickled: by cloudpickle, but for two things that trials notice."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable
from types import CodeType
from typing import Any

import cloudpickle

_CACHED = type(functools.lru_cache(lambda: None))


def dumps(value: Any) -> bytes:
    """The value pickled; what is defined in the script travels with it. Raises whatever the value's pickling raises."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def lives_in_script(function: Any) -> bool:
    """Whether the function is pickled by value, as worker processes could not import it."""
    return function.__module__ == "__main__" or "<locals>" in function.__qualname__


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # it has no types
    """cloudpickle, but functions keep the names of their files, and cached ones are not looked for in the worker."""

    def reducer_override(self, value: Any) -> Any:
        """Rebuild code under its file's name, so that tracebacks show its lines (cloudpickle: `<dynamic-code>`).

        And a function under `functools.lru_cache` that lives in the script from the function inside; cloudpickle would
        have it by name.
        """
        if isinstance(value, CodeType) and CodeType in self.dispatch_table:
            return _rebuilt_code, (value.co_filename, *self.dispatch_table[CodeType](value))
        if isinstance(value, _CACHED) and lives_in_script(value):
            return _rebuilt_cache, (value.__wrapped__, value.cache_parameters())
        return super().reducer_override(value)


def _rebuilt_code(file_name: str, make: Callable[..., CodeType], arguments: tuple[Any, ...]) -> CodeType:
    return make(*arguments).replace(co_filename=file_name)


def _rebuilt_cache(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)
