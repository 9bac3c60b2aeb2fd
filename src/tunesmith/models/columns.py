"""One leaf of a space as one column of numbers: places in [0, 1], or codes of unordered values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.space import Categorical, Domain, Normal, Scale, Stepped
from tunesmith.space.identity import identity_key
from tunesmith.space.numeric import is_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: A choice among so many numbers or more is taken as ordered; of two, no order can be used.
_MIN_ORDERED = 3


class Column(ABC):
    """How the values of one leaf are written as floats. NaN is reserved for a leaf that takes no part."""

    is_categorical = False  #: codes 0, 1, ... without an order, instead of places in [0, 1]
    n_values: int | None = None  #: how many different values there are, None if uncountable

    @abstractmethod
    def encode(self, value: Any) -> float:
        """The place or code of a value."""

    @abstractmethod
    def decode(self, x: float) -> Any:
        """The value at a place or code that `snap` returned."""

    @abstractmethod
    def from_unit(self, u: Array) -> Array:
        """Places or codes such that uniform `u` in [0, 1] are distributed like the domain; shape of `u`."""

    def all_places(self) -> Array:
        """The place or code of every value; only where they can be counted."""
        assert self.n_values is not None, "the values of this column cannot be counted"
        return self.from_unit((np.arange(self.n_values) + 0.5) / self.n_values)

    def snap(self, x: Array) -> Array:
        """The nearest place that is exactly a value's, so that what is scored is what is run; shape of `x`."""
        return self.from_unit(np.clip(x, 0.0, 1.0))


