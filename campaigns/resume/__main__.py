"""`python -m campaigns.resume --trials 10000 --reports 100`: how long a long experiment takes to go on, and to read.

One more trial is asked for, so that the finished experiment goes on; it is stopped as soon as that trial starts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tunesmith as tune
from tunesmith.events import Command, InterruptRequested, StartAttempt, Suggestion
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.searchers import RandomSearch

#: What the issue asks for, at 10,000 trials of 100 reports.
MAX_RESUME_S = 10.0
MAX_DATAFRAME_S = 5.0


class Figures(NamedTuple):
    """What was measured."""

    resume_s: float  #: from the call to the first attempt that starts
    n_suggested_again: int  #: configs that the searcher was asked for and that were recorded already
    dataframe_s: float
    results_s: float  #: of every result of every trial
    n_results: int


class CountingSearch(RandomSearch):
    """Counts the configs it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.indices: list[int] = []

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """As random search."""
        self.indices += range(len(history.trials), len(history.trials) + n)
        return super().suggest(history, rng, n)


class Until(SimulatedExecutor):
    """Stops the experiment, at the first attempt if told so; notes when that was."""

    def __init__(self, script: Any, *, stops_at_start: bool) -> None:
        super().__init__(script, n_workers=100)
        self._stops_at_start = stops_at_start
        self.first_start: float | None = None

    def carry_out(self, commands: Sequence[Command]) -> None:
        """As the executor's."""
        if self.first_start is None and any(isinstance(command, StartAttempt) for command in commands):
            self.first_start = time.perf_counter()
            if self._stops_at_start:
                self.post(InterruptRequested(2, "campaign"))
        super().carry_out(commands)


def measure(n_trials: int, n_reports: int, folder: Path, seed: int = 0) -> Figures:
    """Build the experiment, go on with it, read it."""

    def script(config: dict[str, Any], first_step: int) -> Iterator[SimulatedStep]:
        for step in range(first_step, n_reports + 1):
            yield SimulatedStep(1.0, {"loss": config["x"] + 1.0 / step, "accuracy": config["y"]})

    def run(n: int, searcher: CountingSearch, executor: Until) -> Any:
        return tune.run(
            _never_called,
            config={"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)},
            metric="loss",
            mode="min",
            num_samples=n,
            search_alg=searcher,
            executor=executor,
            name="resumed",
            seed=seed,
            storage_path=folder,
            verbose=0,
        )

    run(n_trials, CountingSearch(), Until(script, stops_at_start=False))
    searcher, executor = CountingSearch(), Until(script, stops_at_start=True)
    began = time.perf_counter()
    run(n_trials + 1, searcher, executor)
    assert executor.first_start is not None
    resume_s = executor.first_start - began
    began = time.perf_counter()
    loaded = tune.load(folder / "resumed")
    n_rows = len(loaded.dataframe())
    dataframe_s = time.perf_counter() - began
    assert n_rows == n_trials, f"{n_rows} of {n_trials} trials that reported are in the table"
    began = time.perf_counter()
    n_results = len(loaded.results_dataframe())
    results_s = time.perf_counter() - began
    assert n_results == n_trials * n_reports, f"{n_results} results instead of {n_trials * n_reports}"
    n_again = sum(index < n_trials for index in searcher.indices)
    return Figures(resume_s, n_again, dataframe_s, results_s, n_results)


def _never_called(config: dict[str, Any]) -> None:
    raise AssertionError("trials are simulated")


def main() -> int:
    """Print the figures; 1 if a limit is passed."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.resume", description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        figures = measure(given.trials, given.reports, Path(folder))
    print(f"{given.trials} trials, {figures.n_results} results")
    print(f"resume, to the first start  {figures.resume_s:7.2f} s (limit {MAX_RESUME_S:g})")
    print(f"configs suggested again     {figures.n_suggested_again:7d}   (limit 0)")
    print(f"load and dataframe()        {figures.dataframe_s:7.2f} s (limit {MAX_DATAFRAME_S:g})")
    print(f"results_dataframe()         {figures.results_s:7.2f} s")
    is_good = figures.resume_s <= MAX_RESUME_S and figures.dataframe_s <= MAX_DATAFRAME_S
    return 0 if is_good and figures.n_suggested_again == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
