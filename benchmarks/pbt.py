"""Does population based training beat the best fixed config of its own population, at equally many epochs?

A small network in NumPy learns scikit-learn's digits (500 of them) and a made-up table, on 2 workers. For each seed the
same 8 configs begin: as they are (the best of them is the rival), or as a population that copies every 5 epochs. The
value is the validation loss of the best epoch; the test loss is that of the checkpoint with it, which nobody chose by.

    python benchmarks/pbt.py --seeds 5
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

import tunesmith as tune
from tunesmith.schedulers import PB2, FIFOScheduler, PopulationBasedTraining

N_TRIALS, N_EPOCHS, INTERVAL, N_HIDDEN, BATCH = 8, 60, 5, 64, 32
SPACE = {
    "lr": tune.loguniform(1e-3, 1.0),
    "decay": tune.loguniform(1e-6, 1e-1),
    "momentum": tune.uniform(0.0, 0.95),
}
BOUNDS = {"lr": [1e-3, 1.0], "decay": [1e-6, 1e-1], "momentum": [0.0, 0.95]}
METHODS = {
    "fixed": lambda seed: FIFOScheduler(),
    "PBT": lambda seed: PopulationBasedTraining(
        "training_iteration", perturbation_interval=INTERVAL, hyperparam_mutations=SPACE, seed=seed
    ),
    "PBT (1, 4)": lambda seed: PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=INTERVAL,
        hyperparam_mutations=SPACE,
        evolution_frequencies=(1, 4),
        seed=seed,
    ),
    "PBT synch": lambda seed: PopulationBasedTraining(
        "training_iteration", perturbation_interval=INTERVAL, hyperparam_mutations=SPACE, synch=True, seed=seed
    ),
    "PB2": lambda seed: PB2("training_iteration", perturbation_interval=INTERVAL, hyperparam_bounds=BOUNDS, seed=seed),
}


def table(problem: str, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Train, validation and test rows with their classes, another split for each seed."""
    from sklearn.datasets import load_digits, make_classification

    if problem == "digits":
        x, y = load_digits(return_X_y=True)
        sizes = (500, 500)
    else:
        x, y = make_classification(
            2400, 30, n_informative=10, n_classes=4, n_clusters_per_class=3, flip_y=0.1, random_state=7
        )
        sizes = (1000, 700)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    order = np.random.default_rng(seed).permutation(len(x))
    parts = np.split(order, np.cumsum(sizes))
    return {name: (x[part], y[part]) for name, part in zip(("train", "validation", "test"), parts, strict=True)}


def forward(weights: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden activations and class probabilities."""
    hidden = np.maximum(x @ weights["w1"] + weights["b1"], 0.0)
    logits = hidden @ weights["w2"] + weights["b2"]
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return hidden, exp / exp.sum(1, keepdims=True)


def loss_of(weights: dict[str, np.ndarray], part: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean cross-entropy."""
    probabilities = forward(weights, part[0])[1][np.arange(len(part[1])), part[1]]
    return float(-np.log(np.maximum(probabilities, 1e-12)).mean())


def train_epoch(state: dict[str, np.ndarray], part: tuple[np.ndarray, np.ndarray], config: dict, rng) -> None:
    """One pass of stochastic gradient descent with momentum, in place."""
    x, y = part
    for batch in np.array_split(rng.permutation(len(x)), len(x) // BATCH):
        hidden, error = forward(state, x[batch])
        error[np.arange(len(batch)), y[batch]] -= 1.0
        error /= len(batch)
        back = (error @ state["w2"].T) * (hidden > 0)
        gradients = {"w2": hidden.T @ error, "b2": error.sum(0), "w1": x[batch].T @ back, "b1": back.sum(0)}
        for name, gradient in gradients.items():
            gradient = gradient + config["decay"] * state[name]
            norm = np.sqrt((gradient**2).sum())
            velocity = config["momentum"] * state["v" + name] - config["lr"] * gradient / max(1.0, norm)
            state["v" + name], state[name] = velocity, state[name] + velocity


def train(config: dict, checkpoint_dir: str | None = None, parts=None, seed: int = 0) -> None:
    """N_EPOCHS epochs in all, from the checkpoint if there is one; all trials of a seed begin alike."""
    n_inputs, n_classes = parts["train"][0].shape[1], int(parts["train"][1].max()) + 1
    rng, first = np.random.default_rng(seed), 1
    shapes = {"w1": (n_inputs, N_HIDDEN), "b1": (N_HIDDEN,), "w2": (N_HIDDEN, n_classes), "b2": (n_classes,)}
    state = {name: rng.normal(0.0, (2.0 / shape[0]) ** 0.5, shape) * (len(shape) > 1) for name, shape in shapes.items()}
    state |= {"v" + name: np.zeros(shape) for name, shape in shapes.items()}
    if checkpoint_dir is not None:
        with np.load(Path(checkpoint_dir) / "state.npz") as saved:
            state = dict(saved)
        first = int(state.pop("epoch")) + 1
    for epoch in range(first, N_EPOCHS + 1):
        train_epoch(state, parts["train"], config, np.random.default_rng([seed, epoch]))
        with tune.checkpoint_dir(step=epoch) as folder:
            np.savez(Path(folder) / "state.npz", epoch=epoch, **state)
        tune.report(loss=loss_of(state, parts["validation"]))


def run(problem: str, method: str, seed: int) -> tuple[float, float, int, int]:
    """Validation loss of the best epoch, test loss of its checkpoint, epochs trained, clones."""
    parts = table(problem, seed)
    with tempfile.TemporaryDirectory(prefix="pbt-") as folder:
        results = tune.run(
            tune.with_parameters(train, parts=parts, seed=seed),
            config=SPACE,
            num_samples=N_TRIALS,
            search_alg="random",
            scheduler=METHODS[method](seed),
            metric="loss",
            mode="min",
            seed=seed,
            capacity={"cpu": 2},
            local_dir=folder,
            verbose=0,
        )
        best = results.best
        with np.load(Path(best.checkpoint) / "state.npz") as saved:
            test = loss_of(dict(saved), parts["test"])
        ((n_clones,),) = results.reader.query(
            "SELECT count(*) FROM log WHERE type = 'StartAttempt' AND json_extract(body, '$.donor') IS NOT NULL"
        )
        return best.value, test, int(results.reader.query("SELECT count(*) FROM results")[0][0]), n_clones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problems", nargs="+", default=["digits", "table"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    print(
        f"{N_TRIALS} trials of {N_EPOCHS} epochs on 2 workers, copying every {INTERVAL}; seeds 0 to {options.seeds - 1}"
    )
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}, {platform.system()}\n")
    print("| problem | method | validation loss | to fixed | won | test loss | to fixed | won | epochs | clones | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for problem in options.problems:
        rival: list[tuple[float, float, int, int]] = []
        for method in options.methods:
            began = time.monotonic()
            found = [run(problem, method, seed) for seed in range(options.seeds)]
            seconds = (time.monotonic() - began) / len(found)
            rival = rival or found
            words = []
            for column in (0, 1):
                mine, other = (np.array([row[column] for row in rows]) for rows in (found, rival))
                ratio = float(np.exp(np.mean(np.log(mine / other))))
                words += [f"{mine.mean():.4f}", f"{ratio:.3f}", f"{int((mine < other).sum())}/{len(mine)}"]
            n_epochs, n_clones = (np.mean([row[column] for row in found]) for column in (2, 3))
            print(
                f"| {problem} | {method} | {' | '.join(words)} | {n_epochs:.0f} | {n_clones:.0f} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
