"""What tuning itself costs, beside Ray Tune and Optuna, as one table: `python benchmarks/overhead.py`.

All systems are measured in one run, taking turns. Costs are CPU seconds of whole process trees (`overhead_meter.py`),
medians over rounds; a cost per trial is a slope between two numbers of trials, so that start-up cancels.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from overhead_rows import FRESH, HERE, OPTUNA, REUSED, ROWS, SYSTEMS, TUNESMITH, Bench, Row
from overhead_venvs import python_of, version_in

_NOTES = """\
- tunesmith: one process per trial, event log in SQLite (WAL), every report committed before `report()` returns.
- Ray Tune: actors on one local node; fresh ones cost so much that their slope is between fewer trials and their ASHA
  row is left out, unless `--patient` is given. Its results are written to files without a commit.
- Optuna: trials run one after another inside the driver, without isolation; SQLite storage with its defaults. Its
  report is `report()` and `should_prune()` under `SuccessiveHalvingPruner`.
- The ASHA rows: `max_t=50, grace_period=1, reduction_factor=4`, all values alike, so that nothing is stopped and every
  system stores the same 5000 reports.
- Reporters are silent (`verbose=0`) where nothing else is said.
- Reports as the trial sees them: 50 per trial, one trial at a time; wall time, so that other work on the machine shows.
- Memory is that of the driver's process alone; Ray's daemons and workers come on top.
"""


def machine() -> str:
    """The machine in a line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    total_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{len(os.sched_getaffinity(0))} x {model}, {total_gb:.0f} GB, Linux {platform.release()}"


def commit(python: str) -> str:
    """The commit of the tunesmith that was measured, and whether its sources had changes."""
    program = "import pathlib, tunesmith; print(pathlib.Path(tunesmith.__file__).parent)"
    folder = subprocess.run([python, "-c", program], capture_output=True, text=True).stdout.strip()
    git = ["git", "-C", folder]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changes = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True)
    return f"{head.stdout.strip() or 'unknown'}{' with uncommitted changes' if changes.stdout.strip() else ''}"


def header(bench: Bench, load_before: float) -> list[str]:
    """Everything that a reader needs to judge the figures."""
    versions = [f"Python {platform.python_version()}"]
    for system, packages in {TUNESMITH: ("tunesmith", "torch"), REUSED: ("ray", "torch"), OPTUNA: ("optuna",)}.items():
        found = {p: version_in(bench.pythons[system], p) for p in packages if system in bench.pythons}
        versions += [
            f"{p} {v}" + (" (for Ray)" if p == "torch" and system == REUSED else "") for p, v in found.items() if v
        ]
    return [
        f"- {time.strftime('%Y-%m-%d %H:%M')}, {machine()}; load average {load_before:.1f} before, "
        f"{os.getloadavg()[0]:.1f} after",
        f"- {', '.join(versions)}; commit {commit(bench.pythons[TUNESMITH])}; seed {bench.seed}"
        + ("; `--quick`" if bench.is_quick else ""),
    ]


def table(rows: list[Row]) -> list[str]:
    """Markdown."""
    lines = [f"| | {' | '.join(SYSTEMS)} | wanted |", "| --- " * (len(SYSTEMS) + 2) + "|"]
    for row in rows:
        cells = [row.cells.get(system, "") for system in SYSTEMS]
        lines.append(f"| {row.label} | {' | '.join(cells)} | {row.wanted} |")
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about two minutes: one round, no fresh Ray actors")
    parser.add_argument(
        "--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument("--patient", action="store_true", help="fresh Ray actors: 100 and 300 trials too, and ASHA")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ray-python", help="an interpreter with ray[tune]; else benchmarks/.venvs/ray is made")
    parser.add_argument("--optuna-python", help="an interpreter with optuna; else benchmarks/.venvs/optuna is made")
    parser.add_argument("--output", type=Path, help="also write the table there; by default for a whole full run only")
    arguments = parser.parse_args()

    ray, optuna = python_of("ray", arguments.ray_python), python_of("optuna", arguments.optuna_python)
    pythons = {TUNESMITH: sys.executable, FRESH: ray, REUSED: ray, OPTUNA: optuna}
    bench = Bench(
        {s: p for s, p in pythons.items() if p},
        seed=arguments.seed,
        is_quick=arguments.quick,
        is_patient=arguments.patient,
    )
    load_before, rows = os.getloadavg()[0], []
    for name in arguments.only:
        print(name, file=sys.stderr)
        rows += ROWS[name](bench)
    title = ["# What tuning itself costs", "", "Made by `python benchmarks/overhead.py`.", ""]
    text = "\n".join([*title, *header(bench, load_before), "", *table(rows), "", _NOTES])
    print(text)
    output = arguments.output
    if output is None and not arguments.quick and list(arguments.only) == list(ROWS):
        output = HERE / "results" / "overhead.md"
    if output is not None:
        output.parent.mkdir(exist_ok=True)
        output.write_text(text)


if __name__ == "__main__":
    main()
