"""A GPU goes to the next trial when the one before it has given its memory back (F30, F22). With a false nvidia-smi."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time

import pytest

import tunesmith as tune
from tunesmith.events import StartAttempt
from tunesmith.executors.processes import gpus
from tunesmith.executors.processes.attempt import Attempt
from tunesmith.resources import Placement, Resources
from tunesmith.trial import TrialStatus

from .harness import Outside, eventually

pytestmark = pytest.mark.processes

ANSWER = """#!/bin/sh
echo called >> {folder}/calls
cat {folder}/holders 2>/dev/null
exit 0
"""


class FalseDriver:
    """What a false `nvidia-smi` says: the processes in the file `holders`. It counts how often it was asked."""

    def __init__(self, folder):
        self.folder = folder
        self.answers(ANSWER)

    def answers(self, script):
        program = self.folder / "nvidia-smi"
        program.write_text(script.format(folder=self.folder))
        program.chmod(0o700)

    def held_by(self, *pids):
        partial = self.folder / "holders.tmp"
        partial.write_text("".join(f"{pid}\n" for pid in pids))
        partial.rename(self.folder / "holders")

    def n_calls(self):
        calls = self.folder / "calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    def wait_for_calls(self, n):
        seen = self.n_calls()
        eventually(lambda: self.n_calls() >= seen + n, what="nvidia-smi was asked")


@pytest.fixture
def driver(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(gpus, "_ASK_AGAIN_S", 0.05)
    monkeypatch.setattr(gpus, "_has_host_pids", lambda: True)  # the false one names processes by this side's numbers
    return FalseDriver(folder)


def test_the_next_trial_starts_when_the_memory_of_a_dead_one_is_free(tune_run, driver):
    folder = str(driver.folder)

    def train(config):
        if config["i"] == 0:
            open(f"{folder}/holders", "w").write(str(os.getpid()))
        if config["i"] == 1:
            open(f"{folder}/second", "w").close()
        return {"is_free": float(open(f"{folder}/holders").read() == "")}

    def free_it_later():
        driver.wait_for_calls(3)
        assert not (driver.folder / "second").exists()
        driver.held_by()

    outside = Outside(free_it_later)
    result = tune_run(train, config={"i": tune.grid_search([0, 1])}, resources_per_trial={"cpu": 0.1, "gpu": 1})
    outside.join()
    assert [trial.metrics["is_free"] for trial in result.trials] == [0.0, 1.0]


def test_a_neighbour_on_the_same_gpu_does_not_count(tune_run, driver, caplog):
    folder = str(driver.folder)

    def train(config):
        open(f"{folder}/started{config['i']}", "w").close()
        if config["i"] == 0:  # lives and holds memory until the third has begun, for which the second must have ended
            open(f"{folder}/holders", "w").write(str(os.getpid()))
            while not os.path.exists(f"{folder}/started2"):
                time.sleep(0.01)
            open(f"{folder}/holders", "w").close()  # or its own end would be waited for
        else:
            while not os.path.exists(f"{folder}/holders"):
                time.sleep(0.01)
        return 1.0

    result = tune_run(train, config={"i": tune.grid_search([0, 1, 2])}, resources_per_trial={"cpu": 0.1, "gpu": 0.5})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED] * 3
    assert driver.n_calls() >= 2
    assert [message for message in caplog.messages if "GPU memory was still held" in message] == []


def test_memory_that_is_never_freed_is_waited_for_once_and_warned_about(tune_run, driver, monkeypatch, caplog):
    monkeypatch.setattr(gpus, "_GIVE_UP_S", 0.3)
    folder = str(driver.folder)

    def train(config):
        if config["i"] == 0:
            open(f"{folder}/holders", "w").write(str(os.getpid()))
        return {"pid": os.getpid()}

    result = tune_run(train, config={"i": tune.grid_search([0, 1, 2])}, resources_per_trial={"cpu": 0.1, "gpu": 1})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED] * 3
    warnings = [message for message in caplog.messages if "GPU memory was still held" in message]
    assert len(warnings) == 1
    assert f"by process {result.trials[0].metrics['pid']:.0f} " in warnings[0]
    assert "may run out of memory" in warnings[0]


def test_an_nvidia_smi_that_hangs_is_waited_for_once(tune_run, driver, monkeypatch, caplog):
    monkeypatch.setattr(gpus, "_ANSWER_S", 0.3)
    driver.answers("#!/bin/sh\necho called >> {folder}/calls\nexec sleep 1000\n")
    result = tune_run(lambda config: 1.0, num_samples=3, resources_per_trial={"cpu": 0.1, "gpu": 1})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED] * 3
    assert driver.n_calls() == 1
    assert sum("nvidia-smi did not answer" in message for message in caplog.messages) == 1


def test_an_nvidia_smi_that_fails_holds_nobody_up(tune_run, driver):
    driver.answers("#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2\nexit 9\n")
    result = tune_run(lambda config: 1.0, num_samples=2, resources_per_trial={"cpu": 0.1, "gpu": 1})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED] * 2


def test_trials_without_a_gpu_do_not_ask(tune_run, driver):
    tune_run(lambda config: 1.0, num_samples=2)
    assert driver.n_calls() == 0


def test_inside_a_container_nobody_is_asked_since_its_numbers_are_those_of_the_host(tune_run, driver, monkeypatch):
    monkeypatch.setattr(gpus, "_has_host_pids", lambda: False)
    driver.held_by(2**22 + 1)
    result = tune_run(lambda config: 1.0, num_samples=2, resources_per_trial={"cpu": 0.1, "gpu": 1})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED] * 2
    assert driver.n_calls() == 0


# ---------------------------------------------------------------- a trial that cannot be killed


@pytest.fixture
def watch(driver):
    with selectors.DefaultSelector() as selector:
        watch = gpus.GpuWatch(selector)
        watch.selector = selector
        yield watch
        watch.close()


def freed(watch, *, within_s=10.0):
    """The next attempts that are let go."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found = watch.freed(time.monotonic())
        if found:
            return found
        for key, _ in watch.selector.select(max(0.0, min(until, watch.next_at()) - time.monotonic())):
            key.data()
    return []


