"""How good is the best config after so many evaluations, beside other tuners?

    python benchmarks/search.py --opt auto,random,optuna_tpe --seeds 0-4 --out results.csv --report
    python benchmarks/search.py --set own --opt auto,random --out own.csv --report
    python benchmarks/search.py --no-runs --report --out results.csv --with baselines/open_sf.csv --opt auto,optuna_gp

Optimizers are tunesmith's searchers, and the adapters of the search-quality harness (a folder of its own; the problems
of `--set open` are its too). `--set own` are the conditional, mixed and live problems of `search_problems.py`.
Runs whose rows are there already are skipped, so that a stopped benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from search_problems import references
from search_runs import (
    HARNESS,
    MARKS,
    OWN,
    Job,
    Rows,
    columns_of,
    label,
    on_one_blas_thread,
    parse_seeds,
    problems_of,
    read_rows,
    run_jobs,
    use_harness,
)
from search_tables import Results, comparison, every_problem, results_of, summary


def parse_marks(text: str) -> tuple[int, ...]:
    """ "10,20" in rising order."""
    return tuple(sorted(int(mark) for mark in text.split(",")))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", type=Path, default=HARNESS, help="its folder (default: %(default)s)")
    parser.add_argument("--set", default="open", help=f"of problems: {OWN}, or one of the harness (default: open)")
    parser.add_argument("--opt", required=True, help="optimizers, comma-separated; the first is compared with each")
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("0-4"), help="such as 0-4")
    parser.add_argument("--only", default="", help="problems whose name contains one of these, comma-separated")
    parser.add_argument("--marks", type=parse_marks, default=MARKS, help="evaluations to judge at, up to the last")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file of the rows")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the runs (default: 1)")
    parser.add_argument("--max-seconds", type=float, default=float("inf"), help="begin no run after these")
    parser.add_argument("--cache", type=Path, help="keeps evaluations of live problems; beside --out by default")
    parser.add_argument("--report", action="store_true", help="print the tables at the end")
    parser.add_argument("--no-runs", action="store_true", help="only report")
    parser.add_argument("--with", dest="others", type=Path, nargs="*", default=[], help="further CSV files to report")
    parser.add_argument("--against", default="", help="peers of the paired comparisons; by default all but the first")
    parser.add_argument("--every-seed", action="store_true", help="report also what not all optimizers have")
    parser.add_argument("--detail", default="", help="marks at which every problem is shown (default: the last)")
    found = parser.parse_args()
    found.opt = found.opt.split(",")
    found.cache = found.cache or found.out.parent / "evaluations"
    found.harness = found.harness.resolve()
    return found


def run(options: argparse.Namespace, rows: Rows) -> None:
    """All runs that have no row yet."""
    problems = problems_of(options.set, harness=options.harness, cache=options.cache)
    names = [name for name in problems if any(part in name for part in options.only.split(","))]
    done = {(row["problem"], row["optimizer"], row["seed"]) for row in rows.read()}
    jobs = [
        Job(options.harness, options.set, problem, optimizer, seed, options.marks, options.cache)
        for optimizer in options.opt
        for seed in options.seeds
        for problem in names
    ]
    jobs = [job for job in jobs if job.key not in done]
    begin = time.monotonic()
    for i, row in enumerate(run_jobs(jobs, workers=options.workers, until=begin + options.max_seconds), start=1):
        rows.add(row)
        outcome = row["error"] or f"{row[f'y{options.marks[-1]}']} after {options.marks[-1]}, {row['cpu_s']} CPU s"
        words = f"{i}/{len(jobs)} {row['problem']} {row['optimizer']} seed {row['seed']}: {outcome}"
        print(words, file=sys.stderr, flush=True)


def known_references(options: argparse.Namespace, rows: list[dict[str, str]]) -> dict[str, Any]:
    """What regret is measured by: the harness's own figures, or those kept beside the results for our set."""
    if options.set != OWN:
        use_harness(options.harness)
        found: dict[str, Any] = json.loads(importlib.import_module("sets").refs_file(options.set).read_text())
        return found
    best: dict[str, float] = {}
    for row in rows:
        if not row["error"]:
            losses = [float(row[f"y{mark}"]) for mark in options.marks]
            best[row["problem"]] = min([*losses, best.get(row["problem"], float("inf"))])
    problems = problems_of(OWN, harness=options.harness, cache=options.cache)
    return references(problems, options.out.with_suffix(".refs.json"), best=best)


def no_rows_words(results: Results, names: list[str]) -> str | None:
    """What is missing for a report, and what to do; None if nothing is."""
    absent = [name for name in names if name not in results.regrets]
    if not absent:
        return None
    failed = {name: results.n_failed[name] for name in absent if results.n_failed[name]}
    why = f" (failed runs: {failed}; the file says why)" if failed else ""
    return f"There is no finished run of {', '.join(absent)} on these problems{why}. Run it first."


def report(options: argparse.Namespace, rows: list[dict[str, str]]) -> list[str]:
    """Every table."""
    for other in options.others:
        rows = read_rows(other) + rows
    parts = options.only.split(",")
    rows = [row for row in rows if row["set"] == options.set and any(part in row["problem"] for part in parts)]
    names = [label(name) for name in options.opt]
    found = results_of(rows, known_references(options, rows), marks=options.marks, optimizers=names)
    if words := no_rows_words(found, names):
        raise SystemExit(words)
    shown = found if options.every_seed else found.common(*found.optimizers)
    if not shown.problems(*names):
        raise SystemExit("The optimizers share no problem and seed. Run more of them, or give --every-seed.")
    lines = [f"Set {options.set!r}; Python {platform.python_version()}, {platform.machine()}.", "", *summary(shown)]
    for mark in [int(m) for m in options.detail.split(",") if m] or [options.marks[-1]]:
        lines += [*every_problem(shown, mark=mark), ""]
    for peer in options.against.split(",") if options.against else names[1:]:
        lines += [*comparison(found, names[0], peer=label(peer)), ""]
    return lines


def main() -> None:
    """Run, and report if asked to."""
    options = parse()
    on_one_blas_thread()
    rows = Rows(options.out, columns_of(options.marks))
    if not options.no_runs:
        run(options, rows)
    if options.report:
        print("\n".join(report(options, rows.read())))


if __name__ == "__main__":
    main()
