"""`python -m campaigns.two_drivers --rounds N --seed S`: the table of figures; exit status 1 on any violation."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import median

from campaigns.kill9.checks import Finding
from campaigns.two_drivers.race import RaceResult, play_race
from campaigns.two_drivers.scenarios import RacePlan, Scenario, draw_race

_KINDS = {
    "owners": "rounds without exactly one owner",
    "fenced write": "writes of a fenced driver accepted",
    "unclear end": "refusals and fencings that are no LeaseError with host, pid and time",
    "slow": "refusals after 1 s or more with a CPU",
    "process left": "processes left after 2 s",
    "lost": "acknowledged reports lost",
    "duplicate": "duplicates of (trial, attempt, step)",
    "epochs": "broken sequences of epochs",
    "disturbed": "trials of the owner that a fenced driver disturbed",
}


def main() -> int:
    """Play the rounds, print the figures."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.two_drivers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many rounds (default 200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="play this one round only: the replay of a violation")
    parser.add_argument("--jobs", type=int, default=1, help="rounds at a time (default 1: refusals are timed)")
    parser.add_argument("--keep", type=Path, help="move the folders of rounds with violations here")
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell that started it has them ignored
        signal.signal(number, signal.default_int_handler)
    numbers = [given.round] if given.round is not None else list(range(given.rounds))
    began = time.monotonic()
    results = []
    pool = ThreadPoolExecutor(given.jobs)
    try:
        futures = [pool.submit(_play, draw_race(given.seed, number), given.keep) for number in numbers]
        for future in as_completed(futures):
            results.append(future.result())
            _show(results[-1])
    except KeyboardInterrupt:
        print("Interrupted: the figures are those of the rounds that were played.", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    print(table(results, seed=given.seed, wall_s=time.monotonic() - began))
    return int(any(result.findings for result in results))


def _play(plan: RacePlan, keep: Path | None) -> RaceResult:
    try:
        return play_race(plan, keep=keep)
    except Exception:
        return RaceResult(plan, findings=[Finding("crash", traceback.format_exc())])


def _show(result: RaceResult) -> None:
    if not result.findings:
        return
    print(f"\nVIOLATION in round {result.plan.number}: {result.plan.scenario.value}")
    for finding in result.findings:
        print(f"  {finding.kind}: {finding.text}")
    print(result.output[-3000:])
    print(f"Again: python -m campaigns.two_drivers --seed {result.plan.seed} --round {result.plan.number}", flush=True)


def table(results: Sequence[RaceResult], *, seed: int, wall_s: float) -> str:
    """The table of a campaign's rounds."""
    kinds = Counter(finding.kind for result in results for finding in result.findings)
    others = sum(n for kind, n in kinds.items() if kind not in _KINDS)
    refused = [seconds for result in results for seconds in result.refused_s]
    with_cpu = [seconds for result in results for seconds in result.refused_with_cpu_s]
    lines = [
        ("seed", f"{seed}"),
        ("rounds", f"{len(results)}"),
        *((f"  {scenario.value}", f"{_n_of(results, scenario)}") for scenario in Scenario),
        ("seconds in all", f"{wall_s:.0f}"),
        ("rounds with exactly one owner", f"{sum(result.n_owners == 1 for result in results)}"),
        ("drivers refused", f"{sum(result.n_refused for result in results)}"),
        ("drivers fenced", f"{sum(result.n_fenced for result in results)}"),
        ("takeovers from one frozen within a commit: refused", f"{sum(result.n_locked_out for result in results)}"),
        ("drivers that came when it was finished", f"{sum(result.n_too_late for result in results)}"),
        ("seconds to a refusal, median and most", _spread(refused)),
        ("  without the time it waited for a CPU", _spread(with_cpu)),
        ("acknowledged reports", f"{sum(result.n_acks for result in results)}"),
        *((words, f"{kinds[kind]}") for kind, words in _KINDS.items()),
        ("other violations", f"{others}"),
    ]
    width = max(len(words) for words, _ in lines)
    return "\n".join(f"{words:<{width}}  {value:>12}" for words, value in lines)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f}, {max(values):.2f}" if values else "-"


def _n_of(results: Sequence[RaceResult], scenario: Scenario) -> int:
    return sum(result.plan.scenario is scenario for result in results)


if __name__ == "__main__":
    sys.exit(main())
