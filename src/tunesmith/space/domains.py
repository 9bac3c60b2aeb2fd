"""The constructors users write spaces with; names, arguments and meaning as in Ray Tune.

Each raises SpaceError at once if an argument cannot be meant: the message shows the call.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.base import MAX_EXACT_INT
from tunesmith.space.categorical import Choice, GridSearch
from tunesmith.space.free import SampleFrom
from tunesmith.space.labels import label, object_label
from tunesmith.space.normal import Normal
from tunesmith.space.numeric import Continuous, Scale, Stepped, check_bounds, is_number, to_float


def uniform(lower: float, upper: float) -> Continuous:
    """A float between the bounds, all equally likely."""
    shown = _call("uniform", lower, upper)
    return Continuous(_float(shown, "lower", lower), _float(shown, "upper", upper))


def loguniform(lower: float, upper: float, base: float = 10) -> Continuous:
    """A float between the positive bounds, its logarithm uniform; `base` is accepted and makes no difference."""
    shown = _call("loguniform", lower, upper)
    _check_base(shown, base)
    return Continuous(_float(shown, "lower", lower), _float(shown, "upper", upper), Scale.LOG)


def quniform(lower: float, upper: float, q: float) -> Stepped:
    """A float among the multiples of `q` within the bounds, both included, all equally likely."""
    shown = _call("quniform", lower, upper, q)
    return _stepped_floats(shown, lower, upper, q, scale=Scale.LINEAR)


def qloguniform(lower: float, upper: float, q: float, base: float = 10) -> Stepped:
    """A log-uniform float rounded to the nearest multiple of `q` within the bounds, both included."""
    shown = _call("qloguniform", lower, upper, q)
    _check_base(shown, base)
    return _stepped_floats(shown, lower, upper, q, scale=Scale.LOG)


def randn(mean: float = 0.0, sd: float = 1.0) -> Normal:
    """A float from the normal distribution."""
    shown = _call("randn", mean, sd)
    return Normal(_float(shown, "mean", mean), _float(shown, "sd", sd))


def qrandn(mean: float, sd: float, q: float) -> Normal:
    """A float from the normal distribution, rounded to the nearest multiple of `q`."""
    shown = _call("qrandn", mean, sd, q)
    return Normal(_float(shown, "mean", mean), _float(shown, "sd", sd), _float(shown, "q", q))


def randint(lower: int, upper: int) -> Stepped:
    """An integer from `lower` to `upper` - 1 (upper is exclusive), all equally likely."""
    return _integers(_call("randint", lower, upper), lower, upper, scale=Scale.LINEAR)


def qrandint(lower: int, upper: int, q: int = 1) -> Stepped:
    """An integer among the multiples of `q` from `lower` to `upper` (upper is inclusive), all equally likely."""
    return _stepped_integers(_call("qrandint", lower, upper, q), lower, upper, q, scale=Scale.LINEAR)


def lograndint(lower: int, upper: int, base: float = 10) -> Stepped:
    """A positive integer from `lower` to `upper` - 1 (upper is exclusive), its logarithm uniform."""
    shown = _call("lograndint", lower, upper)
    _check_base(shown, base)
    return _integers(shown, lower, upper, scale=Scale.LOG)


def qlograndint(lower: int, upper: int, q: int, base: float = 10) -> Stepped:
    """A log-uniform integer rounded to the nearest multiple of `q` from `lower` to `upper` (upper is inclusive)."""
    shown = _call("qlograndint", lower, upper, q)
    _check_base(shown, base)
    return _stepped_integers(shown, lower, upper, q, scale=Scale.LOG)


def choice(options: Iterable[Any]) -> Choice:
    """One of the options, all equally likely; each keeps its type, and may itself be or hold domains."""
    return Choice(_options("choice", options))


def grid_search(values: Iterable[Any]) -> GridSearch:
    """Each of the values in turn, crossed with the other grids; the crossed grid is repeated `num_samples` times."""
    return GridSearch(_options("grid_search", values))


def sample_from(fn: Callable[..., Any]) -> SampleFrom:
    """What `fn` returns, called with the config (`config["a"]`, `spec.config.a`) if it takes an argument.

    Other leaves may be read in any order of definition. Within `fn`, `random` and `numpy.random` are seeded.
    """
    return SampleFrom(fn)


def _call(name: str, *arguments: Any) -> str:
    return f"{name}({', '.join(label(a) if isinstance(a, str) else object_label(a) for a in arguments)})"


def _float(shown: str, name: str, value: Any) -> float:
    if not is_number(value):
        raise SpaceError(f"{shown}: {name} is of type {type(value).__name__}; expected a number. Write it as a number.")
    number = to_float(value)
    if not math.isfinite(number):
        raise SpaceError(f"{shown}: {name} is not finite; expected a finite float. Write a bound that can be reached.")
    return number


def _int(shown: str, name: str, value: Any) -> int:
    """The integer, also from 1e3 or a NumPy integer, exact."""
    number = _whole(value)
    if number is None:
        raise SpaceError(f"{shown}: {name} is not an integer. Write an integer, or use a domain of floats.")
    if abs(number) > MAX_EXACT_INT:
        raise SpaceError(
            f"{shown}: {name} is beyond +-2**53, where floats no longer hold every integer. Narrow the range."
        )
    return number


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not is_number(value):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _check_base(shown: str, base: Any) -> None:
    if not (_float(shown, "base", base) > 0.0 and base != 1):
        raise SpaceError(f"{shown}: base is {base!r}; expected a positive number other than 1. Leave base out.")


def _integers(shown: str, lower: Any, upper: Any, *, scale: Scale) -> Stepped:
    first, end = _int(shown, "lower", lower), _int(shown, "upper", upper)
    if first == end:
        raise SpaceError(
            f"{shown} holds no value, since upper is exclusive. "
            f"For the constant {first} write {first}, or set upper to {first + 1}."
        )
    check_bounds(shown, first, end, scale)
    return Stepped(first, end - 1, 1, scale)


def _stepped_integers(shown: str, lower: Any, upper: Any, q: Any, *, scale: Scale) -> Stepped:
    low, high, step = _int(shown, "lower", lower), _int(shown, "upper", upper), _int(shown, "q", q)
    first, last = _multiples(shown, Fraction(low), Fraction(high), Fraction(step), scale=scale)
    return Stepped(first, last, step, scale)


def _stepped_floats(shown: str, lower: Any, upper: Any, q: Any, *, scale: Scale) -> Stepped:
    low, high, step = _float(shown, "lower", lower), _float(shown, "upper", upper), _float(shown, "q", q)
    as_written = (Fraction(repr(low)), Fraction(repr(high)), Fraction(repr(step)))  # 0.1 is a tenth here
    first, last = _multiples(shown, *as_written, scale=scale)
    return Stepped(first, last, step, scale)


def _multiples(shown: str, lower: Fraction, upper: Fraction, step: Fraction, *, scale: Scale) -> tuple[int, int]:
    """The first and the last multiple of the step within the bounds, counted in steps."""
    check_bounds(shown, float(lower), float(upper), scale)
    if step <= 0:
        raise SpaceError(f"{shown}: the step q must be above 0. Leave the rounding out by using the name without q.")
    if lower < upper and step > upper - lower:
        raise SpaceError(
            f"{shown}: the step q is larger than the range. Use a smaller q, or a choice of the values meant."
        )
    first, last = math.ceil(lower / step), math.floor(upper / step)
    if first > last:
        raise SpaceError(f"{shown}: no multiple of q lies within the bounds. Use bounds that are multiples of q.")
    if max(abs(first), abs(last)) > MAX_EXACT_INT:
        raise SpaceError(f"{shown}: the bounds are more than 2**53 steps from 0. Use a larger q, or no q.")
    return first, last


def _options(name: str, options: Any) -> tuple[Any, ...]:
    """The options in their order; a NumPy array gives plain Python values."""
    if isinstance(options, str | bytes | Mapping | set | frozenset) or not isinstance(options, Iterable):
        hint = "Use sorted(...) to fix an order." if isinstance(options, set | frozenset) else "Write them as a list."
        raise SpaceError(f"{name} expected a list of options, saw {object_label(options)}. {hint}")
    if type(options).__module__ == "numpy":
        options = options.tolist()  # type: ignore[attr-defined]
    return tuple(options)
