"""How the user's code and objects travel to the workers (F23, F24, F25, F27)."""

from __future__ import annotations

import functools
import os
import threading

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import TrainableError
from tunesmith.trial import TrialStatus

from .harness import output_of, start_script

pytestmark = pytest.mark.processes


def generate():
    yield 1


@pytest.mark.parametrize(
    "make", [threading.Lock, lambda: open(os.devnull, "w"), generate], ids=["lock", "open file", "generator"]
)
def test_what_cannot_be_pickled_is_named_before_anything_starts(tune_run, tmp_path, make):
    the_culprit, harmless = make(), 3

    def train(config):
        return harmless, the_culprit

    with pytest.raises(TrainableError, match="variable 'the_culprit' cannot be pickled"):
        tune_run(train)
    assert not list(tmp_path.rglob("*.log"))
    getattr(the_culprit, "close", lambda: None)()


def test_a_partial_argument_that_cannot_be_pickled_is_named(tune_run):
    def train(config, lock):
        return 1.0

    with pytest.raises(TrainableError, match="variable 'lock' cannot be pickled"):
        tune_run(functools.partial(train, lock=threading.Lock()))


def test_closures_lambdas_and_partials_travel(tune_run):
    offset = 10

    def train(config, scale):
        return config["x"] * scale + offset

    space = {"x": tune.grid_search([1, 2])}
    assert [t.metrics["_metric"] for t in tune_run(functools.partial(train, scale=100), config=space)] == [110.0, 210.0]
    assert [t.metrics["_metric"] for t in tune_run(lambda config: config["x"] + offset, config=space)] == [11.0, 12.0]


def test_functions_classes_and_globals_of_a_script_travel(tmp_path):
    script = f"""
import tunesmith as tune
OFFSET = 5
class Model:
    def value(self, config):
        return helper(config) + OFFSET
def helper(config):
    return config["x"]
def train(config):
    return Model().value(config)
class Trained(tune.Trainable):
    def setup(self, config):
        self.model, self.config = Model(), config
    def step(self):
        return {{"loss": self.model.value(self.config), "done": self.iteration >= 1}}
space = {{"x": tune.grid_search([1, 2])}}
folder = {str(tmp_path / "r")!r}
print([t.metrics["_metric"] for t in tune.run(train, config=space, local_dir=folder, verbose=0)])
print([t.metrics["loss"] for t in tune.run(Trained, config=space, local_dir=folder, verbose=0)])
"""
    code, out, err = output_of(start_script(tmp_path / "script.py", script))
    assert (code, out) == (0, "[6.0, 7.0]\n[6.0, 7.0]\n"), err


def test_a_large_array_is_shared_by_the_trials(tune_run):
    """200 MB travel once; a trial that copied them would have them in its own private memory."""
    data = np.ones(25_000_000)

    def train(config, data):
        import re

        smaps = open("/proc/self/smaps_rollup").read()
        private = sum(int(n) for n in re.findall(r"Private_Dirty:\s+(\d+)", smaps))
        return {"sum": float(data[::1000].sum()), "private_mib": private / 1024}

    result = tune_run(functools.partial(train, data=data), num_samples=4)
    assert [trial.metrics["sum"] for trial in result.trials] == [25_000.0] * 4
    assert all(trial.metrics["private_mib"] < 50 for trial in result.trials)


def test_objects_in_the_config_arrive_as_the_same_objects(tmp_path):
    script = f"""
import fractions, math
import tunesmith as tune
class Adam: pass
class SGD: pass
def train(config):
    kinds = {{"Adam": Adam, "SGD": SGD, "Fraction": fractions.Fraction}}
    assert config["optimizer"] is kinds[config["optimizer"].__name__], config
    assert config["function"] is math.sin
    assert config["pair"] == (1, float("inf"))
    assert isinstance(config["made"], SGD)
    return 1.0
space = {{"optimizer": tune.grid_search([Adam, SGD, fractions.Fraction]), "function": math.sin,
          "pair": (1, float("inf")), "made": tune.sample_from(lambda _: SGD())}}
result = tune.run(train, config=space, local_dir={str(tmp_path / "r")!r}, verbose=0, raise_on_failed_trial=False)
print([(trial.state.value, trial.error) for trial in result.trials])
"""
    code, out, err = output_of(start_script(tmp_path / "script.py", script))
    assert (code, out) == (0, f"{[('COMPLETED', None)] * 3}\n"), err


def test_a_config_that_cannot_travel_makes_its_trial_invalid_and_no_other(tune_run):
    class Stubborn:
        def __reduce__(self):
            raise TypeError("I stay at home")

    result = tune_run(lambda config: 1.0, config={"x": tune.grid_search([1, Stubborn()])})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED, TrialStatus.INVALID]
    assert "I stay at home" in result.trials[1].reason


def test_a_config_beyond_the_limit_makes_its_trial_invalid(tune_run):
    result = tune_run(lambda config: 1.0, config={"x": tune.grid_search([1, "x" * 3_000_000])})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED, TrialStatus.INVALID]
    assert "the limit is 2,097,152" in result.trials[1].reason


def test_a_module_that_workers_cannot_import_is_an_error_that_names_it(tune_run, monkeypatch):
    import sys
    import types

    module = types.ModuleType("only_here")
    exec("def train(config):\n    return 1.0", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(TrainableError, match="No module named 'only_here'"):
        tune_run(module.train)


def test_a_long_path_for_temporary_files_is_no_obstacle(tune_run, tmp_path, monkeypatch):
    """A socket's path has 107 bytes at most; clusters have longer TMPDIRs."""
    import tempfile

    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert tune_run(lambda config: 1.0).trials[0].state is TrialStatus.COMPLETED


def test_a_cached_helper_of_the_script_travels(tmp_path):
    status, out, err = output_of(start_script(tmp_path / "script.py", CACHED_HELPER))
    assert (status, out) == (0, "[6.0, 7.0]\n"), err


CACHED_HELPER = """
import functools
import tunesmith as tune

@functools.lru_cache
def load():
    return 5

@functools.lru_cache(maxsize=None)
def load_more(n):
    return n

def train(config):
    tune.report(loss=load() * 1.0 + load_more(config["n"]))

result = tune.run(train, config={"n": tune.grid_search([1, 2])}, metric="loss", mode="min", verbose=0)
print([trial.last_result["loss"] for trial in result])
"""
