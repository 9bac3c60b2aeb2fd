"""What a trial leaves behind is gone soon after it; what its neighbours have is not touched (F18, F19)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import tunesmith as tune
from tunesmith.trial import TrialStatus

from .harness import Outside, eventually, is_alive, pid_of

pytestmark = pytest.mark.processes


def fork_one(say, name):
    """A child that does nothing but be there."""
    if os.fork() == 0:
        say(name)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)


def start_multiprocessing(say, name):
    import multiprocessing

    def serve():
        say(name)
        while True:
            time.sleep(1)

    multiprocessing.get_context("fork").Process(target=serve).start()


def start_subprocess(say, name):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], env={})
    folder = say.__closure__[0].cell_contents
    with open(f"{folder}/{name}.tmp", "w") as file:
        file.write(str(process.pid))
    os.rename(f"{folder}/{name}.tmp", f"{folder}/{name}.pid")


def start_session(say, name):
    if os.fork() == 0:
        os.setsid()
        say(name)
        time.sleep(1000)


def start_daemon(say, name):
    """As daemons do: fork, new session, fork again, so that the parent of the last is gone."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.environ.clear()
            say(name)
            time.sleep(1000)
        os._exit(0)


WAYS = [fork_one, start_multiprocessing, start_subprocess, start_session, start_daemon]
for _way in WAYS:
    _way.__module__ = "__main__"  # workers cannot import this module: by value
TREE = ("child", "leader", "grandchild")


@pytest.mark.parametrize("how_it_ends", ["returns", "crashes", "stopped"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_children_of_an_ended_trial_are_gone_before_its_slot_is_free(tune_run, say, pids, way, how_it_ends):
    folder = str(pids)

    def train(config):
        if config["i"] == 1:  # it has the one slot after the other has ended
            child = int(open(f"{folder}/child.pid").read())
            try:
                state = open(f"/proc/{child}/stat").read().rpartition(")")[2].split()[0]
            except OSError:
                state = "gone"
            tune.report(is_gone=float(state in ("gone", "Z", "X")))
            return
        way(say, "child")
        while not os.path.exists(f"{folder}/child.pid"):
            time.sleep(0.01)
        if how_it_ends == "crashes":
            os._exit(1)
        tune.report(is_gone=-1.0, training_iteration=100 if how_it_ends == "stopped" else 1)

    began = time.monotonic()
    result = tune_run(
        train, config={"i": tune.grid_search([0, 1])}, capacity={"cpu": 1}, stop={"training_iteration": 100}
    )
    assert time.monotonic() - began < 12.0
    assert result.trials[0].state is (TrialStatus.FAILED if how_it_ends == "crashes" else TrialStatus.COMPLETED)
    assert result.trials[1].metrics["is_gone"] == 1.0


@pytest.mark.parametrize("how_it_ends", ["returns", "crashes", "stopped"])
def test_a_tree_that_ignores_sigterm_is_gone_within_five_seconds_of_its_trials_end(tune_run, say, pids, how_it_ends):
    """F18. A neighbour goes on until then, so that it is not the end of the experiment that clears it."""
    folder = str(pids)

    def train(config):
        if config["i"] == 1:
            while not os.path.exists(f"{folder}/over"):
                time.sleep(0.01)
            return
        fork_one(say, "child")
        if os.fork() == 0:
            os.setsid()
            fork_one(say, "grandchild")
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            say("leader")
            while True:
                time.sleep(1)
        for name in TREE:
            while not os.path.exists(f"{folder}/{name}.pid"):
                time.sleep(0.01)
        say("trial")
        if how_it_ends == "crashes":
            os._exit(1)
        tune.report(loss=1.0, training_iteration=100 if how_it_ends == "stopped" else 1)

    def watch():
        try:
            trial, *tree = (pid_of(pids, name) for name in ("trial", *TREE))
            eventually(lambda: not is_alive(trial), within_s=20.0, what="the end of the trial")
            eventually(lambda: not any(map(is_alive, tree)), within_s=5.0, what="the end of its tree")
        finally:
            (pids / "over").touch()

    outside = Outside(watch)
    result = tune_run(
        train, config={"i": tune.grid_search([0, 1])}, capacity={"cpu": 2}, stop={"training_iteration": 100}
    )
    outside.join()
    assert result.trials[0].state is (TrialStatus.FAILED if how_it_ends == "crashes" else TrialStatus.COMPLETED)
    assert result.trials[1].state is TrialStatus.COMPLETED


def test_the_children_of_a_neighbour_are_not_touched(tune_run, say, pids):
    folder = str(pids)

    def train(config):
        if config["i"] == 0:
            start_session(say, "mine")
            start_daemon(say, "my-daemon")
            fork_one(say, "my-fork")
            while not os.path.exists(f"{folder}/the-others-are-gone"):
                time.sleep(0.01)
            alive = [
                os.path.exists(f"/proc/{open(f'{folder}/{n}.pid').read()}") for n in ("mine", "my-daemon", "my-fork")
            ]
            tune.report(n_alive=sum(alive))
            return
        for name in ("mine", "my-daemon", "my-fork"):
            while not os.path.exists(f"{folder}/{name}.pid"):
                time.sleep(0.01)
        start_daemon(say, f"other{config['i']}")
        while not os.path.exists(f"{folder}/other{config['i']}.pid"):
            time.sleep(0.01)
        if config["i"] == 2:
            os._exit(1)

    def watch():
        others = [pid_of(pids, "other1"), pid_of(pids, "other2")]
        eventually(lambda: not any(map(is_alive, others)), within_s=15.0)
        (pids / "the-others-are-gone").touch()

    outside = Outside(watch)
    result = tune_run(train, config={"i": tune.grid_search([0, 1, 2])}, capacity={"cpu": 2})
    outside.join()
    assert result.trials[0].metrics["n_alive"] == 3
    assert not any(is_alive(pid_of(pids, name)) for name in ("mine", "my-daemon", "my-fork"))


def test_a_trial_that_forks_for_ever_is_cleared_at_the_end(tune_run):
    def train(config):
        for _ in range(20):
            if os.fork() == 0:
                os.setsid()
                while True:
                    if os.fork() == 0:
                        time.sleep(1000)
                    time.sleep(0.2)
        return 1.0

    assert tune_run(train).trials[0].state is TrialStatus.COMPLETED
