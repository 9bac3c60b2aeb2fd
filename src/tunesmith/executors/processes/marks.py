"""The mark in the environment of all processes of an experiment: what a killed driver left is known by it (Linux)."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tunesmith.executors.processes import reaper
from tunesmith.protocols import Launch

MARK_VARIABLE = "TUNESMITH_EXPERIMENT"
_MAX_PASSES = 100


def mark_of(launch: Launch) -> str:
    """What this experiment's processes carry in `MARK_VARIABLE`.

    A copy of the folder has the same id and may be run beside the original: device and inode tell them apart. They
    stay when the folder is renamed.
    """
    status = launch.folder.stat()
    return f"{launch.experiment_id}@{status.st_dev}:{status.st_ino}{launch.place}"


def sweep_marked(mark: str) -> int:
    """Kill the processes that carry the mark; answers how many there were.

    These are left only where a driver and its reaper were killed in the same instant.
    """
    entry = f"{MARK_VARIABLE}={mark}".encode()
    n = 0
    for _ in range(_MAX_PASSES if sys.platform == "linux" else 0):
        pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_marked(pid, entry)]
        for pid in pids:
            reaper.send_signal(pid, signal.SIGKILL)
        n += len(pids)
        if not pids:  # one that was forked during a pass is found by the next; a killed one has no environment any more
            break
    return n


def _is_marked(pid: int, entry: bytes) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return entry in environ.split(b"\0") and pid != os.getpid()
