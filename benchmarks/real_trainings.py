"""How soon does `auto` find what random search with full trainings finds in all its time? On three real trainings.

    apt-get install dataset-fashion-mnist
    python benchmarks/real_trainings.py --seeds 0-1 --out rows.csv --report

For each training and seed random search trains `--samples` configs in full, on real processes. Then every other method
gets the same seed and the same wall time. What counts is the best validation accuracy reported so far, by wall time
from the call on: starts, checkpoints and the thinking of the driver are all in it. Needs scikit-learn and PyTorch, and
a machine with nothing else to do. Rows that are in the file are not run again: stop it and go on as you like.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import tunesmith as tune
from real_trainings_tasks import MAX_T, TRAININGS
from search_runs import parse_seeds
from tunesmith.events import EndReason
from tunesmith.trial import TrialStatus

RANDOM = "random"
SHARE_WANTED = 1 / 3  #: of random search's wall time
METRIC = "accuracy"
COLUMNS = ("training", "seed", "method", "samples", "workers", "wall_s", "best", "trials", "epochs", "busy", "failed")
#: Besides: the share of the workers' time in which trials trained is "busy"; "trial_bests" has the best value of every
#: trial, and "incumbents" seconds:value wherever the best rose.
ALL_COLUMNS = (*COLUMNS, "trial_bests", "incumbents")

Row = dict[str, str]
Incumbents = list[tuple[float, float]]  #: (seconds from the call, best value so far), both rising


def _auto(train: Any, space: dict[str, Any], **how: Any) -> tune.ExperimentAnalysis:
    return tune.maximize(train, space, metric=METRIC, max_t=MAX_T, **how)


def _asha(train: Any, space: dict[str, Any], **how: Any) -> tune.ExperimentAnalysis:
    scheduler = tune.schedulers.ASHAScheduler(max_t=MAX_T, reduction_factor=3)
    return tune.run(train, config=space, metric=METRIC, mode="max", search_alg="random", scheduler=scheduler, **how)


def _random(train: Any, space: dict[str, Any], **how: Any) -> tune.ExperimentAnalysis:
    return tune.run(train, config=space, metric=METRIC, mode="max", search_alg="random", scheduler=None, **how)


METHODS: dict[str, Callable[..., tune.ExperimentAnalysis]] = {RANDOM: _random, "auto": _auto, "asha": _asha}


# ---------------------------------------------------------------- runs


class Job(NamedTuple):
    """One run."""

    training: str
    seed: int
    method: str
    samples: int
    workers: int


def run(job: Job, *, budget_s: float | None, storage: Path) -> Row:
    """One experiment.

    Args: budget_s: the wall time it gets; None: until `samples` trials are trained.
    Raises: SystemExit if it was interrupted or failed: half a run is no row.
    """
    training = TRAININGS[job.training]
    train = tune.with_parameters(training.train, data=training.load())
    begin = time.time()
    found = METHODS[job.method](
        train,
        training.space,
        num_samples=job.samples if budget_s is None else -1,
        time_budget_s=budget_s,
        executor="processes",
        capacity={"cpu": job.workers},
        max_concurrent_trials=job.workers,
        storage_path=storage,
        raise_on_failed_trial=False,
        seed=job.seed,
        verbose=0,
    )
    stats = found.stats()
    if stats["status"] not in (EndReason.FINISHED, EndReason.TIME_BUDGET):
        raise SystemExit(f"{job} ended as {stats['status']!r} ({stats['detail']}): it is left out. Start it again.")
    results = [result for result in found.reader.results() if budget_s is None or result.at - begin <= budget_s]
    if not results:
        raise SystemExit(f"{job} reported nothing in {budget_s} s. Give more --samples.")
    wall_s = results[-1].at - begin if budget_s is None else budget_s
    bests: dict[int, float] = {}
    trained_s: dict[int, float] = {}
    for result in results:
        bests[result.trial] = max(result.metrics[METRIC], bests.get(result.trial, 0.0))
        trained_s[result.trial] = result.time_total_s
    values = [(result.at - begin, result.metrics[METRIC]) for result in results]
    row = {
        "wall_s": f"{wall_s:.2f}",
        "best": f"{max(bests.values()):.5f}",
        "trials": len(bests),
        "epochs": len(results),
        "busy": f"{sum(trained_s.values()) / wall_s / job.workers:.2f}",
        "failed": stats["states"].get(TrialStatus.FAILED.value, 0),
        "trial_bests": " ".join(f"{value:.5f}" for value in bests.values()),
        "incumbents": " ".join(f"{at:.2f}:{value:.5f}" for at, value in _incumbents(values)),
    }
    found.reader.close()
    return {column: str(value) for column, value in (job._asdict() | row).items()}


def _incumbents(values: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    best = float("-inf")
    for at, value in values:
        if value > best:
            best = value
            yield at, best


def key_of(row: Row) -> tuple[str, ...]:
    """What a row is found by."""
    return tuple(row[column] for column in Job._fields)


def run_missing(options: argparse.Namespace, rows: list[Row]) -> None:
    """Run what has no row yet, random search before what takes its wall time from it, and append the rows."""
    known = {key_of(row): row for row in rows}
    for seed in options.seeds:
        for training in options.only:
            for method in (RANDOM, *options.methods):
                job = Job(training, seed, method, options.samples, options.workers)
                key = tuple(map(str, job))
                if key in known:
                    continue
                reference = known.get(tuple(map(str, job._replace(method=RANDOM))))
                with tempfile.TemporaryDirectory(prefix="real-trainings-") as folder:
                    budget_s = None if reference is None else float(reference["wall_s"])
                    known[key] = run(job, budget_s=budget_s, storage=options.keep or Path(folder))
                rows.append(known[key])
                _append(options.out, known[key])
                words = ", ".join(f"{column} {known[key][column]}" for column in COLUMNS)
                print(f"{words}; load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


def _append(path: Path, row: Row) -> None:
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, ALL_COLUMNS)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


# ---------------------------------------------------------------- tables


def incumbents_of(row: Row) -> Incumbents:
    """The best so far by wall time."""
    pairs = (pair.split(":") for pair in row["incumbents"].split())
    return [(float(at), float(value)) for at, value in pairs]


def reached_s(row: Row, target: float) -> float:
    """When the run first had this value or a better one; infinite if never."""
    return next((at for at, value in incumbents_of(row) if value >= target), float("inf"))


def random_table(rows: Sequence[Row]) -> list[str]:
    """What random search found, when, and how hard that is to find: the best values of its trials."""
    lines = [
        "| training | seed | full trainings | wall s | best | found at s | worst / quartiles / best of the trials |"
    ]
    lines.append("| --- " * 7 + "|")
    for row in rows:
        bests = sorted(map(float, row["trial_bests"].split()))
        spread = " / ".join(f"{value:.3f}" for value in (bests[0], *quantiles(bests, method="inclusive"), bests[-1]))
        found = reached_s(row, float(row["best"]))
        figures = (row["training"], row["seed"], row["trials"], row["wall_s"], row["best"], f"{found:.0f}", spread)
        lines.append("| " + " | ".join(figures) + " |")
    return lines


def method_table(pairs: Sequence[tuple[Row, Row]], method: str) -> list[str]:
    """Every seed of one method beside random search, the medians, and the losses."""
    lines = [f"| training | seed | {method}: at random's best after s | share of random's time | best at equal time |"]
    lines[0] += " difference | trials | epochs | busy |"
    lines.append("| --- " * 9 + "|")
    shares: dict[str, list[float]] = {}
    losses = []
    for row, random in pairs:
        at, target, wall_s = reached_s(row, float(random["best"])), float(random["best"]), float(random["wall_s"])
        share, gain = at / wall_s, float(row["best"]) - target
        shares.setdefault(row["training"], []).append(share)
        name = f"{row['training']} seed {row['seed']}"
        if share > SHARE_WANTED:
            losses.append(f"{name} (never in its time, {gain:+.4f})" if share > 1 else f"{name} ({share:.2f})")
        after = "never" if share > 1 else f"{at:.0f}"
        figures = (after, _share(share), row["best"], f"{gain:+.4f}", row["trials"], row["epochs"], row["busy"])
        lines.append("| " + " | ".join((row["training"], row["seed"], *figures)) + " |")
    every = [share for some in shares.values() for share in some]
    words = "; ".join(f"{training} {_share(median(some))}" for training, some in shares.items())
    lines += ["", f"Median share of random's time: {words}; all {_share(median(every))}."]
    lines.append(f"In a third or less: {len(every) - len(losses)} of {len(every)}. Not: {', '.join(losses) or 'none'}.")
    return lines


def _share(share: float) -> str:
    return "over 1" if share > 1 else f"{share:.2f}"


def report(options: argparse.Namespace, rows: Sequence[Row]) -> list[str]:
    """Every table, of the rows that the options name."""
    asked = {"samples": str(options.samples), "workers": str(options.workers)}
    mine = [row for row in rows if row["training"] in options.only and int(row["seed"]) in options.seeds]
    mine = [row for row in mine if all(row[column] == value for column, value in asked.items())]
    mine.sort(key=lambda row: (options.only.index(row["training"]), int(row["seed"])))
    randoms = {(row["training"], row["seed"]): row for row in mine if row["method"] == RANDOM}
    packages = ", ".join(f"{name} {version(name)}" for name in ("tunesmith", "scikit-learn", "torch"))
    lines = [f"Python {platform.python_version()}, {packages}; {os.cpu_count()} CPUs, {options.workers} workers."]
    lines += [f"- {name}: {TRAININGS[name].words}, {MAX_T} epochs" for name in options.only]
    if not randoms:
        return [*lines, "", "There are no rows of random search yet."]
    lines += ["", *random_table(list(randoms.values()))]
    for method in options.methods:
        pairs = [
            (row, randoms[row["training"], row["seed"]])
            for row in mine
            if row["method"] == method and (row["training"], row["seed"]) in randoms
        ]
        lines += ["", *method_table(pairs, method)] if pairs else []
    return lines


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_names_of(TRAININGS), default=list(TRAININGS), help="of " + ",".join(TRAININGS))
    parser.add_argument("--methods", type=_names_of(METHODS), default=["auto"], help="beside random: auto,asha (auto)")
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("0-1"), help="such as 0-4, or 3 (0-1)")
    parser.add_argument("--samples", type=int, default=35, help="full trainings of random search (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time, one CPU each (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="CSV file; rows that are there are not run again")
    parser.add_argument("--keep", type=Path, help="a folder for the experiments; else they are deleted")
    parser.add_argument("--report", action="store_true", help="print the tables at the end")
    parser.add_argument("--no-runs", action="store_true", help="run nothing")
    options = parser.parse_args()
    options.methods = [method for method in options.methods if method != RANDOM]
    return options


def _names_of(known: dict[str, Any]) -> Callable[[str], list[str]]:
    def parse_names(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return names

    return parse_names


def main() -> None:
    """Run what is missing, and report if asked to."""
    options = parse()
    rows: list[Row] = list(csv.DictReader(options.out.open(newline=""))) if options.out.exists() else []
    if not options.no_runs:
        run_missing(options, rows)
    if options.report:
        print("\n".join(report(options, rows)))


if __name__ == "__main__":
    main()
