"""What a trial changes about its process reaches neither the driver nor another trial (F31)."""

from __future__ import annotations

import os
import random
import signal

import pytest

import tunesmith as tune
from tunesmith.trial import TrialStatus

pytestmark = pytest.mark.processes


def test_cwd_environment_handlers_umask_and_limits_stay_in_the_trial(tune_run, tmp_path):
    def train(config):
        import resource
        import sys

        assert os.getcwd() == config["cwd"]
        assert "FROM_A_TRIAL" not in os.environ
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert not hasattr(sys, "from_a_trial")
        os.chdir("/")
        os.environ["FROM_A_TRIAL"] = "1"
        os.umask(0o777)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        random.seed(0)
        sys.from_a_trial = True
        os.close(0)

    before = os.getcwd(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), random.getstate()
    result = tune_run(train, config={"cwd": os.getcwd()}, num_samples=4, capacity={"cpu": 1})
    assert [trial.error for trial in result.trials] == [None] * 4
    assert (os.getcwd(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before[:3]
    assert random.getstate() == before[3]
    assert "FROM_A_TRIAL" not in os.environ


def test_the_start_method_of_multiprocessing_stays_in_the_trial(tune_run):
    def train(config):
        import multiprocessing

        assert multiprocessing.get_start_method(allow_none=True) is None
        multiprocessing.set_start_method("spawn")

    assert [trial.error for trial in tune_run(train, num_samples=2, capacity={"cpu": 1})] == [None, None]


def test_trials_draw_different_numbers_and_the_same_seed_the_same_ones(tune_run):
    import numpy as np

    def train(config):
        return {"python": random.random(), "numpy": float(np.random.rand())}

    def draws(seed):
        return [(t.metrics["python"], t.metrics["numpy"]) for t in tune_run(train, num_samples=3, seed=seed)]

    first, again, other = draws(1), draws(1), draws(2)
    assert first == again
    assert len({number for draw in first + other for number in draw}) == 12


def test_imports_inside_the_function_do_not_change_its_numbers(tune_run):
    """The first trial imports NumPy before it is seeded for anybody; later ones find it loaded by the template."""

    def train(config):
        import numpy as np

        return float(np.random.rand())

    def draws():
        return [t.metrics["_metric"] for t in tune_run(train, num_samples=3, seed=7, capacity={"cpu": 1})]

    first = draws()
    assert len(set(first)) == 3
    assert draws() == first


def test_a_callers_umask_and_cwd_are_the_trials(tune_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def train(config):
        assert os.path.exists("a-file-beside-the-script")

    (tmp_path / "a-file-beside-the-script").touch()
    assert tune_run(train).trials[0].error is None


def test_a_variable_that_the_driver_sets_reaches_the_trials(tune_run, monkeypatch):
    monkeypatch.setenv("FROM_THE_DRIVER", "hello")

    def train(config):
        assert os.environ["FROM_THE_DRIVER"] == "hello"

    assert tune_run(train).trials[0].error is None


def test_no_descriptor_of_the_template_is_open_in_a_trial(tune_run):
    def train(config):
        targets = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                targets.append(os.readlink(f"/proc/self/fd/{fd}"))
            except OSError:
                pass
        assert len([target for target in targets if target.startswith("socket:")]) == 1, targets
        assert not [target for target in targets if target.startswith("pipe:")], targets

    trial = tune_run(train).trials[0]
    assert (trial.state, trial.error) == (TrialStatus.COMPLETED, None)


def test_the_trial_does_not_know_signals_that_the_callers_thread_blocks(tune_run):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGINT})
    try:
        result = tune_run(
            lambda config: {"n_blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, set()))}, num_samples=2
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGINT})
    assert [trial.metrics["n_blocked"] for trial in result.trials] == [0.0, 0.0]


def test_a_trial_is_the_first_that_the_kernel_ends_when_memory_is_short(tune_run):
    trial = tune_run(lambda config: {"score": int(open("/proc/self/oom_score_adj").read())}).trials[0]
    assert trial.metrics["score"] > int(open("/proc/self/oom_score_adj").read())


def test_random_numbers_of_the_driver_are_not_used_up(tune_run):
    random.seed(3)
    expected = random.random()
    random.seed(3)
    tune_run(lambda config: 1.0, config={"x": tune.uniform(0, 1)}, num_samples=2)
    assert random.random() == expected
