"""`tune.load(folder).resume(...)`: what is taken from the store, what must be given again, and where it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError
from tunesmith.schedulers import ASHAScheduler, FIFOScheduler
from tunesmith.searchers import RandomSearch
from tunesmith.spec import ExperimentSpec
from tunesmith.stoppers import TimeoutStopper
from tunesmith.stores import open_reader

SPACE = {"x": tune.uniform(0, 1)}
FACTS: dict[str, Any] = {
    "time_budget_s": 500.0, "max_total_steps": 400, "fail_fast": "raise", "grace_s": 3.0, "max_failures": 2,
    "max_concurrent_trials": 3, "keep_checkpoints_num": 4, "checkpoint_score_attr": "min-loss", "checkpoint_freq": 2,
    "checkpoint_at_end": True, "first_report_timeout_s": 70.0, "report_timeout_s": 60.0, "nan_policy": "stop",
    "resources_per_trial": {"cpu": 0.5},
}  # fmt: skip


def train(config: dict[str, Any]) -> None:
    for i in range(1, 4):
        with tune.checkpoint_dir(step=i) as folder:
            Path(folder, "step").write_text(str(i))
        tune.report(loss=config["x"] + 1 / i, score=-i)


def start(**arguments: Any) -> Any:
    given = {"config": SPACE, "metric": "loss", "mode": "min", "num_samples": 2, "name": "mine", "verbose": 0}
    return tune.run(train, **{**given, "executor": "inline", **arguments})


def resume(tmp_path: Path, **arguments: Any) -> Any:
    loaded = tune.load(tmp_path / "results" / "mine")
    return loaded.resume(train, **{"num_samples": 3, "executor": "inline", "verbose": 0, **arguments})


def facts(result: Any) -> dict[str, Any]:
    """What was asked for, without what says which experiment it is."""
    spec: ExperimentSpec = open_reader(result.folder).spec
    changing = ("n_trials", "source_digest")
    return {name: getattr(spec, name) for name in spec.__struct_fields__ if name not in changing}


def test_what_was_given_before_holds_unless_it_is_given_anew(tmp_path: Path) -> None:
    before = facts(start(**FACTS))
    assert facts(resume(tmp_path)) == before
    assert facts(resume(tmp_path, num_samples=4, grace_s=5.0)) == {**before, "grace_s": 5.0}


def test_as_many_checkpoints_are_kept_as_before(tmp_path: Path) -> None:
    result = start(keep_checkpoints_num=3, num_samples=1)
    again = resume(tmp_path, num_samples=2)
    n_kept = "SELECT trial, count(*) FROM checkpoints WHERE state = 'kept' GROUP BY trial"
    assert result.folder == again.folder
    assert again.reader.query(n_kept) == [(0, 3), (1, 3)]


def test_an_inline_experiment_may_run_more_trials_at_a_time_elsewhere(tmp_path: Path) -> None:
    """Regression: that inline trials run one by one was stored as if it had been asked for."""
    assert facts(start())["max_concurrent_trials"] is None


@pytest.mark.parametrize(
    ("arguments", "name", "words"),
    [
        ({"stop": {"training_iteration": 2}}, "stop", r"stop= \(DictStopper\).*stop=None"),
        ({"stop": lambda trial_id, result: False}, "stop", r"stop= \(FunctionStopper\)"),
        ({"search_alg": "grid"}, "search_alg", r"search_alg= \(GridSearch\).*search_alg='auto'"),
        ({"search_alg": RandomSearch([{"x": 0.5}])}, "search_alg", r"\(RandomSearch with points_to_evaluate\)"),
        ({"scheduler": "asha"}, "scheduler", r"\(AsyncHyperBandScheduler\).*scheduler='fifo'"),
    ],
    ids=["stop", "stop-function", "search-by-name", "search-with-points", "scheduler"],
)
def test_what_only_code_can_give_is_asked_for_by_name(
    tmp_path: Path, arguments: dict[str, Any], name: str, words: str
) -> None:
    start(**arguments)
    with pytest.raises(ConfigError, match=words):
        resume(tmp_path)
    assert len(resume(tmp_path, **arguments)) == 3
    assert len(resume(tmp_path, **{name: None}, num_samples=4)) == 4


@pytest.mark.parametrize(
    "arguments", [{}, {"search_alg": "random"}, {"scheduler": "fifo"}, {"scheduler": FIFOScheduler()}, {"stop": None}]
)
def test_what_is_so_by_default_need_not_be_given_again(tmp_path: Path, arguments: dict[str, Any]) -> None:
    start(**arguments)
    assert len(resume(tmp_path)) == 3


# ---------------------------------------------------------------- the objective


@pytest.mark.parametrize(
    "scheduler",
    ["asha", "fifo", None, FIFOScheduler(), ASHAScheduler(max_t=3), ASHAScheduler(max_t=3, metric="loss", mode="min")],
    ids=lambda value: getattr(value, "_metric", None) or str(value)[:20],
)
def test_the_objective_stays_whoever_schedules(tmp_path: Path, scheduler: Any) -> None:
    before = facts(start())["objective"]
    assert facts(resume(tmp_path, scheduler=scheduler))["objective"] == before


def test_an_objective_of_the_call_or_its_scheduler_comes_before_the_stored_one(tmp_path: Path) -> None:
    start()
    other = resume(tmp_path, metric="score", mode="min", on_change={"objective": "allow"})
    assert other.best.value == -3.0
    scheduler = ASHAScheduler(max_t=3, metric="score", mode="max")
    again = resume(tmp_path, scheduler=scheduler, num_samples=4, on_change={"objective": "allow"})
    assert again.best.value == -1.0


# ---------------------------------------------------------------- grids and places


def test_the_number_of_samples_is_that_of_the_old_grid_whatever_the_new_one_is(tmp_path: Path) -> None:
    start(config={"x": tune.grid_search([1, 2])}, num_samples=1)
    loaded = tune.load(tmp_path / "results" / "mine")
    space = {"x": tune.grid_search([1, 2, 3, 4])}
    more = loaded.resume(train, config=space, executor="inline", verbose=0, on_change={"space": "allow"})
    assert [trial.config["x"] for trial in more] == [1, 2, 3, 4]


@pytest.mark.parametrize("argument", ["name", "storage_path", "local_dir"])
def test_another_place_is_refused(tmp_path: Path, argument: str) -> None:
    start()
    with pytest.raises(ConfigError, match=f"{argument}=.*results/mine"):
        resume(tmp_path, **{argument: str(tmp_path / "elsewhere")})
    assert not (tmp_path / "elsewhere").exists()


def test_a_copy_of_the_database_can_be_looked_at_and_not_gone_on_with(tmp_path: Path) -> None:
    start()
    archive = tmp_path / "archive"
    archive.mkdir()
    shutil.copy(tmp_path / "results" / "mine" / "experiment.db", archive / "mine.db")
    loaded = tune.load(archive / "mine.db")
    assert len(loaded) == 2
    with pytest.raises(ConfigError, match=r"mine.db is a copy.*as experiment.db"):
        loaded.resume(train, num_samples=3)
    assert not (archive / "experiment.db").exists()


def test_a_folder_that_was_given_a_name_with_a_tilde_can_be_gone_on_with(tmp_path: Path) -> None:
    start()
    (tmp_path / "results" / "mine").rename(tmp_path / "results" / "~old")
    loaded = tune.load(tmp_path / "results" / "~old")
    assert len(loaded.resume(train, num_samples=3, executor="inline", verbose=0)) == 3
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["~old"]


def test_the_timeout_of_a_stop_rule_is_not_kept_as_a_budget_of_its_own() -> None:
    """Regression: it was stored as time_budget_s, and held although the rule was taken back."""

    def train(config: dict[str, Any]) -> float:
        return 1.0

    result = tune.run(train, name="timed", stop=TimeoutStopper(600), executor="inline", verbose=0)
    assert tune.load(result.folder).reader.spec.time_budget_s is None
    again = tune.load(result.folder).resume(train, stop=None, num_samples=2, executor="inline", verbose=0)
    assert len(again.trials) == 2
