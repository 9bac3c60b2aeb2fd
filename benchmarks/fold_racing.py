"""How many models does a race over the folds of a cross-validation save, and does it keep the winner?

    python benchmarks/fold_racing.py            # both tables, about ten minutes of CPU
    python benchmarks/fold_racing.py --only real --seeds 0-4 --n 40

Real: scikit-learn's bundled data, trials in processes, the same random configs for every scheduler of a seed. `kept` is
on how many seeds the winner is the one of the full cross-validation (or one as good); `lost` is by how much its mean is
below that one's, on average. Simulated: 40 configs on 4 workers; values are config + fold + noise, each normal, with
standard deviations `configs` (the best ones lie at its edge) and `folds` in units of the noise's.
"""

from __future__ import annotations

import argparse
import logging
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tunesmith as tune
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.schedulers import ASHAScheduler, FIFOScheduler, FoldRacing
from tunesmith.space import uniform
from tunesmith.testing import simulate

SCHEDULERS: dict[str, Callable[[int], Any]] = {
    "fifo": lambda n_folds: FIFOScheduler(),
    "fold_racing": lambda n_folds: FoldRacing(),
    "fold_racing t": lambda n_folds: FoldRacing(test="t", min_folds=3),
    "asha": lambda n_folds: ASHAScheduler(max_t=n_folds, reduction_factor=3),
}


# ---------------------------------------------------------------- real


def classify(config: dict[str, Any], data: Any = None, n_folds: int = 5) -> None:
    """Accuracy of a support vector machine, fold by fold."""
    x, y = data
    for k, (train, test) in enumerate(StratifiedKFold(n_folds, shuffle=True, random_state=0).split(x, y)):
        model = make_pipeline(StandardScaler(), SVC(**config)).fit(x[train], y[train])
        tune.report(score=model.score(x[test], y[test]), fold=k)


def regress(config: dict[str, Any], data: Any = None, n_folds: int = 5) -> None:
    """R^2 of kernel ridge regression, fold by fold."""
    x, y = data
    for k, (train, test) in enumerate(KFold(n_folds, shuffle=True, random_state=0).split(x, y)):
        model = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", **config))
        model.fit(x[train], y[train] - y[train].mean())
        tune.report(score=model.score(x[test], y[test] - y[train].mean()), fold=k)


def problems() -> dict[str, tuple[Any, Any, dict[str, Any], int]]:
    """Name -> trainable, data, space, number of folds."""
    machine = {"C": tune.loguniform(1e-3, 1e3), "gamma": tune.loguniform(1e-5, 1e1)}
    ridge = {"alpha": tune.loguniform(1e-4, 1e2), "gamma": tune.loguniform(1e-5, 1e1)}
    x, y = load_digits(return_X_y=True)
    return {
        "breast cancer": (classify, load_breast_cancer(return_X_y=True), machine, 5),
        "breast cancer ": (classify, load_breast_cancer(return_X_y=True), machine, 10),
        "digits": (classify, (x[:600], y[:600]), machine, 5),
        "diabetes": (regress, load_diabetes(return_X_y=True), ridge, 10),
    }


def real(seeds: list[int], n: int) -> None:
    """The table of real trainings."""
    print("| data | folds | scheduler | models | best mean | kept | lost |\n|---|---|---|---|---|---|---|")
    for name, (trainable, data, space, n_folds) in problems().items():
        best: dict[int, float] = {}
        for label, make in SCHEDULERS.items():
            used, values, lost = [], [], []
            for seed in seeds:
                with tempfile.TemporaryDirectory() as folder:
                    result = tune.run(
                        tune.with_parameters(trainable, data=data, n_folds=n_folds),
                        config=space, metric="score", mode="max", num_samples=n, search_alg="random", seed=seed,
                        scheduler=make(n_folds), storage_path=folder, verbose=0,
                    )  # fmt: skip
                    used.append(result.stats()["n_results"])
                    values.append(result.best.value)
                    result.reader.close()
                best.setdefault(seed, values[-1])
                lost.append(best[seed] - values[-1])
            kept = sum(by <= 1e-12 for by in lost)
            print(
                f"| {name.strip()} | {n_folds} | {label} | {np.mean(used):.0f} of {n * n_folds} "
                f"| {np.mean(values):.4f} | {kept} of {len(seeds)} | {np.mean(lost):.4f} |",
                flush=True,
            )


# ---------------------------------------------------------------- simulated


def world(seed: int, *, n_folds: int, sd_configs: float, sd_folds: float) -> Callable[..., Any]:
    """A script of trials whose configs are worth a half-normal amount less than the best there can be."""
    fold_effects = np.random.default_rng([seed, 1]).normal(size=n_folds) * sd_folds

    def script(config: dict[str, Any], first_step: int) -> Any:
        draw = np.random.default_rng([seed, int(config["level"] * 2**53)])
        loss = sd_configs * abs(draw.normal()) + fold_effects + draw.normal(size=n_folds)
        for step in range(first_step, n_folds + 1):
            yield SimulatedStep(1.0, {"loss": float(loss[step - 1]), "fold": step - 1})

    return script


def simulated(n_races: int) -> None:
    """The table of simulated races."""
    labels = [label for label in SCHEDULERS if label != "fifo"]
    heads = " | ".join(f"{label}: models, kept" for label in labels)
    print(f"| folds | configs | folds' | {heads} |\n|{'---|' * (3 + len(labels))}")
    for n_folds in (5, 10):
        for sd_configs in (0.5, 1.0, 3.0, 10.0):
            for sd_folds in (0.0, 1.0, 3.0):
                cells = [_cell(label, n_races, n_folds, sd_configs, sd_folds) for label in labels]
                print(f"| {n_folds} | {sd_configs:g} | {sd_folds:g} | {' | '.join(cells)} |", flush=True)


def _cell(label: str, n_races: int, n_folds: int, sd_configs: float, sd_folds: float) -> str:
    used, kept = 0, 0
    for seed in range(n_races):
        script = world(seed, n_folds=n_folds, sd_configs=sd_configs, sd_folds=sd_folds)
        facts = {"space": {"level": uniform(0.0, 1.0)}, "n_trials": 40, "n_workers": 4, "seed": seed}
        raced = simulate(script, scheduler=SCHEDULERS[label](n_folds), **facts)
        full = [np.mean([step.metrics["loss"] for step in script(trial.config, 1)]) for trial in raced.trials]
        whole = [trial.index for trial in raced.trials if len(trial.folds) == n_folds]
        used += sum(trial.n_reports for trial in raced.trials)
        kept += min(whole, key=lambda index: full[index], default=-1) == int(np.argmin(full))
    return f"{used / (n_races * 40 * n_folds):.0%}, {kept} of {n_races}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=["real", "simulated"])
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--n", type=int, default=40, help="configs of a real race (40)")
    parser.add_argument("--races", type=int, default=100, help="simulated races of each kind (100)")
    arguments = parser.parse_args()
    logging.getLogger("tunesmith").setLevel(logging.ERROR)
    first, _, last = arguments.seeds.partition("-")
    versions = ", ".join(f"{name} {version(name)}" for name in ("tunesmith", "scikit-learn"))
    print(f"{versions}, Python {platform.python_version()}, {platform.machine()}\n")
    if arguments.only != "simulated":
        real(list(range(int(first), int(last or first) + 1)), arguments.n)
        print()
    if arguments.only != "real":
        simulated(arguments.races)


if __name__ == "__main__":
    main()
