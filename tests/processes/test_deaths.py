"""Whoever of driver, reaper and template dies, and however: nothing is left, nothing is lost (F34 to F37)."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import sqlite3
import threading
import time

import pytest

import tunesmith as tune
from tunesmith.errors import TunesmithError
from tunesmith.events import AttemptEnded
from tunesmith.protocols import RecordCallback
from tunesmith.stores import open_reader, open_store
from tunesmith.trial import AttemptOutcome, TrialStatus

from .harness import Outside, eventually, is_alive, output_of, pid_of, pids_in, start_script

pytestmark = pytest.mark.processes


def parent_of(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])


def outcomes(result):
    reader = open_reader(result.folder)
    try:
        return [record.outcome for _, record in reader.records(0, 10_000) if isinstance(record, AttemptEnded)]
    finally:
        reader.close()


@pytest.mark.parametrize("n_up", [1, 2], ids=["template", "reaper"])
def test_the_trials_of_a_killed_process_above_them_are_lost_and_run_again(tune_run, say, pids, n_up):
    folder = str(pids)

    def train(config):
        name = f"trial{config['i']}"
        tune.report(loss=1.0)
        is_first = not os.path.exists(f"{folder}/{name}.pid")
        if is_first and config["i"] in (1, 2):
            if os.fork() == 0:
                os.setsid()
                say(f"{name}-child")
                time.sleep(1000)
            while not os.path.exists(f"{folder}/{name}-child.pid"):
                time.sleep(0.01)
            say(name)
            time.sleep(1000)
        tune.report(loss=2.0)

    def kill():
        pid_of(pids, "trial2")
        pid = pid_of(pids, "trial1")
        for _ in range(n_up):
            pid = parent_of(pid)
        os.kill(pid, signal.SIGKILL)

    outside = Outside(kill)
    result = tune_run(train, config={"i": tune.grid_search([0, 1, 2, 3])}, capacity={"cpu": 2})
    outside.join()
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED] * 4
    assert [trial.trial.attempt for trial in result.trials] == [1, 2, 2, 1]
    assert outcomes(result).count(AttemptOutcome.LOST) == 2
    assert [trial.metrics["loss"] for trial in result.trials] == [2.0] * 4
    assert not any(map(is_alive, pids_in(pids)))


def test_a_template_that_dies_again_and_again_ends_the_experiment_with_its_log_named(tune_run):
    class Deadly:
        def __reduce__(self):
            return os._exit, (7,)

    deadly = Deadly()
    with pytest.raises(TunesmithError, match=r"exit code 7\) 4 times in a row. See .*template.log"):
        tune_run(lambda config: deadly)


DRIVER = """
import os, signal, subprocess, sys, time
import tunesmith as tune

folder, how = sys.argv[1], sys.argv[2]

