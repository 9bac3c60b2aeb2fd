"""What the drivers share: the task they are given, and what they hand back. Standard library only.

A driver is called as `python <driver>.py '{"task": "trivial", "n_trials": 100, "out": "/tmp/...", "seed": 1, ...}'`
and writes `result.json` into `out`.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from time import perf_counter
from typing import Any

N_REPORTS = 50


def task() -> dict[str, Any]:
    """The driver's task."""
    return json.loads(sys.argv[1])


def finish(asked: dict[str, Any], *, n_reports: int, **more: Any) -> None:
    """Write the result: what was stored, and the driver's own peak memory."""
    result = {"n_reports": n_reports, "rss_peak_mb": rss_peak_mb(), **more}
    Path(asked["out"], "result.json").write_text(json.dumps(result))


def rss_peak_mb() -> float:
    """Of this process since its exec (getrusage would include what forked it)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def timed_reports(report: Any, folder: str) -> None:
    """Report `N_REPORTS` times and leave the seconds that each took in the folder, once all are done."""
    times_s = []
    for step in range(1, N_REPORTS + 1):
        begin = perf_counter()
        report(loss=1.0 / step, accuracy=0.5)
        times_s.append(perf_counter() - begin)
    Path(folder, f"{uuid.uuid4().hex}.times").write_text(json.dumps(times_s))


def reported_times_s(folder: str) -> list[float]:
    """All that trials left there."""
    return [time_s for file in Path(folder).glob("*.times") for time_s in json.loads(file.read_text())]
