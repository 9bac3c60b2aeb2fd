"""How the driver scales: simulated experiments on 10 to 1,000 workers, their CPU time charged to the virtual clock.

    python benchmarks/simulated_scale.py [--quick] [--seed 1] [--only trials reports workers idle]

Prints one Markdown table. CPU is that of one core in this process: events are reports, starts and ends of attempts, and
answers of the searcher. "Driver" is scheduler, stopper and state machine; "all" adds store, simulator and curves. Busy
and idle shares are of the workers' time up to the last start of a new trial, with the driver's CPU time passing on the
virtual clock: a trial that waits for an answer is idle.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import tunesmith as tune
from tunesmith.schedulers import SCHEDULERS, ASHAScheduler

SPACE = {"level": tune.uniform(0.0, 1.0), "decay": tune.uniform(0.2, 1.0), "speed": tune.uniform(0.5, 1.5)}
#: They wait for others by design, or change what trials hold; their idle share is no measure of the driver.
SYNCHRONOUS = ("HyperBandScheduler", "HyperBandForBOHB", "PopulationBasedTrainingReplay", "ResourceChangingScheduler")
#: A population of thousands is none, and its model is fitted to all of it.
POPULATIONS = ("PopulationBasedTraining", "PB2")


def curves(n_steps: int, step_s: float) -> Callable[[dict[str, Any]], list[tuple[float, float]]]:
    """Power laws that fall to the config's level; each config has its own pace, `step_s` on average."""

    def curve(config: dict[str, Any]) -> list[tuple[float, float]]:
        level, decay, seconds = config["level"], config["decay"], step_s * config["speed"]
        return [(seconds, level + step**-decay) for step in range(1, n_steps + 1)]

    return curve


def simulate(
    n_trials: int, *, n_workers: int, scheduler: Any, n_steps: int, step_s: float, seed: int, **more: Any
) -> Any:
    """Random search: what is measured is the driver, not a model."""
    return tune.simulate(
        curves(n_steps, step_s),
        SPACE,
        metric="loss",
        mode="min",
        search_alg="random",
        scheduler=scheduler,
        num_samples=n_trials,
        num_workers=n_workers,
        seed=seed,
        **{"checkpoint_every": 0, **more},
    )


def many_trials(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """100,000 trials under ASHA: CPU per event at the beginning and at the end."""
    n_trials = 10_000 if options.quick else 100_000
    scheduler = ASHAScheduler(max_t=81, grace_period=1, reduction_factor=3)
    found = simulate(n_trials, n_workers=1000, scheduler=scheduler, n_steps=81, step_s=1.0, seed=options.seed)
    parts = found.cpu_us_by_part()
    label = f"{n_trials:,} trials, ASHA, 1,000 workers ({found.n_events:,} events)"
    yield f"{label}: CPU us per event, all", f"{found.cpu_us_per_event:.0f}", "<= 200"
    yield f"{label}: driver alone", f"{found.decider_us_per_event:.0f}", ""
    yield f"{label}: first and last tenth, all", f"{parts[0]:.0f}, {parts[-1]:.0f}", "flat"
    yield f"{label}: tenths, all", " ".join(f"{part:.0f}" for part in parts), ""


def many_reports(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """10,000 trials of 50 reports on 1,000 workers: how busy the driver's own time leaves them."""
    n_trials = 2_000 if options.quick else 10_000
    asha = ASHAScheduler(max_t=50, grace_period=1, reduction_factor=3)
    for name, scheduler in (("no scheduler", "fifo"), ("ASHA", asha)):
        for step_s in (1.0, 10.0):
            found = simulate(
                n_trials, n_workers=1000, scheduler=scheduler, n_steps=50, step_s=step_s, seed=options.seed
            )
            label = f"{n_trials:,} trials x 50 reports every {step_s:g} s, {name}, 1,000 workers: busy share"
            yield label, f"{1 - found.idle_share:.2%}", ">= 99 %"


def more_workers(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """The driver's CPU time per report, by the number of workers."""
    n_trials = 500 if options.quick else 4_000
    for name in ("fifo", "asha"):
        costs = []
        for n_workers in (10, 100, 1000):
            scheduler = ASHAScheduler(max_t=50, grace_period=1, reduction_factor=3) if name == "asha" else name
            found = simulate(
                n_trials, n_workers=n_workers, scheduler=scheduler, n_steps=50, step_s=1.0, seed=options.seed
            )
            costs.append(1e6 * found.decider_cpu_s / found.n_steps)
        label = f"{n_trials:,} trials, {name}: driver CPU us per report with 10, 100, 1,000 workers"
        yield label, ", ".join(f"{cost:.0f}" for cost in costs), "flat"


def idle_shares(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Every asynchronous scheduler there is, with checkpoints for those that pause."""
    for made in dict.fromkeys(SCHEDULERS.values()):
        if made.__name__ in SYNCHRONOUS:
            continue
        n_trials = 200 if options.quick or made.__name__ in POPULATIONS else 2_000
        label = f"{n_trials:,} trials, {made.__name__}, 64 workers: idle share; driver CPU us per event"
        try:
            scheduler = made(**_arguments(made.__name__))
            found = simulate(
                n_trials,
                n_workers=64,
                scheduler=scheduler,
                n_steps=50,
                step_s=1.0,
                seed=options.seed,
                checkpoint_every=1,
            )
        except Exception as error:
            yield label, f"{type(error).__name__}: {error}", ""
        else:
            yield label, f"{found.idle_share:.2%}; {found.decider_us_per_event:.0f}", "<= 1 %"


def _arguments(name: str) -> dict[str, Any]:
    if name in POPULATIONS:
        words = "hyperparam_bounds" if name == "PB2" else "hyperparam_mutations"
        bounds: Any = [0.2, 1.0] if name == "PB2" else tune.uniform(0.2, 1.0)
        return {"time_attr": "training_iteration", "perturbation_interval": 10, words: {"decay": bounds}}
    if name == "FIFOScheduler":
        return {}
    if name == "MedianStoppingRule":
        return {"time_attr": "training_iteration", "grace_period": 3}
    return {"max_t": 50}


ROWS = {"trials": many_trials, "reports": many_reports, "workers": more_workers, "idle": idle_shares}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, about half a minute")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    begin, load = time.monotonic(), os.getloadavg()[0]
    print("| | measured | wanted |\n| --- | --- | --- |")
    for name in options.only:
        for label, value, wanted in ROWS[name](options):
            print(f"| {label} | {value} | {wanted} |", flush=True)
    print(
        f"\n- {time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} CPUs ({platform.machine()}), load average {load:.1f} "
        f"before and {os.getloadavg()[0]:.1f} after, Python {platform.python_version()}, seed {options.seed}, "
        f"{time.monotonic() - begin:.0f} s"
    )


if __name__ == "__main__":
    main()