def say(name):
    with open(f"{folder}/pids/{name}.tmp{os.getpid()}", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{folder}/pids/{name}.tmp{os.getpid()}", f"{folder}/pids/{name}.pid")

def train(config):
    say(f"trial{config['i']}")
    if how == "finish":
        return 1.0
    while how == "wait":
        tune.report(_metric=1.0)
        if os.path.exists(f"{folder}/pids/go"):
            return
        time.sleep(0.02)
    if how == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                time.sleep(0.1)
            except BaseException:
                pass
    if os.fork() == 0:
        os.setsid()
        os.environ.clear()
        say(f"child{config['i']}")
        time.sleep(1000)
    for step in range(100_000):
        tune.report(_metric=float(step))
        time.sleep(0.02)

result = tune.run(
    train, name="e", config={"i": tune.grid_search([0, 1, 2])}, capacity={"cpu": 2}, local_dir=folder, verbose=0,
    grace_s=float(sys.argv[3]), raise_on_failed_trial=False,
)
print("returned", sorted(trial.state.value for trial in result.trials))
"""


def check_store(tmp_path):
    """The store is whole and opens without a repair."""
    database = sqlite3.connect(tmp_path / "e" / "experiment.db")
    assert database.execute("PRAGMA quick_check").fetchone() == ("ok",)
    database.close()
    return tune.load(tmp_path / "e")


def check_it_goes_on(tmp_path):
    """The same call with the same name completes what was not."""
    code, out, err = output_of(start_script(tmp_path / "script.py", DRIVER, str(tmp_path), "finish", "2"))
    assert code == 0, err
    assert out == "returned ['COMPLETED', 'COMPLETED', 'COMPLETED']\n"


def start_driver(tmp_path, how, grace_s, **popen):
    process = start_script(tmp_path / "script.py", DRIVER, str(tmp_path), how, str(grace_s), **popen)
    names = ("trial0", "trial1", "child0", "child1") if how == "report" else ("trial0", "trial1")
    for name in names:
        pid_of(tmp_path / "pids", name)
    return process


def test_a_killed_driver_takes_all_with_it_and_loses_nothing(tmp_path, pids):
    process = start_driver(tmp_path, "report", 2)
    process.kill()
    process.wait()
    eventually(lambda: not any(map(is_alive, pids_in(pids))), within_s=2.0)
    output_of(process)
    assert all(trial.state is TrialStatus.RUNNING for trial in check_store(tmp_path).trials if trial.trial.attempt)
    check_it_goes_on(tmp_path)


@pytest.mark.parametrize("is_moved", [False, True], ids=["where it was", "moved"])
def test_what_a_driver_and_reaper_killed_together_leave_is_gone_after_the_next_start(
    tmp_path, pids, temporary, is_moved
):
    process = start_driver(tmp_path, "report", 2)
    reaper = parent_of(parent_of(pid_of(pids, "trial0")))
    assert parent_of(reaper) == process.pid
    os.kill(reaper, signal.SIGSTOP)
    process.kill()
    process.wait()
    os.kill(reaper, signal.SIGKILL)
    output_of(process)
    goes_on_in = tmp_path
    if is_moved:
        goes_on_in = tmp_path / "elsewhere"
        (goes_on_in / "pids").mkdir(parents=True)
        (tmp_path / "e").rename(goes_on_in / "e")
    check_it_goes_on(goes_on_in)
    eventually(lambda: not any(map(is_alive, pids_in(pids))), within_s=2.0)
    for folder in temporary.glob("tunesmith-*"):  # nobody was left who could remove it
        shutil.rmtree(folder)


def test_running_a_copy_of_the_folder_leaves_the_trials_of_the_original_alone(tmp_path, pids):
    process = start_driver(tmp_path, "wait", 2)
    process.send_signal(signal.SIGINT)
    output_of(process)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "pids").mkdir(parents=True)
    shutil.copytree(tmp_path / "e", elsewhere / "e")
    for noted in pids.glob("*.pid"):
        noted.unlink()
    process = start_driver(tmp_path, "wait", 2)
    check_it_goes_on(elsewhere)
    assert all(map(is_alive, pids_in(pids)))
    (pids / "go").touch()
    code, out, err = output_of(process)
    assert (code, out) == (0, "returned ['COMPLETED', 'COMPLETED', 'COMPLETED']\n"), err
    assert [trial.trial.n_losses for trial in check_store(tmp_path).trials] == [0, 0, 0]


def closed_terminal():
    """What a program writes to whose window is gone."""
    window, terminal = pty.openpty()
    os.close(window)
    return terminal


def closed_pipe():
    """What a program writes to under `| tee`, which the same Ctrl-C has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(("make", "number"), [(closed_terminal, signal.SIGHUP), (closed_pipe, signal.SIGINT)])
def test_a_signal_that_cannot_be_spoken_of_ends_the_experiment_politely_all_the_same(tmp_path, pids, make, number):
    stderr = make()
    process = start_driver(tmp_path, "report", 5, stderr=stderr)
    os.close(stderr)
    process.send_signal(number)
    code, out, _ = output_of(process)
    assert (code, out.startswith("returned ['INTERRUPTED', 'INTERRUPTED'")) == (0, True)
    check_store(tmp_path)
    check_it_goes_on(tmp_path)


def test_an_interrupted_class_trainable_is_saved_unasked_and_goes_on_where_it_was(tune_run, say, pids):
    """F34: trials are asked to checkpoint and stop."""
    folder = str(pids)

    class Counting(tune.Trainable):
        def setup(self, config):
            self.n = self.n_loaded = 0

        def step(self):
            self.n += 1
            if self.n == 3:
                say("third")
            time.sleep(0.02)
            return {"n": self.n, "n_loaded": self.n_loaded, "done": os.path.exists(f"{folder}/go")}

        def save_checkpoint(self, folder):
            return {"n": self.n}

        def load_checkpoint(self, saved):
            self.n = self.n_loaded = saved["n"]

    def interrupt():
        pid_of(pids, "third")
        os.kill(os.getpid(), signal.SIGINT)

    outside = Outside(interrupt)
    interrupted = tune_run(Counting, name="cell").trials[0]
    outside.join()
    assert interrupted.state is TrialStatus.INTERRUPTED
    (pids / "go").touch()
    [trial] = tune_run(Counting, name="cell").trials
    assert (trial.state, trial.trial.attempt) == (TrialStatus.COMPLETED, 2)
    assert trial.metrics == {"n": interrupted.step + 1, "n_loaded": interrupted.step}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_the_experiment_politely_and_it_goes_on_later(tmp_path, pids, number):
    process = start_driver(tmp_path, "report", 5)
    began = time.monotonic()
    process.send_signal(number)
    code, out, err = output_of(process)
    assert time.monotonic() - began < 6.0
    assert code == 0, err
    assert out.startswith("returned ['INTERRUPTED', 'INTERRUPTED'")
    assert "Press Ctrl-C again to kill them at once" in err
    assert not any(map(is_alive, pids_in(pids)))
    check_store(tmp_path)
    check_it_goes_on(tmp_path)


def test_ctrl_c_from_a_terminal_reaches_the_driver_only(tmp_path, pids):
    """A terminal sends it to the whole foreground group; trials must not take it for their own end."""
    process = start_driver(tmp_path, "report", 5)
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = output_of(process)
    assert (code, out.startswith("returned ['INTERRUPTED', 'INTERRUPTED'")) == (0, True), err
    trials = [trial for trial in check_store(tmp_path).trials if trial.trial.attempt]
    assert all("Traceback" not in open(trial.log_path).read() for trial in trials)


def test_the_second_signal_kills_at_once(tmp_path, pids):
    process = start_driver(tmp_path, "stubborn", 60)
    process.send_signal(signal.SIGINT)
    first = process.stderr.readline() + process.stderr.readline()
    assert "Stopping" in first
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out, err = output_of(process)
    assert time.monotonic() - began < 5.0
    assert (code, out.startswith("returned ['INTERRUPTED', 'INTERRUPTED'")) == (0, True), err
    assert "Killing all trials" in err
    check_store(tmp_path)
    check_it_goes_on(tmp_path)


def test_the_third_signal_leaves_without_waiting_and_it_goes_on_later(tmp_path, pids):
    """F35. With its template stopped, the trials do not die and the driver waits for them."""
    process = start_driver(tmp_path, "stubborn", 60)
    os.kill(parent_of(pid_of(pids, "trial0")), signal.SIGSTOP)
    for words in ("Stopping: ", "Killing all trials. Press Ctrl-C again to leave without waiting."):
        process.send_signal(signal.SIGINT)
        assert words in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert output_of(process) == (128 + signal.SIGINT, "", "")
    eventually(lambda: not any(map(is_alive, pids_in(pids))), within_s=2.0)
    assert all(trial.state is TrialStatus.RUNNING for trial in check_store(tmp_path).trials if trial.trial.attempt)
    check_it_goes_on(tmp_path)


def test_a_hangup_that_is_ignored_from_the_start_ends_nothing(tmp_path, pids):
    """F36: `nohup` starts programs so."""
    process = start_driver(tmp_path, "report", 5, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    os.killpg(process.pid, signal.SIGHUP)
    reader = open_reader(tmp_path / "e")
    n_before = reader.n_results()
    eventually(lambda: reader.n_results() > n_before + 40, what="40 further reports")
    reader.close()
    process.send_signal(signal.SIGINT)
    code, out, err = output_of(process)
    assert (code, out.startswith("returned ['INTERRUPTED', 'INTERRUPTED'")) == (0, True), err
    assert err.count("Stopping") == 1
    check_store(tmp_path)


def test_whoever_was_stopped_for_a_while_goes_on_and_no_trial_is_tried_again(tmp_path, pids):
    """F41: as a laptop that is closed, but that clocks go on meanwhile."""
    process = start_driver(tmp_path, "wait", 2)
    trials = [pid_of(pids, "trial0"), pid_of(pids, "trial1")]
    template = parent_of(trials[0])
    everybody = [process.pid, parent_of(template), template, *trials]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 3.0
    eventually(lambda: time.monotonic() > until)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    (pids / "go").touch()
    code, out, err = output_of(process)
    assert (code, out) == (0, "returned ['COMPLETED', 'COMPLETED', 'COMPLETED']\n"), err
    assert [trial.trial.attempt for trial in check_store(tmp_path).trials] == [1, 1, 1]


class Listening(RecordCallback):
    """Has a thread of its own while an experiment runs."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_thread_and_gives_the_handlers_back(tune_run, say, pids, number):
    """F49: as in a notebook, whose kernel lives on and runs the next cell."""
    folder = str(pids)

    def train(config):
        say("trial")
        while not os.path.exists(f"{folder}/go"):
            tune.report(loss=1.0)
            time.sleep(0.02)

    def mine(number, frame):
        raise AssertionError("the caller's handler was called")

    def threads():
        return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("tunesmith"))

    def interrupt():
        pid_of(pids, "trial")
        during.extend(threads())
        os.kill(os.getpid(), number)

    during = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(n, mine) for n in numbers]
    try:
        outside = Outside(interrupt)
        interrupted = tune_run(train, name="cell", callbacks=[Listening()])
        outside.join()
        assert interrupted.trials[0].state is TrialStatus.INTERRUPTED
        assert during == ["tunesmith-Listening", "tunesmith-suggester", "tunesmith-watcher"]
        assert threads() == []
        assert [signal.getsignal(n) for n in numbers] == [mine] * 3
        (pids / "go").touch()
        assert tune_run(train, name="cell").trials[0].state is TrialStatus.COMPLETED
    finally:
        for n, handler in zip(numbers, before, strict=True):
            signal.signal(n, handler)


def test_a_signal_while_the_template_still_imports_ends_the_experiment(tmp_path):
    script = """
import os, sys, time
import tunesmith as tune

class Slow:
    def __reduce__(self):
        return eval, (f"[open({sys.argv[1]!r} + '/pids/x', 'w').close(), __import__('time').sleep(1000)]",)

slow = Slow()
result = tune.run(lambda config: slow, num_samples=1, verbose=0, local_dir=sys.argv[1], grace_s=60)
print([trial.state.value for trial in result.trials])
"""
    process = start_script(tmp_path / "script.py", script, str(tmp_path))
    eventually((tmp_path / "pids" / "x").exists)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out, err = output_of(process)
    assert time.monotonic() - began < 5.0
    assert (code, out) == (0, "['INTERRUPTED']\n"), err


def test_a_killed_driver_whose_pipe_a_forked_child_holds_takes_all_with_it(tmp_path, pids):
    """A driver may fork children of its own (a callback does): they must not keep the trials alive.

    Nor keep the experiment, whose descriptors they hold, from going on (F47).
    """
    script = DRIVER.replace(
        "result = tune.run(",
        """
import threading
def fork_later():
    while not os.path.exists(f"{folder}/pids/trial1.pid"):
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    with open(f"{folder}/forked.tmp", "w") as file:
        file.write(str(child))
    os.rename(f"{folder}/forked.tmp", f"{folder}/forked")
threading.Thread(target=fork_later).start()
result = tune.run(""",
    )
    process = start_script(tmp_path / "script.py", script, str(tmp_path), "report", "2")
    eventually((tmp_path / "forked").exists, within_s=20.0)
    pid_of(pids, "child0"), pid_of(pids, "child1")
    process.kill()
    process.wait()
    eventually(lambda: not any(map(is_alive, pids_in(pids))), within_s=2.0)
    forked = int((tmp_path / "forked").read_text())
    held = [os.readlink(file.path) for file in os.scandir(f"/proc/{forked}/fd")]
    assert str(tmp_path / "e" / "experiment.db") in held
    check_store(tmp_path)
    check_it_goes_on(tmp_path)
    assert is_alive(forked)
    os.kill(forked, signal.SIGKILL)
    output_of(process)


def test_a_driver_that_was_taken_over_notices_within_seconds_though_its_trials_say_nothing(tmp_path):
    """With steps of an hour it would go on beside the new owner for as long; by its trials' end it hears nothing."""
    noted = tmp_path / "noted"
    script = f"""
import os, pathlib, time
import tunesmith as tune
from tunesmith.errors import LeaseError

def train(config):
    tune.report(loss=1.0)
    pathlib.Path({str(noted)!r}).write_text(str(os.getpid()))
    time.sleep(600)
    tune.report(loss=2.0)

try:
    tune.run(train, name="mine", local_dir={str(tmp_path)!r}, verbose=0, grace_s=1.0)
except LeaseError as error:
    print("fenced:", error)
"""
    process = start_script(tmp_path / "script.py", script)
    trial = int(eventually(lambda: noted.exists() and noted.read_text(), within_s=30.0, what="the trial's report"))
    with open_store(tmp_path / "mine", takeover=True):  # sweeps nothing, as a driver on another machine would not
        _, output, _ = output_of(process)
        assert "fenced: This experiment was taken over by process" in output
        eventually(lambda: not is_alive(trial), within_s=10.0, what="the end of its trial")
