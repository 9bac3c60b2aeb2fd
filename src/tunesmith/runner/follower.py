"""A callback and the thread that it is called from: it can hang or fail without anybody else noticing (F48)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tunesmith.protocols import Callback
from tunesmith.stores import Reader, open_reader

_log = logging.getLogger("tunesmith")
_BATCH = 2000  #: records at a time: a callback that lags behind is handed no more than these
_INTERVAL_S = 0.5
_HANG_S = 30.0  #: a call that takes longer is warned about, once


class Follower:
    """Hands the committed records to one callback, by a cursor of its own. The log is its queue, so it misses nothing.

    What the callback raises is logged once, and it is not called any more. What it takes is nobody's time but its own.
    """

    def __init__(self, folder: Path, callback: Callback, *, after_seq: int) -> None:
        self._folder, self._callback, self._cursor = folder, callback, after_seq
        self._ended = threading.Event()
        self._calling: tuple[str, float] | None = None  #: what is being called, and since when
        self._has_warned = False
        self._thread = threading.Thread(target=self._run, name=f"tunesmith-{self.name}", daemon=True)

    @property
    def name(self) -> str:
        """The callback's, for messages."""
        return type(self._callback).__name__

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

    def join(self, timeout_s: float) -> bool:
        """Whether it is through within this time; if not, it is left behind."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            reader = open_reader(self._folder)
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
        while True:
            is_over = self._ended.wait(_INTERVAL_S)
            while batch := reader.records(self._cursor, _BATCH):
                self._cursor = batch[-1][0]
                self._call(self._callback.on_records, [record for _, record in batch])
            if is_over:
                self._call(self._callback.on_end)
                return

    def _call(self, method: Callable[..., object], *arguments: object) -> None:
        self._calling = (method.__name__, time.monotonic())
        method(*arguments)
        self._calling = None
