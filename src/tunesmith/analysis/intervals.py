"""Means of a few noisy values, and how far they may be off."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Of the intervals here: so often they hold the truth, where the noise is about normal.
CONFIDENCE = 0.95


def mean_of(values: Sequence[float]) -> float:
    """The mean; NaN of none. Divided first: a sum of huge values overflows."""
    return math.fsum(value / len(values) for value in values) if values else math.nan


def t_interval(values: Sequence[float], *, n_means: int = 1) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean; None for fewer than 2 values.

    Args: n_means: independent means of which one is picked by its value: so wide that the intervals of all of them hold
        at once with 95 %, and that of the picked one at least as often.
    Source: Šidák 1967, Journal of the American Statistical Association 62.
    """
    if len(values) < 2:
        return None
    mean, error = mean_of(values), _standard_error(values)
    return _around(mean, error, len(values) - 1, confidence=CONFIDENCE ** (1 / n_means))


def welch_interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of mean(one) - mean(other), their spreads not taken for equal; None for fewer than 2 of each.

    Source: Welch 1947, Biometrika 34; degrees of freedom by Satterthwaite's equation.
    """
    if min(len(one), len(other)) < 2:
        return None
    difference = mean_of(one) - mean_of(other)
    errors = [(_standard_error(values), len(values)) for values in (one, other)]
    total = math.hypot(*(error for error, _ in errors))
    if total == 0:
        return difference, difference
    # Of shares of the total: the squares of small errors would underflow.
    freedom = 1 / math.fsum((error / total) ** 4 / (n - 1) for error, n in errors)
    return _around(difference, total, freedom)


def _standard_error(values: Sequence[float]) -> float:
    mean, n = mean_of(values), len(values)
    return math.hypot(*(value - mean for value in values)) / math.sqrt(n - 1) / math.sqrt(n)


def _around(center: float, error: float, freedom: float, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return center - half, center + half
