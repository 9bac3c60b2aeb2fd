"""`python -m campaigns.kill9 --rounds N --seed S`: the table of figures; exit status 1 on any violation."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from campaigns.kill9.checks import Finding
from campaigns.kill9.driver import can_trace
from campaigns.kill9.figures import table
from campaigns.kill9.plan import RoundPlan, draw_round
from campaigns.kill9.round import RoundResult, play_round


def main() -> int:
    """Play the rounds, print the figures."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.kill9", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="how many rounds (default 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="play this one round only: the replay of a violation")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at a time (default 2)")
    parser.add_argument("--keep", type=Path, help="move the folders of rounds with violations here")
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell that started it has them ignored
        signal.signal(number, signal.default_int_handler)
    if not can_trace():
        print("strace is not installed or may not inject signals: kills at system calls of the driver are needed.")
        return 2
    numbers = [given.round] if given.round is not None else list(range(given.rounds))
    began = time.monotonic()
    results = []
    pool = ThreadPoolExecutor(given.jobs)
    try:
        futures = [pool.submit(_play, draw_round(given.seed, number), given.keep) for number in numbers]
        for future in as_completed(futures):
            results.append(future.result())
            _show(results[-1])
            if len(results) % 50 == 0:
                print(f"{len(results)} of {len(numbers)} rounds, {time.monotonic() - began:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("Interrupted: the figures are those of the rounds that were played.", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    print(table(results, seed=given.seed, wall_s=time.monotonic() - began))
    return int(any(result.findings for result in results))


def _play(plan: RoundPlan, keep: Path | None) -> RoundResult:
    try:
        return play_round(plan, keep=keep)
    except Exception:
        return RoundResult(plan, findings=[Finding("crash", traceback.format_exc())])


def _show(result: RoundResult) -> None:
    if not result.findings:
        return
    plan = result.plan
    print(f"\nVIOLATION in round {plan.number}: {plan.words()}; killed: {[t.value for t in result.kills]}")
    for finding in result.findings:
        print(f"  {finding.kind}: {finding.text}")
    print(result.output[-3000:])
    print(f"Again: python -m campaigns.kill9 --seed {plan.seed} --round {plan.number}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
