"""What the repeats of one config gave, and how far the best of several is ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.analysis.intervals import mean_of, t_interval


@dataclass(frozen=True)
class Confirmed:
    """One config and what its repeats gave, in the metric's own unit and sign."""

    config: dict[str, Any]
    values: tuple[float, ...]  #: of the repeats that have a finite one, each at `step` or the last before it
    claimed: float  #: the best that the search had seen of it
    step: int  #: where that was, and as far as each repeat is trained; functions that report folds train all of them
    trial: int  #: which trial of the search that was
    n_failed: int = 0  #: repeats that failed
    n_no_value: int = 0  #: repeats whose value is NaN or infinite, that reported none, or fewer folds than the search's
    n_left: int = 0  #: repeats that are not over, or have not begun
    n_out_of_bounds: int = 0  #: of the values, those whose report breaks a constraint of the search
    n_compared: int = 1  #: configs that were confirmed with it, itself included: the best of them is picked

    @property
    def n(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def n_without_value(self) -> int:
        """How many repeats are over and gave none."""
        return self.n_failed + self.n_no_value

    @property
    def mean(self) -> float:
        """Their mean; NaN where there is none."""
        return mean_of(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's interval of the mean, so wide that those of all compared configs hold at once with 95 %.

        None for fewer than 2 values.
        """
        return t_interval(self.values, n_means=self.n_compared)

    @property
    def is_mostly_without_value(self) -> bool:
        """Whether most of the repeats gave none: the mean of the others is then that of the lucky ones."""
        return self.n_without_value > self.n

    @property
    def is_mostly_out_of_bounds(self) -> bool:
        """Whether most of the values break a constraint of the search."""
        return 2 * self.n_out_of_bounds > self.n

    @property
    def standing(self) -> tuple[bool, bool, bool]:
        """What ranks before the mean, smaller is better. Means are compared only between equal standings."""
        return self.n == 0, self.is_mostly_without_value, self.is_mostly_out_of_bounds


@dataclass(frozen=True)
class Lead:
    """How much better the best config is than the second, by their means; 0 or more."""

    by: float
    interval: tuple[float, float] | None  #: Welch's, 95 %; None where either has fewer than 2 values
    unclear: tuple[int, ...]  #: ranks of the configs, the second or later, whose interval is not above 0

    @property
    def is_clear(self) -> bool:
        """Whether the best can be told apart from every other, not only from the second."""
        return not self.unclear
