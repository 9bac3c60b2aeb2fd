"""Runs one task on a local Ray cluster of three nodes, with tunesmith or with Ray Tune: the same cluster for both."""

from __future__ import annotations

import os
import time
from functools import partial

from common import finish, reported_times_s, task, timed_reports

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
N_NODES, CPUS_PER_NODE = 3, 1


def ours(asked):
    import tunesmith as tune

    _give_agents_time()

    def trivial(config):
        tune.report(loss=config["x"])

    is_trip = asked["task"] == "round_trip"
    result = tune.run(
        partial(_round_trip, report=tune.report, folder=asked["out"]) if is_trip else trivial,
        config={"x": tune.uniform(0, 1)},
        num_samples=asked["n_trials"],
        search_alg="random",
        metric="loss",
        mode="min",
        max_concurrent_trials=1 if is_trip else None,
        storage_path=asked["out"],
        executor="ray",
        verbose=0,
        seed=asked["seed"],
    )
    return sum(trial.step for trial in result)


def _give_agents_time():
    """An agent has waited for its trials, and is killed: the meter must see it once more in between."""
    from tunesmith.executors.ray.cluster import AgentLink

    kill = AgentLink.kill

    def kill_later(self):
        time.sleep(0.3)
        kill(self)

    AgentLink.kill = kill_later


def theirs(asked):
    from ray import tune

    def report(**metrics):
        tune.report(metrics)

    def trivial(config):
        report(loss=config["x"])

    is_trip = asked["task"] == "round_trip"
    tuner = tune.Tuner(
        partial(_round_trip, report=report, folder=asked["out"]) if is_trip else trivial,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=asked["n_trials"],
            max_concurrent_trials=1 if is_trip else None,
            reuse_actors=asked["reuse_actors"],
        ),
        run_config=tune.RunConfig(storage_path=asked["out"], name="experiment", verbose=0),
    )
    return sum(result.metrics["training_iteration"] for result in tuner.fit())


def _round_trip(config, report, folder):
    timed_reports(report, folder)


def main() -> None:
    import ray
    from ray.cluster_utils import Cluster

    asked = task()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS_PER_NODE, "include_dashboard": False})
    for _ in range(N_NODES - 1):
        cluster.add_node(num_cpus=CPUS_PER_NODE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="WARNING")
    n_reports = (ours if asked["system"] == "tunesmith" else theirs)(asked)
    finish(asked, n_reports=n_reports, times_s=reported_times_s(asked["out"]))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
