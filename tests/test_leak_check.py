"""The check of leftovers can fail: a test that leaves something behind is failed for it, one that does not is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only threads are looked for elsewhere")

LEAKY = """
import os, subprocess, sys, tempfile, threading
import pytest

WAIT = [sys.executable, "-c", "import time; time.sleep(60)"]
held = []


def note(pid):
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{pid}\\n")


def test_that_leaves_a_child():
    held.append(subprocess.Popen(WAIT))
    note(held[-1].pid)


def test_that_leaves_an_orphan():
    script = f"import subprocess; print(subprocess.Popen({WAIT!r}, start_new_session=True, stdout=3, stderr=3).pid)"
    script = "import os; os.dup2(os.open(os.devnull, os.O_RDWR), 3); " + script
    note(int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout))


def test_that_leaves_an_orphan_that_was_only_forked():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            os.closerange(0, 100)
            threading.Event().wait(60)
        os.write(writing, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    note(int(os.read(reading, 20)))
    os.close(reading)


def test_that_leaves_a_zombie():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


def test_that_leaves_a_thread():
    held.append(threading.Event())
    threading.Thread(target=held[-1].wait, name="forgotten", daemon=True).start()


def test_that_leaves_an_open_file(tmp_path):
    held.append(open(tmp_path / "kept", "w"))


def test_that_leaves_a_temporary_folder():
    tempfile.mkdtemp(prefix="tunesmith-")


def test_that_leaves_a_temporary_file_by_a_child():
    subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkstemp()"], check=True)


def test_that_leaves_nothing(tmp_path):
    open(tmp_path / "kept", "w").close()
    with tempfile.TemporaryDirectory():
        subprocess.run([sys.executable, "-c", ""], check=True)


def test_whose_leftovers_end_soon():
    threading.Timer(0.05, lambda: None).start()
    held.append(subprocess.Popen([sys.executable, "-c", ""]))
    threading.Timer(0.05, held[-1].wait).start()


def test_that_leaves_a_cycle_with_an_open_file(tmp_path):
    cycle = [open(tmp_path / "cycle", "w")]
    cycle.append(cycle)


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen(WAIT)
    yield process
    process.kill()
    process.wait()


def test_whose_module_holds_a_process(server):
    assert server.poll() is None


def test_that_fails():
    held.append(open(os.devnull))
    raise ValueError
"""


@pytest.fixture(scope="module")
def outcome_of(tmp_path_factory):
    """What became of each test of LEAKY, run with the conftest.py and the check of this suite."""
    folder = tmp_path_factory.mktemp("leaky")
    (folder / "tests").mkdir()
    for name in ("conftest.py", "leak_check.py"):
        shutil.copy(Path(__file__).with_name(name), folder / "tests" / name)
    text = (folder / "tests" / "leak_check.py").read_text()
    (folder / "tests" / "leak_check.py").write_text(re.sub(r"GRACE_S = .*", "GRACE_S = 0.3", text))
    (folder / "tests" / "test_leaky.py").write_text(LEAKY)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider -rA\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=short", "tests"],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PIDS": str(folder / "pids")}, check=False,
    )  # fmt: skip
    for pid in (folder / "pids").read_text().split():
        os.kill(int(pid), 9)
    lines = re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", run.stdout, re.MULTILINE)
    assert lines, run.stdout + run.stderr
    words = dict(re.findall(r"^_+ ERROR at teardown of (\w+) _+\n([^_]*)", run.stdout, re.MULTILINE))
    return {name: [word for word, test in lines if test == name] + [words.get(name, "")] for _, name in lines}


@pytest.mark.parametrize(
    ("test", "kind"),
    [
        ("test_that_leaves_a_child", "process: "),
        ("test_that_leaves_an_orphan", "process: "),
        ("test_that_leaves_an_orphan_that_was_only_forked", "process: "),
        ("test_that_leaves_a_zombie", "process: "),
        ("test_that_leaves_a_thread", "thread: forgotten"),
        ("test_that_leaves_an_open_file", "open file: "),
        ("test_that_leaves_a_temporary_folder", "temporary file or folder: tunesmith-"),
        ("test_that_leaves_a_temporary_file_by_a_child", "temporary file or folder: tmp"),
    ],
)
def test_a_test_that_leaves_something_is_failed_for_it(outcome_of, test, kind):
    *outcomes, words = outcome_of[test]
    assert outcomes == ["PASSED", "ERROR"]
    assert kind in words
    assert sum(other in words for other in ("process: ", "thread: ", "open file: ", "temporary file")) == 1


@pytest.mark.parametrize(
    "test",
    [
        "test_that_leaves_nothing",
        "test_whose_leftovers_end_soon",
        "test_that_leaves_a_cycle_with_an_open_file",
        "test_whose_module_holds_a_process",
    ],
)
def test_a_test_that_leaves_nothing_passes(outcome_of, test):
    assert outcome_of[test] == ["PASSED", ""]


def test_a_test_that_fails_is_not_judged_a_second_time(outcome_of):
    assert outcome_of["test_that_fails"] == ["FAILED", ""]
