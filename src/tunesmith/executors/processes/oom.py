"""Whether the kernel's out-of-memory killer was at work: its counter before and after a SIGKILL from elsewhere."""

from __future__ import annotations

from pathlib import Path

_ROOT, _PROC = Path("/sys/fs/cgroup"), Path("/proc")


class OomWatch:
    """Remembers the counter; asked after a SIGKILL, it says whether it has grown since."""

    def __init__(self, root: Path = _ROOT, proc: Path = _PROC) -> None:
        self._file = next((file for file in _candidates(root, proc) if _count(file) is not None), None)
        self._last = self._now()

    def has_killed(self) -> bool:
        """Whether something in this cgroup (or, where it does not count, on this machine) was killed since the last."""
        before, self._last = self._last, self._now()
        return self._last > before

    def _now(self) -> int:
        return (_count(self._file) or 0) if self._file is not None else 0


def _candidates(root: Path, proc: Path) -> list[Path]:
    """Where the counter may be, the most telling first."""
    found = []
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found += [root / path.lstrip("/") / "memory.events", root / "memory.events"]
        elif controllers == "memory":
            found += [root / "memory" / path.lstrip("/") / "memory.oom_control"]
    return [*found, proc / "vmstat"]


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
