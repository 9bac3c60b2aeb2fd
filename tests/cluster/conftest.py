"""One real cluster for all of these tests: a head and two more nodes on this machine, which share its few CPUs."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

try:
    import ray
except ImportError:  # there is none for every Python
    collect_ignore_glob = ["test_*.py"]

#: Ray notices a dead node within a second; nothing is sent anywhere, no dashboard.
VARIABLES = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "200",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_enable_metrics_collection": "0",
}
N_CPUS = 4  #: of each node


_started = []  #: the cluster, where one runs


@pytest.fixture
def cluster():
    """A head and two nodes of 4 CPUs each; this process is a driver of it. Of the first test that asks, to the last."""
    if not _started:
        _started.append(_start())
    return _started[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """No test of another folder runs beside the cluster: what Ray starts would be taken for that test's leavings."""
    yield
    if _started and (nextitem is None or nextitem.path.parent != Path(__file__).parent):
        ray.shutdown()
        _started.pop().shutdown()


def _start():
    from ray.cluster_utils import Cluster

    os.environ.update(VARIABLES)
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": N_CPUS, "include_dashboard": False})
    for _ in range(2):
        found.add_node(num_cpus=N_CPUS)
    ray.init(address=found.address, log_to_driver=False, logging_level="WARNING")
    found.wait_for_nodes()
    return found


@pytest.fixture(autouse=True)
def leaves_nothing_behind():
    """Of this project's own, in place of the check that all other tests have: Ray keeps processes and sockets."""
    yield
    end = time.monotonic() + 5.0
    while left := ours():
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.05)


def ours() -> list[str]:
    """Agents, what runs below them, and threads."""
    found = [thread.name for thread in threading.enumerate() if thread.name.startswith("tunesmith")]
    mark = f"TUNESMITH_TEST_RUN={os.environ['TUNESMITH_TEST_RUN']}".encode()  # not of another run of these tests
    for entry in Path("/proc").iterdir():
        try:
            command, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        is_agent_or_below = command.startswith(b"ray::NodeAgent") or b"TUNESMITH_EXPERIMENT=" in environ
        if is_agent_or_below and mark in environ:
            found.append(f"{entry.name} {command[:80]!r}")
    return found
