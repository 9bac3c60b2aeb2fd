"""Slots: requests, GPUs, several experiments on one cluster, and what is refused (F91 to F95)."""

from __future__ import annotations

import collections
import os
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
    spans = []
    for start, trial in zip(records(results, StartAttempt), results, strict=True):
        for gpu, share in start.placement.gpus.items():
            spans.append((trial.trial.started_at, trial.trial.ended_at, (start.placement.node, gpu), share))
    assert max(most_held(spans).values()) <= 1.0 + 1e-6


def most_held(spans):
    """The most that was held at one time of each thing. Args: spans: (from, until, thing, how much)."""
    events = [(begin, amount, thing) for begin, _, thing, amount in spans]
    events += [(end, -amount, thing) for _, end, thing, amount in spans]
    held, most = collections.Counter(), collections.Counter()
    for _, amount, thing in sorted(events):
        held[thing] += amount
        most[thing] = max(most[thing], held[thing])
    return most


def test_two_experiments_share_the_cluster_without_oversubscribing_it(tmp_path):
    """F95, and what is reserved through Ray is Ray's to give once only."""
    more = {"config": {**SPACE, "n": 10}, "metric": "loss", "mode": "min", "storage_path": tmp_path}
    with (
        in_thread(train, name="one", num_samples=16, **more) as one,
        in_thread(train, name="two", num_samples=16, **more),
    ):
        pass
    spans = []
    for results in (*one, tune.load(tmp_path / "two")):
        assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 16
        for start, trial in zip(records(results, StartAttempt), results, strict=True):
            spans.append((trial.trial.started_at, trial.trial.ended_at, start.placement.node, 1))
    most = most_held(spans)
    assert max(most.values()) <= 4, "CPUs of a node"
    assert sum(most.values()) > 4


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
