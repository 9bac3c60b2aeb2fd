"""Nodes, agents, connections and drivers that come and go, and a bad host (F87 to F90)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.events import NodeLost, QuarantineNode, StartAttempt
from tunesmith.trial import TrialStatus

from .experiments import SPACE, agent_above, in_thread, make, nodes_of, records, run, train, trials_of, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("cluster")]


def test_a_node_that_is_killed_loses_nothing(cluster):
    """F87: its trials go on elsewhere from their last checkpoint; every trial ends, every report counts once."""
    doomed = cluster.add_node(num_cpus=8)
    config = {**SPACE, "n": 40, "pause": 0.1}

    def has_come_far_there():
        trials = trials_of("doomed")
        places = [trial.trial.placement.node for trial in trials if trial.trial.placement and trial.step >= 4]
        return any(doomed.node_id[:6] in node for node in places)

    with in_thread(train, name="doomed", config=config, num_samples=20, metric="loss", mode="min") as going:
        wait_until(has_come_far_there)
        cluster.remove_node(doomed, allow_graceful=False)
    (results,) = going
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 20
    assert [[step for step, _ in trial.values("loss")] for trial in results] == [list(range(1, 41))] * 20
    (lost,) = records(results, NodeLost)
    moved = [trial for trial in results if trial.trial.n_preemptions]
    assert moved and sum(trial.trial.n_failures + trial.trial.n_losses for trial in results) == 0
    again = [start for start in records(results, StartAttempt) if start.attempt > 1]
    assert {start.placement.node for start in again}.isdisjoint({lost.node})
    assert any(start.start_step > 0 for start in again), "from their last checkpoint"


def test_a_node_that_joins_is_used_at_once(cluster):
    config = {**SPACE, "n": 12, "pause": 0.1}
    with in_thread(train, config=config, num_samples=60, metric="loss", mode="min") as going:
        time.sleep(2.0)
        node = cluster.add_node(num_cpus=4)
    try:
        (results,) = going
        assert len(nodes_of(results)) == 4
        assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 60
    finally:
        cluster.remove_node(node, allow_graceful=False)


def test_an_agent_that_is_killed_is_replaced():
    """Its node lives on: what is reserved there is used again."""

    def kills_agent(config, checkpoint_dir=None):
        if checkpoint_dir is None:
            with tune.checkpoint_dir(step=1) as folder:
                (Path(folder) / "x").write_text("x")
            tune.report(loss=1.0)
            if config["i"] == 0:
                os.kill(agent_above(os.getpid()), signal.SIGKILL)
                time.sleep(60.0)
        tune.report(loss=0.5)

    results = run(kills_agent, config={"i": tune.grid_search([0, 1, 2, 3])}, metric="loss", mode="min")
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 4
    assert results[0].trial.n_preemptions == 1
    assert [[step for step, _ in trial.values("loss")] for trial in results] == [[1, 2]] * 4


def test_a_connection_that_breaks_is_made_again_and_nothing_is_heard_twice():
    """F89: trials wait for the answer to their report; F90: what was sent meanwhile arrives once."""
    executor = make()
    stop = threading.Event()

    def cut():
        while not stop.wait(0.7):
            for peer in list((getattr(executor, "_hub", None) and executor._hub._peers.values()) or ()):
                peer._socket.shutdown(2)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        results = run(
            train,
            executor=executor,
            config={**SPACE, "n": 30},
            num_samples=8,
            metric="loss",
            mode="min",
            max_failures=0,
        )
    finally:
        stop.set()
        thread.join()
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 8
    assert [[step for step, _ in trial.values("loss")] for trial in results] == [list(range(1, 31))] * 8
    assert sum(trial.trial.n_preemptions for trial in results) == 0


def test_a_node_out_of_reach_for_too_long_is_given_up_and_its_agent_leaves():
    """F89, F90: its trials start again; what the old ones still say is heard by nobody."""
    executor = make(reattach_s=1.0)
    frozen = []

    def freeze():
        while not frozen:
            time.sleep(0.2)
            for host in list(executor._hosts.values()):
                if host.attempts and host.has_connected and host.agent_id is not None:
                    peer = executor._hub._peers.get(host.agent_id)
                    if peer is not None:
                        frozen.append(host.name)
                        executor._hub._streams[host.agent_id + "away"] = executor._hub._streams.pop(host.agent_id)
                        peer._socket.shutdown(2)
                        return

    thread = threading.Thread(target=freeze)
    thread.start()
    results = run(
        train, executor=executor, config={**SPACE, "n": 40, "pause": 0.1}, num_samples=8, metric="loss", mode="min"
    )
    thread.join()
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 8
    assert [[step for step, _ in trial.values("loss")] for trial in results] == [list(range(1, 41))] * 8
    assert {lost.node for lost in records(results, NodeLost)} == set(frozen)
    assert sum(trial.trial.n_preemptions for trial in results) > 0


_SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import tunesmith as tune
from tests.cluster.experiments import train
if __name__ == "__main__":
    tune.run(train, name="killed", config={{"x": tune.uniform(0, 1), "n": 40, "pause": 0.1}}, num_samples=6,
        metric="loss", mode="min", verbose=0, seed=3)
"""


def test_a_driver_that_is_killed_goes_on_from_its_log(cluster, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT.format(tests=str(Path(__file__).parents[2])))
    env = {**os.environ, "RAY_ADDRESS": cluster.address}
    command = [sys.executable, str(script)]
    first = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any(trial.step > 5 for trial in trials_of("killed")))
    first.kill()
    first.wait()
    assert any(trial.state is TrialStatus.RUNNING for trial in trials_of("killed"))
    subprocess.run(command, env=env, check=True, timeout=100, capture_output=True)
    results = tune.load(Path(os.environ["TUNESMITH_RESULTS"]) / "killed")
    assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 6
    assert [[step for step, _ in trial.values("loss")] for trial in results] == [list(range(1, 41))] * 6
    assert any(start.start_step > 0 for start in records(results, StartAttempt))


def test_a_host_on_which_everything_fails_is_put_aside(cluster):
    bad = cluster.add_node(num_cpus=2, resources={"bad": 1})
    bad_id = bad.node_id

    def fails_there(config):
        import psutil

        agent = psutil.Process(agent_above(os.getpid()))
        if bad_id in " ".join(psutil.Process(agent.ppid()).cmdline()):
            raise RuntimeError("this host has no data")
        time.sleep(0.3)
        for step in range(3):
            tune.report(loss=float(step))

    try:
        results = run(fails_there, config={"x": tune.uniform(0, 1)}, num_samples=40, metric="loss", mode="min")
        assert [trial.state for trial in results] == [TrialStatus.COMPLETED] * 40
        (aside,) = records(results, QuarantineNode)
        assert bad_id[:6] in aside.node
        assert sum(trial.trial.n_failures for trial in results) == 0
    finally:
        cluster.remove_node(bad, allow_graceful=False)
