"""Draw the figures of docs/plots.md: `make plots-doc`. Needs the extras plots and examples, and a Chrome or Chromium.

Small networks are trained in earnest on scikit-learn's digits, on a virtual clock: an epoch takes as long as its
multiplications say. So equal seeds give equal figures, time lines included.
"""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tunesmith as tune
from tunesmith import plots
from tunesmith.schedulers import ASHAScheduler
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import create_store

PICTURES = Path(__file__).parent / "plots"
N_EPOCHS = 27
LARGEST_BYTES = 120_000
SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 3.0),
    "batch": tune.choice([16, 32, 64, 128]),
    "units": tune.sample_from(lambda _: 2 ** random.randint(2, 7)),
    "optimizer": tune.choice([{"name": "sgd", "momentum": tune.uniform(0.0, 0.99)}, {"name": "adam"}]),
}


@cache
def images() -> list[Any]:
    """Half of the digits to train on, half to judge by."""
    x, y = load_digits(return_X_y=True)
    return train_test_split(x / 16, y, test_size=0.5, stratify=y, random_state=0)  # type: ignore[no-any-return]


@cache
def training(config_text: str) -> list[tuple[float, dict[str, float]] | None]:
    """What each epoch took in virtual seconds and came to; None where the training diverged."""
    config = json.loads(config_text)
    train_x, test_x, train_y, test_y = images()
    model = MLPClassifier(
        hidden_layer_sizes=[config["units"]],
        solver=config["optimizer"]["name"],
        learning_rate_init=config["lr"],
        momentum=config["optimizer"].get("momentum", 0.9),
        batch_size=config["batch"],
        random_state=0,
    )
    n_weights = 65 * config["units"] + 10 * (config["units"] + 1)
    seconds = len(train_x) * n_weights / 4e6 + len(train_x) / config["batch"] / 20
    steps: list[tuple[float, dict[str, float]] | None] = []
    for _ in range(N_EPOCHS):
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.partial_fit(train_x, train_y, classes=range(10))
                chances = model.predict_proba(test_x)[np.arange(len(test_y)), test_y]
        except ValueError:  # scikit-learn's word for weights that are not finite
            return [*steps, None]
        loss = float(-np.log(np.maximum(chances, 1e-12)).mean())
        accuracy = float((model.predict(test_x) == test_y).mean())
        steps.append((seconds, {"loss": loss, "accuracy": accuracy, "weights": float(n_weights)}))
    return steps


def curve(config: dict[str, Any]) -> Iterator[tuple[float, dict[str, float]]]:
    """A training as `tune.simulate` takes it."""
    for step in training(json.dumps(config)):
        if step is None:
            raise ValueError("the training diverged")
        yield step


def quick_curve(config: dict[str, Any]) -> Iterator[tuple[float, dict[str, float]]]:
    """No training: for thousands of trials."""
    draw = random.Random(json.dumps(config))
    floor = 0.05 + 0.1 * abs(np.log10(config["lr"]) + 1.5) ** 2
    is_doomed = draw.random() < 0.03
    for step in range(1, 51):
        if is_doomed and step > 20:
            raise ValueError("the training diverged")
        yield 60.0, {"loss": floor + 2.0 * 0.85**step + abs(draw.gauss(0.0, 0.02)), "weights": 1.0}


def experiment(
    folder: Path,
    function: Callable[[dict[str, Any]], Any] = curve,
    *,
    metric: Any = "loss",
    mode: Any = "min",
    **how: Any,
) -> Any:
    """A simulated experiment, written to a store and loaded as a real one is."""
    how = {"search_alg": "random", "num_workers": 4, "seed": 2, "charge_deciders": False, **how}
    result = tune.simulate(function, SPACE, metric=metric, mode=mode, **how)
    spec = ExperimentSpec(
        experiment_id=folder.name,
        name=folder.name,
        trainable_name=function.__name__,
        space=Space(SPACE).describe(),
        space_fingerprint=Space(SPACE).fingerprint,
        objective=result.objective,
        seed=result.seed,
        n_trials=len(result.trials),
    )
    with create_store(folder, spec) as store:
        store.append(result.log, result.trials)
    return tune.load(folder)


def figures(folder: Path) -> dict[str, Any]:
    """Every figure of the page, by name."""

    def asha() -> ASHAScheduler:
        return ASHAScheduler(max_t=N_EPOCHS, reduction_factor=3)

    whole = experiment(folder / "random", num_samples=60)
    stopped = experiment(folder / "asha", num_samples=60, scheduler=asha(), crash_rate=0.2, max_failures=1)
    learnt = experiment(folder / "auto and asha", num_samples=60, scheduler=asha(), search_alg="auto")
    few = experiment(folder / "few", num_samples=25)
    both = experiment(folder / "both", num_samples=60, metric=["loss", "weights"], mode=["min", "min"])
    many = experiment(folder / "many", quick_curve, num_samples=2000, num_workers=32)
    return {
        "best-over-trials": plots.best_so_far(whole),
        "best-over-time": plots.best_so_far(stopped, over="time"),
        "best-of-2000": plots.best_so_far(many),
        "learning-curves": plots.learning_curves(stopped),
        "parallel-coordinates": plots.parallel_coordinates(
            few, params=["lr", "units", "optimizer", "optimizer/momentum"]
        ),
        "slices": plots.slices(whole),
        "contour": plots.contour(whole, "lr", "units"),
        "importance": plots.importance(whole),
        "pareto-front": plots.pareto_front(both),
        "pareto-front-of-3": plots.pareto_front(whole, ["loss", "accuracy", "weights"], ["min", "max", "min"]),
        "timeline": plots.timeline(stopped),
        "rung-survival": plots.rung_survival(stopped),
        "comparison": plots.comparison({"random": whole, "random, ASHA": stopped, "auto, ASHA": learnt}, over="time"),
    }


def main() -> None:
    """Draw and save them all."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        drawn = figures(Path(folder))
    for name, figure in drawn.items():
        path = plots.save(figure, PICTURES / f"{name}.png", width=800, height=figure.layout.height or 430)
        size = path.stat().st_size
        print(f"{size / 1000:6.0f} kB  {path.name}{'  TOO LARGE' if size > LARGEST_BYTES else ''}")


if __name__ == "__main__":
    main()
