"""When trials are forked, when they are spawned, and what the template has loaded for them (F28, F45)."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
import threading
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.executors.processes import ProcessExecutor, isolation
from tunesmith.executors.processes.template import dependencies_first
from tunesmith.trial import TrialStatus

from .harness import output_of, start_script

pytestmark = pytest.mark.processes


def is_forked():
    """For trials: whether this process was forked from the template, which is named in its command line."""
    return "processes.template" in open("/proc/self/cmdline").read()


is_forked.__module__ = "__main__"


def test_trials_are_forked_where_nothing_speaks_against_it(tune_run):
    trial = tune_run(lambda config: {"forked": is_forked()}).trials[0]
    assert trial.metrics["forked"] == 1.0


def test_start_method_spawn_gives_each_trial_an_interpreter(tune_run, caplog):
    offset = 5

    def train(config):
        tune.report(forked=is_forked(), x=config["x"] + offset)
        tune.report(forked=is_forked(), x=config["x"] + offset)

    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        result = tune_run(
            train, config={"x": tune.grid_search([1, 2])}, executor=ProcessExecutor({"cpu": 2}, start_method="spawn")
        )
    assert [(t.state, t.step, t.metrics) for t in result] == [
        (TrialStatus.COMPLETED, 2, {"forked": 0.0, "x": 6.0}),
        (TrialStatus.COMPLETED, 2, {"forked": 0.0, "x": 7.0}),
    ]
    assert "Trials are started as fresh interpreters, which is slower: it was asked for." in caplog.messages


def test_a_spawned_trial_that_crashes_or_must_be_killed_ends_like_a_forked_one(tune_run):
    def train(config):
        import signal
        import time

        if config["how"] == "crash":
            os.abort()
        if config["how"] == "return":
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tune.report(loss=1.0)
        while True:
            try:
                time.sleep(1)
            except BaseException:
                pass

    result = tune_run(
        train,
        config={"how": tune.grid_search(["crash", "hang", "return"])},
        time_budget_s=3.0,
        grace_s=1.0,
        executor=ProcessExecutor({"cpu": 3}, start_method="spawn"),
    )
    assert [t.state for t in result] == [TrialStatus.FAILED, TrialStatus.INTERRUPTED, TrialStatus.COMPLETED]
    assert "SIGABRT" in result[0].reason


def test_a_module_that_starts_a_thread_makes_trials_spawn_with_the_reason(tune_run, tmp_path, monkeypatch, caplog):
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading\n"
        "over = threading.Event()\n"
        "threading.Thread(target=over.wait, name='busy-body', daemon=True).start()\n"
        "def train(config):\n"
        "    return {'forked': 'processes.template' in open('/proc/self/cmdline').read()}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import starts_a_thread

    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        result = tune_run(starts_a_thread.train, num_samples=2)
    starts_a_thread.over.set()
    del sys.modules["starts_a_thread"]
    assert [trial.metrics["forked"] for trial in result.trials] == [0.0, 0.0]
    assert any("started Python threads (busy-body)" in message for message in caplog.messages)


class FalseProc:
    """A /proc/self of the test's making."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "fd").mkdir(parents=True)
        (folder / "maps").write_text("")
        self.has_thread("python", number=os.getpid())

    def has_open(self, target):
        (self.folder / "fd" / str(3 + len(os.listdir(self.folder / "fd")))).symlink_to(target)

    def has_loaded(self, library):
        with (self.folder / "maps").open("a") as maps:
            maps.write(f"7f0000000000-7f0000001000 r-xp 00000000 fe:00 1  /usr/lib/{library}\n")

    def has_thread(self, name, *, number=1):
        task = self.folder / "task" / str(number)
        task.mkdir(parents=True)
        (task / "comm").write_text(f"{name}\n")


@pytest.fixture
def proc(tmp_path, monkeypatch):
    def moved(path):
        return str(path).replace("/proc/self", str(tmp_path / "self"))

    listdir = os.listdir
    monkeypatch.setattr(isolation, "Path", lambda *parts: Path(moved(Path(*parts))))
    monkeypatch.setattr(os, "listdir", lambda path=".": listdir(moved(path)))
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.main_thread()])
    return FalseProc(tmp_path / "self")


def test_a_process_without_threads_and_libraries_may_be_forked(proc):
    assert isolation.why_not_fork() is None


def test_a_process_that_has_a_gpu_open_is_not_forked(proc):
    proc.has_open("/dev/nvidia0")
    assert isolation.why_not_fork() == "the import of the training code used CUDA"


