"""The user's script of the campaigns: one `tune.run` by name; the same command starts it and goes on with it.

Each trial tells the campaign, over a pipe that the campaign holds, what it started from and, right after `report`
returned, what was acknowledged. Settings are JSON in the environment variable CAMPAIGN_SETTINGS.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import tunesmith as tune
from campaigns.kill9.contents import loss_at, read_checkpoint, write_checkpoint
from tunesmith.schedulers import ASHAScheduler

SETTINGS_VARIABLE = "CAMPAIGN_SETTINGS"


def settings() -> dict[str, Any]:
    """What this run is asked to do."""
    return json.loads(os.environ[SETTINGS_VARIABLE])


class Pipe:
    """Lines to the campaign: unbuffered, each one write of less than PIPE_BUF, so that none is ever half or mixed."""

    def __init__(self, path: str, **always: object) -> None:
        # Without a campaign at the other end this raises, instead of waiting for one for ever.
        self._descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(self._descriptor, True)
        self._always = always

    def say(self, what: str, **facts: object) -> None:
        """One line."""
        os.write(self._descriptor, json.dumps({"what": what, **self._always, **facts}).encode() + b"\n")


def train(config: dict[str, Any], checkpoint_dir: str | None = None) -> None:
    """Count steps from where the checkpoint stands; save, report, and say what was acknowledged."""
    given = settings()
    trial, attempt = int(os.environ["TUNESMITH_TRIAL"]), int(os.environ["TUNESMITH_ATTEMPT"])
    pipe = Pipe(given["pipe"], trial=trial, attempt=attempt, by=given["by"])
    start, flaw = (0, None) if checkpoint_dir is None else read_checkpoint(checkpoint_dir, trial=trial)
    pipe.say("start", start=start, pid=os.getpid(), flaw=flaw)
    if given["has_children"]:
        pipe.say("child", pid=leave_child())
    if given["self_kill"] and given["self_kill"]["trial"] == trial and attempt == 1:
        kill_self_at(**{name: value for name, value in given["self_kill"].items() if name != "trial"})
    for step in range(start + 1, given["n_steps"] + 1):
        time.sleep(given["step_s"])
        if step % given["checkpoint_every"] == 0:
            with tune.checkpoint_dir(step=step) as folder:
                write_checkpoint(folder, trial=trial, step=step)
        acknowledged_report(pipe, step, loss_at(config["x"], step))


def acknowledged_report(pipe: Pipe, step: int, loss: float) -> None:
    """Report, and only then say so. A stop acknowledges too, unless the report came after the attempt's end."""
    try:
        tune.report(loss=loss)
    except tune.TrialStopped as stop:
        if "attempt is over" not in stop.reason:
            pipe.say("ack", step=step, value=loss)
        raise
    pipe.say("ack", step=step, value=loss)


def leave_child() -> int:
    """Start a process in a session of its own, as a DataLoader or a daemon would be."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    return pid


def kill_self_at(call: str, when: int, is_after: bool) -> None:
    """kill -9 of this very process at the `when`-th call of `os.<call>`: the storage calls of a checkpoint's commit."""
    original, n_calls = getattr(os, call), 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == when and not is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if n_calls == when:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, call, counted)


def main() -> None:
    """Run, or go on. Says how it ended on stdout, as JSON; a refusal with the time from the call to the message."""
    given = settings()
    wait_for_start(given)
    scheduler = None
    if given["is_asha"]:
        scheduler = ASHAScheduler(max_t=given["n_steps"], grace_period=2, reduction_factor=2, metric="loss", mode="min")
    is_named = {} if given["is_asha"] else {"metric": "loss", "mode": "min"}
    began, starved_s = time.monotonic(), waited_for_cpu_s()
    try:
        result = tune.run(
            train,
            name="campaign",
            config={"x": tune.uniform(0, 1)},
            num_samples=given["n_trials"],
            scheduler=scheduler,
            capacity={"cpu": given["n_parallel"]},
            keep_checkpoints_num=given["keep_num"],
            max_failures=given["max_failures"],
            storage_path=given["folder"],
            takeover=given["takeover"],
            raise_on_failed_trial=False,
            verbose=0,
            grace_s=1.0,
            **is_named,
        )
    except tune.TunesmithError as error:
        seconds, starved_s = time.monotonic() - began, waited_for_cpu_s() - starved_s
        said = {"error": type(error).__name__, "text": str(error), "seconds": seconds, "starved_s": starved_s}
        print(json.dumps(said), flush=True)
        sys.exit(3)
    print(json.dumps({"states": [trial.state.value for trial in result.trials]}), flush=True)


def waited_for_cpu_s() -> float:
    """Seconds for which this thread could run and had no CPU: a busy machine's part in what something took."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def wait_for_start(given: dict[str, Any]) -> None:
    """For races: say that everything is imported, and begin when the campaign says so."""
    if given["gate"]:
        gate = os.open(given["gate"], os.O_RDONLY)
        Pipe(given["pipe"], by=given["by"]).say("ready")
        os.read(gate, 1)  # returns when the campaign closes its end
        os.close(gate)


if __name__ == "__main__":
    main()
