"""The normal distribution, rounded to multiples of a step or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from tunesmith.errors import SpaceError
from tunesmith.space.base import MAX_EXACT_INT, Domain, unit
from tunesmith.space.numeric import is_multiple, is_number, multiple, to_float

if TYPE_CHECKING:
    import numpy as np

#: The unit interval without its ends, where the inverse of the normal distribution is infinite.
_LEAST, _MOST = 2.0**-1000, 1.0 - 2.0**-53


@dataclass(frozen=True, eq=False, repr=False)
class Normal(Domain):
    """Floats with a mean and a standard deviation; with a step, the nearest multiple of it."""

    mean: float
    sd: float
    step: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.sd) and self.sd > 0.0):
            raise SpaceError(
                f"{self}: expected a finite mean and a finite sd above 0. For a fixed value write the value itself."
            )
        if self.step is not None and not 0.0 < self.step < math.inf:
            raise SpaceError(f"{self}: q must be a finite number above 0. Leave q out with randn(mean, sd).")
        if self.step is not None and abs(self.mean) + 40.0 * self.sd > self.step * MAX_EXACT_INT:
            raise SpaceError(f"{self}: q is too fine for 2**53 steps to reach the values. Use a larger q, or randn.")

    def sample(self, rng: np.random.Generator) -> float:
        """One float."""
        return self._stepped(float(rng.normal(self.mean, self.sd)))

    def encode(self, value: Any) -> float:
        """The share of draws below the value, by the cumulative normal distribution."""
        return unit(0.5 * math.erfc((self.mean - to_float(value)) / (self.sd * math.sqrt(2.0))))

    def decode(self, u: float) -> float:
        """The value below which a share `u` of the draws falls; within 38 sd below and 8 sd above the mean."""
        return self._stepped(NormalDist(self.mean, self.sd).inv_cdf(min(max(unit(u), _LEAST), _MOST)))

    def contains(self, value: Any) -> bool:
        """Whether the value is a finite number (and a multiple of the step)."""
        if not is_number(value) or not math.isfinite(to_float(value)):
            return False
        return self.step is None or is_multiple(value, self.step)

    @property
    def cardinality(self) -> int | None:
        """None: there is no bound."""
        return None

    def describe(self) -> dict[str, Any]:
        """Constructor, mean, standard deviation and step."""
        facts: dict[str, Any] = {"type": "randn", "mean": self.mean, "sd": self.sd}
        return facts if self.step is None else {**facts, "type": "qrandn", "q": self.step}

    def _stepped(self, value: float) -> float:
        return value if self.step is None else multiple(self.step, round(value / self.step))
