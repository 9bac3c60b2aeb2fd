"""After every test: no process, thread, file descriptor or temporary folder is left."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.analysis import ExperimentAnalysis

from .harness import eventually, is_alive, marked, pids_in


@pytest.fixture(autouse=True)
def pids(tmp_path: Path) -> Path:
    """Where trials leave the numbers of processes that must be gone after the test."""
    folder = tmp_path / "pids"
    folder.mkdir()
    return folder


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go during the test."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_is_left(pids: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    mark = f"TUNESMITH_TEST={uuid.uuid4().hex}"
    monkeypatch.setenv(*mark.split("="))
    fds_before = _open_files()
    yield
    try:
        eventually(lambda: not marked(mark), within_s=5.0, what=f"the end of {marked(mark)}")
        eventually(lambda: not [pid for pid in pids_in(pids) if is_alive(pid)], within_s=5.0, what="the end of pids")
        assert [t.name for t in threading.enumerate() if t.name.startswith("tunesmith-")] == []
        assert [file for fd, file in _open_files().items() if fds_before.get(fd) != file] == []
        eventually(lambda: not list(temporary.glob("tunesmith-*")), within_s=2.0, what="the end of temporary folders")
    finally:
        for line in marked(mark):
            os.kill(int(line.split(":")[0]), 9)
        for pid in pids_in(pids):
            if is_alive(pid):
                os.kill(pid, 9)


def _open_files() -> dict[str, str]:
    found = {}
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:
            continue
        if not target.startswith("/proc/") and "/experiment.db" not in target:  # a result in a test's hands reads on
            found[fd.name] = target
    return found


@pytest.fixture
def tune_run(tmp_path: Path) -> Callable[..., ExperimentAnalysis]:
    """`tune.run`, silent, into the test's folder, with a short grace."""

    def run(trainable: Any, **arguments: Any) -> ExperimentAnalysis:
        settings = {"verbose": 0, "local_dir": tmp_path, "raise_on_failed_trial": False, "grace_s": 2.0}
        return tune.run(trainable, **{**settings, **arguments})

    return run


@pytest.fixture
def say(pids: Path) -> Callable[[str], None]:
    """For trials: `say(name)` leaves the calling process's number under the name."""
    folder = str(pids)

    def say(name: str) -> None:
        import os

        partial = os.path.join(folder, f"{name}.{os.getpid()}.tmp")
        with open(partial, "w") as file:
            file.write(str(os.getpid()))
        os.rename(partial, os.path.join(folder, f"{name}.pid"))

    return say
