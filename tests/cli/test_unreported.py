"""A run in which the metric that was asked for never arrives is no success."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.analysis.written import write

from tunesmith.cli.main import main
from tunesmith.cli.request import Request, write_record
from tunesmith.cli.unreported import unreported_words
from tunesmith.trial import Mode, Objective, TrialStatus

LOSS = Objective(("loss",), (Mode.MIN,))


def words_of(folder: Path, series: list[Any], **more: Any) -> str | None:
    return unreported_words(write(folder, series, **{"objective": LOSS, **more}).reader)


def test_nothing_is_said_where_it_arrived_or_nobody_asked_or_all_failed(tmp_path: Path) -> None:
    assert words_of(tmp_path / "a", [[{"acc": 1.0}], [{"loss": float("nan")}]]) is None
    assert words_of(tmp_path / "b", [[{"acc": 1.0}]], objective=None) is None
    assert words_of(tmp_path / "c", [[]], states=[TrialStatus.FAILED]) is None


def test_the_metrics_that_arrived_are_named(tmp_path: Path) -> None:
    words = words_of(tmp_path / "e", [[{"Loss": 3.0}]])
    assert words is not None
    assert words.startswith("no trial reported loss; they reported Loss. Call tune.report(loss=...)")


def test_a_program_is_told_how_programs_report_and_what_it_printed(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    result = write(folder, [[]], objective=LOSS)
    write_record(folder, Request(words=("python", "train.py")))
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs/00000.log").write_text('begin\n{"level": 1}\n{"Loss": 3, "acc": {"top": 1}}\nNo trial...\n')
    words = unreported_words(result.reader)
    assert words is not None and "tune.report(loss" not in words
    assert words.startswith("no trial reported loss; the last JSON line that trial 0 printed has Loss, acc. A program")
    for way in ("tunesmith report loss=0.3", "TUNESMITH_REPORT_FILE", '{"loss": 0.3} added', "tunesmith.report."):
        assert way in words, way


def test_such_a_run_ends_with_status_1(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_unreported.py").write_text("def train(config):\n    return {'Loss': 3}\n")
    asked = ("run", "of_unreported.py:train", "-p", "a=1", "--executor", "inline", "--storage", "r", "-q")
    assert main([*asked, "--metric", "loss", "--mode", "min"]) == 1
    assert "no trial reported loss; they reported Loss" in capsys.readouterr().err
    assert main([*asked, "--metric", "Loss", "--mode", "min"]) == 0
    assert main(asked) == 0
