"""Domains of numbers between two bounds: any float, or the multiples of a step.

Discrete domains reserve half a step on either side of every value, so that drawing, encoding and decoding agree and the
outermost values are as likely as the others (linear), or as their own width on the log axis says (log).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from decimal import Context, Decimal
from enum import Enum
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from tunesmith.errors import SpaceError
from tunesmith.space.base import MAX_EXACT_INT, Domain, unit
from tunesmith.space.labels import number_text

if TYPE_CHECKING:
    import numpy as np

#: Wide enough for any float times any integer up to 2**53; not the user's own decimal context, which may be narrow.
_EXACT = Context(prec=60)


class Scale(Enum):
    """The axis along which a numeric domain is uniform."""

    LINEAR = "linear"
    LOG = "log"


def is_number(value: Any) -> bool:
    """Whether the value is a real number; True and False are not."""
    return type(value) is float or type(value) is int or (isinstance(value, Real) and not isinstance(value, bool))


def to_float(value: Any) -> float:
    """The number as a float, infinite where it is an integer too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def multiple(step: float, k: int) -> float:
    """The float nearest to k steps, the step taken as the decimal it is written as: 3 steps of 0.1 are 0.3."""
    return float(_EXACT.multiply(Decimal(repr(step)), Decimal(k)))


def is_multiple(value: float, step: float) -> bool:
    """Whether the float is a multiple of the step, up to the rounding of a computation such as 3 * 0.1."""
    k = to_float(value) / step
    return math.isfinite(k) and abs(k - round(k)) <= 1e-9 * max(1.0, abs(k))


@dataclass(frozen=True, eq=False, repr=False)
class Continuous(Domain):
    """Floats in [lower, upper], uniform along the scale."""

    lower: float
    upper: float
    scale: Scale = Scale.LINEAR
    _start: float = field(init=False)
    _width: float = field(init=False)

    def __post_init__(self) -> None:
        check_bounds(str(self), self.lower, self.upper, self.scale)
        start, end = (self.lower, self.upper) if self.scale is Scale.LINEAR else map(math.log, (self.lower, self.upper))
        if not math.isfinite(end - start):
            raise SpaceError(f"{self}: the distance between the bounds is not a finite float. Narrow the range.")
        object.__setattr__(self, "_start", start)
        object.__setattr__(self, "_width", end - start)

    def sample(self, rng: np.random.Generator) -> float:
        """One float between the bounds."""
        return self.decode(rng.random())

    def encode(self, value: Any) -> float:
        """Place along the scale; a constant sits at 0.5."""
        if self._width == 0.0:
            return 0.5
        number = min(max(to_float(value), self.lower), self.upper)
        place = number if self.scale is Scale.LINEAR else math.log(number)
        return unit((place - self._start) / self._width)

    def decode(self, u: float) -> float:
        """The float at place `u`."""
        place = self._start + unit(u) * self._width
        value = place if self.scale is Scale.LINEAR else math.exp(place)
        return min(max(value, self.lower), self.upper)

    def contains(self, value: Any) -> bool:
        """Whether the value is a number, but no bool, within the bounds."""
        return is_number(value) and bool(self.lower <= value <= self.upper)

    @property
    def cardinality(self) -> int | None:
        """None, or 1 where the bounds are equal."""
        return 1 if self.lower == self.upper else None

    def describe(self) -> dict[str, Any]:
        """Constructor and bounds."""
        kind = "uniform" if self.scale is Scale.LINEAR else "loguniform"
        return {"type": kind, "lower": self.lower, "upper": self.upper}


