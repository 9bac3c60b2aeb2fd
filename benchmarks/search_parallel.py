"""What do parallel trials cost in quality? The incumbent after n finished evaluations with 1, 8 and 64 workers.

    python benchmarks/search_parallel.py --opt auto --workers 1,8,64 --seeds 0-2 --out parallel.csv

The problems are those of `search.py`. The whole experiment runs on a virtual clock (`tunesmith.testing`): each worker
asks when it is free, and of trials that still run the searcher knows the configs only. The claim to test:
with 8 workers `auto` loses at most a tenth of what it gains over random search with 1, at as many evaluations.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from search import known_references, no_rows_words, parse_marks
from search_runs import (
    HARNESS,
    MARKS,
    Rows,
    columns_of,
    on_one_blas_thread,
    parse_seeds,
    problem_of,
    problems_of,
    use_sources,
)
from search_tables import Array, Indices, Results, interval_words, markdown, resampled, results_of, summary

RANDOM = "random x1"
_SIGMA = 0.5  #: of the logarithm of a duration: the slowest of 8 then takes about twice the mean


class Run:
    """One experiment on the virtual clock."""

    def __init__(self, problem: Any, *, searcher: str, n_workers: int, seed: int, durations: str) -> None:
        self._problem, self._durations = problem, durations
        self._noise = np.random.default_rng([seed, zlib.crc32(problem.name.encode())])
        self._times = np.random.default_rng([seed, zlib.crc32(b"durations")])
        self._searcher, self._n_workers, self._seed = searcher, n_workers, seed
        self._evaluating_s = 0.0

    def _script(self, config: dict[str, Any], first_step: int) -> Iterator[Any]:
        from search_adapter import flat
        from tunesmith.executors.simulated import SimulatedStep

        begin = time.process_time()
        outcome = self._problem.evaluate(flat(config), rng=self._noise)
        self._evaluating_s += time.process_time() - begin
        drawn_s = float(np.exp(_SIGMA * self._times.standard_normal()))
        duration_s = outcome["time"] if self._durations == "table" else drawn_s
        yield SimulatedStep(max(duration_s, 1e-3), {"loss": outcome["value"], "true": outcome["true"]})

    def curve(self, n: int) -> tuple[list[float], float]:
        """Judged loss of the incumbent after each finished evaluation; CPU seconds of all but the evaluations."""
        from search_adapter import tree
        from tunesmith.events import TrialReported
        from tunesmith.searchers import create_searcher
        from tunesmith.testing.simulation import simulate

        params = self._problem.params
        begin = time.process_time()
        simulation = simulate(
            self._script,
            space=tree([p for p in params if p.parent is None], params),
            searcher=create_searcher(self._searcher),
            n_workers=self._n_workers,
            seed=self._seed,
            n_trials=n,
        )
        cpu_s = time.process_time() - begin - self._evaluating_s
        least, judged, curve = np.inf, np.nan, []
        for record in simulation.log:
            if isinstance(record, TrialReported):
                if record.metrics["loss"] < least:
                    least, judged = record.metrics["loss"], record.metrics["true"]
                curve.append(judged)
        if len(curve) != n:
            raise RuntimeError(f"{len(curve)} of {n} trials reported.")
        return curve, cpu_s


def run(options: argparse.Namespace, rows: Rows) -> None:
    """All runs that have no row yet; random search runs with one worker only, since it learns nothing."""
    names = problems_of(options.set, harness=options.harness, cache=options.cache)
    names = {k: v for k, v in names.items() if any(part in k for part in options.only.split(","))}
    done = {(row["problem"], row["optimizer"], row["seed"]) for row in rows.read()}
    kinds = [("random", 1), *((name, n) for name in options.opt if name != "random" for n in options.workers)]
    begin = time.monotonic()
    for searcher, n_workers in kinds:
        for seed in options.seeds:
            for name in names:
                label = f"{searcher} x{n_workers}"
                if (name, label, str(seed)) in done or time.monotonic() - begin > options.max_seconds:
                    continue
                problem = problem_of(name, options.set, harness=options.harness, cache=options.cache)
                started = time.perf_counter()
                one = Run(problem, searcher=searcher, n_workers=n_workers, seed=seed, durations=options.durations)
                curve, cpu_s = one.curve(options.marks[-1])
                row = {"set": options.set, "problem": name, "optimizer": label, "seed": seed, "error": ""}
                row |= {f"y{mark}": f"{curve[mark - 1]:.8g}" for mark in options.marks}
                rows.add(row | {"cpu_s": f"{cpu_s:.3f}", "wall_s": f"{time.perf_counter() - started:.3f}"})
        print(f"{searcher} x{n_workers}: {time.monotonic() - begin:.0f} s since the start", file=sys.stderr)


def losses_of_gain(results: Results, searcher: str, *, workers: list[int]) -> list[str]:
    """The share of the gain over random search that more workers cost, with an interval over problems."""
    alone = f"{searcher} x1"
    rows = []
    for n_workers in workers:
        name = f"{searcher} x{n_workers}"
        if n_workers == 1 or name not in results.regrets:
            continue
        problems = results.problems(name, alone, RANDOM)
        many, one, random = (results.means(o, problems) for o in (name, alone, RANDOM))
        for k, mark in enumerate(results.marks):
            share = interval_words(_share(many[:, k], one=one[:, k], random=random[:, k]))
            means = f"{random[:, k].mean():.4f} / {one[:, k].mean():.4f} / {many[:, k].mean():.4f}"
            rows.append([f"{name} @{mark}", means, *share])
    return markdown(["", f"random / {alone} / more workers", "share of the gain lost", "95 %"], rows)


def _share(many: Array, *, one: Array, random: Array) -> tuple[float, float, float]:
    """(many - one) / (random - one) of the means over problems, and its 95 % interval."""

    def share(picked: Indices) -> Array:
        lost: Array = (many[picked].mean(-1) - one[picked].mean(-1)) / (random[picked].mean(-1) - one[picked].mean(-1))
        return lost

    return resampled(share, len(many))


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", type=Path, default=HARNESS, help="its folder (default: %(default)s)")
    parser.add_argument("--set", default="open", help="of problems, as in search.py (default: open)")
    parser.add_argument("--opt", default="auto", help="tunesmith's searchers, comma-separated (default: auto)")
    parser.add_argument("--workers", default="1,8,64", help="simulated workers (default: 1,8,64)")
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("0-2"), help="such as 0-4")
    parser.add_argument("--only", default="", help="problems whose name contains one of these, comma-separated")
    parser.add_argument("--marks", type=parse_marks, default=MARKS, help="evaluations to judge at, up to the last")
    parser.add_argument("--durations", choices=("lognormal", "table"), default="lognormal", help="of trainings")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file of the rows")
    parser.add_argument("--max-seconds", type=float, default=float("inf"), help="begin no run after these")
    parser.add_argument("--cache", type=Path, help="keeps evaluations of live problems; beside --out by default")
    options = parser.parse_args()
    on_one_blas_thread()
    use_sources()
    options.opt, options.harness = options.opt.split(","), options.harness.resolve()
    options.cache = options.cache or options.out.parent / "evaluations"
    options.workers = [int(n) for n in options.workers.split(",")]
    rows = Rows(options.out, columns_of(options.marks))
    run(options, rows)
    found = [row for row in rows.read() if row["set"] == options.set]
    names = [RANDOM, *(f"{o} x{n}" for o in options.opt if o != "random" for n in options.workers)]
    results = results_of(found, known_references(options, found), marks=options.marks, optimizers=names)
    if words := no_rows_words(results, names):
        raise SystemExit(words)
    results = results.common(*names)
    lines = [f"Set {options.set!r}, durations: {options.durations}.", "", *summary(results)]
    for searcher in options.opt:
        lines += losses_of_gain(results, searcher, workers=options.workers) if searcher != "random" else []
    print("\n".join(lines))


if __name__ == "__main__":
    main()
