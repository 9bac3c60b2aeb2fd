"""Paused trials in the order of their indices, without sorting thousands of them for every free slot."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, MutableSet, Sequence
from typing import overload

from tunesmith.trial import Trial


class OrderedIndices(MutableSet[int]):
    """A set of indices that is iterated in ascending order."""

    def __init__(self, indices: Iterable[int] = ()) -> None:
        #: The same indices; one is for membership, the other for order.
        self._members = set(indices)
        self._ordered = sorted(self._members)

    def __contains__(self, index: object) -> bool:
        return index in self._members

    def __iter__(self) -> Iterator[int]:
        return iter(self._ordered)

    def __len__(self) -> int:
        return len(self._ordered)

    def __getitem__(self, place: int) -> int:
        return self._ordered[place]

    def add(self, index: int) -> None:
        """Take the index in, if it is not there."""
        if index not in self._members:
            self._members.add(index)
            insort(self._ordered, index)

    def discard(self, index: int) -> None:
        """Take the index out, if it is there."""
        if index in self._members:
            self._members.discard(index)
            del self._ordered[bisect_left(self._ordered, index)]

    def __repr__(self) -> str:
        return f"OrderedIndices({self._ordered})"


class TrialsAt(Sequence[Trial]):
    """The trials of these indices, in ascending order, as they stand when they are looked at."""

    def __init__(self, trials: Sequence[Trial], indices: OrderedIndices) -> None:
        self._trials, self._indices = trials, indices

    @overload
    def __getitem__(self, place: int) -> Trial: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Trial]: ...
    def __getitem__(self, place: int | slice) -> Trial | Sequence[Trial]:
        return list(self)[place] if isinstance(place, slice) else self._trials[self._indices[place]]

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Trial]:
        return map(self._trials.__getitem__, self._indices)
