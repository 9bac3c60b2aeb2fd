"""Axes of values: linear or logarithmic, and not so long that one diverged trial hides all others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.trial import Mode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Positive values to be minimised whose largest is so many times the smallest are shown on a logarithmic axis. Those to
#: be maximised never are: the good ones, accuracies of 0.9 and 0.99, would lie close together.
LOG_RATIO = 20.0
#: A bad value further out than so many times the width of the middle 80 % lies beyond the axis.
_FAR = 4.0
_PADDING = 0.05
_LARGEST = 1.7e308


@dataclass(frozen=True)
class ValueAxis:
    """Where a value axis begins and ends; `low` and `high` are logarithms to base 10 where it is logarithmic."""

    is_log: bool
    low: float
    high: float
    n_beyond: int  #: values that lie outside

    @property
    def layout(self) -> dict[str, Any]:
        """In plotly's words."""
        layout: dict[str, Any] = {"type": "log" if self.is_log else "linear", "range": [self.low, self.high]}
        if not self.is_log:
            return layout
        return layout | {"exponentformat": "power", **log_ticks(self.low, self.high)}

    def at(self, share: float) -> float:
        """The value at this share of the axis, from its low end."""
        place = self.low + share * (self.high - self.low)
        return float(10.0**place) if self.is_log else place

    @property
    def notes(self) -> list[str]:
        """For the subtitle."""
        words = "1 poor value lies" if self.n_beyond == 1 else f"{self.n_beyond:,} poor values lie"
        return [f"{words} beyond the axis"] if self.n_beyond else []


def value_axis(values: Array, mode: Mode, *, has_all: bool = False, has_rug: bool = False) -> ValueAxis:
    """An axis for the finite ones of the values. Good values are always within, far outliers among the bad ones not.

    Args:
        mode: which side is bad.
        has_all: far outliers lie within too.
        has_rug: leave room at the low end for marks of what has no value; they belong at 2 % of the axis.
    """
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return ValueAxis(False, 0.0, 1.0, 0)
    is_log = mode is Mode.MIN and bool(finite.min() > 0.0) and _n_decades(finite) >= math.log10(LOG_RATIO)
    places = np.log10(finite) if is_log else finite
    shown = places if has_all else places[_is_near(mode.as_loss(1.0) * places)]
    low, high = float(shown.min()), float(shown.max())
    pad = _PADDING * (high / 2 - low / 2) * 2 or max(abs(low) * 0.1, 1e-12 if low else 0.5)
    room = 2.0 * pad if has_rug else pad
    return ValueAxis(is_log, max(low - room, -_LARGEST), min(high + pad, _LARGEST), len(places) - len(shown))


def _n_decades(positive: Array) -> float:
    return math.log10(positive.max()) - math.log10(positive.min())


def _is_near(losses: Array) -> NDArray[np.bool_]:
    scale = max(1.0, float(np.abs(losses).max()) / 1e300)  # else differences of huge values overflow
    losses = losses / scale
    low, high = np.quantile(losses, [0.1, 0.9])
    width = high - low
    if width <= 0.0:
        width = float(np.ptp(losses))
    return np.asarray(losses <= high + _FAR * width)


def log_ticks(low: float, high: float, limit: int = 8) -> dict[str, Any]:
    """Ticks of a logarithmic axis from 10**low to 10**high: the most round numbers that are no more than `limit`.

    Returns: `tickvals`, the values themselves, and `ticktext`; {} where fewer than two round numbers lie on the axis.
    """
    first, last = math.floor(low), math.ceil(high)
    for digits in (range(1, 10), (1, 2, 5), (1, 3)):
        values = [digit * 10.0**k for k in range(first, last + 1) if -300 < k < 300 for digit in digits]
        inside = [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if len(inside) <= limit:
            break
    else:
        step = max(1, math.ceil((high - low) / limit))
        exponents = range(step * math.ceil(low / step - 1e-9), last + 1, step)
        inside = [10.0**k for k in exponents if -300 < k <= high + 1e-9]
    ticks: list[float] = []
    for value in inside:  # within a decade they lie at uneven distances
        if not ticks or math.log10(value / ticks[-1]) >= (high - low) / (1.3 * limit):
            ticks.append(value)
    return {"tickvals": ticks, "ticktext": [tick_text(value) for value in ticks]} if len(ticks) > 1 else {}


def round_ticks(low: float, high: float, limit: int) -> list[float]:
    """The multiples of 1, 2 or 5 times a power of ten from `low` to `high`: the most that are no more than `limit`."""
    width = high - low
    if not width > 0.0:
        return [low]
    power = 10.0 ** math.floor(math.log10(width / limit))
    for factor in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0):
        step = factor * power
        places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(places) <= limit:
            break
    return [float(f"{place * step:.12g}") for place in places]


def tick_text(value: float) -> str:
    """A number as short as can be: 0.001, 20, 1e-05."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.12g}" if value == round(value, 6) else f"{value:.4g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def count_axis(low: float, high: float) -> dict[str, Any]:
    """The layout of an axis of whole numbers from `low` to `high`."""
    pad = max(0.02 * (high - low), 0.5 if high == low else 0.0)
    ticks = {"tickmode": "linear", "tick0": 0, "dtick": 1} if high - low <= 12 else {}
    return {"range": [low - pad, high + pad], **ticks}


def duration_axis(longest_s: float) -> tuple[float, str]:
    """By what seconds are divided, and the unit: "s", "min", "h" or "days"."""
    if longest_s < 180:
        return 1.0, "s"
    if longest_s < 3 * 3600:
        return 60.0, "min"
    return (3600.0, "h") if longest_s < 3 * 86400 else (86400.0, "days")
