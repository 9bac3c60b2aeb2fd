"""How often is what `tune.confirm` says true? Repeats with normal noise, judged as those of an experiment are.

    python benchmarks/confirm.py                           # 10,000 confirmations of 5 repeats for each setting
    python benchmarks/confirm.py --n-runs 2000 --repeats 3

`held` is how often the interval of the picked config held its true mean: the plain 95 % one (`alone`), and the one that
is widened for the number of configs. `all held` is how often the widened ones of all configs did. `false` is how often
a config that is no better than some other was said to be better: than the second (`than 2nd`), and than every other,
which is what `lead.is_clear` says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from tunesmith.analysis.confirmation import Confirmation
from tunesmith.analysis.confirmed import Confirmed
from tunesmith.analysis.intervals import t_interval
from tunesmith.trial import Mode

#: Words, true means and standard deviations of the noise for k configs. Smaller is better.
SETTINGS = {
    "all equal": lambda k: ([0.0] * k, [1.0] * k),
    "two best, others far": lambda k: ([0.0, 0.0] + [9.0] * (k - 2), [1.0] * k),
    "two near, others half a sd worse": lambda k: ([0.0, 0.01] + [0.5] * (k - 2), [1.0] * k),
    "equal means, others 30 times noisier": lambda k: ([0.0] * k, [0.1, 0.1] + [3.0] * (k - 2)),
    "the best 5 times noisier": lambda k: ([-0.5] + [0.0] * (k - 1), [5.0] + [1.0] * (k - 1)),
    "the best 30 times noisier": lambda k: ([0.0, 0.5] + [0.6] * (k - 2), [3.0] + [0.1] * (k - 1)),
    "a noisy best, a tight second": lambda k: ([-0.5, 0.0, 0.5] + [9.0] * (k - 3), [5.0, 0.1, 0.1] + [1.0] * (k - 3)),
}


def simulate(means: Sequence[float], sds: Sequence[float], n_runs: int, repeats: int, seed: int) -> list[float]:
    """Shares of the runs: held alone, held, all held, false than 2nd, false than every other."""
    rng, k, found = np.random.default_rng(seed), len(means), np.zeros(5)
    for _ in range(n_runs):
        values = rng.normal(means, sds, (repeats, k)).T.tolist()
        judged = Confirmation(
            [Confirmed({}, tuple(own), 0.0, 1, i) for i, own in enumerate(values)], metric="loss", mode=Mode.MIN
        )
        best, lead = judged.best, judged.lead
        held = [_holds(one.interval, means[one.trial]) for one in judged.configs]
        is_wrong = any(means[best.trial] >= mean for i, mean in enumerate(means) if i != best.trial)
        is_ahead = lead is not None and lead.interval is not None and lead.interval[0] > 0
        is_clear = lead is not None and lead.is_clear
        alone = _holds(t_interval(best.values), means[best.trial])
        found += (alone, held[0], all(held), is_ahead and is_wrong, is_clear and is_wrong)
    return [float(share) for share in found / n_runs]


def _holds(interval: tuple[float, float] | None, truth: float) -> bool:
    return interval is not None and interval[0] <= truth <= interval[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--configs", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    began_s = time.process_time()
    print("| true values | configs | held alone | held | all held | false than 2nd | false than every other |")
    print("|---|---|---|---|---|---|---|")
    for k in given.configs:
        for words, setting in SETTINGS.items():
            shares = simulate(*setting(k), given.n_runs, given.repeats, given.seed)
            print(f"| {words} | {k} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |", flush=True)
    spent_s = time.process_time() - began_s
    print(f"\n{given.n_runs:,} runs each, {given.repeats} repeats, seed {given.seed}, {spent_s:.0f} s CPU")


if __name__ == "__main__":
    main()
