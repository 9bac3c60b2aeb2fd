"""`python -m campaigns.simulate --seeds 10000 --seed 0`: worlds with faults, the same again, pairs, planted bugs.

Exit status 1 on any violation, on a log that differs when its seed is played again in another process, on an
interrupted experiment that comes to something else, and if fewer than 19 of the 20 planted bugs are found.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from campaigns.simulate.campaign import Played, play_seed
from campaigns.simulate.continuity import Compared, compare_seed
from campaigns.simulate.figures import Tally, continuity_lines, planted_table, table
from campaigns.simulate.planted import Bug, plant

MIN_FOUND = 19


def main() -> int:
    """Play what the command line asks for."""
    options = _parser().parse_args()
    bug = Bug[options.bug] if options.bug else None
    if options.only is not None:
        return _play_one(options.only, bug)
    if options.digests:
        for seed in options.digests:
            print(seed, play_seed(seed).digest)
        return 0
    seeds = range(options.seed, options.seed + options.seeds)
    with ProcessPoolExecutor(options.jobs) as pool:
        digests, is_good = _play_worlds(pool, seeds)
        is_good &= _play_again(pool, {seed: digests[seed] for seed in seeds[::10]})
        is_good &= _compare_pairs(pool, seeds[::10])
        is_good &= _find_bugs(pool, options.seed, options.seeds)
    return 0 if is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m campaigns.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per CPU)")
    parser.add_argument("--only", type=int, metavar="SEED", help="play this one only, and print its log")
    parser.add_argument("--bug", choices=[bug.name for bug in Bug], help="with --only: with this bug planted")
    parser.add_argument("--digests", type=int, nargs="+", metavar="SEED", help="print the digests of these logs")
    return parser


def _play_one(seed: int, bug: Bug | None) -> int:
    with plant(bug):
        played = play_seed(seed, keeps_log=True)
    print("\n".join(played.lines))
    print(f"log of seed {seed}: sha256 {played.digest}")
    if played.violation is not None:
        _show(played, bug)
    return int(played.violation is not None)


def _show(played: Played, bug: Bug | None = None) -> None:
    print(f"\nVIOLATION in seed {played.seed}: {played.violation}\n{played.where}")
    planted = f" --bug {bug.name}" if bug else ""
    print(f"Again: python -m campaigns.simulate --only {played.seed}{planted}\n", flush=True)


def _play_worlds(pool: ProcessPoolExecutor, seeds: Sequence[int]) -> tuple[dict[int, str], bool]:
    began, tally, digests = time.monotonic(), Tally(), {}
    for played in pool.map(play_seed, seeds, chunksize=20):
        tally.add(played)
        digests[played.seed] = played.digest
        if played.violation is not None:
            _show(played)
        if tally.n_seeds % 1000 == 0:
            print(f"{tally.n_seeds} seeds, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(tally, seed=seeds[0], wall_s=time.monotonic() - began), flush=True)
    return digests, tally.kinds.total() == 0


def digests_elsewhere(seeds: Sequence[int]) -> dict[int, str]:
    """Digests of the logs of these worlds, played in a new process with another hash seed."""
    command = [sys.executable, "-m", "campaigns.simulate", "--digests", *map(str, seeds)]
    environment = {**os.environ, "PYTHONHASHSEED": str(seeds[0] % 4096 + 1)}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return {int(seed): digest for seed, digest in map(str.split, output.splitlines())}


def _play_again(pool: ProcessPoolExecutor, digests: dict[int, str]) -> bool:
    seeds = list(digests)
    parts = [seeds[first : first + 100] for first in range(0, len(seeds), 100)]
    again: dict[int, str] = {}
    for found in pool.map(digests_elsewhere, parts):
        again |= found
    different = [seed for seed in seeds if again[seed] != digests[seed]]
    print(f"\nlogs that differ when played again in another process: {len(different)} of {len(seeds)}", flush=True)
    for seed in different:
        print(f"  seed {seed}")
    return not different


def _compare_pairs(pool: ProcessPoolExecutor, seeds: Sequence[int]) -> bool:
    pairs: list[Compared] = list(pool.map(compare_seed, seeds, chunksize=5))
    print("\n" + continuity_lines(pairs), flush=True)
    return all(pair.difference is None for pair in pairs)


def find_bug(bug: Bug, seed: int, n_seeds: int) -> Played | None:
    """The first world, from this seed on, in which the planted bug is found; None if there is none."""
    for number in range(seed, seed + n_seeds):
        with plant(bug):
            played = play_seed(number)
        if played.violation is not None:
            return played
    return None


def _find_bugs(pool: ProcessPoolExecutor, seed: int, n_seeds: int) -> bool:
    results: Iterator[Played | None] = pool.map(partial(find_bug, seed=seed, n_seeds=n_seeds), Bug)
    found = dict(zip(Bug, results, strict=True))
    print("\n" + planted_table(found, seed=seed), flush=True)
    return sum(played is not None for played in found.values()) >= MIN_FOUND


if __name__ == "__main__":
    sys.exit(main())
