"""Runs a function of `__main__`, like a notebook cell's, whose globals hold a 100 MB DataFrame and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from common import finish, task
from sklearn.linear_model import Ridge

import tunesmith as tune

frame = pd.DataFrame(np.random.default_rng(0).random((1_250_000, 10)), columns=list("abcdefghij"))


def cell(config):
    model = Ridge(alpha=config["x"])
    tune.report(loss=float(frame["a"].iat[7]) + model.alpha)


if __name__ == "__main__":
    asked = task()
    result = tune.run(
        cell,
        metric="loss",
        mode="min",
        config={"x": tune.uniform(0, 1)},
        num_samples=asked["n_trials"],
        search_alg="random",  # what a model costs is measured elsewhere
        local_dir=asked["out"],
        verbose=0,
        seed=asked["seed"],
    )
    size_mb = float(frame.memory_usage().sum()) / 1e6
    finish(asked, n_reports=sum(trial.step for trial in result), frame_mb=size_mb)
