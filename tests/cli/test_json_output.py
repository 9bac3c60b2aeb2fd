"""`--json`: a document that says what the text says, with the same exit status, and no secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.analysis.written import write

from tunesmith.cli.main import main
from tunesmith.trial import Mode, Objective

CONFIG = {"lr": 0.5, "api_key": "sesame", "opt": {"password": "sesame", "token": 3}, "keys": [{"auth-token": "sesame"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials with secrets in their configs, and the log of one."""
    folder = tmp_path_factory.mktemp("r") / "e"
    write(folder, [[2.0], [1.0]], configs=[CONFIG, CONFIG], objective=Objective(("loss",), (Mode.MIN,)))
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs/00000.log").write_text("hello\n")
    return folder


@pytest.fixture
def answered(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """A function that calls `tunesmith` with the folder, and returns output and errors."""

    def call(command: str, *arguments: str, code: int = 0) -> tuple[str, str]:
        found = main([command, str(folder), *arguments])
        output, errors = capsys.readouterr()
        assert found == code, output + errors
        return output, errors

    return call


@pytest.mark.parametrize(
    "arguments",
    [
        ("trials", "--json"),
        ("best", "--json"),
        ("best", "--top", "2", "--json"),
        ("show", "--json"),
        ("export",),
        ("export", "--json"),
        ("trials", "-c", "lr,api_key,config['opt/password'],keys/0/auth-token"),
        ("trials", "-c", "lr,api_key,config.api_key,opt/password", "--json"),
    ],
    ids=" ".join,
)
def test_secrets_are_masked_as_in_tables(answered, arguments) -> None:
    output, _ = answered(*arguments)
    assert "sesame" not in output and "***" in output and "0.5" in output


def test_secrets_are_masked_in_files_and_comparisons(answered, folder: Path, tmp_path: Path, capsys) -> None:
    answered("export", "-o", str(tmp_path / "x.jsonl"))
    row = json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])
    assert (row["config/api_key"], row["config/opt/password"], row["config/opt/token"]) == ("***", "***", 3)
    assert main(["compare", str(folder), str(folder), "--json"]) == 0
    assert "sesame" not in capsys.readouterr().out


def test_export_prints_json_lines(answered, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in answered("export", "--json")[0].splitlines()]
    assert [row["metrics/loss"] for row in rows] == [2.0, 1.0]
    assert answered("export", "--json", "--format", "jsonl") == answered("export", "--json")
    assert "--format csv" in answered("export", "--json", "--format", "csv", code=2)[1]
    path = tmp_path / "x.csv"
    written = json.loads(answered("export", "--json", "-o", str(path))[0])
    assert (written["n_rows"], written["path"]) == (2, str(path))
    assert path.read_text().startswith("trial,trial_id")


def test_a_log_as_json_ends_as_its_text_does(answered) -> None:
    assert json.loads(answered("log", "0", "--json")[0])["lines"] == ["hello"]
    output, errors = answered("log", "1", "--json", code=4)
    assert json.loads(output)["lines"] == [] and "has no log" in errors
    assert "has no log" in answered("log", "1", code=4)[1]
    assert "--follow" in answered("log", "0", "--json", "--follow", code=2)[1]
