"""Tune a classifier by cross-validation: configurations that lose on the first folds are not tried on the others.

    pip install "tunesmith[examples]" && python examples/cross_validation.py

Every trial reports its accuracy on one fold after the other, and is worth the mean over them. A race over the folds
stops what is clearly worse than the best so far; `--scheduler fifo` does all folds of all, for comparison.
"""

import argparse

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tunesmith as tune

SPACE = {"C": tune.loguniform(1e-3, 1e3), "gamma": tune.loguniform(1e-5, 1e1)}


def cross_validate(config, data=None, n_folds=5):
    """Train on all folds but one, report the accuracy on that one; the same folds for every config."""
    x, y = data
    splits = StratifiedKFold(n_folds, shuffle=True, random_state=0).split(x, y)
    for k, (train, test) in enumerate(splits):
        model = make_pipeline(StandardScaler(), SVC(**config)).fit(x[train], y[train])
        tune.report(accuracy=model.score(x[test], y[test]), fold=k)  # a clear loser ends here


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=60, help="configurations to try (60)")
    parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation (5)")
    parser.add_argument("--scheduler", choices=["fold_racing", "fifo"], default="fold_racing")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = load_breast_cancer(return_X_y=True)
    result = tune.run(
        tune.with_parameters(cross_validate, data=data, n_folds=arguments.folds),
        config=SPACE,
        metric="accuracy",
        mode="max",
        num_samples=arguments.num_samples,
        scheduler=arguments.scheduler,
        seed=arguments.seed,
    )
    n_fits = result.stats()["n_results"]
    print(f"\nBest config: {result.best.config}")
    print(f"Mean accuracy over {arguments.folds} folds: {result.best.value:.4f}")
    print(f"Models fitted: {n_fits} instead of {arguments.num_samples * arguments.folds}")


if __name__ == "__main__":
    main()
