"""Keeps log lines from tearing the live screen.

The screen replaces `sys.stdout` and `sys.stderr` while it is on, so that what is printed appears above it. A logging
handler made earlier holds the old stream and would write into the middle of the screen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TextIO


class LogRedirect:
    """The log handlers that write to other streams than their own for a while."""

    def __init__(self) -> None:
        self._moved: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []

    def start(self, old: TextIO, new: TextIO) -> None:
        """Let each handler that writes to the old stream write to the new one instead."""
        if new is old:
            return
        for handler in list(_stream_handlers()):
            if handler.stream is old:
                self._moved.append((handler, old))
                handler.setStream(new)

    def stop(self) -> None:
        """Give the handlers their own streams back. Idempotent."""
        while self._moved:
            handler, stream = self._moved.pop()
            handler.setStream(stream)


def _stream_handlers() -> Iterator[logging.StreamHandler[TextIO]]:
    """Of all loggers; the streams of file handlers are never a terminal's and need no care."""
    loggers: list[object] = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):  # a placeholder has none
            # lastResort's stream is a property that follows sys.stderr by itself.
            if isinstance(handler, logging.StreamHandler) and "stream" in vars(handler):
                yield handler
