"""`make search-fuzz CASES=10000`: random spaces and histories for every searcher."""

from __future__ import annotations

import argparse
import time
import warnings

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from campaigns.search.check import NAMES, check_answer
from campaigns.search.histories import histories
from tunesmith.protocols import History


def main() -> None:
    """Run the campaign; the first failure is shrunk, shown and raised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of searchers, comma-separated")
    arguments = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)  # arithmetic that overflows or divides by zero is a defect
    for name in arguments.only.split(",") if arguments.only else NAMES:
        begin = time.process_time()
        n_cases = _run(name, n_cases=arguments.cases, first_seed=arguments.seed)
        print(f"{name}: {n_cases} cases, no exception, {time.process_time() - begin:.0f} CPU s", flush=True)


def _run(name: str, *, n_cases: int, first_seed: int) -> int:
    """Ask one searcher; how many cases there were."""
    n_run = 0

    @settings(
        max_examples=n_cases,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @seed(first_seed)
    @given(histories(), st.sampled_from((1, 1, 4)))
    def case(history: History, n: int) -> None:
        nonlocal n_run
        n_run += 1
        check_answer(name, history, n)

    case()
    return n_run


if __name__ == "__main__":
    main()
