"""Slots: requests, GPUs, several experiments on one cluster, and what is refused (F91 to F95)."""

from __future__ import annotations

import collections
import os
import threading
import time

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, ResourceError, TunesmithError
from tunesmith.events import StartAttempt
from tunesmith.trial import TrialStatus

from .experiments import SPACE, in_thread, make, records, run, train

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("cluster")]


def test_an_impossible_request_is_refused_at_once_with_the_largest_node():
    begin = time.monotonic()
    with pytest.raises(ResourceError, match=r"asks for 64 CPUs; the largest node \(.*\) has 4 CPUs"):
        run(train, config=SPACE, resources_per_trial={"cpu": 64})
    with pytest.raises(ResourceError, match="1 unicorn"):
        run(train, config=SPACE, resources_per_trial={"cpu": 1, "unicorn": 1})
    with pytest.raises(ResourceError, match="12 CPUs"):  # there are 12 in all, on no node
        run(train, config=SPACE, resources_per_trial={"cpu": 12})
    assert time.monotonic() - begin < 10.0


def test_with_autoscaling_it_waits_for_the_node_that_comes(cluster):
    need = {"cpu": 0.5, "special": 1}
    with in_thread(
        train, executor=make(autoscaling=True), config=SPACE, num_samples=2, resources_per_trial=need
    ) as going:
        time.sleep(2.0)
        node = cluster.add_node(num_cpus=1, resources={"special": 2})
    try:
        (results,) = going
        assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 2
    finally:
        cluster.remove_node(node, allow_graceful=False)


def test_gpus_are_matched_per_node_and_seen_per_trial(cluster):
    """F93. Ray is told of GPUs that are not there: what a trial may see is what counts."""
    more = [cluster.add_node(num_cpus=4, num_gpus=1), cluster.add_node(num_cpus=4, num_gpus=2)]

    def sees(config):
        devices = os.environ["CUDA_VISIBLE_DEVICES"]
        time.sleep(0.5)
        tune.report(loss=0.0, n=len(devices.split(",")), first=int(devices.split(",")[0]))

    try:
        with pytest.raises(ResourceError, match="asks for 1 CPU, 3 GPUs; the largest node"):
            run(sees, config={"x": 1}, resources_per_trial={"cpu": 1, "gpu": 3})
        whole = run(sees, config={"x": 1}, num_samples=4, resources_per_trial={"cpu": 1, "gpu": 1})
        assert {trial.last_result["n"] for trial in whole} == {1.0}
        half = run(sees, config={"x": 1}, num_samples=6, resources_per_trial={"cpu": 1, "gpu": 0.5})
        assert {trial.last_result["n"] for trial in half} == {1.0}
        two = run(sees, config={"x": 1}, num_samples=2, resources_per_trial={"cpu": 1, "gpu": 2})
        assert {trial.last_result["n"] for trial in two} == {2.0}
        for results in (whole, half):
            _check_shares(results)
    finally:
        for node in more:
            cluster.remove_node(node, allow_graceful=False)


def _check_shares(results):
    """At no time more than one whole of a device was given."""
    events = []
    for start, trial in zip(records(results, StartAttempt), results, strict=True):
        for gpu, share in start.placement.gpus.items():
            events.append((trial.trial.started_at, share, (start.placement.node, gpu)))
            events.append((trial.trial.ended_at, -share, (start.placement.node, gpu)))
    held = collections.Counter()
    for _, share, device in sorted(events):
        held[device] += share
        assert held[device] <= 1.0 + 1e-6


