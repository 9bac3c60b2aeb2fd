"""How much a few values differ."""

from __future__ import annotations

import math
from collections.abc import Sequence


def standard_deviation(values: Sequence[float]) -> float:
    """The population standard deviation of one or more values; NaN if one of them is not finite. Cannot overflow."""
    if not all(map(math.isfinite, values)):
        return math.nan
    mean = math.fsum(value / len(values) for value in values)
    return math.hypot(*((value - mean) / math.sqrt(len(values)) for value in values))
