"""What a trial, a report and the driver cost on a Ray cluster, beside Ray Tune on the same one.

    python benchmarks/ray_scale.py [--python VENV/bin/python] [--quick] [--rounds 3] [--seed 1]

Each run starts a local cluster of a head and two more nodes, one CPU each, and joins it; CPU seconds are of the whole
tree: driver, Ray's daemons, agents, trials. A trial's cost is the slope between a few and many trials, so that the
start of cluster, driver and agents is not in it; the second row has all of it. Ray Tune runs with actors reused and
fresh. Both systems run in one interpreter, with the same Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from overhead_rows import Measured, interleaved, metered, spread
from overhead_venvs import python_of, version_in

HERE = Path(__file__).parent
OURS, REUSED, FRESH = "tunesmith", "Ray Tune, actors reused", "Ray Tune, default"
SIZES = {OURS: (20, 220), REUSED: (20, 220), FRESH: (6, 26)}
QUICK_SIZES = {OURS: (5, 25), REUSED: (5, 25), FRESH: (3, 9)}


def measure(python: str, system: str, task: str, n_trials: int, seed: int) -> Measured:
    """One run in a folder of its own."""
    folder = tempfile.mkdtemp(prefix="ray-scale-")
    asked = {
        "task": task,
        "n_trials": n_trials,
        "out": folder,
        "seed": seed,
        "system": "tunesmith" if system == OURS else "ray",
        "reuse_actors": system == REUSED,
    }
    driver = str(HERE / "overhead_drivers" / "ray_cluster_driver.py")
    try:
        return metered([python, driver, json.dumps(asked)], Path(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def trials(python: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """By system: CPU seconds per trial of each round, of the large run, and the driver's peak memory."""
    sizes = QUICK_SIZES if options.quick else SIZES

    def one(system: str) -> dict[str, float]:
        few, many = (measure(python, system, "trivial", n, options.seed) for n in sizes[system])
        n_more = sizes[system][1] - sizes[system][0]
        return {
            "slope_s": (many.cpu_s - few.cpu_s) / n_more,
            "whole_s": many.cpu_s / sizes[system][1],
            "rss_mb": many.result["rss_peak_mb"],
        }

    rounds = {system: 1 if system == FRESH else options.rounds for system in sizes}
    found = interleaved({system: lambda s=system: one(s) for system in sizes}, rounds)
    return {s: {key: [each[key] for each in each_round] for key in each_round[0]} for s, each_round in found.items()}


def round_trips(python: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of the reports of one trial at a time, as the trial sees them."""
    n_trials = 2 if options.quick else 6
    jobs = {s: lambda s=s: measure(python, s, "round_trip", n_trials, options.seed) for s in (OURS, REUSED)}
    found = interleaved(jobs, dict.fromkeys(jobs, 1 if options.quick else 2))
    return {s: [1000 * t for run in runs for t in run.result["times_s"]] for s, runs in found.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="of an environment with ray[tune] and tunesmith; else one is made")
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials, two minutes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    python = python_of("ray-scale", options.python)
    if python is None:
        raise SystemExit("ray[tune] cannot be installed here.")
    load = os.getloadavg()[0]
    costs, trips = trials(python, options), round_trips(python, options)
    systems = list(SIZES)
    print(f"| | {' | '.join(systems)} | wanted |\n| --- |{' --- |' * len(systems)} --- |")
    rows = [
        ("CPU s per further trial", "slope_s", 4, "below reused, a tenth of the default"),
        ("CPU s per trial, everything", "whole_s", 3, ""),
        ("driver, peak MB", "rss_mb", 0, ""),
    ]
    for label, key, digits, wanted in rows:
        cells = [spread(costs[system][key], "", digits) for system in systems]
        print(f"| {label} | {' | '.join(cells)} | {wanted} |")
    cells = [f"{median(trips[s]):.2f}, {quantiles(trips[s], n=20)[-1]:.2f}" if s in trips else "" for s in systems]
    print(f"| report round trip, ms, median and p95 | {' | '.join(cells)} | |")
    slopes = {system: median(costs[system]["slope_s"]) for system in systems}
    to_reused, to_fresh = slopes[REUSED] / slopes[OURS], slopes[FRESH] / slopes[OURS]
    ratios = f"reused / tunesmith {to_reused:.1f}, default / tunesmith {to_fresh:.1f}"
    print(
        f"\n- CPU s per further trial, {ratios}; between {SIZES if not options.quick else QUICK_SIZES} trials\n"
        f"- {time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} CPUs ({platform.machine()}), load average {load:.1f} "
        f"before and {os.getloadavg()[0]:.1f} after, Ray {version_in(python, 'ray')}, {options.rounds} rounds",
    )


if __name__ == "__main__":
    sys.exit(main())