def test_two_experiments_share_the_cluster_without_oversubscribing_it(cluster, tmp_path):
    """F95, and what is reserved through Ray is Ray's to give once only."""
    import ray

    most, stop = [0.0], threading.Event()

    def watch():
        while not stop.wait(0.1):
            most[0] = max(most[0], ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0))

    def one(name, found):
        found.append(
            run(
                train,
                name=name,
                config={**SPACE, "n": 10},
                num_samples=16,
                metric="loss",
                mode="min",
                storage_path=tmp_path,
            )
        )

    found = []
    threads = [threading.Thread(target=one, args=(f"e{i}", found)) for i in range(2)]
    looker = threading.Thread(target=watch)
    for thread in [*threads, looker]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    looker.join()
    assert [trial.state for results in found for trial in results] == [TrialStatus.COMPLETED] * 32
    assert 8.0 <= most[0] <= 12.0


def test_slots_that_nobody_needs_are_given_back_before_the_end():
    import ray

    space = {"x": 0.0, "pause": 0.2, "n": tune.grid_search([60, *range(1, 12)])}
    seen = set()
    with in_thread(train, config=space, metric="loss", mode="min") as going:
        while not going:
            seen.add(ray.available_resources().get("CPU", 0.0))
            time.sleep(0.1)
    assert 11.0 in seen, "one long trial holds one CPU of 12"
    assert [trial.state for trial in going[0]] == [TrialStatus.COMPLETED] * 12


@pytest.mark.parametrize(("field", "value"), [("tunesmith", "0.0.1"), ("python", "3.7"), ("protocol", 99)])
def test_a_node_with_other_versions_is_refused(monkeypatch, field, value):
    from msgspec.structs import replace

    from tunesmith.executors.ray import watch

    mine = replace(watch.own_versions(), **{field: value})
    monkeypatch.setattr(watch, "own_versions", lambda: mine)
    with pytest.raises(TunesmithError, match=rf"cannot run this experiment's trials.*\(here {value}\)"):
        run(train, config=SPACE)


def test_an_object_store_without_room_is_named(monkeypatch):
    import ray
    from ray.exceptions import ObjectStoreFullError

    def full(value):
        raise ObjectStoreFullError("no room")

    monkeypatch.setattr(ray, "put", full)
    with pytest.raises(TunesmithError, match="does not fit Ray's object store"):
        run(train, config=SPACE)


def test_ray_client_addresses_are_refused(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match="ray job submit"):
        run(train, executor=make(address="ray://head:10001"), config=SPACE)


def test_capacity_is_of_one_machine():
    with pytest.raises(ConfigError, match="capacity="):
        tune.run(train, executor="ray", config=SPACE, capacity={"cpu": 2})


# ---------------------------------------------------------------- trials with workers of their own


def test_a_trial_with_workers_gets_a_placement_group_for_them():
    def distributed(config):
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        from tunesmith.executors.ray import trial_placement_group

        ray.init(log_to_driver=False, logging_level="ERROR")
        group = trial_placement_group()

        @ray.remote(num_cpus=1)
        def node():
            return ray.get_runtime_context().get_node_id()

        strategies = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i) for i in (1, 2)]
        nodes = ray.get([node.options(scheduling_strategy=strategy).remote() for strategy in strategies])
        ray.shutdown()
        tune.report(loss=config["x"], n_nodes=len(set(nodes)), cpus=tune.get_trial_resources()["cpu"])

    request = tune.PlacementGroupFactory([{"CPU": 0.5}, {"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    results = run(distributed, config={"x": tune.uniform(0, 1)}, num_samples=3, resources_per_trial=request)
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 3
    assert {trial.last_result["n_nodes"] for trial in results} == {2.0}
    assert {trial.last_result["cpus"] for trial in results} == {0.5}


def test_bundles_that_no_node_can_hold_are_refused():
    with pytest.raises(ResourceError, match="64 CPUs"):
        request = tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 64}])
        run(train, config=SPACE, resources_per_trial=request)
    with pytest.raises(ResourceError, match="8 CPUs"):
        request = tune.PlacementGroupFactory([{"CPU": 4}, {"CPU": 4}], strategy="STRICT_PACK")
        run(train, config=SPACE, resources_per_trial=request)
