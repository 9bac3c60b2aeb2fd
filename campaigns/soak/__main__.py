"""Long experiments: does the driver's memory, its descriptors or the time per trial grow with the number of trials?

python -m campaigns.soak --trials 100000              simulated executor, 50 reports each, the real store
python -m campaigns.soak --trials 5000 --processes    a process each
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import tunesmith as tune
from tunesmith.events import AttemptEnded, Event
from tunesmith.executors.processes import ProcessExecutor
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep
from tunesmith.schedulers import ASHAScheduler

N_REPORTS = 50
N_MARKS = 10
#: What the issue asks for.
MAX_BYTES_PER_TRIAL = 2048
MAX_SLOWDOWN = 1.5
MAX_FILES_PER_TRIAL = 2.0


class Mark(NamedTuple):
    """The driver at one tenth of the way."""

    n_trials: int
    rss_bytes: int
    n_descriptors: int
    n_threads: int
    cpu_s: float


class Watched:
    """Added to an executor: notes how the driver stands each time another tenth of the trials has ended."""

    def watch(self, n_trials: int) -> None:
        """Begin."""
        self._every = max(1, n_trials // N_MARKS)
        self.n_ended = 0
        self.marks: list[Mark] = []

    def wait(self, timeout_s: float | None) -> list[Event]:
        """As the executor's."""
        events: list[Event] = super().wait(timeout_s)  # type: ignore[misc]
        for event in events:
            if isinstance(event, AttemptEnded):
                self.n_ended += 1
                if self.n_ended % self._every == 0:
                    self.marks.append(mark(self.n_ended))
        return events


class WatchedProcesses(Watched, ProcessExecutor):
    """Real processes."""


class WatchedSimulation(Watched, SimulatedExecutor):
    """Virtual ones."""


def mark(n_trials: int) -> Mark:
    """The driver now, garbage collected."""
    gc.collect()
    process = psutil.Process()
    times = process.cpu_times()
    return Mark(
        n_trials, process.memory_info().rss, process.num_fds(), threading.active_count(), times.user + times.system
    )


def script(config: dict[str, Any], first_step: int) -> Iterator[SimulatedStep]:
    """A curve that falls towards its config's level."""
    for step in range(first_step, N_REPORTS + 1):
        yield SimulatedStep(1.0 + config["lr"], {"loss": config["x"] + 1.0 / step, "accuracy": config["y"]})


def train(config: dict[str, Any]) -> None:
    """The same in a process."""
    for step in range(1, N_REPORTS + 1):
        tune.report(loss=config["x"] + 1.0 / step, accuracy=config["y"])


def soak(n_trials: int, *, is_real: bool, has_asha: bool, seed: int, folder: Path) -> tuple[list[Mark], float]:
    """Run it; answers the marks and the files per trial."""
    executor = WatchedProcesses() if is_real else WatchedSimulation(script, n_workers=100)
    executor.watch(n_trials)
    scheduler = ASHAScheduler(max_t=N_REPORTS, reduction_factor=2) if has_asha else "fifo"
    tune.run(
        train,
        config={"x": tune.uniform(0, 1), "y": tune.uniform(0, 1), "lr": tune.loguniform(1e-5, 1.0)},
        metric="loss",
        mode="min",
        num_samples=n_trials,
        search_alg="random",  # what a model costs is measured elsewhere
        scheduler=scheduler,
        executor=executor,
        seed=seed,
        name="soak",
        storage_path=folder,
        verbose=0,
    )
    n_files = sum(1 for path in folder.rglob("*") if path.is_file())
    return executor.marks, n_files / n_trials


def main() -> int:
    """Print the marks and the verdict; 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--asha", action="store_true", help="stop poor trials early; without it each reports 50 times")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="soak-", dir=os.environ.get("TMPDIR")) as folder:
        marks, files_per_trial = soak(
            options.trials, is_real=options.processes, has_asha=options.asha, seed=options.seed, folder=Path(folder)
        )
    print(f"{'trials':>10} {'RSS MiB':>9} {'descriptors':>12} {'threads':>8} {'CPU s':>9} {'CPU ms per trial':>17}")
    before = None
    costs_ms = []
    for now in marks:
        if before is not None:
            costs_ms.append(1e3 * (now.cpu_s - before.cpu_s) / (now.n_trials - before.n_trials))
        cost = f"{costs_ms[-1]:17.3f}" if costs_ms else " " * 17
        facts = f"{now.n_trials:10d} {now.rss_bytes / 2**20:9.1f} {now.n_descriptors:12d} {now.n_threads:8d}"
        print(f"{facts} {now.cpu_s:9.1f} {cost}")
        before = now
    first, last = marks[0], marks[-1]
    bytes_per_trial = (last.rss_bytes - first.rss_bytes) / (last.n_trials - first.n_trials)
    slowdown = costs_ms[-1] / costs_ms[0]
    print(f"\nbytes per trial {bytes_per_trial:.0f} (limit {MAX_BYTES_PER_TRIAL})")
    print(f"CPU per trial at the end / at the start {slowdown:.2f} (limit {MAX_SLOWDOWN})")
    print(f"files per trial {files_per_trial:.2f} (limit {MAX_FILES_PER_TRIAL:g})")
    grown = last.n_descriptors - first.n_descriptors, last.n_threads - first.n_threads
    print(f"descriptors {grown[0]:+d}, threads {grown[1]:+d}; {time.perf_counter() - begin:.0f} s in all")
    is_good = bytes_per_trial <= MAX_BYTES_PER_TRIAL and slowdown <= MAX_SLOWDOWN
    is_good = is_good and files_per_trial <= MAX_FILES_PER_TRIAL and max(grown) <= 2
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
