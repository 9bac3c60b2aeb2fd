"""Runs one task with tunesmith: one process per trial, SQLite event log, as a user's script would."""

from __future__ import annotations

from functools import partial

from common import N_REPORTS, finish, reported_times_s, task, timed_reports

import tunesmith as tune
from tunesmith.schedulers import ASHAScheduler


def trivial(config):
    tune.report(loss=config["x"])


def torch_inside(config):
    import torch

    tune.report(loss=float(torch.tensor(config["x"])))


def round_trip(config, folder):
    timed_reports(tune.report, folder)


def asha(config):
    for _ in range(N_REPORTS):
        tune.report(loss=1.0, accuracy=0.5)  # all alike: no scheduler stops a trial, so all do the same work


def main() -> None:
    asked = task()
    name = asked["task"]
    if name == "torch_module":
        import torch_at_module_level

        trainable = torch_at_module_level.train
    else:
        trainable = {"trivial": trivial, "torch_inside": torch_inside, "asha": asha}.get(name)
    if name == "round_trip":
        trainable = partial(round_trip, folder=asked["out"])
    objective = {"metric": "loss", "mode": "min"}
    result = tune.run(
        trainable,
        config={"x": tune.uniform(0, 1)},
        num_samples=asked["n_trials"],
        search_alg="random",  # what a model costs is measured elsewhere
        scheduler=ASHAScheduler(max_t=N_REPORTS, grace_period=1, reduction_factor=4, **objective)
        if name == "asha"
        else None,
        max_concurrent_trials=1 if name == "round_trip" else None,
        local_dir=asked["out"],
        verbose=asked.get("verbose", 0),
        seed=asked["seed"],
        **({} if name == "asha" else objective),
    )
    n_reports = sum(trial.step for trial in result)
    finish(asked, n_reports=n_reports, times_s=reported_times_s(asked["out"]))


if __name__ == "__main__":
    main()
