"""Several processes that share one study, and the death of the one that writes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.api.study import Study
from tunesmith.errors import ReportError, StudyExhausted

from .harness import eventually, output_of, start_script

pytestmark = [pytest.mark.processes, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

SPACE = {"x": tune.uniform(0, 1)}

#: Notes what was acknowledged, each line in the kernel's hands before it goes on.
WORKER = """
import os, sys, threading
from pathlib import Path
import tunesmith as tune

root, n_samples, n_before_wait = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
notes = open(root / f"{os.getpid()}.notes", "a", buffering=1)
def note(*words):
    print(*words, file=notes, flush=True)
study = tune.Study({"x": tune.uniform(0, 1)}, "loss", "min", name="shared", storage_path=root, num_samples=n_samples)
note("open")
n_told = 0
for t in study:
    note("asked", t.index, t.attempt)
    for step in range(1, 11):
        t.report(step=step, loss=t.config["x"] + 1 / step)
        note("reported", t.index, t.attempt, step)
    if n_told == n_before_wait:
        note("waits")
        threading.Event().wait()
    study.tell(t, loss=t.config["x"])
    note("told", t.index, t.attempt, repr(t.config["x"]))
    n_told += 1
note("done")
"""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a worker that waits for ever inside its trial after so many that it has told; all are gone at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*, n_samples: int, n_before_wait: int = -1) -> subprocess.Popen[str]:
        arguments = (str(tmp_path), str(n_samples), str(n_before_wait))
        started.append(start_script(tmp_path / f"worker{len(started)}.py", WORKER, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def notes(root: Path, process: subprocess.Popen[str] | None = None) -> list[list[str]]:
    """What the workers noted, or one of them."""
    files = [root / f"{process.pid}.notes"] if process else sorted(root.glob("*.notes"))
    return [line.split() for file in files if file.exists() for line in file.read_text().splitlines()]


def n_noted(root: Path, word: str, process: subprocess.Popen[str] | None = None) -> int:
    return sum(line[0] == word for line in notes(root, process))


def writer_pid(root: Path) -> int:
    return int(json.loads((root / "shared" / "study.json").read_text())["owner"]["pid"])


def open_shared(root: Path, **arguments: Any) -> Study:
    return Study(SPACE, "loss", "min", name="shared", storage_path=root, **arguments)


def test_no_acknowledged_tell_is_lost_where_two_writers_are_killed(
    tmp_path: Path, workers: Callable[..., subprocess.Popen[str]]
) -> None:
    first = workers(n_samples=60, n_before_wait=5)
    eventually(lambda: n_noted(tmp_path, "waits", first), within_s=60, what="the first one's wait")
    others = [workers(n_samples=60) for _ in range(2)]
    eventually(lambda: min(n_noted(tmp_path, "told", other) for other in others) >= 3, within_s=60, what="progress")
    assert writer_pid(tmp_path) == first.pid
    first.send_signal(signal.SIGKILL)
    second = eventually(
        lambda: next((p for p in others if _has_taken_over(tmp_path, p, n_told=12)), None), within_s=60, what="takeover"
    )
    assert n_noted(tmp_path, "told") < 60
    second.send_signal(signal.SIGKILL)
    (third,) = (other for other in others if other is not second)
    status, _, errors = output_of(third, within_s=90)
    assert (status, errors) == (0, "")

    result = tune.load(tmp_path / "shared")
    told = {int(line[1]): float(line[3]) for line in notes(tmp_path) if line[0] == "told"}
    assert {trial.index: trial.state.value for trial in result} == dict.fromkeys(range(60), "COMPLETED")
    assert {index: result[index].metrics["loss"] for index in told} == told
    assert len(told) >= 59 - 2  # what the killed ones had told and not noted any more
    _check_handed_out(tmp_path, killed=[first, second])
    for trial in result:
        assert [step for step, _ in trial.values("loss")] == [*range(1, 12)]


def _has_taken_over(root: Path, process: subprocess.Popen[str], *, n_told: int) -> bool:
    return writer_pid(root) == process.pid and n_noted(root, "told") >= n_told


def _check_handed_out(root: Path, *, killed: list[subprocess.Popen[str]]) -> None:
    """No trial was handed out twice, but for one that a killed process had open: that is its next attempt."""
    asked = [(int(line[1]), int(line[2])) for line in notes(root) if line[0] == "asked"]
    assert len(set(asked)) == len(asked)
    left_open = set()
    for process in killed:
        mine = notes(root, process)
        told = {int(line[1]) for line in mine if line[0] == "told"}
        left_open |= {int(line[1]) for line in mine if line[0] == "asked"} - told
    again = {index for index, attempt in asked if attempt > 1}
    assert again <= left_open | _on_their_way(root, asked)


def _on_their_way(root: Path, asked: list[tuple[int, int]]) -> set[int]:
    """Trials whose first attempt was handed to a process that was killed before it could note it."""
    return {index for index, attempt in asked if attempt > 1 and (index, 1) not in asked}


def test_the_trial_of_a_killed_process_is_handed_out_again_from_its_start(
    tmp_path: Path, workers: Callable[..., subprocess.Popen[str]]
) -> None:
    with open_shared(tmp_path, num_samples=3) as study:
        worker = workers(n_samples=3, n_before_wait=1)
        eventually(lambda: n_noted(tmp_path, "waits", worker), within_s=60, what="the worker's wait")
        assert study.ask().index == 2
        with pytest.raises(StudyExhausted):
            study.ask()
        worker.kill()
        worker.wait()
        again = study.ask()
        assert (again.index, again.attempt, study.trials[1].step) == (1, 2, 0)
        assert "is gone" in str(study.trials[1].error)
        study.tell(again, loss=0.5)
        assert study.trials[1].values("loss") == [(1, 0.5)]


def test_a_trial_that_kills_its_process_again_and_again_is_given_up(
    tmp_path: Path, workers: Callable[..., subprocess.Popen[str]]
) -> None:
    for _ in range(4):
        worker = workers(n_samples=1, n_before_wait=0)
        eventually(lambda w=worker: n_noted(tmp_path, "waits", w) or w.poll() is not None, within_s=60, what="a wait")
        assert worker.poll() is None, worker.communicate()
        worker.kill()
        worker.wait()
    with open_shared(tmp_path, num_samples=1) as study:
        with pytest.raises(StudyExhausted):
            study.ask()
        assert study.trials[0].state.value == "FAILED"
        assert "lost 4 times" in str(study.trials[0].reason)


def test_a_process_that_leaves_cleanly_gives_the_writing_to_another(
    tmp_path: Path, workers: Callable[..., subprocess.Popen[str]]
) -> None:
    with open_shared(tmp_path, num_samples=40):
        worker = workers(n_samples=40)
        eventually(lambda: n_noted(tmp_path, "told", worker) >= 3, within_s=60, what="the worker's progress")
        assert writer_pid(tmp_path) == os.getpid()
    status, _, errors = output_of(worker)
    assert (status, errors) == (0, "")
    assert [trial.state.value for trial in tune.load(tmp_path / "shared")] == ["COMPLETED"] * 40


def test_a_forked_child_asks_its_parent(tmp_path: Path) -> None:
    with open_shared(tmp_path) as study:
        mine = study.ask()
        child = os.fork()
        if child == 0:
            try:
                t = study.ask()
                t.report(step=1, loss=0.25)
                study.tell(t)
                mine.report(step=1, loss=0.5)
                os._exit(t.index)
            except BaseException:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        mine.report(step=2, loss=0.4)
        study.tell(mine)
        assert study.trials[0].values("loss") == [(1, 0.5), (2, 0.4)]
        assert study.trials[1].values("loss") == [(1, 0.25)]


def test_a_forked_child_that_lives_on_keeps_nobody_waiting_for_a_dead_writer(tmp_path: Path) -> None:
    script = """
