"""`tune.run`, `minimize` and `maximize` as users call them; real processes unless inline is enough."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, ExperimentExistsError, ResourceError, SpaceError, TrainableError
from tunesmith.schedulers import ASHAScheduler

inline = functools.partial(tune.run, executor="inline", verbose=0)


def descend(config: dict[str, Any]) -> None:
    for i in range(1, 5):
        tune.report(loss=config["x"] + 1 / i)


def test_the_best_comes_from_one_and_the_same_step() -> None:
    def train(config: dict[str, Any]) -> None:
        for i, loss in enumerate([3.0, config["x"], 2.0], start=1):
            with tune.checkpoint_dir(step=i) as folder:
                Path(folder, "state").write_text(str(loss))
            tune.report(loss=loss)

    result = inline(train, config={"x": tune.grid_search([0.5, 0.25, 0.75])}, metric="loss", mode="min")
    best = result.best
    assert (best.config, best.value, best.step) == ({"x": 0.25}, 0.25, 2)
    assert Path(best.checkpoint, "state").read_text() == "0.25"
    assert result.get_best_trial("loss", "min", "last").last_result["loss"] == 2.0
    assert result.get_best_trial("loss", "min", "all").config == {"x": 0.25}


def test_best_config_works_when_metric_and_mode_went_to_the_scheduler_only() -> None:
    scheduler = ASHAScheduler(metric="loss", mode="min", max_t=4)
    result = inline(descend, config={"x": tune.grid_search([1.0, 2.0])}, scheduler=scheduler)
    assert result.best_config == {"x": 1.0}


def test_metric_on_both_sides_is_refused() -> None:
    with pytest.raises(ValueError, match="one of the two places"):
        inline(descend, metric="loss", mode="min", scheduler=ASHAScheduler(metric="loss", mode="min"))


def test_a_scheduler_without_a_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="no metric to compare"):
        inline(descend, config={"x": 1.0}, scheduler=ASHAScheduler())


def test_grids_are_crossed_and_repeated_num_samples_times() -> None:
    space = {"a": tune.grid_search([1, 2]), "b": tune.grid_search(["x", "y", "z"]), "c": tune.uniform(0, 1)}
    result = inline(lambda config: 1.0, config=space, num_samples=2)
    pairs = [(trial.config["a"], trial.config["b"]) for trial in result]
    assert pairs == 2 * [(1, "x"), (2, "x"), (1, "y"), (2, "y"), (1, "z"), (2, "z")]
    assert len({trial.config["c"] for trial in result}) == 12


def test_the_same_seed_gives_the_same_configs_and_results_in_processes_and_inline() -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": config["x"] + float(np.random.rand())}

    space = {"x": tune.loguniform(1e-3, 1), "l": tune.sample_from(lambda _: 2 ** np.random.randint(2, 9))}
    runs = [tune.run(train, config=space, num_samples=4, seed=7, verbose=0) for _ in range(2)]
    configs = [[trial.config for trial in run] for run in runs]
    losses = [[trial.last_result["loss"] for trial in run] for run in runs]
    assert configs[0] == configs[1] == [t.config for t in inline(train, config=space, num_samples=4, seed=7)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 4


@pytest.mark.parametrize(
    ("optimize", "pick"), [(tune.minimize, min), (tune.maximize, max)], ids=["minimize", "maximize"]
)
def test_the_returned_number_is_the_objective(optimize: Any, pick: Any) -> None:
    result = optimize(lambda c: (c["x"] - 1) ** 2, {"x": tune.uniform(0, 3)}, num_samples=8, verbose=0)
    values = [(trial.config["x"] - 1) ** 2 for trial in result]
    assert result.best.value == pick(values)


def test_the_only_metric_reported_is_the_objective_of_minimize() -> None:
    result = tune.minimize(descend, {"x": tune.grid_search([3.0, 1.0, 2.0])}, num_samples=1, max_t=4, verbose=0)
    assert result.best.config == {"x": 1.0}
    assert result.best.trial.last_result["loss"] == result.best.value


def test_several_metrics_without_a_name_are_refused_where_they_are_reported() -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0, accuracy=0.5)

    with pytest.raises(tune.TuneError, match="which one is the objective"):
        tune.minimize(train, {"x": 1.0}, num_samples=1, executor="inline", verbose=0)


def test_a_misspelt_metric_names_the_closest_one() -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(acuracy=0.5)

    with pytest.raises(tune.TuneError, match="Did you mean metric='acuracy'"):
        inline(train, metric="accuracy", mode="max")


def test_a_failed_trial_raises_at_the_end_and_the_others_are_kept() -> None:
    def train(config: dict[str, Any]) -> None:
        if config["x"] == 2:
            raise RuntimeError("bad luck")
        tune.report(loss=config["x"])

    space = {"x": tune.grid_search([1, 2, 3])}
    with pytest.raises(tune.TuneError, match="bad luck"):
        tune.run(train, config=space, metric="loss", mode="min", name="kept", verbose=0)
    result = inline(train, config=space, metric="loss", mode="min", raise_on_failed_trial=False)
    assert [trial.status for trial in result] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert "bad luck" in next(iter(result.errors.values()))


def test_max_failures_starts_again_from_the_newest_checkpoint(tmp_path: Path) -> None:
    def train(config: dict[str, Any], checkpoint_dir: str | None = None) -> None:
        start = int(Path(checkpoint_dir, "step").read_text()) if checkpoint_dir else 0
        for step in range(start + 1, 6):
            with tune.checkpoint_dir(step=step) as folder:
                Path(folder, "step").write_text(str(step))
            tune.report(loss=1 / step, started_from=start)
            if step == 3 and start == 0:
                raise RuntimeError("once")

    result = tune.run(train, metric="loss", mode="min", max_failures=1, verbose=0)
    (trial,) = result
    assert trial.trial.n_failures == 1
    assert [step for step, _ in trial.values("loss")] == [1, 2, 3, 4, 5]
    assert trial.last_result["started_from"] == 3


def test_a_stop_dict_a_function_and_a_stopper_end_trials() -> None:
    def train(config: dict[str, Any]) -> None:
        for i in range(100):
            tune.report(loss=1.0, accuracy=i / 10)

    def stop(trial_id: str, result: dict[str, Any]) -> bool:
        return bool(result["accuracy"] >= 0.3)

    assert inline(train, stop={"training_iteration": 5})[0].last_result["training_iteration"] == 5
    assert inline(train, stop={"accuracy": 0.7})[0].last_result["accuracy"] == 0.7
    assert inline(train, stop=stop)[0].last_result["accuracy"] == 0.3


def test_an_unknown_key_in_stop_fails_the_trial_with_the_metrics_seen() -> None:
    with pytest.raises(tune.TuneError, match="acc"):
        inline(lambda config: tune.report(accuracy=1.0), stop={"acc": 2})


def test_code_after_the_loop_runs_only_for_trials_that_were_not_stopped(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        try:
            for _ in range(config["n"]):
                tune.report(loss=1.0)
            Path(tmp_path, f"finished_{config['n']}").touch()
        finally:
            Path(tmp_path, f"finally_{config['n']}").touch()

    tune.run(train, config={"n": tune.grid_search([2, 9])}, stop={"training_iteration": 5}, verbose=0)
    assert sorted(path.name for path in tmp_path.glob("fin*")) == ["finally_2", "finally_9", "finished_2"]


def test_a_name_goes_on_and_a_finished_one_is_returned(capsys: pytest.CaptureFixture[str]) -> None:
    space = {"x": tune.uniform(0, 1)}
    first = inline(descend, config=space, name="again", num_samples=2, metric="loss", mode="min")
    more = inline(descend, config=space, name="again", num_samples=5, metric="loss", mode="min")
    assert [t.config for t in more][:2] == [t.config for t in first]
    assert len(more) == 5
    same = tune.run(
        descend, config=space, name="again", num_samples=5, metric="loss", mode="min", executor="inline", verbose=1
    )
    assert len(same) == 5
    assert "is finished" in capsys.readouterr().out


def test_a_changed_space_or_objective_is_refused_with_what_changed() -> None:
    inline(descend, config={"x": tune.uniform(0, 1)}, name="changed", metric="loss", mode="min")
    with pytest.raises(ExperimentExistsError, match="x"):
        inline(descend, config={"x": tune.uniform(0, 2)}, name="changed", num_samples=2, metric="loss", mode="min")
    with pytest.raises(ExperimentExistsError, match="max loss"):
        inline(descend, config={"x": tune.uniform(0, 1)}, name="changed", num_samples=2, metric="loss", mode="max")
    allowed = inline(
        descend,
        config={"x": tune.uniform(5, 6)},
        name="changed",
        num_samples=2,
        metric="loss",
        mode="min",
        on_change={"space": "allow"},
    )
    assert allowed[1].config["x"] > 5


def trained(*, is_changed: bool) -> Any:
    """A function called `train`, in one of two texts."""
    if is_changed:

        def train(config: dict[str, Any]) -> None:
            tune.report(loss=config["x"] + 1.0)

        return train

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])

    return train


@pytest.mark.parametrize(
    ("is_changed", "on_change", "n_warnings"),
    [(False, {}, 0), (True, {}, 1), (True, {"code": "warn"}, 1), (True, {"code": "ignore"}, 0)],
)
def test_changed_source_text_is_warned_about_unless_that_is_ignored_and_the_experiment_goes_on(
    caplog: pytest.LogCaptureFixture, is_changed: bool, on_change: dict[str, str], n_warnings: int
) -> None:
    space = {"x": tune.grid_search([0.0])}
    inline(trained(is_changed=False), config=space, name="edited", metric="loss", mode="min")
    again = inline(
        trained(is_changed=is_changed),
        config=space,
        name="edited",
        metric="loss",
        mode="min",
        num_samples=2,
        on_change=on_change,
    )
    assert [trial.last_result["loss"] for trial in again] == [0.0, 1.0 if is_changed else 0.0]
    words = "The source of train has changed since the experiment 'edited' began."
    assert caplog.messages.count(words) == n_warnings


def test_a_changed_space_or_objective_that_is_allowed_goes_on_with_the_new_one() -> None:
    go = functools.partial(inline, descend, name="changed")
    go(config={"x": tune.grid_search([1.0, 2.0])}, metric="loss", mode="min")
    changed = {"config": {"x": tune.grid_search([4.0, 3.0])}, "metric": "loss", "mode": "max", "num_samples": 2}
    with pytest.raises(ExperimentExistsError, match="another space"):
        go(**changed, on_change={"objective": "allow"})
    with pytest.raises(ExperimentExistsError, match="another objective: the objective was min loss, is max loss"):
        go(**changed, on_change={"space": "allow"})
    result = go(**changed, on_change={"space": "allow", "objective": "allow"})
    assert [trial.config["x"] for trial in result] == [1.0, 2.0, 4.0, 3.0]
    assert (result.best_config, result.best.value) == ({"x": 4.0}, 5.0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_samples": 0}, ConfigError, "num_samples is 0"),
        ({"config": [1]}, SpaceError, "dict"),
        ({"resources_per_trial": {"cpu": 4096}}, ResourceError, "4096 CPUs; the largest node"),
        ({"resources_per_trial": {"cpu": -1}}, ResourceError, "'cpu' is -1"),
        ({"resources_per_trial": {"gpu": 1.5}}, ResourceError, "1.5 GPUs"),
        ({"metric": "loss"}, ConfigError, "Give both"),
        ({"metric": "loss", "mode": "minimise"}, ConfigError, "'min' or 'max'"),
        ({"time_budget_s": -1}, ConfigError, "time_budget_s"),
        ({"max_concurrent_trials": 0}, ConfigError, "max_concurrent_trials is 0"),
        ({"max_failures": -2}, ConfigError, "max_failures is -2"),
        ({"keep_checkpoints_num": 0}, ConfigError, "keep_checkpoints_num is 0"),
        ({"seed": -1}, ConfigError, "seed is -1"),
        ({"name": "../up"}, ConfigError, "plain folder name"),
        ({"resume": True}, ConfigError, "there is no name"),
        ({"no_such_argument": 1}, ConfigError, "no_such_argument"),
        ({"executor": "threads"}, ConfigError, "'processes', 'inline' or 'ray'"),
        ({"scheduler": "asherah"}, ConfigError, "asherah"),
        ({"search_alg": "psychic"}, ConfigError, "psychic"),
        ({"durability": "maybe"}, ConfigError, "durability"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_argument_is_refused_before_a_folder_is_made(
    arguments: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        tune.run(descend, **{"verbose": 0, "executor": "inline", **arguments})
    assert not list(tmp_path.glob("results/*/experiment.db"))


NOT_WRITABLE = """
import os, sys
import tunesmith as tune
from tunesmith.executors.processes import ProcessExecutor

