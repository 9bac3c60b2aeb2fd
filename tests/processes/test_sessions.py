"""Every process and thread of a trial is in its session; no process of it starts an experiment by accident."""

from __future__ import annotations

import os
import sys

import pytest

import tunesmith as tune
from tunesmith.trial import TrialStatus

from .harness import output_of, start_script

pytestmark = pytest.mark.processes


def test_threads_report(tune_run):
    def train(config):
        import threading

        def work():
            for _ in range(20):
                with lock:
                    counter[0] += 1
                    tune.report(n=counter[0])

        lock, counter = threading.Lock(), [0]
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    trial = tune_run(train).trials[0]
    assert trial.state is TrialStatus.COMPLETED
    assert trial.values("n") == [(i, float(i)) for i in range(1, 81)]


def test_forked_children_report(tune_run):
    def train(config):
        import multiprocessing

        context = multiprocessing.get_context("fork")
        for i in range(3):
            child = context.Process(target=lambda i=i: tune.report(n=i, step=i + 1))
            child.start()
            child.join()
        tune.report(n=99, step=10)

    trial = tune_run(train).trials[0]
    assert trial.state is TrialStatus.COMPLETED
    assert trial.values("n") == [(1, 0.0), (2, 1.0), (3, 2.0), (10, 99.0)]


def test_a_forked_child_that_comes_back_from_the_function_does_not_end_the_trial(tune_run):
    def train(config):
        if os.fork() == 0:
            return
        os.wait()
        tune.report(n=1)
        tune.report(n=2)

    trial = tune_run(train).trials[0]
    assert trial.state is TrialStatus.COMPLETED
    assert trial.values("n") == [(1, 1.0), (2, 2.0)]


def test_a_child_told_to_stop_ends_its_trial(tune_run):
    def train(config):
        import multiprocessing

        def work():
            try:
                for _ in range(1000):
                    tune.report(n=1)
            except BaseException as stop:
                print("the child was told:", stop)

        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()

    trial = tune_run(train, stop={"training_iteration": 3}).trials[0]
    assert trial.state is TrialStatus.COMPLETED
    assert trial.step == 3
    assert "the child was told:" in open(trial.log_path).read()


REEXECUTED = """
import os, subprocess, sys
import tunesmith as tune

def train(config):
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        command = [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
        done = subprocess.run(command, env={**os.environ, "RANK": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"rank 1 has {config['x']}\\n", done.stdout
    else:
        print("rank", rank, "has", config["x"])
        tune.report(loss=config["x"], rank=rank)

if __name__ == "__main__":
    result = tune.run(train, config={"x": tune.uniform(0, 1)}, num_samples=2, local_dir=sys.argv[1], verbose=0)
    print([(t.state.value, t.metrics["rank"], t.metrics["loss"] == t.config["x"]) for t in result.trials])
    print(len(os.listdir(sys.argv[1])))
"""


def test_a_script_executed_again_inside_a_trial_trains_there_and_starts_no_experiment(tmp_path):
    """As Lightning's DDP does: `sys.argv` says what to execute."""
    results = tmp_path / "results"
    results.mkdir()
    code, out, err = output_of(start_script(tmp_path / "script.py", REEXECUTED, str(results)))
    assert code == 0, err
    assert out == "[('COMPLETED', 1.0, True), ('COMPLETED', 1.0, True)]\n1\n"


def test_a_script_that_tunes_at_import_gets_one_error_and_no_fork_bomb(tmp_path):
    (tmp_path / "training.py").write_text(
        "import tunesmith as tune\n"
        "def train(config):\n    return 1.0\n"
        f"tune.run(train, verbose=0, local_dir={str(tmp_path / 'results')!r})\n"
    )
    script = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport training\n"
    code, _, err = output_of(start_script(tmp_path / "script.py", script, cwd=tmp_path))
    assert code == 1
    assert "tune.run was called while a worker process was importing your code" in err
    assert "__name__ == '__main__'" in err
    assert len(os.listdir(tmp_path / "results")) == 1


def test_a_script_without_a_guard_works(tmp_path):
    """Its function travels by value, so that no worker imports the script (F29)."""
    script = (
        "import sys\nimport tunesmith as tune\n"
        "def train(config):\n    return 1.0\n"
        f"print(len(tune.run(train, num_samples=2, verbose=0, local_dir={str(tmp_path / 'r')!r}).trials))\n"
    )
    code, out, err = output_of(start_script(tmp_path / "script.py", script))
    assert (code, out) == (0, "2\n"), err


def test_the_module_asks_for_its_session_at_import_and_finds_none(tmp_path, tune_run, monkeypatch):
    (tmp_path / "asks_at_import.py").write_text(
        "import tunesmith as tune\nwas_in_session = tune.is_session_enabled()\n"
        "def train(config):\n    tune.report(was=was_in_session, now=tune.is_session_enabled())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import asks_at_import

    trial = tune_run(asks_at_import.train).trials[0]
    del sys.modules["asks_at_import"]
    assert trial.state is TrialStatus.COMPLETED, trial.error
    assert (trial.metrics["was"], trial.metrics["now"]) == (0.0, 1.0)


def test_an_experiment_inside_a_trial_is_an_experiment_of_its_own(tune_run, tmp_path):
    folder = str(tmp_path / "inner")

    def train(config):
        inner = tune.run(lambda c: c["y"], config={"y": tune.uniform(0, 1)}, num_samples=2, local_dir=folder, verbose=0)
        tune.report(n=len(inner.trials), ok=all(t.state.value == "COMPLETED" for t in inner.trials))

    trial = tune_run(train).trials[0]
    assert trial.state is TrialStatus.COMPLETED, trial.error
    assert (trial.metrics["n"], trial.metrics["ok"]) == (2.0, 1.0)