import os, sys, threading
import tunesmith as tune
study = tune.Study({"x": tune.uniform(0, 1)}, "loss", "min", name="shared", storage_path=sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
if os.fork() == 0:
    print("child", os.getpid(), flush=True)
threading.Event().wait()
"""
    parent = start_script(tmp_path / "parent.py", script, str(tmp_path), stdin=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdin is not None
    assert parent.stdout.readline() == "open\n"
    with open_shared(tmp_path) as study:
        t = study.ask()  # so that the child is born with a copy of this connection
        assert writer_pid(tmp_path) == parent.pid
        parent.stdin.write("\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline().split()[1])
        try:
            parent.kill()
            parent.wait()
            study.tell(t, loss=1.0)
            assert writer_pid(tmp_path) == os.getpid()
            with pytest.raises(ReportError, match="told already"):
                study.tell(t, loss=1.0)
        finally:
            os.kill(child, signal.SIGKILL)
            parent.communicate()


def test_a_script_that_forgets_to_close_leaves_no_lease_and_no_socket(tmp_path: Path, temporary: Path) -> None:
    script = """
import sys
import tunesmith as tune
study = tune.Study({"x": tune.uniform(0, 1)}, "loss", "min", name="shared", storage_path=sys.argv[1])
study.tell(study.ask(), loss=1.0)
"""
    status, _, errors = output_of(start_script(tmp_path / "script.py", script, str(tmp_path)))
    assert (status, errors) == (0, "")
    assert list(temporary.iterdir()) == []
    result = tune.load(tmp_path / "shared")
    assert result.reader.query("SELECT count(*) FROM lease WHERE released_at IS NULL") == [(0,)]
