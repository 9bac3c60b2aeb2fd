"""Finding the processes of an experiment from outside, and killing them. Linux only."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

MARK_VARIABLE = "CAMPAIGN_MARK"


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def children_of(pid: int) -> list[int]:
    """Direct children that run."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        pass
    return [child for child in found if is_alive(child)]


def tree_of(pid: int) -> list[int]:
    """The process and all its descendants."""
    return [pid, *(member for child in children_of(pid) for member in tree_of(child))]


def command_of(pid: int) -> str:
    """The command line, or empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def marked(mark: str) -> set[int]:
    """Running processes that inherited the mark in their environment; this one apart."""
    wanted, found = f"{MARK_VARIABLE}={mark}".encode(), set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                is_marked = wanted in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if is_marked and int(entry.name) != os.getpid() and is_alive(int(entry.name)):
                found.add(int(entry.name))
    return found


def reaper_of(driver: int) -> int | None:
    """The driver's reaper, once it has one."""
    return next((pid for pid in children_of(driver) if "reaper.py" in command_of(pid)), None)


def template_of(driver: int) -> int | None:
    """The driver's template process, once it has one."""
    reaper = reaper_of(driver)
    children = children_of(reaper) if reaper is not None else []
    return next((pid for pid in children if "processes.template" in command_of(pid)), None)


def kill(pids: Iterable[int]) -> None:
    """kill -9, one right after the other."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def until_gone(left: Callable[[], set[int]], *, within_s: float) -> tuple[float, set[int]]:
    """Seconds until `left()` is empty, and what is left when the time is up."""
    began = time.monotonic()
    while True:
        pids = left()
        seconds = time.monotonic() - began
        if not pids or seconds > within_s:
            return seconds, pids
        time.sleep(0.01)