def attempt():
    return Attempt(StartAttempt(0, 1, Placement("here", Resources())), {"gpus": ["0"]}, b"")


def test_a_process_that_cannot_be_killed_holds_its_gpu_while_it_holds_memory(driver, watch):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as undead:
        driver.held_by(undead.pid)
        ended = attempt()
        watch.hold(ended, [undead.pid], time.monotonic())
        assert freed(watch, within_s=0.5) == []
        driver.held_by(os.getpid())
        assert freed(watch) == [ended]
        undead.kill()


def test_such_a_process_without_gpu_memory_holds_nothing(driver, watch):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as undead:
        ended = attempt()
        watch.hold(ended, [undead.pid], time.monotonic())
        assert freed(watch) == [ended]
        undead.kill()


def test_a_process_of_another_user_that_proc_hides_is_a_neighbour(driver, watch, monkeypatch):
    hidden, kill = 2**22 + 1, os.kill

    def refuse(pid, number):
        if pid == hidden:
            raise PermissionError
        kill(pid, number)

    monkeypatch.setattr(os, "kill", refuse)
    driver.held_by(hidden)
    ended = attempt()
    watch.hold(ended, [], time.monotonic())
    assert freed(watch) == [ended]


def test_a_number_that_no_process_can_have_is_waited_for_like_a_dead_one(driver, watch, monkeypatch):
    monkeypatch.setattr(gpus, "_GIVE_UP_S", 0.3)
    driver.held_by(10**12)
    ended = attempt()
    watch.hold(ended, [], time.monotonic())
    assert freed(watch) == [ended]
    assert len(ended.ending.notes) == 1


def test_who_is_let_go_at_once_is_not_named_again(driver, watch):
    ended = attempt()
    driver.held_by(2**22 + 1)
    watch.hold(ended, [], time.monotonic())
    assert watch.drop(ended)
    assert freed(watch, within_s=0.3) == []
