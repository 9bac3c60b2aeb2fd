"""What a suggestion costs: CPU time and memory by the number of finished trials, beside Optuna's samplers.

    python benchmarks/search_cost.py --opt auto,tpe,random,optuna_tpe --trials 10,100,1000 --dims 10
    python benchmarks/search_cost.py --many 100000 --opt random,sobol,tpe,optuna_random,optuna_tpe,rustuna_tpe

Histories are random configs of a space of reals, a third of them on a log scale, with a quadratic loss and noise. At
each number of trials suggestions are asked for and told one by one, as an experiment does; the first one, with nothing
cached, is shown apart. CPU time of the process, all threads; a peer's figure holds its ask, all suggest calls and tell.
Memory is the peak that Python and NumPy allocate within a first suggestion, over what the history itself takes.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from overhead import machine
from search_runs import on_one_blas_thread, use_sources
from search_tables import markdown

N_MEASURED = 25  #: suggestions at each number of trials; 1 in 20 may be slower than the p95
_BATCH = 100  #: configs per request to searchers that learn nothing, as an experiment asks ahead
_PEERS = ("optuna_random", "optuna_tpe", "optuna_gp", "rustuna_random", "rustuna_tpe")


class Asked(Protocol):
    """A tuner with a history of random trials."""

    def fill(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """Add finished trials at these places of the unit cube, shape (n, d)."""

    def step(self, loss: Callable[[np.ndarray], float]) -> float:
        """One suggestion and its result; the CPU seconds of the suggestion (a peer: of all its calls)."""


class Ours:
    """A searcher of tunesmith."""

    def __init__(self, searcher: str, d: int) -> None:
        from tunesmith.searchers import create_searcher
        from tunesmith.space import Space, loguniform, uniform
        from tunesmith.trial import Mode, Objective

        self.names = [f"x{i}" for i in range(d)]
        self._is_log = [i % 3 == 2 for i in range(d)]
        leaves = [loguniform(1e-4, 1.0) if is_log else uniform(0.0, 1.0) for is_log in self._is_log]
        self.space = Space(dict(zip(self.names, leaves, strict=True)))
        self.objective = Objective(("loss",), (Mode.MIN,))
        self.searcher = create_searcher(searcher)
        self.trials: list[Any] = []

    def fill(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """See Asked."""
        from search_adapter import finished_trial

        for row, loss in zip(rows.tolist(), losses.tolist(), strict=True):
            values = [10 ** (4 * u - 4) if is_log else u for u, is_log in zip(row, self._is_log, strict=True)]
            config = dict(zip(self.names, values, strict=True))
            self.trials.append(finished_trial(len(self.trials), config, loss=loss))

    def ask(self, n: int) -> tuple[list[dict[str, Any]], float]:
        """Configs of one request, and its CPU seconds."""
        from tunesmith.protocols import History
        from tunesmith.rng import generator

        history = History(self.space, self.objective, 0, tuple(self.trials))
        rng = generator(0, "suggest", len(self.trials))
        begin = time.process_time()
        answer = self.searcher.suggest(history, rng, n)
        seconds = time.process_time() - begin
        if not isinstance(answer, Sequence):
            raise RuntimeError(f"It has no config: {answer.reason}.")
        return [suggestion.config for suggestion in answer], seconds

    def step(self, loss: Callable[[np.ndarray], float]) -> float:
        """See Asked."""
        (config,), seconds = self.ask(1)
        values = zip(config.values(), self._is_log, strict=True)
        row = np.array([np.log10(v) / 4 + 1 if is_log else v for v, is_log in values])
        self.fill(row[None], np.array([loss(row)]))
        return seconds


class Optuna:
    """A sampler of Optuna, or of rustuna (which has its interface), on a study in memory."""

    def __init__(self, name: str, d: int) -> None:
        package, _, sampler = name.partition("_")
        module = importlib.import_module(package)
        module.logging.set_verbosity(module.logging.ERROR) if hasattr(module, "logging") else None
        classes = {"random": "RandomSampler", "tpe": "TPESampler", "gp": "GPSampler"}
        made = getattr(module.samplers, classes[sampler])(seed=0)
        self._module, self._d = module, d
        self._create_trial = getattr(module, "create_trial", None) or module.trial.create_trial
        self.study = module.create_study(sampler=made)

    def fill(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """See Asked."""
        real = self._module.distributions.FloatDistribution
        space = {f"x{i}": real(1e-4, 1.0, log=True) if i % 3 == 2 else real(0.0, 1.0) for i in range(self._d)}
        for row, loss in zip(rows.tolist(), losses.tolist(), strict=True):
            params = {f"x{i}": 10 ** (4 * u - 4) if i % 3 == 2 else u for i, u in enumerate(row)}
            trial = self._create_trial(params=params, distributions=space, value=loss)
            self.study.add_trial(trial)

    def step(self, loss: Callable[[np.ndarray], float]) -> float:
        """See Asked."""
        begin = time.process_time()
        trial = self.study.ask()
        values = []
        for i in range(self._d):
            if i % 3 == 2:
                values.append(np.log10(trial.suggest_float(f"x{i}", 1e-4, 1.0, log=True)) / 4 + 1)
            else:
                values.append(trial.suggest_float(f"x{i}", 0.0, 1.0))
        self.study.tell(trial.number, float(loss(np.array(values))))
        return time.process_time() - begin


def make(name: str, d: int) -> Asked:
    """tunesmith's searcher, or a peer's sampler."""
    return Optuna(name, d) if name in _PEERS else Ours(name, d)


class Loss:
    """A quadratic with noise, for rows of the unit cube."""

    def __init__(self, d: int) -> None:
        self._rng = np.random.default_rng(d)
        self._best = self._rng.uniform(0.2, 0.8, d)

    def __call__(self, rows: np.ndarray) -> Any:
        """Losses, shape of the rows without their last axis."""
        values = ((rows - self._best) ** 2).mean(-1)
        return values + 0.01 * self._rng.standard_normal(values.shape)


def cost_row(name: str, d: int, *, n: int) -> list[str]:
    """The cells of one optimizer at one number of trials."""
    loss = Loss(d)
    rows = np.random.default_rng(n).random((n, d))
    tuner = make(name, d)
    tuner.fill(rows, loss(rows))
    first_s = tuner.step(loss)
    seconds = np.array([tuner.step(loss) for _ in range(N_MEASURED)])
    median_ms, p95_ms = 1e3 * np.quantile(seconds, [0.5, 0.95])
    return [f"{median_ms:.1f}", f"{p95_ms:.1f}", f"{1e3 * first_s:.1f}", f"{peak_mb(name, d, n=n):.1f}"]


def peak_mb(name: str, d: int, *, n: int) -> float:
    """What a first suggestion allocates at its peak, in MB of 10**6 bytes."""
    loss = Loss(d)
    rows = np.random.default_rng(n).random((n, d))
    tuner = make(name, d)
    tuner.fill(rows, loss(rows))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        tuner.step(loss)
        return (tracemalloc.get_traced_memory()[1] - before) / 1e6
    finally:
        tracemalloc.stop()


def total(name: str, d: int, *, n: int, budget_s: float) -> list[str]:
    """The CPU seconds of `n` suggestions in a row, or as many as fit into the budget and what that makes for `n`.

    Beyond the budget the cost of one is measured at growing histories and summed up by the trapezoidal rule.
    """
    loss, tuner = Loss(d), make(name, d)
    learns_nothing = isinstance(tuner, Ours) and not tuner.searcher.uses_results
    spent, done = 0.0, 0
    while done < n and spent < budget_s:
        if learns_nothing:
            assert isinstance(tuner, Ours)
            configs, seconds = tuner.ask(_BATCH)
            rows = np.full((len(configs), d), 0.5)
            tuner.fill(rows, loss(rows))  # what they were does not matter to it
            done, spent = done + len(configs), spent + seconds
        else:
            spent += tuner.step(loss)
            done += 1
    if done >= n:
        return [f"{spent:.1f}", "measured"]
    places, costs = [done], [_cost_at(name, d, n=done)]
    while places[-1] < n:
        places.append(min(3 * places[-1], n))
        costs.append(_cost_at(name, d, n=places[-1]))
    rest = float(np.trapezoid(costs, places))
    shown = ", ".join(f"{1e3 * c:.1f} ms at {p:,}" for p, c in zip(places, costs, strict=True))
    return [f"{spent + rest:.0f}", f"{done:,} measured in {spent:.1f} s, the rest from {shown}"]


def _cost_at(name: str, d: int, *, n: int) -> float:
    loss = Loss(d)
    rows = np.random.default_rng(n).random((n, d))
    tuner = make(name, d)
    tuner.fill(rows, loss(rows))
    tuner.step(loss)  # with nothing cached
    return float(np.median([tuner.step(loss) for _ in range(5)]))


def available(names: list[str]) -> list[str]:
    """Those whose package is installed; says which are not."""
    found = [n for n in names if n not in _PEERS or importlib.util.find_spec(n.partition("_")[0]) is not None]
    for name in set(names) - set(found):
        print(f"{name} is left out: {sys.executable} has no such package.", file=sys.stderr)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opt", default="auto,tpe,random", help=f"searchers, and of {', '.join(_PEERS)}")
    parser.add_argument("--trials", default="10,100,300,1000,3000,10000", help="finished ones (default: %(default)s)")
    parser.add_argument("--dims", default="10", help="numbers of dimensions (default: %(default)s)")
    parser.add_argument("--many", type=int, help="instead: the cost of so many suggestions in a row")
    parser.add_argument("--budget-s", type=float, default=30.0, help="of --many for each; the rest is extrapolated")
    options = parser.parse_args()
    on_one_blas_thread()
    use_sources()
    names = available(options.opt.split(","))
    print(f"{machine()}; Python {platform.python_version()}; CPU time, one BLAS thread\n")
    dims = [int(d) for d in options.dims.split(",")]
    lines: list[list[str]] = []
    if options.many:
        for name in names:
            lines.append([name, *total(name, dims[0], n=options.many, budget_s=options.budget_s)])
            print(*lines[-1], file=sys.stderr, flush=True)
        print("\n".join(markdown([f"{dims[0]} dimensions", f"CPU s of {options.many:,} suggestions", "how"], lines)))
        return
    for name in names:
        for d in dims:
            for n in map(int, options.trials.split(",")):
                lines.append([name, str(d), f"{n:,}", *cost_row(name, d, n=n)])
                print(*lines[-1], file=sys.stderr, flush=True)
    head = ["optimizer", "dimensions", "finished trials", "median ms", "p95 ms", "first ms", "peak MB"]
    print("\n".join(markdown(head, lines)))


if __name__ == "__main__":
    main()
