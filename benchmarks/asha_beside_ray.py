"""Does our ASHA decide as Ray Tune's does? Both judge the same random interleaved histories, report by report.

    python -m venv /tmp/ray && /tmp/ray/bin/pip install -e . "ray[tune]==2.52.*"
    /tmp/ray/bin/python benchmarks/asha_beside_ray.py --histories 1000

Needs Ray Tune beside tunesmith, in an environment of its own; Ray itself is not started. Each history has up to 12
trials that report at steps 1, 2, 3, ..., mixed at random, with few distinct values, so that ties are common. What
differs on purpose (docs/schedulers.md) does not occur in them: no report skips a rung, every value is finite, there is
one bracket. A trial that one side ends and the other does not counts as one mismatch, and its history ends there.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_RESULT_DELIM", "/")

import ray
from ray.tune.schedulers import AsyncHyperBandScheduler as RayASHA
from ray.tune.schedulers import TrialScheduler

from tunesmith.events import AnswerReport, TrialReported, Verdict
from tunesmith.schedulers import ASHAScheduler
from tunesmith.trial import Trial, TrialStatus


@dataclass(frozen=True)
class FakeTrial:
    """All that Ray's scheduler asks of a trial."""

    trial_id: str


@dataclass
class Tally:
    """What was counted over all histories."""

    n_decisions: int = 0
    n_stops: int = 0
    n_ends: int = 0  #: at max_t


def draw_arguments(draw: random.Random) -> dict[str, Any]:
    max_t = draw.choice([1, 5, 8, 9, 20, 27, 50])
    return {
        "metric": "loss",
        "mode": draw.choice(["min", "max"]),
        "max_t": max_t,
        "grace_period": draw.randint(1, min(4, max_t)),
        "reduction_factor": draw.choice([2, 3, 4, 1.5]),
        "stop_last_trials": draw.choice([True, True, False]),
    }


def draw_history(draw: random.Random, max_t: int) -> list[tuple[int, int, float]]:
    """(trial, step, value), each trial's steps in order."""
    n_trials, n_levels = draw.randint(1, 12), draw.choice([3, 10, 1000])
    left = [draw.randint(1, max_t + 1) for _ in range(n_trials)]
    steps, history = [0] * n_trials, []
    while any(left):
        trial = draw.choice([i for i, n in enumerate(left) if n])
        left[trial] -= 1
        steps[trial] += 1
        history.append((trial, steps[trial], draw.randint(-n_levels, n_levels) / 8))
    return history


def our_verdict(scheduler: ASHAScheduler, trial: int, step: int, value: float) -> Verdict:
    report = TrialReported(trial, 1, step, {"loss": value}, float(step), 1000.0 + step)
    decision = scheduler.decide(Trial(trial, str(trial), {}, TrialStatus.RUNNING, attempt=1, step=step), report)
    scheduler.observe(report)
    scheduler.observe(AnswerReport(trial, 1, step, decision))
    return decision.verdict


def compare(seed: int, tally: Tally) -> str | None:
    """Play one history to both; the first difference in words, or None."""
    draw = random.Random(seed)
    arguments = draw_arguments(draw)
    ours, theirs = ASHAScheduler(**arguments), RayASHA(**arguments)
    ours.bind(None)
    trials: dict[int, FakeTrial] = {}
    ended: set[int] = set()
    history = draw_history(draw, arguments["max_t"])
    last_steps = {trial: step for trial, step, _ in history}
    for trial, step, value in history:
        if trial in ended:
            continue
        if trial not in trials:
            trials[trial] = FakeTrial(f"t{trial:05d}")
            theirs.on_trial_add(None, trials[trial])
        verdict = our_verdict(ours, trial, step, value)
        result = {"training_iteration": step, "loss": value}
        answer = theirs.on_trial_result(None, trials[trial], result)
        tally.n_decisions += 1
        tally.n_stops += verdict is Verdict.STOP
        tally.n_ends += verdict is Verdict.COMPLETE
        if (verdict is not Verdict.CONTINUE) != (answer == TrialScheduler.STOP):
            return f"seed {seed}, {arguments}: trial {trial} at step {step} with {value}: {verdict} and {answer}"
        if answer == TrialScheduler.STOP or step == last_steps[trial]:
            theirs.on_trial_complete(None, trials[trial], result)  # as their controller does with whoever ends
            ended.add(trial)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first history")
    options = parser.parse_args()
    tally = Tally()
    found = [compare(seed, tally) for seed in range(options.seed, options.seed + options.histories)]
    mismatches = [words for words in found if words is not None]
    print(f"Ray Tune {ray.__version__}, Python {platform.python_version()}, seeds {options.seed} to", end=" ")
    print(f"{options.seed + options.histories - 1}")
    print("| histories | decisions | stops | ends at max_t | mismatches |\n| --- | --- | --- | --- | --- |")
    counts = (options.histories, tally.n_decisions, tally.n_stops, tally.n_ends, len(mismatches))
    print("| " + " | ".join(f"{n:,}" for n in counts) + " |")
    for words in mismatches[:20]:
        print(words)
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
