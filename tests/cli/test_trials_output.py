"""What `tunesmith trials` shows of many trials and of columns asked for, on a screen and in a pipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.analysis.written import write

from tunesmith.cli import output
from tunesmith.cli.main import main
from tunesmith.cli.output import table
from tunesmith.trial import Mode, Objective


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 trials with a dozen long-named parameters."""
    folder = tmp_path_factory.mktemp("r") / "e"
    configs = [{f"a_parameter_with_a_long_name_{j:02d}": i + j / 7 for j in range(12)} for i in range(120)]
    write(folder, [[1.0]] * 120, configs=configs, objective=Objective(("loss",), (Mode.MIN,)))
    return folder


@pytest.fixture
def answered(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[str, str]:
        assert main(["trials", str(folder), *arguments]) == 0
        found = capsys.readouterr()
        return found.out, found.err

    return call


def test_json_has_all_trials_unless_a_limit_is_given(answered) -> None:
    assert len(json.loads(answered("--json")[0])) == 120
    assert len(json.loads(answered("--json", "-c", "trial")[0])) == 120
    assert len(json.loads(answered("--json", "-n", "7")[0])) == 7


def test_what_a_limit_leaves_out_is_said(answered) -> None:
    assert "... and 20 more" in answered()[0]
    text, errors = answered("-c", "trial,loss")
    assert len(text.splitlines()) == 101 and "... and 20 more; --limit shows them" in errors
    assert answered("-c", "trial,loss", "-n", "120")[1] == ""


def test_a_pipe_gets_every_column_and_every_letter(answered) -> None:
    heading, first, *_ = answered()[0].splitlines()
    assert "a_parameter_with_a_long_name_11" in heading and "…" not in heading + first
    rows = [["a", "b", "c" * 300, "d" * 300]]
    assert table(("w", "x", "y", "z"), rows)[1].endswith("d" * 300)


def test_a_screen_gets_every_column_that_was_named(answered, monkeypatch) -> None:
    monkeypatch.setattr(output, "width", lambda: 80)
    names = ",".join(f"a_parameter_with_a_long_name_{j:02d}" for j in range(12))
    assert answered("-c", names)[0].splitlines()[0].split() == names.split(",")
    last = table(("a", "b"), [["1", "x" * 300]], drops=False)[1]
    assert len(last) == 80 and last.endswith("…")
