"""Where the logs of simulated experiments live: a store in memory that drivers come and go on, and the real SQLite one.

Both are used through `WorldStore`, which injects the faults of a disk and shows every commit to the witness.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from campaigns.simulate.faults import AppendError, Violation
from campaigns.simulate.witness import Witness
from campaigns.simulate.world import World
from tunesmith.errors import LeaseError, StoreError
from tunesmith.events import Record, TrialReported
from tunesmith.stores import SqliteStore, create_store, open_reader, open_store
from tunesmith.stores.codec import dumps, parse_record, record_tree
from tunesmith.trial import Trial


class Handle(Protocol):
    """A store as one driver has it open."""

    @property
    def epoch(self) -> int:
        """Of this driver's lease."""

    def append(self, records: Sequence[Record], trials: Sequence[Trial]) -> None:
        """See Store."""

    def records(self) -> Iterator[Record]:
        """See Store."""

    def close(self) -> None:
        """See Store."""


class Backend(Protocol):
    """What is left when no driver runs."""

    def open(self) -> Handle:
        """A further driver opens it, and fences off the one before."""

    def lines(self) -> list[str]:
        """The log as it is stored."""

    def trials(self) -> list[Trial]:
        """The projection: every trial as it was last appended."""


# ---------------------------------------------------------------- in memory


class MemoryBackend:
    """Keeps the encoded log; commits are atomic, results are stored once, and only the newest epoch may write."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.projection: dict[int, Trial] = {}
        self.results: set[tuple[int, int, int]] = set()
        self.epoch = 0

    def open(self) -> Handle:
        """See Backend."""
        self.epoch += 1
        return _MemoryHandle(self, self.epoch)

    def lines(self) -> list[str]:
        """See Backend."""
        return self.log

    def trials(self) -> list[Trial]:
        """See Backend."""
        return [self.projection[index] for index in sorted(self.projection)]


class _MemoryHandle:
    def __init__(self, backend: MemoryBackend, epoch: int) -> None:
        self._backend, self.epoch = backend, epoch

    def append(self, records: Sequence[Record], trials: Sequence[Trial]) -> None:
        backend = self._backend
        if backend.epoch != self.epoch:
            raise LeaseError(f"epoch {backend.epoch} took over")
        lines = [dumps(record_tree(record)) for record in records]
        results = [(r.trial, r.attempt, r.step) for r in records if isinstance(r, TrialReported)]
        if len(set(results)) < len(results) or not backend.results.isdisjoint(results):
            raise StoreError(f"A result was appended twice: {results}.")
        backend.log += lines
        backend.results.update(results)
        backend.projection.update((trial.index, trial) for trial in trials)

    def records(self) -> Iterator[Record]:
        return map(parse_record, self._backend.log)

    def close(self) -> None:
        pass


# ---------------------------------------------------------------- SQLite


class SqliteBackend:
    """The real store, in a folder of its own."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder
        self._open: list[SqliteStore] = []

    def open(self) -> Handle:
        """See Backend. A driver that crashed gave nothing back, so its connection is closed only now."""
        plan, clock = self._world.plan, self._world.clock
        if not self._open:
            store = create_store(self._folder, plan.spec, plan.space, clock=clock)
        else:
            store = open_store(self._folder, plan.space, takeover=True, clock=clock)
        self._open.append(store)
        return store

    def lines(self) -> list[str]:
        """See Backend."""
        reader = open_reader(self._folder)
        try:
            return [dumps(record_tree(record)) for _, record in reader.records(limit=1_000_000)]
        finally:
            reader.close()

    def trials(self) -> list[Trial]:
        """See Backend."""
        reader = open_reader(self._folder)
        try:
            return reader.trials()
        finally:
            reader.close()

    def results(self) -> dict[int, list[tuple[int, int, dict[str, float]]]]:
        """What readers see as the results of each trial that has any: attempt, step, metrics."""
        found: dict[int, list[tuple[int, int, dict[str, float]]]] = {}
        reader = open_reader(self._folder)
        try:
            for result in reader.results():
                found.setdefault(result.trial, []).append((result.attempt, result.step, result.metrics))
        finally:
            reader.close()
        return found

    def close(self) -> None:
        """Close every connection and remove the folder."""
        for store in self._open:
            store.close()
        shutil.rmtree(self._folder, ignore_errors=True)


# ---------------------------------------------------------------- faults


class WorldStore:
    """The store of one driver, with the faults of the disk. `on_takeover` lets another driver open it in between."""

    def __init__(self, world: World, witness: Witness, handle: Handle) -> None:
        self._world, self._witness, self._handle = world, witness, handle
        self._is_fenced = False
        self.takeover_at: int | None = None  #: the append before which another driver takes over
        self.failure_at: int | None = None  #: the append that the disk refuses
        self.on_takeover: Callable[[], None] = lambda: None
        self._n_appends = 0

    @property
    def epoch(self) -> int:
        """Of this driver's lease."""
        return self._handle.epoch

    def append(self, records: Sequence[Record], trials: Sequence[Trial]) -> None:
        """See Store."""
        world = self._world
        self._n_appends += 1
        world.point("before an append")
        if self._n_appends == self.takeover_at:
            world.counts["takeovers"] += 1
            self.on_takeover()
            self._is_fenced = True
        is_failing = self._n_appends == self.failure_at
        if is_failing:
            world.counts["appends refused"] += 1
            if world.chance(0.5):
                raise AppendError("nothing was stored")
        if world.chance(world.plan.faults.p_slow_disk):
            world.counts["slow appends"] += 1
            world.clock.advance_to(world.clock.now() + world.rng.uniform(0.1, 3.0))
        self._handle.append(records, trials)
        if self._is_fenced:
            raise Violation("commit by a driver that was taken over", f"{len(records)} records of epoch {self.epoch}")
        self._witness.on_commit(records)
        if is_failing:
            raise AppendError("it was stored all the same")
        world.point("after an append")

    def records(self) -> Iterator[Record]:
        """See Store."""
        return self._handle.records()

    def close(self) -> None:
        """See Store."""
        self._handle.close()
