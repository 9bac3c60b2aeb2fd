"""A trial's log file, kept below a cap while the trial goes on writing to it."""

from __future__ import annotations

import os


class LogCap:
    """Watches one file that others append to (O_APPEND): above the cap the middle is cut out, head and tail stay.

    The writers need not cooperate: they go on at the new end. What is written between two checks may pass the cap.
    """

    def __init__(self, path: str, cap_bytes: int) -> None:
        self._path, self._cap_bytes = path, cap_bytes
        self._n_cut = 0
        self._next_at = 0.0

    def check(self, now: float, *, is_last: bool = False) -> None:
        """Cut the file if it is above the cap; looks at most every half second."""
        if now < self._next_at and not is_last:
            return
        self._next_at = now + 0.5
        try:
            if os.stat(self._path).st_size > self._cap_bytes:
                self._cut()
        except OSError:
            return  # removed by the user, or never written

    def _cut(self) -> None:
        head_bytes, tail_bytes = self._cap_bytes // 2, self._cap_bytes // 4
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            tail = os.pread(fd, tail_bytes, size - tail_bytes)
            self._n_cut += size - head_bytes - len(tail)
            os.ftruncate(fd, head_bytes)
            note = f"\n[tunesmith: {self._n_cut} bytes were cut out here; the log is capped at {self._cap_bytes}]\n"
            os.lseek(fd, 0, os.SEEK_END)
            os.write(fd, note.encode() + tail)
        finally:
            os.close(fd)
