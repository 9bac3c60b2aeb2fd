"""How the user's code and objects travel to the workers (F23, F24, F25, F27)."""

from __future__ import annotations

import functools
import json
import os
import threading

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import TrainableError, TuneError
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


def test_what_is_large_is_named_with_its_size(tune_run, monkeypatch, caplog):
    monkeypatch.setattr("tunesmith.executors.processes.code._LARGE_BYTES", 3 * 2**20)
    offset, the_large_one = np.ones(1000), np.ones(4 * 2**17)  # 4 MiB

    def train(config):
        return float(the_large_one[0] + offset[0])

    assert tune_run(train).trials[0].metrics["_metric"] == 2.0
    notes = [message for message in caplog.messages if "MiB" in message]
    assert notes == [
        "The trainable is 4 MiB with what it captures, most of it 'the_large_one'. "
        "It is sent once and shared by all trials."
    ]


def test_what_is_small_is_not_spoken_of(tune_run, monkeypatch, caplog):
    monkeypatch.setattr("tunesmith.executors.processes.code._LARGE_BYTES", 5 * 2**20)
    data = np.ones(4 * 2**17)
    assert tune_run(lambda config: float(data[0])).trials[0].metrics["_metric"] == 1.0
    assert [message for message in caplog.messages if "MiB" in message] == []


def test_a_lambda_in_the_config_arrives_and_is_stored_by_a_label(tune_run):
    """F25."""
    scale = 10
    space = {"act": tune.grid_search([lambda x: x + 1, lambda x: x * scale]), "loss": {"of": lambda: 5}}
    result = tune_run(lambda config: config["act"](config["loss"]["of"]()), config=space)
    assert [trial.metrics["_metric"] for trial in result.trials] == [6.0, 50.0]
    loaded = tune.load(result.folder)
    label = f"{__name__}.test_a_lambda_in_the_config_arrives_and_is_stored_by_a_label.<locals>.<lambda>"
    assert [str(trial.config["act"]) for trial in loaded.trials] == [label] * 2
    stored = [json.loads(row[0]) for row in loaded.reader.query("SELECT config FROM trials ORDER BY trial")]
    tags = [{"$object": label, "leaf": ["act"], "choice": index} for index in range(2)]
    assert [config["act"] for config in stored] == tags
    assert stored[0]["loss"]["of"] == {"$object": label, "leaf": ["loss", "of"]}
    loaded.reader.close()


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


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda lock: {"the_lock": lock}, "the_lock"),
        (lambda lock: {"x": 1, "the_lock": tune.choice([1, lock])}, "the_lock"),
        (lambda lock: {"the_lock": tune.grid_search([lock])}, "the_lock"),
        (lambda lock: {"data": {"pair": (1, [lock])}}, "data/pair/1/0"),
        (lambda lock: {"model": tune.choice([{"lock": lock, "lr": tune.uniform(0, 1)}])}, "model/0/lock"),
    ],
    ids=["constant", "choice", "grid", "inside lists", "inside an option"],
)
def test_a_value_of_the_space_that_cannot_be_pickled_is_named_before_anything_starts(tune_run, tmp_path, make, name):
    """F23."""
    with pytest.raises(TrainableError, match=f"its value '{name}' cannot be pickled .*cannot pickle '_thread.lock'"):
        tune_run(lambda config: 1.0, config=make(threading.Lock()), num_samples=12)
    assert list(tmp_path.iterdir()) == [tmp_path / "pids"], "the name is still free for the mended space"


def test_only_what_a_function_of_the_space_returns_must_travel_and_not_the_function(tune_run):
    lock = threading.Lock()
    assert (
        tune_run(lambda c: float(c["x"]), config={"x": tune.sample_from(lambda: lock.locked())}).trials[0].error is None
    )


def test_a_config_that_cannot_travel_fails_its_trial_and_no_other(tune_run):
    class Stubborn:
        def __reduce__(self):
            raise TypeError("I stay at home")

    space = {"i": tune.grid_search([0, 1]), "x": tune.sample_from(lambda c: [Stubborn()] if c.i else 1)}
    result = tune_run(lambda config: 1.0, config=space)
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED, TrialStatus.FAILED]
    words = "its value 'x/0' cannot be pickled (TypeError: I stay at home). Create such an object"
    assert words in result.trials[1].error


def test_configs_that_cannot_travel_end_the_experiment_and_raise_like_any_failure(tune_run):
    space = {"x": tune.sample_from(lambda: threading.Lock())}
    with pytest.raises(TuneError, match="its value 'x' cannot be pickled"):
        tune_run(lambda config: 1.0, config=space, num_samples=12, name="e", raise_on_failed_trial=True)
    result = tune_run(lambda config: 1.0, config=space, num_samples=12, name="e")
    states = [trial.state for trial in result.trials]
    assert states.count(TrialStatus.FAILED) < 12, "five that fail alike are enough"


def test_a_config_beyond_the_limit_fails_its_trial(tune_run):
    result = tune_run(lambda config: 1.0, config={"x": tune.grid_search([1, "x" * 3_000_000])})
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED, TrialStatus.FAILED]
    assert "the limit is 2,097,152" in result.trials[1].reason


TRACEBACK = """
import tunesmith as tune
def helper(x):
    return 1 / x
def train(config):
    return config["f"](helper)
result = tune.run(train, config={"f": tune.choice([lambda function: function(0)])}, verbose=0,
                  raise_on_failed_trial=False)
print(result.trials[0].error)
"""


def test_a_traceback_begins_in_the_users_script_and_shows_its_lines(tmp_path):
    script = tmp_path / "script.py"
    status, out, err = output_of(start_script(script, TRACEBACK))
    assert status == 0, err
    frames = [line for line in out.splitlines() if "^" not in line and "~" not in line and line]
    assert frames == [
        "Traceback (most recent call last):",
        f'  File "{script}", line 6, in train',
        '    return config["f"](helper)',
        f'  File "{script}", line 7, in <lambda>',
        '    result = tune.run(train, config={"f": tune.choice([lambda function: function(0)])}, verbose=0,',
        f'  File "{script}", line 4, in helper',
        "    return 1 / x",
        "ZeroDivisionError: division by zero",
    ]


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