def test_a_process_that_has_only_asked_the_gpu_driver_may_be_forked(proc):
    proc.has_open("/dev/nvidiactl")
    proc.has_open("/dev/nvidia-uvm")
    assert isolation.why_not_fork() is None


@pytest.mark.parametrize("library", ["libgomp.so.1", "libgomp-a34b3233.so.1", "libiomp5.so", "libomp.so.5"])
def test_a_process_whose_openmp_has_threads_is_not_forked(proc, library):
    proc.has_loaded(library)
    proc.has_thread("python")
    assert isolation.why_not_fork() == "the import of the training code used OpenMP with several threads"


def test_a_process_whose_openmp_has_no_threads_yet_may_be_forked(proc):
    proc.has_loaded("libgomp.so.1")
    assert isolation.why_not_fork() is None


@pytest.mark.parametrize("name", ["jemalloc_bg_thd", "openblas"])
def test_idle_threads_of_allocators_and_blas_beside_an_unused_openmp_may_be_forked(proc, name):
    proc.has_loaded("libgomp.so.1")
    proc.has_thread(name)
    assert isolation.why_not_fork() is None


def openmp():
    """The runtime that scikit-learn brings."""
    sklearn = importlib.util.find_spec("sklearn")
    found = [] if sklearn is None else list(Path(sklearn.origin).parents[1].glob("scikit_learn.libs/libgomp*"))
    return found or pytest.skip("there is no OpenMP runtime here")


def test_a_module_that_computed_with_several_openmp_threads_makes_trials_spawn_with_the_reason(tmp_path):
    (tmp_path / "has_computed.py").write_text(
        "import ctypes\n"
        f"openmp = ctypes.CDLL({str(openmp()[0])!r})\n"
        "openmp.GOMP_parallel(ctypes.CDLL(None).free, None, 2, 0)  # free(NULL) in two threads\n"
        "def train(config):\n"
        "    return {'forked': 'processes.template' in open('/proc/self/cmdline').read()}\n"
    )
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import has_computed
import tunesmith as tune
result = tune.run(has_computed.train, num_samples=2, verbose=0, local_dir={str(tmp_path / "r")!r})
print([trial.metrics["forked"] for trial in result])
"""
    code, out, err = output_of(start_script(tmp_path / "script.py", script))
    assert (code, out) == (0, "[0.0, 0.0]\n"), err
    assert err.count("slower: the import of the training code used OpenMP with several threads") == 1


def test_the_driver_never_forks(tune_run, monkeypatch):
    """F28. With a crash, a retry and a template that dies; what it starts, it starts without a copy of itself."""

    def fork():
        raise AssertionError("the driver forks")

    for name in ("fork", "forkpty"):
        monkeypatch.setattr(os, name, fork)

    def train(config):
        import signal
        import time

        if config["how"] == "crash":
            os.abort()
        tune.report(forked=is_forked())
        if config["how"] == "kill" and os.environ["TUNESMITH_ATTEMPT"] == "1":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(1000)

    how = tune.grid_search(["return", "crash", "kill", "return again"])
    result = tune_run(train, config={"how": how}, capacity={"cpu": 1}, max_failures=1)
    assert [trial.trial.attempt for trial in result] == [1, 2, 2, 1]
    assert [trial.metrics.get("forked") for trial in result] == [1.0, None, 1.0, 1.0]


def test_pandas_and_scikit_learn_in_the_globals_still_fork(tmp_path):
    pytest.importorskip("sklearn")
    script = f"""
import pandas as pd
import numpy as np
from sklearn.linear_model import LinearRegression
import tunesmith as tune
frame = pd.DataFrame({{"x": np.arange(100.0), "y": np.arange(100.0) * 3}})
model = LinearRegression().fit(frame[["x"]], frame["y"])  # a model fitted before is a global like any other
def train(config):
    slope = LinearRegression().fit(frame[["x"]], frame["y"]).coef_[0] + model.coef_[0]
    return {{"slope": slope, "forked": "processes.template" in open("/proc/self/cmdline").read()}}
