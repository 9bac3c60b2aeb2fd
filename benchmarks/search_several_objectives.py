"""How much hypervolume is dominated after so many evaluations, beside random search and Optuna's samplers?

    python benchmarks/search_several_objectives.py --seeds 0-4 --n 60
    python benchmarks/search_several_objectives.py --opt auto,nsga2,optuna_nsga2 --n 500 --only zdt

Optimizers are tunesmith's searchers by name, and optuna_tpe, optuna_nsga2 (the extra `optuna`). All problems are our
own formulas; every optimizer runs each with the same seeds. The table has the mean over the seeds of the hypervolume,
as a share of the best that any run reached, and how often the first optimizer beat each other one on the same seed.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import tunesmith as tune
from tunesmith.models.pareto import hypervolume
from tunesmith.protocols import History
from tunesmith.rng import generator
from tunesmith.searchers import create_searcher
from tunesmith.space import Space
from tunesmith.trial import Objective, Trial, TrialStatus, parse_objective

Config = Mapping[str, Any]
Metrics = dict[str, float]


@dataclass(frozen=True)
class Problem:
    """Losses f0, f1, ... of a config, and metrics that constraints bound."""

    name: str
    space: dict[str, Any]
    evaluate: Callable[[Config], Metrics]
    suggest: Callable[[Any], Config]  #: the same space in the words of an Optuna trial
    reference: tuple[float, ...]
    constraints: dict[str, str]

    @property
    def objective(self) -> Objective:
        """All losses, to be minimised."""
        names = [f"f{j}" for j in range(len(self.reference))]
        found = parse_objective(names, ["min"] * len(names), self.constraints)
        assert found is not None
        return found


# ---------------------------------------------------------------- problems


def _numbers(d: int) -> dict[str, Any]:
    return {f"x{j}": tune.uniform(0, 1) for j in range(d)}


def _floats(d: int) -> Callable[[Any], Config]:
    return lambda trial: {f"x{j}": trial.suggest_float(f"x{j}", 0, 1) for j in range(d)}


def zdt(config: Config) -> Metrics:
    """A concave-convex front where all but the first number are at 0.35; like ZDT1, with its optimum inside."""
    x = [config[f"x{j}"] for j in range(6)]
    g = 1.0 + 9.0 * sum(abs(v - 0.35) for v in x[1:]) / 5
    return {"f0": x[0], "f1": g * (1.0 - math.sqrt(x[0] / g))}


def sphere(config: Config) -> Metrics:
    """A piece of a sphere, three numbers more than losses less one; like DTLZ2, with its optimum inside."""
    x = [config[f"x{j}"] for j in range(len(config))]
    m = len(x) - 2
    g = 1.0 + 4.0 * sum((v - 0.6) ** 2 for v in x[m - 1 :])
    found = {}
    for i in range(m):
        sides = [math.cos(v * math.pi / 2) for v in x[: m - 1 - i]]
        found[f"f{i}"] = g * math.prod(sides) * (math.sin(x[m - 1 - i] * math.pi / 2) if i else 1.0)
    return found


def models(config: Config) -> Metrics:
    """Error and cost of a model that is a network or a forest, each with its own leaves."""
    model = config["model"]
    if model["kind"] == "network":
        capacity = math.log2(model["width"]) + 1.5 * model["depth"]
        error = 0.08 + 0.5 * math.exp(-0.25 * capacity) + 0.06 * (math.log10(model["lr"]) + 2.7) ** 2
        cost = 0.4 * math.log2(model["width"]) + 0.5 * model["depth"]
    else:
        error = 0.14 + 0.4 * math.exp(-0.4 * model["leaves"] ** 0.5) + 0.1 / math.sqrt(model["trees"])
        cost = 0.6 + 0.35 * math.log2(model["trees"]) + 0.02 * model["leaves"]
    error += {"none": 0.0, "flip": -0.02, "crop": 0.01}[config["augment"]]
    return {"f0": error, "f1": cost}


_MODELS = {
    "augment": tune.choice(["none", "flip", "crop"]),
    "model": tune.choice(
        [
            {
                "kind": "network",
                "width": tune.lograndint(4, 512),
                "depth": tune.randint(1, 7),
                "lr": tune.loguniform(1e-5, 1e-1),
            },
            {"kind": "forest", "trees": tune.lograndint(4, 512), "leaves": tune.randint(2, 64)},
        ]
    ),
}


def _suggest_model(trial: Any) -> Config:
    augment = trial.suggest_categorical("augment", ["none", "flip", "crop"])
    if trial.suggest_categorical("kind", ["network", "forest"]) == "network":
        width, depth = trial.suggest_int("width", 4, 511, log=True), trial.suggest_int("depth", 1, 6)
        lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        return {"augment": augment, "model": {"kind": "network", "width": width, "depth": depth, "lr": lr}}
    trees, leaves = trial.suggest_int("trees", 4, 511, log=True), trial.suggest_int("leaves", 2, 63)
    return {"augment": augment, "model": {"kind": "forest", "trees": trees, "leaves": leaves}}


def bounded(config: Config) -> Metrics:
    """Two distances, and a bound that leaves about a tenth of the square, away from both optima."""
    x = np.array([config[f"x{j}"] for j in range(4)])
    near, far = np.full(4, 0.25), np.full(4, 0.75)
    wave = math.sin(7.0 * x[0]) + math.sin(7.0 * x[1])
    return {"f0": float(np.sum((x - near) ** 2)), "f1": float(np.sum((x - far) ** 2)), "wave": wave}


PROBLEMS = (
    Problem("zdt", _numbers(6), zdt, _floats(6), (1.1, 4.0), {}),
    Problem("sphere3", _numbers(5), sphere, _floats(5), (2.0, 2.0, 2.0), {}),
    Problem("sphere4", _numbers(6), sphere, _floats(6), (2.0, 2.0, 2.0, 2.0), {}),
    Problem("models", _MODELS, models, _suggest_model, (0.6, 6.0), {}),
    Problem("bounded", _numbers(4), bounded, _floats(4), (1.2, 1.2), {"wave": "<= -1.2"}),
)


# ---------------------------------------------------------------- optimizers


def run_tunesmith(problem: Problem, name: str, *, seed: int, n: int) -> list[Metrics]:
    """The metrics of n trials, one after the other."""
    space, searcher = Space(problem.space), create_searcher(name)
    trials: list[Trial] = []
    found: list[Metrics] = []
    for i in range(n):
        history = History(space, problem.objective, seed, tuple(trials))
        answer = searcher.suggest(history, generator(seed, "suggest", i), 1)
        assert isinstance(answer, list)
        config = answer[0].config
        found.append(problem.evaluate(config))
        trials.append(
            Trial(
                i, f"t{i}", config, TrialStatus.COMPLETED, attempt=1, step=1, n_reports=1, metrics=found[-1],
                best_value=found[-1]["f0"], best_step=1,
            )
        )  # fmt: skip
    return found


def run_optuna(problem: Problem, name: str, *, seed: int, n: int) -> list[Metrics]:
    """The same by an Optuna sampler at its defaults, with the constraints where it takes them."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)  # of constraints_func, which works in 4 and 5
    objective = problem.objective
    made = {"optuna_tpe": optuna.samplers.TPESampler, "optuna_nsga2": optuna.samplers.NSGAIISampler}[name]
    arguments: dict[str, Any] = {"seed": seed}
    if objective.constraints:
        arguments["constraints_func"] = lambda trial: trial.user_attrs["excesses"]
    study = optuna.create_study(directions=["minimize"] * len(objective.metrics), sampler=made(**arguments))
    found: list[Metrics] = []

    def evaluate(trial: Any) -> tuple[float, ...]:
        metrics = problem.evaluate(problem.suggest(trial))
        found.append(metrics)
        trial.set_user_attr("excesses", [bound.excess(metrics[bound.metric]) for bound in objective.constraints])
        return tuple(metrics[metric] for metric in objective.metrics)

    study.optimize(evaluate, n_trials=n)
    return found


