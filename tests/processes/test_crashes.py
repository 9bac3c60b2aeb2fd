"""However a trial ends, it ends alone, and the message says what was seen (F1, F5, F14 to F17)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import pytest

import tunesmith as tune
from tunesmith.executors.processes.ending import Ending, outcome_of
from tunesmith.executors.processes.oom import OomWatch
from tunesmith.trial import AttemptOutcome, TrialStatus

from .harness import Outside, pid_of

pytestmark = pytest.mark.processes


def crash(how):
    """The trials with config["i"] == 1 end in this way, between two reports; the others report twice and return."""

    def train(config):
        tune.report(loss=1.0)
        if config["i"] == 1:
            how()
        tune.report(loss=2.0)

    return train


def run_crash(tune_run, how):
    """The trial that crashed; that its neighbours are complete is asserted."""
    result = tune_run(crash(how), config={"i": tune.grid_search([0, 1, 2])}, capacity={"cpu": 3})
    for neighbour in (result.trials[0], result.trials[2]):
        assert neighbour.state is TrialStatus.COMPLETED
        assert neighbour.values("loss") == [(1, 1.0), (2, 2.0)]
    assert result.trials[1].values("loss") == [(1, 1.0)]
    return result.trials[1]


def test_what_a_trial_raises_is_its_error_with_the_traceback(tune_run):
    def raise_in_here():
        raise ValueError("the learning rate is a fish")

    trial = run_crash(tune_run, raise_in_here)
    assert trial.state is TrialStatus.FAILED
    assert trial.reason == "ValueError: the learning rate is a fish"
    assert "Traceback (most recent call last)" in trial.error
    assert "raise_in_here" in trial.error


def test_os_exit_names_the_exit_code(tune_run):
    trial = run_crash(tune_run, lambda: os._exit(3))
    assert trial.state is TrialStatus.FAILED
    assert "exit code 3" in trial.reason


def test_the_exit_of_c_names_the_exit_code(tune_run):
    """Unlike `os._exit` it runs what C has registered for the end of the process."""
    trial = run_crash(tune_run, lambda: ctypes.CDLL(None).exit(4))
    assert trial.state is TrialStatus.FAILED
    assert trial.reason == "The process ended with exit code 4 before the function returned."


def test_sys_exit_zero_is_no_success(tune_run):
    trial = run_crash(tune_run, lambda: sys.exit(0))
    assert trial.state is TrialStatus.FAILED
    assert "sys.exit(0)" in trial.reason


def test_a_segfault_names_the_signal_and_leaves_a_stack_in_the_log(tune_run):
    trial = run_crash(tune_run, lambda: ctypes.string_at(0))
    assert trial.state is TrialStatus.FAILED
    assert "SIGSEGV" in trial.reason
    assert "memory peaked at" in trial.error
    log = open(trial.log_path).read()
    assert "Fatal Python error: Segmentation fault" in log
    assert "string_at" in log


def test_an_abort_names_the_signal(tune_run):
    trial = run_crash(tune_run, lambda: os.abort())
    assert trial.state is TrialStatus.FAILED
    assert "SIGABRT" in trial.reason


def test_a_bus_error_names_the_signal(tune_run):
    trial = run_crash(tune_run, lambda: os.kill(os.getpid(), signal.SIGBUS))
    assert "SIGBUS" in trial.reason


def test_a_trial_killed_from_outside_fails_alone_and_out_of_memory_is_only_a_guess(tune_run, say, pids):
    def hang():
        import time

        say("victim")
        time.sleep(1000)

    killer = Outside(lambda: os.kill(pid_of(pids, "victim"), signal.SIGKILL))
    trial = run_crash(tune_run, hang)
    killer.join()
    assert trial.state is TrialStatus.FAILED
    assert "SIGKILL" in trial.reason
    assert "often the system's out-of-memory killer" in trial.error
    assert "memory peaked at" in trial.error


def test_a_trial_killed_before_it_is_connected_fails_alone(tune_run):
    """The unpickling of the config happens before the trainable is called: nothing was reported then."""
    result = tune_run(lambda config: os._exit(9) if config["i"] else 1.0, config={"i": tune.grid_search([0, 1])})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED, TrialStatus.FAILED]


def test_a_retry_after_a_crash_is_a_new_attempt_with_the_same_config(tune_run, pids):
    folder = str(pids)

    def train(config):
        first = not os.path.exists(f"{folder}/was-here")
        open(f"{folder}/was-here", "w").close()
        if first:
            os._exit(1)
        tune.report(loss=config["x"])

    result = tune_run(train, config={"x": tune.uniform(0, 1)}, max_failures=1)
    trial = result.trials[0]
    assert trial.state is TrialStatus.COMPLETED
    assert trial.trial.attempt == 2
    assert trial.metrics["loss"] == trial.config["x"]


def test_a_trial_that_exits_in_a_thread_while_it_reports_loses_no_acknowledged_report(tune_run):
    def train(config):
        import threading

        reported = threading.Event()

        def leave():
            reported.wait()
            os._exit(5)

        threading.Thread(target=leave).start()
        for i in range(10_000):
            tune.report(i=i)
            if i == 20:
                reported.set()

    trial = tune_run(train).trials[0]
    assert trial.state is TrialStatus.FAILED
    steps = [step for step, _ in trial.values("i")]
    assert len(steps) >= 21
    assert steps == list(range(1, len(steps) + 1))


def test_recursion_and_memory_errors_are_ordinary_failures(tune_run):
    def recurse(depth=0):
        return recurse(depth + 1)

    trial = run_crash(tune_run, recurse)
    assert "RecursionError" in trial.reason


def test_an_exception_that_cannot_be_shown_is_a_failure_all_the_same(tune_run):
    class Nasty(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    def raise_nasty():
        raise Nasty()

    trial = run_crash(tune_run, raise_nasty)
    assert trial.state is TrialStatus.FAILED
    assert "Nasty" in trial.error


def test_an_error_of_megabytes_and_with_lone_surrogates_is_cut_and_stored(tune_run):
    def raise_long():
        raise ValueError("\ud800" + "x" * 5_000_000)

    trial = run_crash(tune_run, raise_long)
    assert trial.state is TrialStatus.FAILED
    assert "characters left out" in trial.error
    assert len(trial.error) < 300_000


@pytest.mark.parametrize(
    ("lines", "file"),
    [
        ("0::/a\n", "cgroup/a/memory.events"),
        ("0::/not/mounted\n", "cgroup/memory.events"),
        ("4:memory:/b\n0::/\n", "cgroup/memory/b/memory.oom_control"),
        ("", "proc/vmstat"),
    ],
)
def test_the_out_of_memory_killer_is_known_by_its_counter(tmp_path, lines, file):
    for folder in ("proc/self", "cgroup"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(lines)
    counter = tmp_path / file
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text("oom 0\noom_kill 3\n")
    watch = OomWatch(tmp_path / "cgroup", tmp_path / "proc")
    assert not watch.has_killed()
    counter.write_text("oom 1\noom_kill 4\n")
    assert watch.has_killed()
    assert not watch.has_killed()


def test_a_kill_that_the_out_of_memory_killer_counted_is_called_that():
    ending = Ending()
    ending.exited = {"status": 9, "max_rss_bytes": 2**30}
    ending.is_oom = True
    outcome, error = outcome_of(ending, was_told=False)
    assert outcome is AttemptOutcome.SIGNALLED
    assert error.startswith("The process was killed by SIGKILL. Its memory peaked at 1024 MiB. Probably it ran out of")
