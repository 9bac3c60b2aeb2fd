"""CPU seconds of a command and of everything it starts: children, daemons, orphans, the short-lived ones too.

    python benchmarks/overhead_meter.py [--self-test] [--json FILE] [-- command ...]

The meter makes itself the subreaper of the command's tree and reaps it with `wait4`, whose figure holds a process and
all descendants that were waited for below it: exact, however short they lived. One kind is missing there: children of
a process that ignores SIGCHLD (Ray's raylet does) are dropped by the kernel without being added anywhere. Those are
found by looking at /proc every 20 ms, and count with what was last seen of them: the last 20 ms or so are missed.
Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SAMPLE_S = 0.02  #: while somebody in the tree ignores SIGCHLD
_LOOK_S = 0.1  #: else
_DAEMONS_MAY_TAKE_S = 15.0  #: what the command left running gets to end by itself; then it is killed, and counted


class Seen:
    """What the samples knew last of one process."""

    def __init__(self, parent: int, cpu_s: float, *, is_dropped_at_exit: bool) -> None:
        self.parent, self.cpu_s = parent, cpu_s
        #: Its parent ignores SIGCHLD, so that no process gets its CPU time added.
        self.is_dropped_at_exit = is_dropped_at_exit


class Meter:
    """Runs one command and adds up."""

    def __init__(self) -> None:
        self.waited_s = 0.0
        self.dropped_s = 0.0
        self.n_dropped = 0
        self._seen: dict[int, Seen] = {}
        self._waited: set[int] = set()

    def run(self, argv: list[str], *, timeout_s: float) -> int:
        """Run it to its end, and what it left behind to theirs; answers its exit status."""
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError("this process cannot become a subreaper")
        child = os.posix_spawn(argv[0], argv, os.environ)
        deadline, status = time.monotonic() + timeout_s, None
        while True:
            pid, code, usage = self._wait()
            if pid is None:
                self._settle(set())
                return 0 if status is None else os.waitstatus_to_exitcode(status)
            if pid == 0:
                self._sample()
                if time.monotonic() > deadline:
                    self._kill_all()
                time.sleep(_SAMPLE_S if any(seen.is_dropped_at_exit for seen in self._seen.values()) else _LOOK_S)
                continue
            assert usage is not None
            self._waited.add(pid)
            self.waited_s += usage.ru_utime + usage.ru_stime
            if pid == child:
                status = code
                deadline = min(deadline, time.monotonic() + _DAEMONS_MAY_TAKE_S)

    def _wait(self) -> tuple[int | None, int, resource.struct_rusage | None]:
        try:
            return os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return None, 0, None

    def _sample(self) -> None:
        table = _processes()
        tree, ignoring = _tree(table, os.getpid()), {}
        self._settle(tree)
        for pid in tree:
            parent, cpu_s = table[pid]
            if parent not in ignoring:
                ignoring[parent] = parent != os.getpid() and _ignores_sigchld(parent)
            self._seen[pid] = Seen(parent, cpu_s, is_dropped_at_exit=ignoring[parent])

    def _settle(self, alive: set[int]) -> None:
        """Count those that are gone and that nobody waited for."""
        for pid in [pid for pid in self._seen if pid not in alive]:
            seen = self._seen.pop(pid)
            if seen.is_dropped_at_exit and pid not in self._waited:
                self.dropped_s += seen.cpu_s
                self.n_dropped += 1

    def _kill_all(self) -> None:
        for pid in _tree(_processes(), os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _processes() -> dict[int, tuple[int, float]]:
    """Pid -> parent and CPU seconds, those of waited-for children included; zombies too."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208  # twenty times a second
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b") ")[2].split()
        except OSError:
            continue
        found[int(name)] = (int(fields[1]), sum(map(int, fields[11:15])) / _TICKS_PER_S)
    return found


def _tree(table: dict[int, tuple[int, float]], root: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    open_ends = [root]
    while open_ends:
        new = children.get(open_ends.pop(), [])
        found.update(new)
        open_ends += new
    return found


def _ignores_sigchld(pid: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    mask = next((int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:")), 0)
    return bool(mask >> (signal.SIGCHLD - 1) & 1)


# ---------------------------------------------------------------- self-test

_BURN = "import os, sys, time\nwhile time.process_time() < {s}: pass\n"
#: name -> (program, CPU seconds of known load in it, seconds that may be missed)
_LOADS = {
    "one process": (_BURN.format(s=0.5), 0.5, 0.02),
    "40 children of 20 ms": (
        "import os, time\nfor i in range(40):\n  p = os.fork()\n  if p == 0:\n    t = time.process_time()\n"
        "    while time.process_time() - t < 0.02: pass\n    os._exit(0)\n  os.waitpid(p, 0)",
        0.8,
        0.02,
    ),
    "an orphan daemon that outlives its starter": (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    t = time.process_time()\n"
        "    while time.process_time() - t < 0.7: pass\n  os._exit(0)",
        0.7,
        0.02,
    ),
    "4 children of 0.5 s that nobody waits for, SIGCHLD ignored": (
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor i in range(4):\n"
        "  if os.fork() == 0:\n    t = time.process_time()\n    while time.process_time() - t < 0.5: pass\n"
        "    os._exit(0)\n  try: os.wait()\n  except ChildProcessError: pass\n",
        2.0,
        4 * 0.03,
    ),
}


def self_test() -> bool:
    """Print measured against known for each load; True if all are close enough."""
    bare_s = _metered(["-c", "pass"])
    is_good = True
    for name, (program, known_s, missed_s) in _LOADS.items():
        measured_s = _metered(["-c", program]) - bare_s
        is_close = -missed_s - 0.02 <= measured_s - known_s <= 0.02 + 0.05 * known_s
        is_good &= is_close
        print(f"{'ok ' if is_close else 'BAD'} {name}: known {known_s:.2f} s, measured {measured_s:.3f} s")
    return is_good


def _metered(arguments: list[str]) -> float:
    command = [sys.executable, __file__, "--", sys.executable, "-S", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["cpu_s"]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true", help="measure known loads")
    parser.add_argument("--json", help="the file that the figures go to; else they are printed")
    parser.add_argument("--timeout-s", type=float, default=3600.0, help="then everything is killed")
    parser.add_argument("command", nargs="*")
    arguments = parser.parse_args()
    if arguments.self_test:
        return 0 if self_test() else 1
    begin, meter = time.monotonic(), Meter()
    status = meter.run(arguments.command, timeout_s=arguments.timeout_s)
    figures = {
        "cpu_s": meter.waited_s + meter.dropped_s,
        "dropped_s": meter.dropped_s,  # of cpu_s: what only the samples saw
        "n_dropped": meter.n_dropped,
        "wall_s": time.monotonic() - begin,
        "status": status,
    }
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures))
    else:
        print(json.dumps(figures))
    return 0 if status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