def dominated(problem: Problem, results: list[Metrics]) -> float:
    """The hypervolume of the results that keep the constraints."""
    objective = problem.objective
    kept = [
        [mode.as_loss(metrics[metric]) for metric, mode in zip(objective.metrics, objective.modes, strict=True)]
        for metrics in results
        if all(bound.excess(metrics[bound.metric]) <= 0 for bound in objective.constraints)
    ]
    return hypervolume(np.array(kept).reshape(-1, len(objective.metrics)), np.array(problem.reference))


def main() -> None:
    """Run all, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opt", default="auto,random,nsga2,optuna_tpe,optuna_nsga2")
    parser.add_argument("--seeds", default="0-4", help="such as 0-4")
    parser.add_argument("--n", type=int, default=60, help="evaluations")
    parser.add_argument("--only", default="", help="problems whose name contains this")
    given = parser.parse_args()
    first, last = map(int, given.seeds.split("-"))
    names, seeds = given.opt.split(","), range(first, last + 1)
    print(f"hypervolume after {given.n} evaluations, share of the best of all runs; seeds {given.seeds}; ", end="")
    print(f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"{'problem':10}" + "".join(f"{name:>26}" for name in names))
    for problem in (problem for problem in PROBLEMS if given.only in problem.name):
        volumes: dict[str, list[float]] = {}
        cpu_s: dict[str, float] = {}
        for name in names:
            run = run_optuna if name.startswith("optuna_") else run_tunesmith
            start_s = time.process_time()
            volumes[name] = [dominated(problem, run(problem, name, seed=seed, n=given.n)) for seed in seeds]
            cpu_s[name] = (time.process_time() - start_s) / len(seeds)
        print(f"{problem.name:10}" + "".join(f"{cell:>26}" for cell in _cells(volumes, cpu_s)), flush=True)
    print("cells: mean share, seeds on which the first optimizer is better, CPU s of a run")


def _cells(volumes: dict[str, list[float]], cpu_s: dict[str, float]) -> list[str]:
    best = max(max(values) for values in volumes.values()) or 1.0
    firsts = next(iter(volumes.values()))
    cells = []
    for name, values in volumes.items():
        n_better = sum(a > b for a, b in zip(firsts, values, strict=True))
        wins = "-" if values is firsts else f"{n_better}/{len(values)}"
        cells.append(f"{np.mean(values) / best:.3f}  {wins}  {cpu_s[name]:.1f} s")
    return cells


if __name__ == "__main__":
    main()
