"""Names and words that are not UTF-8, numbers without end, and logs that grow while they are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.analysis.written import write

import tunesmith.cli.log as log_command
from tunesmith.cli.main import main
from tunesmith.cli.request import Request, read_record, write_record
from tunesmith.cli.target import program_name
from tunesmith.stores import Reader
from tunesmith.stores.lease import Lease, this_process
from tunesmith.trial import Mode, Objective, TrialStatus

ODD = os.fsdecode(b"odd\xff")  #: as Python has bytes of the system that are no UTF-8


def test_words_that_are_not_utf_8_are_kept_as_they_are(tmp_path: Path) -> None:
    request = Request(words=("cat", ODD), options={"params": [f"a={ODD}", "b=ü"]}, cwd=f"/tmp/{ODD}")
    write_record(tmp_path, request)
    assert read_record(tmp_path) == request
    assert [path.name for path in tmp_path.iterdir()] == ["command.json"]
    program_name(["python", ODD]).encode()


def test_a_record_that_cannot_be_written_leaves_no_draft(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_record(tmp_path, Request(options={"a": object()}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("-p", f"a={ODD}", "--", "true", "{a}"),
        ("-p", f"{ODD}=1", "--", "true"),
        ("-p", "a=1", "--name", ODD, "--", "true"),
        ("-p", "a=1", "--metric", ODD, "--mode", "min", "--", "true"),
    ],
    ids=["value", "parameter", "name", "metric"],
)
def test_what_is_stored_must_be_utf_8(arguments: tuple[str, ...], tmp_path: Path, capsys) -> None:
    assert main(["run", "--storage", str(tmp_path), *arguments]) == 2
    assert "is not UTF-8" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_not_utf_8_is_listed_and_not_opened(tmp_path: Path, capsys) -> None:
    (tmp_path / ODD).mkdir()
    (tmp_path / ODD / "experiment.db").touch()
    write(tmp_path / "e", [[1.0]], objective=Objective(("loss",), (Mode.MIN,)))
    assert main(["ls", "--storage", str(tmp_path)]) == 0
    assert "odd\\udcff  unreadable" in capsys.readouterr().out
    assert main(["ls", "--storage", str(tmp_path), "--json"]) == 0
    text = capsys.readouterr().out
    text.encode()
    assert {fact["name"] for fact in json.loads(text)["experiments"]} == {"e", ODD}
    assert main(["show", ODD, "--storage", str(tmp_path)]) == 2
    assert "is not UTF-8" in capsys.readouterr().err
    assert main(["stop", "--storage", str(tmp_path)]) in (2, 4)


def test_a_number_that_no_trial_can_have_is_no_trial(tmp_path: Path, capsys) -> None:
    write(tmp_path / "e", [[1.0]])
    assert main(["log", str(tmp_path / "e"), "9" * 20]) == 2
    assert "There is no trial 999" in capsys.readouterr().err


@pytest.fixture
def growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The log of a trial that runs; each piece is written where `tunesmith log -f` would wait."""
    write(tmp_path / "e", [[1.0]], states=[TrialStatus.RUNNING])
    path = tmp_path / "e/logs/00000.log"
    path.parent.mkdir(exist_ok=True)
    pieces: list[bytes] = []

    def sleep(seconds: float) -> None:
        with path.open("ab") as file:
            file.write(pieces.pop(0))

    lease = Lease(epoch=1, owner=this_process(), acquired_at=0.0)
    monkeypatch.setattr(Reader, "driver", lambda reader: lease if pieces else None)
    monkeypatch.setattr(log_command.time, "sleep", sleep)
    return path, pieces


def test_a_letter_that_arrives_in_two_parts_is_one(growing: Any, capsys) -> None:
    path, pieces = growing
    path.write_bytes(b"one\nt\xc3")
    pieces += [b"\xbcr", b"\nthree\n\xe2\x82", b"\xac"]
    assert main(["log", str(path.parents[1]), "0", "-f"]) == 0
    assert capsys.readouterr().out == "one\ntür\nthree\n€\n"


def test_following_begins_with_the_tail_and_loses_nothing(growing: Any, capsys) -> None:
    path, pieces = growing
    path.write_bytes(b"one\ntwo\n")
    pieces += [b"three\n"]
    assert main(["log", str(path.parents[1]), "0", "-f", "-n", "1"]) == 0
    assert capsys.readouterr().out == "two\nthree\n"
    pieces += [b"four\n"]
    assert main(["log", str(path.parents[1]), "0", "-f", "-n", "0"]) == 0
    assert capsys.readouterr().out == "four\n"
