"""Trackers that write down what they are told, and misbehave on the way. They run in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tunesmith.trackers import Tracker


class Notes(Tracker):
    """Writes a line for each hook into a file."""

    grace_s = 20.0

    def __init__(self, path, *, key="k3y-that-nobody-may-see", where=""):
        super().__init__()
        self.path, self.key, self.where, self.open = Path(path), key, where, set()

    def identity(self):
        return {"path": str(self.path), "where": self.where}

    def secrets(self):
        return (self.key,)

    def note(self, *words):
        with self.path.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def setup(self, *_, **info):
        self.note("setup", *(["joins W&B"] if "WANDB_SERVICE" in os.environ else []))

    def log_trial_start(self, trial):
        self.note("start", trial.index)
        self.open.add(trial.index)

    def log_trial_result(self, iteration, trial, result):
        self.note("result", trial.index, trial.step)

    def log_trial_end(self, trial, failed=False):
        self.note("end", trial.index, trial.state.value)
        self.open.discard(trial.index)

    def on_experiment_end(self, trials, **info):
        self.note("over")

    def lines(self, word=None):
        """What was told, in the driver's process."""
        found = self.path.read_text().splitlines() if self.path.exists() else []
        return [line for line in found if word is None or line.startswith(word)]


class Misbehaves(Notes):
    """Does so at one step of each trial, the first `n_times` that it gets there in all its processes together."""

    def __init__(self, path, *, n_times=1, at=3, **named):
        super().__init__(path, **named)
        self.n_times, self.at = n_times, at

    def log_trial_result(self, iteration, trial, result):
        mark = self.path.with_suffix(f".marks-{trial.index}")
        n_before = len(mark.read_text()) if mark.exists() else 0
        if trial.step == self.at and n_before < self.n_times:
            mark.write_text("x" * (n_before + 1))
            self.misbehave()
        super().log_trial_result(iteration, trial, result)


class Raises(Misbehaves):
    def misbehave(self):
        raise RuntimeError(f"the server answered 503 to {self.key}")


class Refuses(Misbehaves):
    """As a library does that will never take such a value."""

    def misbehave(self):
        raise ValueError(f"out of range for {self.key}")


class Hangs(Misbehaves):
    call_timeout_s = 0.6

    def misbehave(self):
        time.sleep(600)


class Freezes(Misbehaves):
    """Not one of its threads says a word, as where a library holds the interpreter's lock."""

    call_timeout_s = 0.6

    def misbehave(self):
        os.kill(os.getpid(), signal.SIGSTOP)


class Dies(Misbehaves):
    def misbehave(self):
        os.kill(os.getpid(), signal.SIGKILL)


class DiesWithOpenRuns(Dies):
    """Loses what it was told of trials that are not over, as W&B may."""

    def flush(self):
        return self.open


class Slow(Notes):
    grace_s = 0.5

    def log_trial_result(self, iteration, trial, result):
        time.sleep(0.4)
        super().log_trial_result(iteration, trial, result)


class Unpicklable(Notes):
    def __getstate__(self):
        raise TypeError("this one holds a socket")


class StartsAnother(Notes):
    """Starts a process in a session of its own, as W&B does."""

    def log_trial_start(self, trial):
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        self.other = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def on_experiment_end(self, trials, **info):
        for pid in ("self", self.other.pid):
            self.note(Path(f"/proc/{pid}/autogroup").read_text().split()[-1], os.getpriority(os.PRIO_PROCESS, 0))
        self.other.communicate()
