"""What the tests on a cluster share: a trainable that goes on from its checkpoints, and how it is run and looked at."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import tunesmith as tune
from tunesmith.events import StartAttempt


def make(**changes):
    from tunesmith.executors.ray import RayExecutor

    return RayExecutor(**changes)


def run(trainable, *, executor=None, **more):
    return tune.run(trainable, executor=executor or make(), verbose=0, **more)


def records(results, kind):
    return [record for _, record in results.reader.records(limit=1_000_000) if isinstance(record, kind)]


def nodes_of(results):
    return {start.placement.node for start in records(results, StartAttempt)}


def train(config, checkpoint_dir=None):
    """Counts to `n`; a checkpoint at every step."""
    first = 1
    print("train", config)
    if checkpoint_dir is not None:
        first = json.loads((Path(checkpoint_dir) / "step.json").read_text()) + 1
    for step in range(first, config["n"] + 1):
        time.sleep(config.get("pause", 0.0))
        with tune.checkpoint_dir(step=step) as folder:
            (Path(folder) / "step.json").write_text(json.dumps(step))
        tune.report(loss=1.0 / step + config["x"], pid=os.getpid())


def trials_of(name):
    """Of the experiment of this name as they stand; none where there is no such experiment yet."""
    folder = Path(os.environ["TUNESMITH_RESULTS"]) / name
    return list(tune.load(folder)) if (folder / "experiment.db").exists() else []


def wait_until(is_so, timeout_s=90.0):
    """Until it is; fails after so many seconds."""
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)


@contextmanager
def in_thread(trainable, **more):
    """The experiment runs meanwhile; its results are in the list when the block has ended, or before."""
    found = []
    thread = threading.Thread(target=lambda: found.append(run(trainable, **more)))
    thread.start()
    try:
        yield found
    finally:
        thread.join()


SPACE = {"x": tune.uniform(0.0, 1.0), "n": 5, "pause": 0.05}


def agent_above(pid):
    """The process of the agent that the trial of this process runs below."""
    while not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::NodeAgent"):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid
