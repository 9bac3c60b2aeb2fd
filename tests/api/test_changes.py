"""Going on with another objective, space or code: refused, or right for all that is stored."""

from __future__ import annotations

import functools
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import ExperimentExistsError
from tunesmith.schedulers import ASHAScheduler

inline = functools.partial(tune.run, executor="inline", verbose=0, name="changed")
SPACE = {"x": tune.grid_search([0.9, 0.5])}


def train(config: dict[str, Any]) -> None:
    """The best loss comes last, the best score first."""
    for step in (1, 2, 3):
        with tune.checkpoint_dir(step=step) as folder:
            Path(folder, "step").write_text(str(step))
        tune.report(loss=config["x"] / step, score=config["x"] / step)


def rows(tmp_path: Path, sql: str) -> list[Any]:
    with sqlite3.connect(f"file:{tmp_path}/results/changed/experiment.db?mode=ro", uri=True) as connection:
        return connection.execute(sql).fetchall()


# ---------------------------------------------------------------- the objective


@pytest.mark.parametrize("num_samples", [1, 2], ids=["nothing new", "a sample more"])
def test_after_another_objective_every_result_and_trial_is_ranked_by_it(tmp_path: Path, num_samples: int) -> None:
    inline(train, config=SPACE, metric="loss", mode="min")
    result = inline(
        train, config=SPACE, metric="score", mode="max", num_samples=num_samples, on_change={"objective": "allow"}
    )
    assert (result.best.config, result.best.value, result.best.step) == ({"x": 0.9}, 0.9, 1)
    assert [trial.trial.best_value for trial in result] == [0.9, 0.5] * num_samples
    assert [trial.trial.best_step for trial in result] == [1, 1] * num_samples
    assert result.best_trial is not None and result.best_trial.config == {"x": 0.9}
    assert "best score=0.9 (" in repr(result)
    assert rows(tmp_path, "SELECT metric, mode FROM experiment") == [("score", "max")]
    wrong = "SELECT * FROM results WHERE value <> json_extract(metrics, '$.score') OR kind <> 'finite'"
    assert rows(tmp_path, wrong) == []
    assert rows(tmp_path, "SELECT value, best_value FROM trials WHERE trial = 1") == [(0.5 / 3, 0.5)]


def test_a_replay_gives_the_checkpoints_the_scores_of_the_new_objective_and_so_does_the_store(tmp_path: Path) -> None:
    inline(train, config=SPACE, metric="loss", mode="min", keep_checkpoints_num=3)
    result = inline(
        train, config=SPACE, metric="score", mode="max", keep_checkpoints_num=3, on_change={"objective": "allow"}
    )
    saved = result[0].trial.checkpoints
    assert [(c.score, c.best_value, c.best_step) for c in saved] == [(-0.9, 0.9, 1), (-0.45, 0.9, 1), (-0.3, 0.9, 1)]


