"""`python -m campaigns.simulate --seeds 10000 --seed 0`: one table; exit status 1 on any violation."""

from __future__ import annotations

import argparse
import sys
import time

from campaigns.simulate.campaign import Played, play_seed
from campaigns.simulate.figures import Tally, table
from campaigns.simulate.planted import Bug, plant


def main() -> int:
    """Play what the command line asks for."""
    options = _parser().parse_args()
    bug = Bug[options.bug] if options.bug else None
    if options.planted:
        return _find_bugs([bug] if bug else list(Bug), options.seed, options.seeds or 1000)
    seeds = [options.only] if options.only is not None else range(options.seed, options.seed + (options.seeds or 1000))
    began, tally = time.monotonic(), Tally()
    for seed in seeds:
        with plant(bug):
            played = play_seed(seed, keeps_log=options.only is not None)
        tally.add(played)
        if played.violation is not None:
            _show(played, bug)
        if tally.n_seeds % 1000 == 0:
            print(f"{tally.n_seeds} seeds, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if options.only is not None:
            print("\n".join(played.lines))
            print(f"log of seed {seed}: sha256 {played.digest}")
    print(table(tally, seed=seeds[0], wall_s=time.monotonic() - began))
    return int(tally.kinds.total() > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m campaigns.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--only", type=int, metavar="SEED", help="play this one only, and print its log")
    parser.add_argument("--planted", action="store_true", help="look for each planted bug in so many seeds")
    parser.add_argument("--bug", choices=[bug.name for bug in Bug], help="play with it; with --planted: look for it")
    return parser


def _show(played: Played, bug: Bug | None) -> None:
    print(f"\nVIOLATION in seed {played.seed}: {played.violation}\n{played.where}")
    planted = f" --bug {bug.name}" if bug else ""
    print(f"Again: python -m campaigns.simulate --only {played.seed}{planted}\n", flush=True)


def find_bug(bug: Bug, seed: int, n_seeds: int) -> Played | None:
    """The first world, from this seed on, in which the planted bug is found; None if there is none."""
    for number in range(seed, seed + n_seeds):
        with plant(bug):
            played = play_seed(number)
        if played.violation is not None:
            return played
    return None


def _find_bugs(bugs: list[Bug], seed: int, n_seeds: int) -> int:
    found = {bug: find_bug(bug, seed, n_seeds) for bug in bugs}
    print(f"{'planted bug':48}  {'found by the invariant':54}  seeds")
    for bug, played in found.items():
        kind, number = "NOT FOUND", n_seeds
        if played is not None and played.violation is not None:
            kind, number = played.violation.kind, played.seed - seed + 1
        print(f"{bug.value:48}  {kind:54}  {number:>5}")
    n_found = sum(played is not None for played in found.values())
    print(f"found: {n_found} of {len(bugs)}")
    return int(n_found < len(bugs))


if __name__ == "__main__":
    sys.exit(main())
