"""How good is the best value after so much training, with early stopping? On noisy curves, with costly starts too.

    python benchmarks/early_stopping.py --harness FOLDER --opt auto,asha,asha_gp,random --workers 1,8 --out rows.csv
    python benchmarks/early_stopping.py --harness FOLDER --opt auto,asha --noise 0.1 --out noisy.csv
    python benchmarks/early_stopping.py --harness FOLDER --opt auto,asha --start 5 --checkpoint-every 5 --out starts.csv
    python benchmarks/early_stopping.py --harness FOLDER --opt auto,asha,random --by-time --out seconds.csv

Runs `tune.simulate` on the learning curves of the search-quality harness's multi-fidelity problems (LCBench).
The budget is counted in full trainings: of epochs, or (`--by-time`, and where a start takes time) of worker seconds.
With noise the tuner is told each loss times a log-normal factor, and judged by the true loss where it was told the
lowest.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from search_adapter import flat, space_of
from search_runs import HARNESS, on_one_blas_thread, parse_seeds, use_harness
from tunesmith import simulate
from tunesmith.events import TrialReported
from tunesmith.methods import AutoScheduler, FreezeThaw
from tunesmith.schedulers import AsyncHyperBandScheduler, create_scheduler

MARKS = (5, 10, 20)
#: Name -> (search_alg, scheduler) for trainings up to max_t.
METHODS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "auto": lambda max_t: (None, AutoScheduler(max_t)),
    "auto_full": lambda max_t: ("auto", None),
    "asha": lambda max_t: ("random", AsyncHyperBandScheduler(max_t=max_t, reduction_factor=3)),
    "asha_gp": lambda max_t: ("auto", AsyncHyperBandScheduler(max_t=max_t, reduction_factor=3)),
    "random": lambda max_t: ("random", None),
    "freeze_thaw": lambda max_t: (None, FreezeThaw(max_t=max_t)),
    **{
        name: lambda max_t, name=name: ("random", create_scheduler(name, max_t=max_t, reduction_factor=3))
        for name in ("asha_promotion", "pasha", "hyperband")
    },
    "bohb": lambda max_t: ("bohb", create_scheduler("hb_bohb", max_t=max_t, reduction_factor=3)),
}


def run(problem: Any, method: str, options: argparse.Namespace, *, workers: int, seed: int) -> dict[str, Any]:
    """One experiment: the true loss of the incumbent at each mark, and what it took."""
    max_t, budget = problem.max_fidelity, MARKS[-1]
    epoch_s = mean(mean(problem.curve(config)[1]) for config in _some_configs(problem))
    search_alg, scheduler = METHODS[method](max_t)
    by_time = options.start > 0 or options.by_time
    limit: dict[str, Any] = {"max_total_steps": budget * max_t}
    if by_time:
        limit = {"time_budget_s": budget * max_t * epoch_s / workers}
    begin = time.process_time()
    found = simulate(
        lambda config: _curve(problem, flat(config), noise=options.noise, seed=seed),
        space_of(problem.params).tree,
        metric="loss",
        mode="min",
        search_alg=search_alg,
        scheduler=scheduler,
        num_samples=-1,
        num_workers=workers,
        start_s=options.start * epoch_s,
        checkpoint_every=options.checkpoint_every,
        charge_deciders=False,
        seed=seed,
        **limit,
    )
    cpu_s = time.process_time() - begin
    spent = [(mark, mark * max_t * (epoch_s / workers if by_time else 1.0)) for mark in MARKS]
    row = {f"s{mark}": f"{loss:.8g}" for mark, loss in _incumbents(found.log, spent, by_time=by_time)}
    return row | {"trials": len(found.trials), "steps": found.n_steps, "cpu_s": f"{cpu_s:.2f}"}


def _curve(
    problem: Any, config: dict[str, Any], *, noise: float, seed: int
) -> Iterator[tuple[float, dict[str, float]]]:
    losses, durations = problem.curve(config)
    rng = np.random.default_rng([seed, zlib.crc32(repr(sorted(config.items())).encode())])
    factors = np.exp(noise * rng.standard_normal(len(losses)))
    for loss, factor, duration in zip(losses, factors, durations, strict=True):
        yield float(duration), {"loss": float(loss * factor), "true": float(loss)}


def _some_configs(problem: Any) -> list[dict[str, Any]]:
    space = space_of(problem.params)
    return [flat(space.sample(0, index)) for index in range(50)]


def _incumbents(log: Sequence[Any], spent: list[tuple[int, float]], *, by_time: bool) -> Iterator[tuple[int, float]]:
    """(mark, true loss of the lowest told so far) at each amount spent."""
    left, best, true, n_steps, begin = list(spent), np.inf, np.nan, 0, log[0].at
    for record in log:
        if not isinstance(record, TrialReported):
            continue
        n_steps += 1
        while left and (record.at - begin if by_time else n_steps - 1) >= left[0][1]:
            yield left.pop(0)[0], true
        if record.metrics["loss"] < best:
            best, true = record.metrics["loss"], record.metrics["true"]
    for mark, _ in left:
        yield mark, true


def report(rows: list[dict[str, str]], references: dict[str, Any]) -> list[str]:
    """Mean normalised regret over the problems: 0 is the best there is, 1 a random config's median."""
    lines = ["| method | workers | seeds | " + " | ".join(f"@{mark}" for mark in MARKS) + " | CPU s |"]
    lines.append("| --- " * (len(MARKS) + 4) + "|")
    for method in dict.fromkeys(row["method"] for row in rows):
        for workers in dict.fromkeys(row["workers"] for row in rows):
            mine = [row for row in rows if (row["method"], row["workers"]) == (method, workers)]
            if not mine:
                continue
            means = []
            for mark in MARKS:
                by_problem: dict[str, list[float]] = {}
                for row in mine:
                    reference = references[row["problem"]]
                    best = reference.get("optimum_any_fidelity", reference["optimum"])
                    regret = (float(row[f"s{mark}"]) - best) / (reference["random_median"] - best)
                    by_problem.setdefault(row["problem"], []).append(min(max(regret, 0.0), 1.5))
                means.append(mean(map(mean, by_problem.values())))
            n_seeds = len({row["seed"] for row in mine})
            cpu_s = mean(float(row["cpu_s"]) for row in mine)
            figures = " | ".join(f"{value:.3f}" for value in means)
            lines.append(f"| {method} | {workers} | {n_seeds} | {figures} | {cpu_s:.1f} |")
    return lines


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", type=Path, default=HARNESS, help="its folder (default: %(default)s)")
    parser.add_argument("--set", default="open")
    parser.add_argument("--opt", required=True, help=f"methods, comma-separated, of {', '.join(METHODS)}")
    parser.add_argument("--workers", default="1,8")
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("0-4"))
    parser.add_argument("--only", default="lcbench", help="problems whose name contains one of these")
    parser.add_argument("--noise", type=float, default=0.0, help="sd of the log of the factor of told losses")
    parser.add_argument("--start", type=float, default=0.0, help="time of each start and thaw, in epochs")
    parser.add_argument("--checkpoint-every", type=int, default=1, help="epochs; 0: never")
    parser.add_argument(
        "--by-time", action="store_true", help="budget in worker seconds; always where starts take time"
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV file; rows that are there are not run again")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, then report."""
    options = parse()
    on_one_blas_thread()
    use_harness(options.harness.resolve())
    import json

    from sets import problem_set, refs_file  # of the harness

    done: list[dict[str, str]] = list(csv.DictReader(options.out.open())) if options.out.exists() else []
    known = {(row["problem"], row["method"], row["workers"], row["seed"]) for row in done}
    for name, make in problem_set(options.set).items():
        if not name.startswith("lcbench") or not any(part in name for part in options.only.split(",")):
            continue
        problem = make()
        for method in options.opt.split(","):
            for workers in options.workers.split(","):
                for seed in options.seeds:
                    key = (name, method, workers, str(seed))
                    if key in known:
                        continue
                    found = run(problem, method, options, workers=int(workers), seed=seed)
                    row = dict(zip(("problem", "method", "workers", "seed"), key, strict=True)) | found
                    done.append({column: str(value) for column, value in row.items()})
                    with options.out.open("a", newline="") as file:
                        writer = csv.DictWriter(file, list(row))
                        if file.tell() == 0:
                            writer.writeheader()
                        writer.writerow(row)
                    print(*row.values(), file=sys.stderr, flush=True)
    print("\n".join(report(done, json.loads(refs_file(options.set).read_text()))))


if __name__ == "__main__":
    main()