def test_what_the_new_objective_lacks_in_old_results_is_missing_and_what_is_not_finite_is_never_best() -> None:
    def odd(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        tune.report(loss=2.0, score=math.inf)
        tune.report(loss=3.0, score=math.nan)
        tune.report(loss=4.0, score=5.0)

    go = functools.partial(inline, odd, config={"x": 1.0})
    go(metric="loss", mode="min")
    result = go(metric="score", mode="max", on_change={"objective": "allow"})
    kinds = [(found.kind, found.value) for found in result.reader.results()]
    assert [kind for kind, _ in kinds] == ["missing", "inf", "nan", "finite"]
    assert (result.best.value, result.best.step) == (5.0, 4)


def test_an_objective_can_be_given_up_and_taken_up_again() -> None:
    go = functools.partial(inline, train, config=SPACE, on_change={"objective": "allow"})
    go(metric="loss", mode="min")
    assert [trial.trial.best_value for trial in go()] == [None, None]
    assert go(metric="loss", mode="min").best.value == 0.5 / 3


def test_the_columns_follow_the_call_that_goes_on(tmp_path: Path) -> None:
    inline(train, config=SPACE, metric="loss", mode="min")

    def renamed(config: dict[str, Any]) -> None:
        train(config)

    inline(renamed, config=SPACE, scheduler=ASHAScheduler(metric="loss", mode="min", max_t=3), num_samples=2)
    columns = "SELECT trainable, metric, mode, n_trials, scheduler FROM experiment"
    assert rows(tmp_path, columns) == [("renamed", "loss", "min", 4, "AsyncHyperBandScheduler")]


# ---------------------------------------------------------------- an objective that had no name


def only_loss(config: dict[str, Any]) -> None:
    for step in (1, 2):
        tune.report(loss=config["x"] / step)


def returning(config: dict[str, Any]) -> float:
    return float(config["x"])


minimize = functools.partial(tune.minimize, executor="inline", verbose=0, name="changed", num_samples=1)


def test_the_only_metric_may_be_named_later() -> None:
    minimize(only_loss, SPACE)
    result = minimize(only_loss, SPACE, metric="loss", num_samples=2)
    assert (result.best.value, len(result)) == (0.25, 4)
    assert result.reader.spec.objective.metrics == ("loss",)


@pytest.mark.parametrize(
    ("trainable", "arguments", "words"),
    [
        (
            returning,
            {"metric": "loss"},
            "min the returned or only metric, is min loss.*without metric=",
        ),
        (only_loss, {"metric": "score"}, "is min score.*without metric= in tune.minimize"),
    ],
)
def test_a_name_for_something_else_is_refused_with_what_to_do(
    trainable: Any, arguments: dict[str, Any], words: str
) -> None:
    minimize(trainable, SPACE)
    with pytest.raises(ExperimentExistsError, match=words):
        minimize(trainable, SPACE, **arguments, num_samples=2)


def test_a_name_that_is_left_out_later_is_asked_for_in_the_words_of_the_call() -> None:
    minimize(only_loss, SPACE, metric="loss")
    with pytest.raises(ExperimentExistsError, match="give metric='loss' and mode='min' as before"):
        minimize(only_loss, SPACE, num_samples=2)


def test_the_other_direction_is_another_objective_with_or_without_a_name() -> None:
    minimize(only_loss, SPACE)
    with pytest.raises(ExperimentExistsError, match="is max loss"):
        tune.maximize(only_loss, SPACE, metric="loss", executor="inline", verbose=0, name="changed")


# ---------------------------------------------------------------- grids


def grid(**values: list[Any]) -> dict[str, Any]:
    return {name: tune.grid_search(options) for name, options in values.items()}


allowing = functools.partial(inline, lambda config: 1.0, on_change={"space": "allow"})


@pytest.mark.parametrize(
    ("old", "new", "n_old", "n_new"),
    [
        (grid(x=[1, 2], y=[1, 2]), grid(x=[1, 2, 3], y=[1, 2]), 1, 1),  # the faster leaf grew: 2, 2 would run again
        (grid(x=[1, 2]), grid(x=[1, 2, 3]), 2, 2),
        (grid(x=[1, 2, 3]), grid(x=[3, 4]), 1, 2),
        (grid(x=[1, 2]), grid(x=[1, 2], y=[5, 6]), 1, 1),
        ({"x": tune.choice([1, 2])}, grid(x=[1, 2]), 1, 1),
    ],
)
def test_a_grid_whose_points_would_be_left_out_or_repeated_is_refused(
    old: dict[str, Any], new: dict[str, Any], n_old: int, n_new: int
) -> None:
    n_trials = len(allowing(config=old, num_samples=n_old))
    with pytest.raises(ExperimentExistsError, match=f"{n_trials} trials.*leave out some of its points"):
        allowing(config=new, num_samples=n_new)


@pytest.mark.parametrize(
    ("old", "new", "n_new", "points"),
    [
        (grid(x=[1, 2]), grid(x=[1, 2, 3]), 1, [(1,), (2,), (3,)]),
        (grid(x=[1, 2], y=[1, 2]), grid(x=[1, 2], y=[1, 2, 3]), 1, [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (2, 3)]),
        (grid(x=[1, 2]), grid(x=[4, 3]), 2, [(1,), (2,), (4,), (3,)]),
        (grid(x=[1, 2]), {"x": 7}, 3, [(1,), (2,), (7,)]),
    ],
)
def test_a_grid_that_goes_on_where_the_trials_are_may_grow(
    old: dict[str, Any], new: dict[str, Any], n_new: int, points: list[tuple[int, ...]]
) -> None:
    allowing(config=old)
    assert [tuple(trial.config.values()) for trial in allowing(config=new, num_samples=n_new)] == points


def test_the_full_grid_of_another_space_or_after_another_searcher_is_refused() -> None:
    three, four = {"x": tune.choice([1, 2, 3])}, {"x": tune.choice([1, 2, 3, 4])}
    allowing(config=three, num_samples=2)
    with pytest.raises(ExperimentExistsError, match="they were proposed by RandomSearch"):
        allowing(config=three, num_samples=3, search_alg="grid")
    assert len(allowing(config=three, num_samples=9, search_alg="grid", name="grid")) == 3
    with pytest.raises(ExperimentExistsError, match="the space differs"):
        allowing(config=four, num_samples=9, search_alg="grid", name="grid")


# ---------------------------------------------------------------- code


def test_other_code_is_refused_on_request_before_anything_runs() -> None:
    inline(lambda config: 1.0, config=SPACE)
    with pytest.raises(ExperimentExistsError, match=r"other code.*on_change=\{'code': 'warn'\}"):
        inline(lambda config: 2.0, config=SPACE, num_samples=2, on_change={"code": "refuse"})
    assert len(inline(lambda config: 1.0, config=SPACE, num_samples=2, on_change={"code": "refuse"})) == 4
