"""`python -m campaigns.powerloss --workloads 200 --seed 0`: one table; exit status 1 on a violation."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time

from campaigns.powerloss.campaign import Tally, find_bugs, run_campaign, run_workload
from campaigns.powerloss.planted import Bug
from campaigns.powerloss.workload import plan_of


def main() -> int:
    """Run what the command line asks for."""
    options = _parser().parse_args()
    logging.getLogger("tunesmith").setLevel(logging.ERROR)  # that newest rows may be missing is warned about, rightly
    if options.workload is not None:
        return _replay(options)
    started_at = time.monotonic()
    tallies = {kind: Tally() for kind in ("default", "full", "network")}
    campaign = run_campaign(options.seed, options.workloads, max_prefixes=options.max_prefixes, n_jobs=options.jobs)
    for plan, tally in campaign:
        tallies["network" if plan.is_network else "full" if plan.durability == "full" else "default"].add(tally)
        if plan.number % 20 == 19:
            print(f"{plan.number + 1} workloads, {time.monotonic() - started_at:.0f} s", file=sys.stderr)
    bugs: dict[Bug, str | None] = {}
    if not options.no_bugs:
        bugs = dict(find_bugs(options.seed, max_prefixes=options.max_prefixes, n_jobs=options.jobs))
    _print_table(tallies, bugs)
    print(f"seed {options.seed}, {time.monotonic() - started_at:.0f} s")
    n_violations = sum(tally.n_violations for tally in tallies.values())
    for violation in [violation for tally in tallies.values() for violation in tally.violations]:
        print(violation)
    return 1 if n_violations or None in bugs.values() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m campaigns.powerloss", description=__doc__)
    parser.add_argument("--workloads", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-prefixes", type=int, default=10_000, help="of one workload; all syncs anyway")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-bugs", action="store_true", help="leave out the planted bugs")
    parser.add_argument("--workload", type=int, help="replay this one only")
    parser.add_argument("--prefix", type=int, help="with --workload: this prefix only")
    parser.add_argument("--bug", choices=[bug.name for bug in Bug], help="with --workload: planted; else: look for it")
    return parser


def _replay(options: argparse.Namespace) -> int:
    bug = Bug[options.bug] if options.bug else None
    prefixes = None if options.prefix is None else [options.prefix]
    tally = run_workload(plan_of(options.seed, options.workload, bug), options.max_prefixes, prefixes)
    print(
        f"{tally.n_operations} operations, {tally.n_rebuilt} disks rebuilt, {tally.n_opened} different ones opened, "
        f"{tally.n_violations} violations"
    )
    print("\n".join(tally.violations))
    return 1 if tally.n_violations else 0


def _print_table(tallies: dict[str, Tally], bugs: dict[Bug, str | None]) -> None:
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    columns = {**tallies, "all": total}
    rows: list[tuple[str, list[object]]] = [
        ("workloads", [tally.n_workloads for tally in columns.values()]),
        ("prefixes there are", [tally.n_operations + tally.n_workloads for tally in columns.values()]),
        ("prefixes at which the power was lost", [tally.n_prefixes for tally in columns.values()]),
        ("disks rebuilt", [tally.n_rebuilt for tally in columns.values()]),
        ("  of them different, each opened", [tally.n_opened for tally in columns.values()]),
        ("  of these, gone on with and opened again", [tally.n_resumed for tally in columns.values()]),
        ("disks that lost something acknowledged", [tally.n_losing for tally in columns.values()]),
        ("  oldest of it, s", [f"{tally.max_lost_age_s:.3f}" for tally in columns.values()]),
        *(
            (f"checkpoints of trials: {word}", [tally.checkpoints[word] for tally in columns.values()])
            for word in ("old", "new", "half")
        ),
        ("violations", [tally.n_violations for tally in columns.values()]),
    ]
    print(f"{'':42}" + "".join(f"{name:>12}" for name in columns))
    for name, values in rows:
        print(f"{name:42}" + "".join(f"{value!s:>12}" for value in values))
    if bugs:
        print(f"planted bugs found: {sum(where is not None for where in bugs.values())} of {len(bugs)}")
        for bug, where in bugs.items():
            print(f"  {bug.value}: {where if where else 'NOT FOUND'}")


if __name__ == "__main__":
    sys.exit(main())
