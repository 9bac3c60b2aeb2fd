"""CSV and JSON lines."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import tunesmith as tune
from tunesmith.logger import CSVLoggerCallback, JsonLoggerCallback


class CsvKilledOnce(CSVLoggerCallback):
    """Its process is killed when the third line is half written."""

    def log_trial_result(self, iteration, trial, result):
        super().log_trial_result(iteration, trial, result)
        _die_once(self._path(trial), trial)


class JsonKilledOnce(JsonLoggerCallback):
    """The same for JSON."""

    def log_trial_result(self, iteration, trial, result):
        super().log_trial_result(iteration, trial, result)
        _die_once(self._path(trial), trial)


def _die_once(path, trial):
    mark = path.with_suffix(".killed")
    if trial.step == 3 and not mark.exists():
        mark.touch()
        path.write_bytes(path.read_bytes()[:-10])
        os.kill(os.getpid(), signal.SIGKILL)


def run(trainable, tmp_path, *callbacks, **arguments):
    settings = {"executor": "inline", "verbose": 0, "local_dir": tmp_path, "name": "exp"}
    return tune.run(trainable, callbacks=list(callbacks), **{**settings, **arguments})


def rows_of(trial):
    with Path(trial.logdir, "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lines_of(trial):
    return [json.loads(line) for line in Path(trial.logdir, "result.json").read_text().splitlines()]


def test_each_report_is_a_row_and_a_line(tmp_path):
    def train(config):
        tune.report(loss=float("nan"))
        tune.report({"loss": config["a"], "=cmd|x": 2.0})

    config = {"a": tune.grid_search([1.0, 2.0]), "api_key": "hidden"}
    result = run(train, tmp_path, CSVLoggerCallback(), JsonLoggerCallback(), config=config)
    for trial in result.trials:
        lines, rows = lines_of(trial), rows_of(trial)
        assert lines[-1] == {**trial.last_result, "done": False, "config": {"a": trial.config["a"], "api_key": "***"}}
        assert [line["loss"] for line in lines] == ["NaN", trial.config["a"]]
        assert [row["loss"] for row in rows] == ["nan", str(trial.config["a"])]
        assert [row["'=cmd|x"] for row in rows] == ["", "2.0"]
        assert "config" not in rows[0]
        parameters = json.loads(Path(trial.logdir, "params.json").read_text())
        assert parameters == {"a": trial.config["a"], "api_key": "***"}


def test_a_line_that_was_cut_off_by_a_crash_is_written_again_and_none_is_twice(tmp_path):
    def train(config):
        for step in range(1, 6):
            tune.report(loss=float(step))

    result = run(train, tmp_path, CsvKilledOnce(), JsonKilledOnce(), config={"a": tune.uniform(0, 1)}, num_samples=2)
    for trial in result.trials:
        assert Path(trial.logdir, "progress.killed").exists()
        assert Path(trial.logdir, "result.killed").exists()
        assert [float(row["loss"]) for row in rows_of(trial)] == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert [line["loss"] for line in lines_of(trial)] == [1.0, 2.0, 3.0, 4.0, 5.0]