result = tune.run(train, num_samples=3, verbose=0, local_dir={str(tmp_path / "r")!r})
print([(round(trial.metrics["slope"]), trial.metrics["forked"]) for trial in result])
"""
    code, out, err = output_of(start_script(tmp_path / "script.py", script))
    assert (code, out) == (0, f"{[(6, 1.0)] * 3}\n"), err


def test_what_a_trial_imports_is_there_for_the_later_ones(tune_run):
    pytest.importorskip("sklearn")

    def train(config):
        was_there = "sklearn.ensemble" in sys.modules
        import sklearn.ensemble

        assert sklearn.ensemble.RandomForestRegressor
        tune.report(was_there=was_there, forked=is_forked())
        if not was_there:
            import time

            time.sleep(0.3)

    result = tune_run(train, num_samples=20, capacity={"cpu": 1})
    found = [trial.metrics["was_there"] for trial in result]
    assert found[0] == 0.0
    assert found[-1] == 1.0
    assert found == sorted(found)
    assert all(trial.metrics["forked"] for trial in result)


TEMPLATE_THAT_PRELOADS = """
import gc, os, socket, sys
os.environ["TUNESMITH_START_METHOD"] = "fork"
from tunesmith.executors.processes.template import Template
from tunesmith.trialside.wire import FrameBuffer, decode_frame, send_frame

connection, driver = socket.socketpair()
template = Template(connection)

class Child:
    facts = {"trial_index": 3, "attempt": 1}
    class log_cap:
        check = staticmethod(lambda now, is_last=False: None)

def end_a_trial():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    template.children[pid] = Child

def told():
    driver.setblocking(False)
    try:
        return [decode_frame(body)["type"] for body in FrameBuffer().feed(driver.recv(1 << 16))]
    except BlockingIOError:
        return []

sys.modules["driver"] = sys.modules["__main__"]
template._preload(["first", "os", "second", "third"], 0)
template.run()
print('settled', gc.get_freeze_count() > 0)
"""


def test_a_trial_that_ends_while_the_template_imports_is_told_before_the_next_module(tmp_path):
    (tmp_path / "first.py").write_text("from driver import *; end_a_trial(); print('first', told())")
    (tmp_path / "second.py").write_text("from driver import *; print('second', told())")
    (tmp_path / "third.py").write_text("import driver; driver.driver.close(); print('third')")
    code, out, err = output_of(start_script(tmp_path / "script.py", TEMPLATE_THAT_PRELOADS), within_s=20.0)
    assert (code, out.splitlines()) == (0, ["first []", "second ['exited']", "third", "settled True"]), err


def test_modules_are_imported_after_those_that_their_packages_had_imported():
    imported = ["top.part.deep", "leaf", "other.inside", "other", "top.part", "top", "top.later", "alone"]
    assert dependencies_first(imported) == [
        "leaf", "other.inside", "other", "top.part.deep", "top.part", "top", "top.later", "alone",
    ]  # fmt: skip
    assert dependencies_first(["namespace.part", "last"]) == ["namespace.part", "last"]


def test_what_would_make_forking_unsafe_is_not_preloaded(tune_run, tmp_path, monkeypatch):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "threaded_library.py").write_text(
        "import threading, time\n"
        "end = time.process_time() + 0.05\n"
        "while time.process_time() < end: pass\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(str(packages))

    def train(config):
        import time

        was_there = "threaded_library" in sys.modules
        import threaded_library

        assert threaded_library
        tune.report(was_there=was_there, forked=is_forked())
        time.sleep(0.05)

    result = tune_run(train, num_samples=12, capacity={"cpu": 1})
    assert {trial.metrics["was_there"] for trial in result} == {0.0}
    assert {trial.metrics["forked"] for trial in result} == {1.0}


def test_a_preloaded_module_that_fails_or_exits_harms_nobody(tune_run, tmp_path, monkeypatch):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "only_in_trials.py").write_text(
        "import os, time\n"
        "end = time.process_time() + 0.05\n"
        "while time.process_time() < end: pass\n"
        "if 'TUNESMITH_TRIAL' not in os.environ: os._exit(1)\n"
    )
    monkeypatch.syspath_prepend(str(packages))

    def train(config):
        import only_in_trials

        return float(only_in_trials is not None)

    result = tune_run(train, num_samples=6, capacity={"cpu": 1})
    assert [trial.state for trial in result] == [TrialStatus.COMPLETED] * 6
    assert [trial.trial.attempt for trial in result] == [1] * 6


NOTEBOOK = """
import sys, types
main = types.ModuleType("__main__")
sys.modules["__main__"] = main
exec('''
import numpy as np, pandas as pd, sys
from sklearn.linear_model import Ridge
frame = pd.DataFrame(np.random.default_rng(0).random((625_000, 20)))
def train(config):
    part = frame.iloc[:2000]
    model = Ridge(alpha=config["alpha"]).fit(part.iloc[:, 1:], part[0])
    tune.report(score=model.score(part.iloc[:, 1:], part[0]), mib=frame.memory_usage().sum() / 2**20)
import tunesmith as tune
''', main.__dict__)
import tunesmith as tune
result = tune.run(main.train, config={"alpha": tune.loguniform(1e-3, 1e3)}, num_samples=20, verbose=0,
                  local_dir=sys.argv[1])