class Watched(ProcessExecutor):
    def start(self, launch):
        print("started")
        super().start(launch)

def run(folder, name=None, executor="inline"):
    return tune.run(lambda config: print("called"), name=name, verbose=0, local_dir=folder, executor=executor)

run(sys.argv[2])  # what is imported late is imported now: where Python lies, another user may not be able to read it
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for name in (None, "e"):
    try:
        run(sys.argv[1], name, Watched({"cpu": 1}))
    except tune.TunesmithError as error:
        print(error)
"""


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no owners and modes")
@pytest.mark.parametrize("whose", ["read-only", "of another user"])
def test_a_folder_that_cannot_be_written_is_refused_with_path_and_uid_before_anything_starts(
    public_folder: Path, tmp_path: Path, whose: str
) -> None:
    """F44. Root may write everywhere, so it becomes somebody else for this."""
    is_root = os.getuid() == 0
    uid = 65534 if is_root else os.getuid()
    results = public_folder / "results"
    results.mkdir(mode=0o755)
    if whose == "read-only":
        os.chown(results, uid, -1)
        results.chmod(0o555)
    elif not is_root:
        pytest.skip("only root can be two users")
    command = [sys.executable, "-c", NOT_WRITABLE, str(results), str(tmp_path / "warm")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    called, *errors = done.stdout.splitlines()
    assert (called, len(errors)) == ("called", 2), done.stdout
    for error, name in zip(errors, (r"lambda_[-\d_]+", "e"), strict=True):
        assert re.match(rf"{results}/{name} cannot be opened or written by uid {uid} \(.*Permission denied", error)
    assert list(results.iterdir()) == []


def test_a_bad_space_names_its_leaf() -> None:
    with pytest.raises(SpaceError, match="lr"):
        inline(descend, config={"opt": {"lr": {"grid_search": 3}}})


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TrainableError, match="train"):
        inline(None)
    with pytest.raises(TrainableError):
        inline(lambda: None)


def test_arguments_of_old_code_without_effect_are_named(caplog: pytest.LogCaptureFixture) -> None:
    inline(descend, config={"x": 1.0}, reuse_actors=True, local_dir=None)
    assert "reuse_actors" in caplog.text


def test_nan_and_infinities_are_kept_exactly_and_rank_last() -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])

    result = inline(train, config={"x": tune.grid_search([math.nan, math.inf, 1.0, -1.0])}, metric="loss", mode="min")
    values = [trial.last_result["loss"] for trial in result]
    assert math.isnan(values[0]) and values[1:] == [math.inf, 1.0, -1.0]
    assert result.best.value == -1.0


def test_load_needs_no_code_and_sqlite_alone_understands_the_tables(tmp_path: Path) -> None:
    import sqlite3

    result = inline(descend, config={"x": tune.grid_search([1.0, 2.0])}, name="plain", metric="loss", mode="min")
    loaded = tune.load(tmp_path / "results" / "plain")
    assert loaded.best.config == result.best.config == {"x": 1.0}
    with sqlite3.connect(f"file:{tmp_path}/results/plain/experiment.db?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT trial, step, metrics FROM results ORDER BY trial, step").fetchall()
    assert [(trial, step) for trial, step, _ in rows] == [(t, s) for t in (0, 1) for s in (1, 2, 3, 4)]
    assert json.loads(rows[0][2]) == {"loss": 2.0}


def test_importing_tunesmith_loads_nothing_heavy() -> None:
    heavy = ["numpy", "scipy", "rich", "pandas", "torch", "apsw", "click", "psutil", "cloudpickle"]
    code = f"import sys, tunesmith; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented() -> None:
    for name in tune.__all__:
        assert getattr(tune, name).__doc__, name


def test_a_metric_that_is_missing_in_the_first_report_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(1, 4):
            tune.report(accuracy=1.0 / step)

    inline(train, metric="loss", mode="min", num_samples=3)
    note = "No trial has reported the metric 'loss' so far, only 'accuracy'. Report it, or change metric=."
    assert caplog.text.count(note) == 1
