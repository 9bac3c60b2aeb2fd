"""Turns what a user reports into plain numbers, and refuses what is not one number.

Frameworks are recognised by what their values can do (`.item()`, `.numpy()`), so none is imported here.
"""

from __future__ import annotations

import json
import numbers
import reprlib
from collections.abc import Mapping
from typing import Any

from tunesmith.errors import MetricError

MAX_KEYS = 10_000
MAX_KEY_CHARS = 200
MAX_BYTES = 1 << 20  #: of one report, as JSON

#: So many keys can never exceed MAX_BYTES: a key is at most 12 bytes a character in JSON, a number 25.
_N_SURELY_SMALL = MAX_BYTES // (12 * MAX_KEY_CHARS + 30)
_MAX_REPR_CHARS = 200
_INT_BOUND = 2**63

_shortener = reprlib.Repr()
_shortener.maxother = _shortener.maxstring = _shortener.maxlong = _MAX_REPR_CHARS


def clean_metrics(metrics: Mapping[str, Any]) -> dict[str, float | int]:
    """The metrics as one flat dict of Python numbers; nested names are joined with '/'.

    Taken are bool, int, float, Decimal, Fraction, and scalars, arrays and tensors with one element (NumPy, torch,
    TensorFlow, JAX; on any device). NaN and infinities stay as they are; an int beyond 64 bits becomes a float.
    Raises: MetricError for anything else, for a bad or repeated name, and beyond 10,000 names or 1 MiB.
    """
    if not isinstance(metrics, Mapping):
        raise MetricError(f"The metrics are {short_repr(metrics)} ({_type_name(metrics)}). Give a dict of numbers.")
    cleaned: dict[str, float | int] = {}
    _flatten(metrics, "", cleaned)
    if len(cleaned) > _N_SURELY_SMALL and (size_bytes := len(json.dumps(cleaned))) > MAX_BYTES:
        raise MetricError(
            f"The report has {size_bytes:,} bytes; the limit is {MAX_BYTES:,}. "
            "Save large results as a file in the trial's folder or in a checkpoint, and report numbers about them."
        )
    return cleaned


def clean_number(name: str, value: Any) -> float | int:
    """One value as a Python number; `name` is used in the message of the MetricError that refuses it."""
    if type(value) is float:
        return value
    if isinstance(value, int):
        return _bounded(name, int(value))
    if isinstance(value, float):
        return float(value)
    return _plain(name, value, _unwrapped(name, value))


def short_repr(value: Any) -> str:
    """At most 200 characters of `repr(value)`, cheap even where the value is huge; never raises."""
    text = _shortener.repr(value)
    return text if len(text) <= _MAX_REPR_CHARS else text[: _MAX_REPR_CHARS - 3] + "..."


def _flatten(metrics: Mapping[Any, Any], prefix: str, into: dict[str, float | int]) -> None:
    for key, value in metrics.items():
        name = _checked_name(key, prefix)
        if type(value) is not float and isinstance(value, Mapping):
            _flatten(value, name + "/", into)
            continue
        if name in into:
            raise MetricError(f"Metric {name!r} is reported twice in one report. Give each name once.")
        if len(into) == MAX_KEYS:
            raise MetricError(
                f"The report has more than {MAX_KEYS:,} metrics. Save large results as a file in the trial's folder "
                "or in a checkpoint, and report numbers about them."
            )
        into[name] = clean_number(name, value)


def _checked_name(key: Any, prefix: str) -> str:
    if not isinstance(key, str):
        where = f" inside {prefix[:-1]!r}" if prefix else ""
        raise MetricError(
            f"A metric's name{where} is {short_repr(key)} ({_type_name(key)}). Names are strings: use str(name)."
        )
    name = prefix + key
    if not key or "\0" in key:
        raise MetricError(f"A metric's name is {short_repr(name)}. Give one that is not empty and holds no NUL.")
    if len(name) > MAX_KEY_CHARS:
        raise MetricError(
            f"A metric's name has {len(name)} characters ({short_repr(name[:60])}...). Give one of {MAX_KEY_CHARS} "
            "or fewer, the names of the dicts around it included."
        )
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise MetricError(f"A metric's name, {name!a}, is no valid Unicode text. Give another one.") from None
    return str(name)


def _unwrapped(name: str, value: Any) -> Any:
    """The one element inside an array or tensor; other values as they are."""
    if isinstance(value, type | str | bytes):
        return value
    if not callable(getattr(value, "item", None)):
        if not callable(getattr(value, "numpy", None)):
            return value
        value = value.numpy()  # TensorFlow has no item()
    if type(value).__module__.startswith("numpy.ma") and getattr(value, "mask", False) is not False:
        raise _refusal(
            name, value, "It is a masked array, whose item() would be a made-up number. Report e.g. .filled(...)."
        )
    n_elements = _n_elements(value)
    if n_elements is not None and n_elements != 1:
        raise _refusal(name, value, f"It has {n_elements} elements; a metric is one number. Report e.g. its .mean().")
    try:
        return value.item()
    except (TypeError, AttributeError):
        return value  # its item() is something else; an error of the device (RuntimeError) is not hidden


def _n_elements(value: Any) -> int | None:
    if callable(numel := getattr(value, "numel", None)):
        return int(numel())
    size = getattr(value, "size", None)
    return size if isinstance(size, int) else None


def _plain(name: str, original: Any, value: Any) -> float | int:
    if isinstance(value, int):
        return _bounded(name, int(value))
    # Decimal is a Number, but not a Complex; a complex is a Complex, but not a Real.
    is_real = isinstance(value, numbers.Real) or (
        isinstance(value, numbers.Number) and not isinstance(value, numbers.Complex)
    )
    if is_real:
        try:
            return float(value)
        except (OverflowError, ValueError):
            raise _refusal(name, original, "No float can hold it. Report e.g. its logarithm.") from None
    if value is None:
        raise _refusal(
            name, original, "Leave the name out of the report where there is no value, or report float('nan')."
        )
    if isinstance(value, list | tuple | set | frozenset):
        raise _refusal(
            name, original, "A metric is one number. Report e.g. the mean, or each element under its own name."
        )
    if isinstance(value, str):
        raise _refusal(name, original, "A metric is a number. Print texts, or put them into the config.")
    raise _refusal(name, original, "A metric is one number, or an array or tensor that holds one.")


def _bounded(name: str, value: int) -> float | int:
    if -_INT_BOUND <= value < _INT_BOUND:
        return value
    try:
        return float(value)
    except OverflowError:
        raise MetricError(
            f"Metric {name!r} is an int of {value.bit_length()} bits; no float can hold it. Report e.g. its logarithm."
        ) from None


def _refusal(name: str, value: Any, advice: str) -> MetricError:
    return MetricError(f"Metric {name!r} is {short_repr(value)} ({_type_name(value)}). {advice}")


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
