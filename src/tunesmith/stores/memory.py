"""A store that is a list: for tests and simulations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.errors import StoreError
from tunesmith.events import Record
from tunesmith.trial import Trial


class MemoryStore:
    """Keeps the log and the last state of each trial as long as the object lives."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._trials: dict[int, Trial] = {}
        self._is_closed = False

    def append(self, records: Sequence[Record], trials: Sequence[Trial]) -> None:
        """Keep the records and the new state of the trials they changed.

        Raises: StoreError when it was closed.
        """
        if self._is_closed:
            raise StoreError("The store is closed. Make a new one.")
        self._records += records
        self._trials.update((trial.index, trial) for trial in trials)

    def records(self) -> Iterator[Record]:
        """The whole log, in order, also after the store was closed."""
        return iter(self._records)

    def trials(self) -> list[Trial]:
        """Every trial as it was last appended, by index."""
        return [self._trials[index] for index in sorted(self._trials)]

    def last_seq(self) -> int:
        """Number of records."""
        return len(self._records)

    def close(self) -> None:
        """Take no further records. Idempotent."""
        self._is_closed = True
