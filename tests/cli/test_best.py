"""`tunesmith best`: of one trial, of several, of another metric, all from one and the same report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.analysis.written import NO_SPACE, write
from tests.stores.store_samples import write_folds

from tunesmith.cli.main import main
from tunesmith.trial import MetricConstraint, Mode, Objective

BOUNDED = Objective(("loss",), (Mode.MIN,), (MetricConstraint("lat", True, 20.0),))
LOSS = Objective(("loss",), (Mode.MIN,))


@pytest.fixture
def answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """A function that calls `tunesmith` with the folder in place of e, and returns output and errors."""

    def call(command: str, *arguments: str, code: int = 0) -> str:
        found = main([command, str(tmp_path / "e"), *arguments])
        output, errors = capsys.readouterr()
        assert found == code, output + errors
        return output + errors

    return call


def answered_json(answered: Any, *arguments: str, code: int = 0) -> Any:
    return json.loads(answered(*arguments, "--json", code=code))


def test_of_folds_the_mean_over_the_most_is_best_however_it_is_asked_for(answered, tmp_path: Path) -> None:
    write_folds(tmp_path / "e", [[1.0, 3.0], [0.1], [4.0, 6.0]], space=NO_SPACE, objective=LOSS)
    top = answered_json(answered, "best", "--top", "3")
    assert [(entry["trial"], entry["value"], entry["step"]) for entry in top] == [(0, 2.0, 2), (2, 5.0, 2), (1, 0.1, 1)]
    named = answered_json(answered, "best", "--metric", "loss", "--mode", "min")
    assert named == top[0] == answered_json(answered, "best")


def test_the_best_keeps_the_constraints_however_it_is_asked_for(answered, tmp_path: Path) -> None:
    series = [
        [{"loss": 0.1, "lat": 50}, {"loss": 0.5, "lat": 10}],
        [{"loss": 0.3, "lat": 10}, {"loss": 0.6, "lat": 30}],
        [{"loss": 0.05, "lat": 21}],
    ]
    write(tmp_path / "e", series, objective=BOUNDED)
    top = answered_json(answered, "best", "--top", "5")
    assert [(entry["trial"], entry["value"], entry["step"]) for entry in top] == [(1, 0.3, 1), (0, 0.5, 2)]
    assert answered_json(answered, "best") == top[0] == answered_json(answered, "best", "--metric", "loss")
    other = answered_json(answered, "best", "--metric", "lat", "--mode", "max")
    assert (other["trial"], other["value"], other["step"]) == (0, 50.0, 1)


def test_ls_and_show_name_the_best_that_keeps_the_constraints(tmp_path: Path, capsys) -> None:
    write(tmp_path / "e", [[{"loss": 0.1, "lat": 50}], [{"loss": 0.3, "lat": 10}]], objective=BOUNDED)
    assert main(["ls", "--storage", str(tmp_path), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["experiments"]
    assert (listed["best"], listed["best_trial"]) == (0.3, 1)


def test_time_and_step_are_metrics_too(answered, tmp_path: Path) -> None:
    write(tmp_path / "e", [[3.0, 2.0], [1.0]], objective=LOSS)
    found = answered_json(answered, "best", "--metric", "training_iteration", "--mode", "max")
    assert (found["trial"], found["value"], found["step"]) == (0, 2.0, 2)
    assert "time_total_s" in answered("best", "--metric", "time_total_s", "--mode", "min")
    assert "time_total_s" in answered("best", "--metric", "time_total_s", "--mode", "min", "--top", "2")


def test_nothing_to_choose_from_is_status_4_and_null(answered, tmp_path: Path) -> None:
    write(tmp_path / "e", [[]], objective=LOSS)
    assert "has no result" in answered("best", code=4)
    assert main(["best", str(tmp_path / "e"), "--top", "2"]) == 4
    assert answered("best", "--json", code=4).splitlines()[0] == "null"
    assert answered_json(answered, "best", "--top", "2", code=4) == []


def test_without_a_metric_of_its_own_the_options_are_named(answered, tmp_path: Path) -> None:
    write(tmp_path / "e", [[{"loss": 1.0, "acc": 2.0}]], objective=None)
    for arguments in ((), ("--top", "2"), ("--mode", "min")):
        words = answered("best", *arguments, code=2)
        assert "--metric NAME --mode min (or max); it has acc, loss" in " ".join(words.split())
    assert "--mode min or --mode max" in answered("best", "--metric", "loss", code=2)
    assert answered_json(answered, "best", "--metric", "loss", "--mode", "min")["value"] == 1.0
