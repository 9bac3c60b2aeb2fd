"""The rows of the overhead table: what is run for each, how often, and what is made of the figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from overhead_venvs import version_in

HERE = Path(__file__).parent
TUNESMITH, FRESH, REUSED, OPTUNA = "tunesmith", "Ray Tune, fresh actors", "Ray Tune, reused actors", "Optuna"
SYSTEMS = (TUNESMITH, FRESH, REUSED, OPTUNA)
_DRIVERS = {TUNESMITH: "tunesmith_driver", FRESH: "ray_driver", REUSED: "ray_driver", OPTUNA: "optuna_driver"}


@dataclass(frozen=True)
class Measured:
    """One run of a driver."""

    cpu_s: float  #: of the whole process tree
    result: dict[str, Any]


@dataclass
class Row:
    """One line of the table."""

    label: str
    cells: dict[str, str] = field(default_factory=dict)
    wanted: str = ""


@dataclass(frozen=True)
class Bench:
    """Runs drivers under the meter."""

    pythons: dict[str, str]  #: by system; systems that cannot be had are missing
    seed: int
    is_quick: bool
    is_patient: bool = False

    def systems(self, wanted: Iterable[str] = SYSTEMS) -> list[str]:
        """Those of the wanted that are there, and that --quick has time for."""
        return [s for s in wanted if s in self.pythons and not (self.is_quick and s == FRESH)]

    def measure(self, system: str, task: str, driver: str | None = None, **asked: Any) -> Measured:
        """One run, in a folder of its own. Raises SystemExit with the driver's words if it fails."""
        folder = tempfile.mkdtemp(prefix="tunesmith-bench-")
        asked = {"task": task, "out": folder, "seed": self.seed, "reuse_actors": system == REUSED, **asked}
        command = [self.pythons[system], str(HERE / "overhead_drivers" / f"{driver or _DRIVERS[system]}.py")]
        try:
            return metered([*command, json.dumps(asked)], Path(folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def metered(command: list[str], folder: Path) -> Measured:
    """A command's figures, and the `result.json` that it left in the folder, if any."""
    is_ray = "ray_driver" in command[1]
    env = {
        **os.environ,
        "OVERHEAD_SYSTEM": "ray" if is_ray else "tunesmith",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE / "overhead_drivers"), os.environ.get("PYTHONPATH")])),
        "RAY_AUTH_MODE": "disabled",  # else it writes a token into the home
    }
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody's installed packages are compiled at every import
    figures, result = folder / "figures.json", folder / "result.json"
    meter = [sys.executable, str(HERE / "overhead_meter.py"), "--json", str(figures), "--", *command]
    done = subprocess.run(meter, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    cpu_s = json.loads(figures.read_text())["cpu_s"]
    measured = Measured(cpu_s, json.loads(result.read_text()) if result.exists() else {})
    print(f"  {cpu_s:8.2f} CPU s  {' '.join(command[1:])[-180:]}", file=sys.stderr)
    return measured


def interleaved(jobs: dict[str, Callable[[], Any]], n_rounds: dict[str, int]) -> dict[str, list[Any]]:
    """A B A B: every job once per round, so that a busy minute of the machine meets all of them."""
    found: dict[str, list[Any]] = {name: [] for name in jobs}
    for i in range(max(n_rounds.values(), default=0)):
        for name, job in jobs.items():
            if i < n_rounds[name]:
                found[name].append(job())
    return found


def spread(values: list[float], unit: str, digits: int = 2) -> str:
    """Median, and the range where there are several."""
    middle = f"{median(values):.{digits}f} {unit}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


# ---------------------------------------------------------------- rows

_IMPORTS = {
    TUNESMITH: "import tunesmith",
    REUSED: "from ray import tune",
    OPTUNA: "import optuna",
}
_FIRST_USES = {
    TUNESMITH: "import tunesmith as t; t.run, t.loguniform, t.report, t.CLIReporter; "
    "from tunesmith.schedulers import ASHAScheduler",
    REUSED: "from ray import tune as t; t.Tuner, t.loguniform, t.report, t.CLIReporter; "
    "from ray.tune.schedulers import ASHAScheduler",
    OPTUNA: "import optuna as o; o.create_study, o.storages.RDBStorage, o.pruners.SuccessiveHalvingPruner",
}


def imports(bench: Bench) -> list[Row]:
    """CPU seconds of an import, less those of an empty program of the same interpreter."""
    rows = [Row("import, CPU s", wanted="under 0.15"), Row("import and touch the names of a script, CPU s")]
    n_rounds = 3 if bench.is_quick else 7
    for row, programs in zip(rows, (_IMPORTS, _FIRST_USES), strict=True):
        there = {s: program for s, program in programs.items() if s in bench.pythons}
        jobs = {s: lambda s=s, p=p: _program_s(bench, s, p) - _program_s(bench, s, "pass") for s, p in there.items()}
        interleaved(jobs, dict.fromkeys(jobs, 1))  # not counted: it may compile
        found = interleaved(jobs, dict.fromkeys(jobs, n_rounds))
        row.cells = {s: spread(values, "s", 3) for s, values in found.items()}
        row.cells[FRESH] = "as reused"
    return rows


def _program_s(bench: Bench, system: str, program: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return metered([bench.pythons[system], "-c", program], Path(folder)).cpu_s


def _slopes(
    bench: Bench, systems: list[str], task: str, n_rounds: dict[str, int], **asked: Any
) -> dict[str, tuple[list[float], tuple[int, int]]]:
    """Per system: CPU ms per trial of each round, and the numbers of trials it is the slope between."""

    def sizes(system: str) -> tuple[int, int]:
        if system == FRESH and not bench.is_patient:
            return (5, 15) if "torch" in task else (20, 60)
        return (20, 120) if system == REUSED and bench.is_quick else (100, 300)

    def slope_ms(system: str) -> float:
        few, many = sizes(system)
        less, more = (bench.measure(system, task, n_trials=n, **asked) for n in (few, many))
        assert (less.result["n_reports"], more.result["n_reports"]) == (few, many), "not every trial reported once"
        return (more.cpu_s - less.cpu_s) / (many - few) * 1000

    found = interleaved({s: lambda s=s: slope_ms(s) for s in systems}, {s: n_rounds[s] for s in systems})
    return {s: (values, sizes(s)) for s, values in found.items()}


def _slope_cells(slopes: dict[str, tuple[list[float], tuple[int, int]]]) -> dict[str, str]:
    return {
        s: spread(values, "ms", 1) + ("" if sizes == (100, 300) else f", between {sizes[0]} and {sizes[1]} trials")
        for s, (values, sizes) in slopes.items()
    }


def trials(bench: Bench) -> list[Row]:
    """CPU per trivial trial."""
    rounds = {TUNESMITH: 5, FRESH: 1, REUSED: 2, OPTUNA: 3}
    if bench.is_quick:
        rounds = dict.fromkeys(rounds, 1)
    slopes = _slopes(bench, bench.systems(), "trivial", rounds)
    row = Row("a trial, CPU ms of the whole tree", _slope_cells(slopes), wanted="15 or less; Ray fresh / 100")
    if OPTUNA in row.cells:
        row.cells[OPTUNA] += "; not isolated"
    return [row]


def torch_trials(bench: Bench) -> list[Row]:
    """CPU per trivial trial that imports torch."""
    rounds = {TUNESMITH: 1 if bench.is_quick else 2, FRESH: 1}
    have = [s for s in bench.systems((TUNESMITH, FRESH)) if version_in(bench.pythons[s], "torch")]
    rows = []
    for task, where in (("torch_module", "at its module's top"), ("torch_inside", "inside the function")):
        row = Row(f"a trial that imports torch {where}, CPU ms", wanted="30 or less")
        row.cells = dict.fromkeys(bench.systems((TUNESMITH, FRESH)), "no torch there")
        row.cells |= _slope_cells(_slopes(bench, have, task, rounds))
        rows.append(row)
    return rows


def notebook(bench: Bench) -> list[Row]:
    """CPU per trial of a function with large globals."""
    row = Row("a trial of a `__main__` function with a 100 MB DataFrame and scikit-learn, CPU ms", wanted="30 or less")
    if not all(version_in(bench.pythons[TUNESMITH], package) for package in ("pandas", "scikit-learn")):
        row.cells[TUNESMITH] = "no pandas or scikit-learn there"
        return [row]
    slopes = _slopes(bench, [TUNESMITH], "notebook", {TUNESMITH: 1 if bench.is_quick else 3}, driver="notebook_driver")
    row.cells = _slope_cells(slopes)
    return [row]


def round_trips(bench: Bench) -> list[Row]:
    """What a trial waits for a report, one trial at a time."""
    n_trials, n_rounds = (10, 1) if bench.is_quick else (15, 4)
    middle, tail = Row("a report as the trial sees it, median", wanted="a tenth of either"), Row("the same, p95")
    systems = bench.systems((TUNESMITH, REUSED, OPTUNA))
    jobs = {s: lambda s=s: bench.measure(s, "round_trip", n_trials=n_trials).result["times_s"] for s in systems}
    for system, rounds in interleaved(jobs, dict.fromkeys(jobs, n_rounds)).items():
        assert all(len(times_s) == n_trials * 50 for times_s in rounds), "reports are missing"
        middle.cells[system] = spread([median(times_s) * 1000 for times_s in rounds], "ms", 3)
        tail.cells[system] = spread([quantiles(times_s, n=20)[-1] * 1000 for times_s in rounds], "ms", 3)
    return [middle, tail]


def asha(bench: Bench) -> list[Row]:
    """100 trials of 50 reports, a prune check at each, none stopped."""
    rounds = {TUNESMITH: 3, FRESH: 1, REUSED: 1, OPTUNA: 2}
    if bench.is_quick:
        rounds = dict.fromkeys(rounds, 1)
    systems = bench.systems(SYSTEMS if bench.is_patient else (TUNESMITH, REUSED, OPTUNA))
    jobs = {s: lambda s=s: bench.measure(s, "asha", n_trials=100) for s in systems}
    jobs["reporter"] = lambda: bench.measure(TUNESMITH, "asha", n_trials=100, verbose=2)
    found = interleaved(jobs, {s: rounds[s] for s in systems} | {"reporter": 1})
    assert all(one.result["n_reports"] == 5000 for many in found.values() for one in many), "reports are missing"
    reporter = found.pop("reporter")
    return [
        Row(
            "100 trials x 50 reports under ASHA, CPU s",
            {s: spread([m.cpu_s for m in r], "s") for s, r in found.items()},
        ),
        Row(
            "the same with the default reporter (`verbose=2`), not on a terminal",
            {TUNESMITH: f"{reporter[0].cpu_s:.2f} s"},
        ),
        Row(
            "driver's peak memory in it, MB",
            {s: f"{median(m.result['rss_peak_mb'] for m in r):.0f}" for s, r in found.items()},
        ),
    ]


def million(bench: Bench) -> list[Row]:
    """Many reports stored, and read again in a process of its own."""
    n = 100_000 if bench.is_quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        stored = bench.measure(
            TUNESMITH, "fill", driver="million_driver", n_reports=n, folder=f"{folder}/million"
        ).result
        assert stored["n_reports"] == n, "reports are missing"
        loaded = bench.measure(TUNESMITH, "load", driver="million_driver", folder=f"{folder}/million").result
    times_s = loaded["times_s"]
    texts = {
        f"{n:,} reports: driver CPU each (loop, Experiment, FIFO, SqliteStore; a commit each; trials simulated)": (
            f"{stored['cpu_s'] / n * 1e6:.0f} µs"
        ),
        "the same: on disk": f"{stored['size_bytes'] / 1e6:.0f} MB",
        "the same: driver's peak memory": f"{stored['rss_peak_mb']:.0f} MB",
        "the same: `tune.load`": f"{times_s['load'] * 1000:.1f} ms",
        '`get_best_trial(scope="all")`': f"{times_s['get_best_trial'] * 1000:.0f} ms",
        f"`dataframe()` ({n // 100:,} rows)": f"{times_s['dataframe'] * 1000:.0f} ms",
        f"`results_dataframe()` ({n:,} rows)": f"{times_s['results_dataframe']:.2f} s",
        "the same: reader's peak memory": f"{loaded['rss_peak_mb']:.0f} MB",
    }
    return [Row(label, {TUNESMITH: text}) for label, text in texts.items()]


ROWS: dict[str, Callable[[Bench], list[Row]]] = {
    "imports": imports,
    "trials": trials,
    "torch": torch_trials,
    "notebook": notebook,
    "reports": round_trips,
    "asha": asha,
    "million": million,
}
