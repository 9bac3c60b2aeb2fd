"""Runs one task with Ray Tune, actors fresh or reused."""

from __future__ import annotations

import os
from functools import partial

from common import N_REPORTS, finish, reported_times_s, task, timed_reports

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler


def report(**metrics):
    tune.report(metrics)


def trivial(config):
    report(loss=config["x"])


def torch_inside(config):
    import torch

    report(loss=float(torch.tensor(config["x"])))


def round_trip(config, folder):
    timed_reports(report, folder)


def asha(config):
    for _ in range(N_REPORTS):
        report(loss=1.0, accuracy=0.5)  # all alike: no scheduler stops a trial, so all do the same work


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
    ray.init(num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False)
    scheduler = ASHAScheduler(max_t=N_REPORTS, grace_period=1, reduction_factor=4) if name == "asha" else None
    tuner = tune.Tuner(
        trainable,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=asked["n_trials"],
            scheduler=scheduler,
            max_concurrent_trials=1 if name == "round_trip" else None,
            reuse_actors=asked["reuse_actors"],
        ),
        run_config=tune.RunConfig(storage_path=asked["out"], name="experiment", verbose=0),
    )
    results = tuner.fit()
    n_reports = sum(result.metrics["training_iteration"] for result in results)
    finish(asked, n_reports=n_reports, times_s=reported_times_s(asked["out"]))
    ray.shutdown()


if __name__ == "__main__":
    main()
