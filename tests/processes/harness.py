"""What the tests of real processes share: waiting with a deadline, and finding processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], *, within_s: float = 10.0, what: str = "the condition") -> T:
    """The first true value of the condition; fails after the deadline."""
    pause = threading.Event()
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {within_s:g} s; it is {value!r}")
        pause.wait(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def marked(mark: str) -> list[str]:
    """Living processes that carry the mark in their environment, in words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in environ and int(folder.name) != os.getpid() and is_alive(int(folder.name)):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(f"{folder.name}: {command[:100]}")
    return found


def pids_in(folder: Path) -> list[int]:
    """The numbers that trials wrote into the folder, one file each."""
    return [int(file.read_text() or 0) for file in folder.glob("*.pid")]


def pid_of(folder: Path, name: str, *, within_s: float = 20.0) -> int:
    """The number noted under the name, once it is there."""
    file = folder / f"{name}.pid"
    eventually(file.exists, within_s=within_s, what=f"{name}.pid")
    return int(file.read_text())


class Outside:
    """Runs an action beside the experiment, in a thread; `join` raises what it raised."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._action = action
        self._thread = threading.Thread(target=self._run, name="outside", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._action()
        except BaseException as error:
            self._error = error

    def join(self) -> None:
        """Wait for the end of the action."""
        self._thread.join(30.0)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def _take_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start_script(
    path: Path, text: str, *arguments: str, prefix: tuple[str, ...] = (), **popen: Any
) -> subprocess.Popen:
    """Write a driver's script and start it with this interpreter, in a process group of its own.

    SIGHUP ends it, also where these tests run under nohup.
    """
    path.write_text(text)
    return subprocess.Popen(
        [*prefix, sys.executable, str(path), *arguments],
        text=True,
        start_new_session=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": _take_hangups, **popen},
    )


def output_of(process: subprocess.Popen, *, within_s: float = 60.0) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a script."""
    try:
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the script did not end within {within_s:g} s\n{out}\n{err}") from None
    return process.returncode, out, err