@dataclass(frozen=True, eq=False, repr=False)
class Stepped(Domain):
    """The values step * k for all integers first <= k <= last: integers if the step is an int, else floats."""

    first: int
    last: int
    step: float
    scale: Scale = Scale.LINEAR
    _start: float = field(init=False)
    _width: float = field(init=False)

    def __post_init__(self) -> None:
        if self.first > self.last or max(abs(self.first), abs(self.last)) > MAX_EXACT_INT:
            raise SpaceError(f"steps {self.first} to {self.last} are not an ascending range within +-2**53.")
        if self.scale is Scale.LOG and self.first < 1:
            raise SpaceError(f"a log scale starts above 0; saw step {self.first}. Raise the lower bound.")
        log = self.scale is Scale.LOG
        start = math.log(self.first - 0.5) if log else float(self.first)
        end = math.log(self.last + 0.5) if log else float(self.last + 1)
        object.__setattr__(self, "_start", start)
        object.__setattr__(self, "_width", end - start)

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.step, int)

    @property
    def lower(self) -> float:
        """The smallest value."""
        return self._value(self.first)

    @property
    def upper(self) -> float:
        """The largest value, which is itself part of the domain."""
        return self._value(self.last)

    def sample(self, rng: np.random.Generator) -> float:
        """One value; on the linear scale all are exactly equally likely."""
        if self.scale is Scale.LINEAR:
            return self._value(int(rng.integers(self.first, self.last + 1)))
        return self.decode(rng.random())

    def encode(self, value: Any) -> float:
        """The middle of the value's cell; found again by `decode` among up to 2**50 values (log: up to 2**44)."""
        place = to_float(value) / self.step
        if place != place:
            return unit(place)  # which refuses it
        k = round(min(max(place, self.first), self.last))
        if self.scale is Scale.LINEAR:
            return float(k - self.first + 0.5) / self.cardinality
        return unit((math.log(k) - self._start) / self._width)

    def decode(self, u: float) -> float:
        """The value whose cell holds `u`."""
        if self.scale is Scale.LINEAR:
            k = self.first + int(unit(u) * self.cardinality)
        else:
            k = round(math.exp(self._start + unit(u) * self._width))
        return self._value(min(max(k, self.first), self.last))

    def contains(self, value: Any) -> bool:
        """Whether the value is one of the multiples; 3.0 is no integer."""
        if isinstance(self.step, int):
            if isinstance(value, bool) or not isinstance(value, Integral):
                return False
            k, rest = divmod(int(value), self.step)
            return rest == 0 and self.first <= k <= self.last
        return (
            is_number(value) and is_multiple(value, self.step) and self.first <= round(value / self.step) <= self.last
        )

    @property
    def cardinality(self) -> int:
        """How many multiples there are."""
        return self.last - self.first + 1

    def describe(self) -> dict[str, Any]:
        """Constructor, step, and bounds tightened to the outermost multiples; `randint` excludes its upper bound."""
        log = "" if self.scale is Scale.LINEAR else "log"
        if not self.is_integer:
            kind = "quniform" if self.scale is Scale.LINEAR else "qloguniform"
            return {"type": kind, "lower": self.lower, "upper": self.upper, "q": self.step}
        if self.step == 1:
            return {"type": f"{log}randint", "lower": self.first, "upper": self.last + 1}
        return {"type": f"q{log}randint", "lower": self.lower, "upper": self.upper, "q": self.step}

    def _value(self, k: int) -> float:
        step = self.step
        return k * step if isinstance(step, int) else multiple(step, k)


def check_bounds(shown: str, lower: float, upper: float, scale: Scale) -> None:
    """Bounds in order and, for a log scale, positive.

    Raises: SpaceError that starts with `shown`, the domain as the user wrote it.
    """
    if lower > upper:
        raise SpaceError(
            f"{shown}: the lower bound {number_text(lower)} is above the upper bound {number_text(upper)}. "
            "Exchange the two."
        )
    if scale is Scale.LOG and lower < sys.float_info.min:
        raise SpaceError(
            f"{shown}: a log scale needs bounds of at least {sys.float_info.min:g}; the lower bound is {lower!r}. "
            "Raise it, or use the linear scale."
        )
