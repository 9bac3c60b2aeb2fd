"""Ctrl-C and termination signals as events: once is polite, twice is at once, three times is out."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from tunesmith.events import Event, InterruptRequested

_FIRST = "\nStopping: trials are asked to end at their next report. Press Ctrl-C again to kill them at once.\n"
_SECOND = "\nKilling all trials. Press Ctrl-C again to leave without waiting.\n"


@contextmanager
def interrupts_as_events(post: Callable[[Event], None], *, is_inline: bool) -> Iterator[None]:
    """Within the block the signals that end a program become `InterruptRequested`; afterwards all is as before.

    Does nothing outside the main thread, where Python cannot set signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    level = 0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal level
        level += 1
        if level >= 3:
            os._exit(128 + number)
        post(InterruptRequested(level, signal.Signals(number).name))
        with suppress(OSError):  # the terminal is gone, or Ctrl-C has ended the `tee` behind the pipe
            os.write(2, (_FIRST if level == 1 else _SECOND).encode())
        if is_inline and level == 2:
            raise KeyboardInterrupt

    names = ["SIGINT", "SIGTERM"] + ([] if sys.platform == "win32" else ["SIGHUP"])
    before: dict[int, Any] = {}
    for name in names:
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN or name == "SIGINT":  # nohup stays nohup
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
