"""A callback and the thread that it is called from: it can hang or fail without anybody else noticing (F48)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from tunesmith.errors import StoreError
from tunesmith.events import Record
from tunesmith.protocols import RecordCallback
from tunesmith.runner.patience import Patience
from tunesmith.stores import Reader, open_reader

_log = logging.getLogger("tunesmith")
_BATCH = 2000  #: records at a time: a callback that lags behind is handed no more than these
_INTERVAL_S = 0.5
_PATIENCE_S = 60.0  #: how long the end of an experiment waits for a slow callback
_HANG_S = 30.0  #: a call that takes longer is warned about, once


class Following(Protocol):
    """Something that follows the log beside the loop, until the experiment ends."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def start(self) -> None:
        """Begin to follow."""

    def look_after(self) -> None:
        """Called now and then by somebody who watches: warn about what does not go on."""

    def end(self) -> None:
        """Take what is left, then stop; returns at once. The store is closed for writing."""

    @property
    def patience_s(self) -> float:
        """Seconds that the end of the experiment waits for it; math.inf for no limit."""

    def join(self, timeout_s: float) -> bool:
        """Wait until it has stopped, for no longer than this; whether it has."""

    def leave(self) -> None:
        """It is not waited for any more: stop soon, where that can be."""


class Follower:
    """Hands the committed records to one callback, by a cursor of its own. The log is its queue, so it misses nothing.

    What the callback raises is logged once, and it is not called any more. What it takes is nobody's time but its own.
    """

    def __init__(self, folder: Path, callback: RecordCallback, *, after_seq: int, name: str | None = None) -> None:
        self._folder, self._callback, self._cursor = folder, callback, after_seq
        self._name = type(callback).__name__ if name is None else name
        self._ended = threading.Event()
        self._calling: tuple[str, float] | None = None  #: what is being called, and since when
        self._has_warned = False
        self._patience, self._has_warned_of_reading = Patience(), False
        self._thread = threading.Thread(target=self._run, name=f"tunesmith-{self.name}", daemon=True)

    @property
    def name(self) -> str:
        """The callback's, for messages."""
        return self._name

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def look_after(self) -> None:
        """Warn about a call that does not return; called from another thread now and then."""
        calling = self._calling
        if calling is not None and not self._has_warned and time.monotonic() - calling[1] > _HANG_S:
            self._has_warned = True
            _log.warning(
                "%s.%s() has not returned for %g s. Nothing else waits for it; it is behind with what it is told.",
                self.name,
                calling[0],
                _HANG_S,
            )

    def end(self) -> None:
        """Hand over what is left, then stop. The store must be closed for writing."""
        self._ended.set()

    @property
    def patience_s(self) -> float:
        """See Following."""
        return _PATIENCE_S

    def join(self, timeout_s: float) -> bool:
        """Whether it is through within this time; if not, it is left behind."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def leave(self) -> None:
        """Nothing: what a callback does in our process cannot be ended from outside."""

    def _run(self) -> None:
        try:
            reader = self._patience.read(partial(open_reader, self._folder))
            try:
                self._follow(reader)
            finally:
                reader.close()
        except BaseException:  # sys.exit() in a callback, too, ends only its own thread
            what = "It" if self._calling is None else f"{self._calling[0]}()"
            _log.warning("%s of %s failed; it is not called any more.", what, self.name, exc_info=True)
        finally:
            self._calling = None

    def _follow(self, reader: Reader) -> None:
        self._call(self._callback.setup, self._folder)
        is_over = False
        while not is_over:
            is_over = self._ended.wait(_INTERVAL_S)
            for records in self._news(reader):
                self._call(self._callback.on_records, records)
        self._call(self._callback.on_end)

    def _news(self, reader: Reader) -> Iterator[list[Record]]:
        """What was committed since the last time, in parts; what cannot be read is left for the next time."""
        try:
            while batch := self._patience.read(partial(reader.records, self._cursor, _BATCH)):
                self._cursor = batch[-1][0]
                yield [record for _, record in batch]
        except StoreError as error:
            if not self._has_warned_of_reading:
                self._has_warned_of_reading = True
                _log.warning("%s is behind with what it is told, since the store cannot be read: %s", self.name, error)

    def _call(self, method: Callable[..., object], *arguments: object) -> None:
        self._calling = (method.__name__, time.monotonic())
        method(*arguments)
        self._calling = None
