"""What a program prints: copied into the trial's log as it comes, with its end kept in memory."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import suppress

_DRAIN_S = 1.0  #: for output after the end, which a background child may hold open
_END_BYTES = 64 << 10
_RESULT_BYTES = 1 << 20  #: as much as a line of the report file may have


class ProgramOutput:
    """The pipes of a program's standard output and standard error.

    Two pipes, since a result stands on standard output alone: progress bars and logging on standard error must neither
    run into its line nor be taken for it.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stderr is not None
        self._pipes = (process.stdout, process.stderr)
        #: Of the pipes that may still bring something: descriptor -> whether results stand there. Standard error comes
        #: last, where the reason of a failure is.
        self._open = {process.stdout.fileno(): True, process.stderr.fileno(): False}
        self._end, self._results = bytearray(), bytearray()

    @property
    def end(self) -> str:
        """The end of all that was printed."""
        return self._end.decode(errors="replace")

    @property
    def results(self) -> str:
        """The end of what was printed to standard output."""
        return self._results.decode(errors="replace")

    @property
    def is_open(self) -> bool:
        """Whether more may come."""
        return bool(self._open)

    def copy(self, timeout_s: float) -> None:
        """Into the trial's log what there is, or what comes first within this time."""
        ready = select.select(list(self._open), [], [], timeout_s)[0]
        for descriptor in ready:
            data = os.read(descriptor, 1 << 16)
            if not data:
                del self._open[descriptor]
                continue
            _write_log(data)
            _keep(self._end, data, _END_BYTES)
            if self._open[descriptor]:
                _keep(self._results, data, _RESULT_BYTES)

    def drain(self) -> None:
        """Copy the rest, once the program has ended."""
        deadline = time.monotonic() + _DRAIN_S
        while self._open and time.monotonic() < deadline:
            self.copy(0.2)

    def close(self) -> None:
        """Nothing more is read."""
        self._open.clear()
        for pipe in self._pipes:
            pipe.close()


def _write_log(data: bytes) -> None:
    sys.stdout.flush()
    rest = memoryview(data)
    with suppress(OSError):  # the log's disk is full: what a program prints is less than what it trains
        while rest:
            rest = rest[os.write(1, rest) :]


def _keep(end: bytearray, data: bytes, n_bytes: int) -> None:
    end += data
    del end[:-n_bytes]