print(len(result), {t.state.value for t in result}, {round(t.metrics["mib"]) for t in result}, file=sys.stderr)
from tunesmith.events import AttemptEnded
from tunesmith.stores import open_reader
reader = open_reader(result.folder)
cpu_s = [r.cpu_s for _, r in reader.records(0, 10**6) if isinstance(r, AttemptEnded)]
import resource, time
below = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{1e3 * sum(cpu_s) / len(cpu_s):.1f} ms CPU per trial in its process; template and reaper "
      f"{below.ru_utime + below.ru_stime - sum(cpu_s):.2f} s, driver {time.process_time():.2f} s in all")
assert {t.state.value for t in result} == {"COMPLETED"}
assert {round(t.metrics["mib"]) for t in result} == {95}
"""


def test_a_notebooks_function_with_a_large_frame_in_its_globals_runs(tmp_path):
    pytest.importorskip("sklearn")
    code, out, err = output_of(start_script(tmp_path / "script.py", NOTEBOOK, str(tmp_path / "r")))
    assert code == 0, err
    print(out)


def test_a_full_process_table_delays_trials_and_loses_none(tune_run, tmp_path, monkeypatch, caplog):
    """EAGAIN on fork: here of a template whose fork fails for a while, as it does at the limit of `ulimit -u`."""

    class FailForSomeTime:
        """Unpickled in the template, where it makes the 3rd to 6th fork fail."""

        def __reduce__(self):
            code = """
import os, errno
fork, n = os.fork, [0]
def limited():
    n[0] += 1
    if 3 <= n[0] <= 6:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()
os.fork = limited
"""
            return exec, (code, {})

    limit = FailForSomeTime()

    def train(config):
        assert limit is None
        return 1.0

    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        result = tune_run(train, num_samples=6, capacity={"cpu": 3})
    assert [trial.state for trial in result] == [TrialStatus.COMPLETED] * 6
    assert [trial.trial.attempt for trial in result] == [1] * 6
    warnings = [message for message in caplog.messages if "No process could be started" in message]
    assert len(warnings) == 1
    assert "ulimit -u" in warnings[0]
    assert "Fewer trials run at a time" in warnings[0]


def test_a_driver_out_of_descriptors_takes_the_trials_one_after_the_other(tmp_path):
    """EMFILE at accept: trials wait in the backlog until a connection of another is closed."""
    script = """
import os, resource, sys, time
import tunesmith as tune
from tunesmith.callbacks import CLIReporter

class Hold:
    pass

def train(config):
    tune.report(loss=1.0)
    time.sleep(0.05)

from tunesmith.executors.processes import ProcessExecutor
class Crowded(ProcessExecutor):
    def start(self, launch):
        super().start(launch)
        self._n_seen = 0
    def carry_out(self, commands):
        super().carry_out(commands)
        if not self._n_seen and any(type(c).__name__ == "StartAttempt" for c in commands):
            self._n_seen = 1
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            free = sorted(set(range(highest + 4)) - set(map(int, os.listdir("/proc/self/fd"))))
            resource.setrlimit(resource.RLIMIT_NOFILE, (free[2], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

space = {"x": tune.uniform(0, 1)}
result = tune.run(train, config=space, num_samples=8, executor=Crowded({"cpu": 6}), verbose=0, local_dir=sys.argv[1])
print({t.state.value for t in result}, file=sys.stderr)
print(time.process_time() < 3.0)
"""
    code, out, err = output_of(start_script(tmp_path / "script.py", script, str(tmp_path / "r")), within_s=40)
    assert (code, out) == (0, "True\n"), err
    assert re.fullmatch(
        r"The driver cannot take in another trial: Too many open files\. Its limit is \d+ open files \(`ulimit -n`\)\. "
        r"Fewer trials run at a time until there is room\.\n{'COMPLETED'}\n",
        err,
    ), err