class ContinuousColumn(Column):
    """Any float; `encode` is the domain's distribution function."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self.n_values = domain.cardinality

    def encode(self, value: Any) -> float:
        """See Column."""
        return self._domain.encode(value)

    def decode(self, x: float) -> Any:
        """See Column."""
        return self._domain.decode(x)

    def from_unit(self, u: Array) -> Array:
        """See Column."""
        return u if self.n_values is None else np.full_like(u, 0.5)


class SteppedColumn(ContinuousColumn):
    """The multiples of a step, each at the middle of its cell."""

    def __init__(self, domain: Stepped) -> None:
        super().__init__(domain)
        self._first, self._last, self._is_log = domain.first, domain.last, domain.scale is Scale.LOG
        self._n = domain.cardinality

    def from_unit(self, u: Array) -> Array:
        """See Column."""
        if not self._is_log:
            cell = np.minimum(np.floor(u * self._n), self._n - 1)
            return np.asarray((cell + 0.5) / self._n)
        start = math.log(self._first - 0.5)
        width = math.log(self._last + 0.5) - start
        k = np.clip(np.rint(np.exp(start + u * width)), self._first, self._last)
        return np.asarray((np.log(k) - start) / width)

    def all_places(self) -> Array:
        """See Column; on a log scale the cells are not equally wide."""
        if not self._is_log:
            return super().all_places()
        start = math.log(self._first - 0.5)
        steps = np.arange(self._first, self._last + 1, dtype=float)
        return np.asarray((np.log(steps) - start) / (math.log(self._last + 0.5) - start))


class SteppedNormalColumn(ContinuousColumn):
    """A normal distribution rounded to multiples of a step."""

    def from_unit(self, u: Array) -> Array:
        """See Column."""
        places = [x if x != x else self._domain.encode(self._domain.decode(x)) for x in u.ravel().tolist()]
        return np.array(places).reshape(u.shape)


class OptionsColumn(Column):
    """The options of a choice by their number."""

    is_categorical = True

    def __init__(self, domain: Categorical) -> None:
        self._domain = domain
        self.n_values: int = len(domain.options)

    def encode(self, value: Any) -> float:
        """See Column."""
        index = self._domain.index(value)
        return -1.0 if index is None else float(index)

    def decode(self, x: float) -> Any:
        """See Column."""
        return self._domain.options[int(x)]

    def from_unit(self, u: Array) -> Array:
        """See Column."""
        return np.minimum(np.floor(u * self.n_values), self.n_values - 1.0)

    def snap(self, x: Array) -> Array:
        """Codes are values already."""
        return x


class OrderedColumn(Column):
    """A choice among numbers: each option at the middle of its cell, in ascending order."""

    def __init__(self, domain: Categorical) -> None:
        self._ordered = sorted(domain.options)
        self._place = {option: i for i, option in enumerate(self._ordered)}
        self.n_values: int = len(self._ordered)

    def encode(self, value: Any) -> float:
        """See Column."""
        return float(self._place[value] + 0.5) / self.n_values

    def decode(self, x: float) -> Any:
        """See Column."""
        return self._ordered[min(int(x * self.n_values), self.n_values - 1)]

    def from_unit(self, u: Array) -> Array:
        """See Column."""
        cell = np.minimum(np.floor(u * self.n_values), self.n_values - 1.0)
        return np.asarray((cell + 0.5) / self.n_values)


class DrawnNumbersColumn(Column):
    """Numbers that a `sample_from` function returned: placed by the share of its draws that lie below."""

    def __init__(self, draws: Sequence[float]) -> None:
        values, counts = np.unique(np.array(draws, float), return_counts=True)
        first = {float(value): value for value in reversed(draws)}
        self._values = [first[float(value)] for value in values]
        self._sorted = values
        self._ends = np.cumsum(counts) / len(draws)
        self._places = self._ends - 0.5 * counts / len(draws)
        self.n_values: int = len(self._values)

    def encode(self, value: Any) -> float:
        """See Column."""
        number = float(value) if is_number(value) and math.isfinite(value) else 0.5
        return float(np.interp(number, self._sorted, self._places))

    def decode(self, x: float) -> Any:
        """See Column."""
        return self._values[int(np.abs(self._places - x).argmin())]

    def from_unit(self, u: Array) -> Array:
        """See Column."""
        return np.asarray(self._places[np.minimum(np.searchsorted(self._ends, u), self.n_values - 1)])

    def all_places(self) -> Array:
        """See Column."""
        return self._places


class DrawnValuesColumn(Column):
    """Other values that a `sample_from` function returned, by their order of appearance; new ones share one code."""

    is_categorical = True

    def __init__(self, draws: Sequence[Any]) -> None:
        self._codes: dict[Hashable, int] = {}
        self._values: list[Any] = []
        codes = []
        for value in draws:
            key = identity_key(value)
            if key not in self._codes:
                self._codes[key] = len(self._values)
                self._values.append(value)
            codes.append(self._codes[key])
        self._sorted_codes = np.sort(np.array(codes, float))
        self.n_values: int = len(self._values)

    def encode(self, value: Any) -> float:
        """See Column."""
        return float(self._codes.get(identity_key(value), len(self._values)))

    def decode(self, x: float) -> Any:
        """See Column."""
        return self._values[min(int(x), len(self._values) - 1)]

    def from_unit(self, u: Array) -> Array:
        """See Column."""
        n = len(self._sorted_codes)
        return np.asarray(self._sorted_codes[np.minimum((u * n).astype(int), n - 1)])

    def all_places(self) -> Array:
        """See Column."""
        return np.arange(float(self.n_values))

    def snap(self, x: Array) -> Array:
        """Codes are values already."""
        return x


def column_of(domain: Domain) -> Column:
    """The column of a domain that can encode by itself."""
    if isinstance(domain, Categorical):
        is_ordered = len(domain.options) >= _MIN_ORDERED and all(_is_finite(option) for option in domain.options)
        return OrderedColumn(domain) if is_ordered and _are_apart(domain.options) else OptionsColumn(domain)
    if isinstance(domain, Stepped):
        return SteppedColumn(domain)
    if isinstance(domain, Normal) and domain.step is not None:
        return SteppedNormalColumn(domain)
    return ContinuousColumn(domain)


def drawn_column(draws: Sequence[Any]) -> Column:
    """The column of a `sample_from` leaf, from at least one draw of it."""
    return DrawnNumbersColumn(draws) if all(_is_finite(value) for value in draws) else DrawnValuesColumn(draws)


def _is_finite(value: Any) -> bool:
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:
        return False


def _are_apart(options: Sequence[Any]) -> bool:
    """Whether no two are equal as numbers: 1 and 1.0 are two options of one place."""
    return len(set(options)) == len(options)
