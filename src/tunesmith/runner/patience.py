"""Reading the store beside its driver, where another program may have it locked for some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tunesmith.errors import StoreError

_Found = TypeVar("_Found")
_PATIENCE_S = 20.0  #: twice this and more fits into what the end of an experiment waits for
_INTERVAL_S = 0.5


class Patience:
    """Tries to read again and again for a while; who has lost patience tries only once, until it succeeds."""

    def __init__(self) -> None:
        self._failing_since: float | None = None

    def read(self, read: Callable[[], _Found]) -> _Found:
        """What `read` returns.

        Raises: StoreError if it has raised nothing else for `_PATIENCE_S`.
        """
        while True:
            try:
                found = read()
            except StoreError:
                now = time.monotonic()
                self._failing_since = now if self._failing_since is None else self._failing_since
                if now - self._failing_since >= _PATIENCE_S:
                    raise
            else:
                self._failing_since = None
                return found
            time.sleep(_INTERVAL_S)
