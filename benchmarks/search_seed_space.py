"""Is a space of `sample_from`, `choice` and `loguniform` searched by the model? A real network, `auto` against random.

    python benchmarks/search_seed_space.py --seeds 0-9 --trials 30

The space is the one of PyTorch's CIFAR-10 tutorial for Ray Tune. The model is scikit-learn's perceptron with two hidden
layers on the digits: SGD with momentum for a few epochs, a fraction of a second. Each seed is a pair of experiments by
`tune.run`, alike but for `search_alg`; what is compared is the least validation loss of each.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
import warnings
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from search_runs import on_one_blas_thread, parse_seeds, use_sources
from search_tables import bootstrap_mean, markdown

N_TRAIN, N_VALID, N_EPOCHS = 600, 600, 4
_WORST = float(np.log(10))  #: the loss of a network that knows nothing, for those that diverged


class Training:
    """The validation loss as a function of the config; a repetition is looked up."""

    def __init__(self, cache: Path | None) -> None:
        from sklearn.datasets import load_digits

        data, target = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(target))
        data, target = data[order] / 16.0, target[order]
        self._train = data[:N_TRAIN], target[:N_TRAIN]
        self._valid = data[N_TRAIN : N_TRAIN + N_VALID], target[N_TRAIN : N_TRAIN + N_VALID]
        self._cache = cache
        self._known: dict[str, float] = {}
        if cache is not None and cache.exists():
            self._known = dict(json.loads(line) for line in cache.read_text().splitlines())

    def loss(self, config: dict[str, Any]) -> float:
        """Mean log loss on the validation rows, at most that of guessing."""
        key = json.dumps({k: float(v) for k, v in config.items()}, sort_keys=True)
        if key not in self._known:
            self._known[key] = self._fit(config)
            if self._cache is not None:
                self._cache.parent.mkdir(parents=True, exist_ok=True)
                with self._cache.open("a") as file:
                    file.write(json.dumps([key, self._known[key]]) + "\n")
        return self._known[key]

    def _fit(self, config: dict[str, Any]) -> float:
        from sklearn.metrics import log_loss
        from sklearn.neural_network import MLPClassifier

        model = MLPClassifier(
            (int(config["l1"]), int(config["l2"])),
            solver="sgd",
            learning_rate_init=float(config["lr"]),
            batch_size=int(config["batch_size"]),
            momentum=0.9,
            max_iter=N_EPOCHS,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged: that is what few epochs mean
            try:
                model.fit(*self._train)
                chances = model.predict_proba(self._valid[0])
            except ValueError:  # its weights have become infinite
                return _WORST
        if not np.isfinite(chances).all():
            return _WORST
        return min(float(log_loss(self._valid[1], chances, labels=range(10))), _WORST)


def least_losses(training: Training, *, search_alg: str, seed: int, n_trials: int, folder: Path) -> list[float]:
    """The least loss after each trial of one experiment."""
    import tunesmith as tune

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=training.loss(config))

    space = {
        "l1": tune.sample_from(lambda _: 2 ** np.random.randint(2, 9)),
        "l2": tune.sample_from(lambda _: 2 ** np.random.randint(2, 9)),
        "lr": tune.loguniform(1e-4, 1e-1),
        "batch_size": tune.choice([2, 4, 8, 16]),
    }
    analysis = tune.run(
        train,
        config=space,
        metric="loss",
        mode="min",
        num_samples=n_trials,
        search_alg=search_alg,
        executor="inline",
        seed=seed,
        name=f"{search_alg}-{seed}",
        storage_path=folder,
        verbose=0,
    )
    losses = [trial.last_result["loss"] for trial in analysis.trials]
    return list(accumulate(losses, min))


def table(first: str, curves: dict[str, np.ndarray], *, marks: list[int]) -> list[str]:
    """Paired differences at each mark; curves of shape (seeds, trials)."""
    from scipy.stats import wilcoxon

    ours, random = curves[first], curves["random"]
    rows = []
    for mark in marks:
        a, b = ours[:, mark - 1], random[:, mark - 1]
        mean, low, high = bootstrap_mean(a - b)
        wins = f"{int((a < b).sum())}/{int((a == b).sum())}/{int((a > b).sum())}"
        p = f"{wilcoxon(a - b).pvalue:.3g}" if (a != b).sum() >= 6 else ""
        interval = f"{low:.4f} to {high:.4f}"
        rows.append([f"@{mark}", f"{a.mean():.4f}", f"{b.mean():.4f}", f"{mean:.4f}", interval, wins, p])
    head = ["least loss", first, "random", "mean difference", "95 %", "won/tied/lost", "Wilcoxon p"]
    return markdown(head, rows)


def main() -> None:
    """Run the pairs and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opt", default="auto", help="search_alg that is compared with random (default: auto)")
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("0-9"), help="pairs, such as 0-9")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--cache", type=Path, help="a file that keeps losses by config; none by default")
    options = parser.parse_args()
    on_one_blas_thread()
    use_sources()
    training = Training(options.cache)
    curves: dict[str, list[list[float]]] = {options.opt: [], "random": []}
    begin = time.process_time()
    with tempfile.TemporaryDirectory(prefix="seed-space-") as folder:
        for seed in options.seeds:
            for name, found in curves.items():
                found.append(
                    least_losses(training, search_alg=name, seed=seed, n_trials=options.trials, folder=Path(folder))
                )
            words = ", ".join(f"{name} {found[-1][-1]:.4f}" for name, found in curves.items())
            print(f"seed {seed}: {words}; {time.process_time() - begin:.0f} CPU s", file=sys.stderr, flush=True)
    marks = [mark for mark in (10, 15, 20, 30, 50, 100) if mark < options.trials] + [options.trials]
    print(f"{len(options.seeds)} pairs of {options.trials} trials; Python {platform.python_version()}\n")
    print("\n".join(table(options.opt, {name: np.array(found) for name, found in curves.items()}, marks=marks)))


if __name__ == "__main__":
    main()
