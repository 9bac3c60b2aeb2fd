"""Which experiment is meant where none is named, and how one that runs is stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.cli.main import main
from tunesmith.cli.places import experiment_folders
from tunesmith.stores import Reader
from tunesmith.stores.lease import Lease, this_process


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With three experiments that are over; `old` was changed first, `new` last."""
    root = tmp_path_factory.mktemp("results")
    for name in ("old", "middle", "new"):
        tune.run(lambda config: {"loss": 1}, name=name, storage_path=root, verbose=0, executor="inline")
    return root


class Drivers:
    """Says of some of the experiments that they run, and notes what signals their drivers get."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.signals: list[int] = []
        self.error: type[OSError] | None = None
        self.ends_at = 1  #: how many signals it takes
        monkeypatch.setattr(Reader, "driver", lambda reader: self._driver(reader))
        monkeypatch.setattr(os, "kill", self._kill)

    def _driver(self, reader: Reader) -> Lease | None:
        is_running = reader.folder.name in self.names and len(self.signals) < self.ends_at
        return Lease(epoch=1, owner=this_process(), acquired_at=0.0) if is_running else None

    def _kill(self, pid: int, number: int) -> None:
        self.signals.append(number)
        if self.error is not None:
            raise self.error


@pytest.fixture
def drivers(root: Path, monkeypatch: pytest.MonkeyPatch) -> Drivers:
    monkeypatch.setenv("TUNESMITH_RESULTS", str(root))
    return Drivers(monkeypatch)


def called(capsys: Any, *arguments: str, code: int = 0) -> str:
    found = main(arguments)
    output, errors = capsys.readouterr()
    assert found == code, output + errors
    return output + errors


def test_the_newest_is_the_one_whose_log_was_written_last(tmp_path: Path) -> None:
    for name, at_database, at_log, log in (("a", 5, 9, b"x"), ("b", 7, 8, b"x"), ("c", 6, 10, b""), ("d", 8, 1, b"x")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "experiment.db").touch()
        (folder / "experiment.db-wal").write_bytes(log)  # an empty one was made by a reader, and is no change
        os.utime(folder / "experiment.db", (at_database, at_database))
        os.utime(folder / "experiment.db-wal", (at_log, at_log))
    assert [folder.name for folder in experiment_folders(tmp_path)] == ["a", "b", "d", "c"]


def test_stop_without_a_name_stops_the_one_that_runs(drivers: Drivers, capsys) -> None:
    drivers.names = {"old"}
    assert "old is stopped" in called(capsys, "stop")
    assert len(drivers.signals) == 1


def test_stop_without_a_name_asks_which_where_several_run(drivers: Drivers, capsys) -> None:
    drivers.names = {"old", "middle"}
    assert "Several experiments run: middle, old. Name one" in called(capsys, "stop", code=2)
    assert drivers.signals == []


def test_stop_says_that_nothing_runs(drivers: Drivers, capsys) -> None:
    assert "new is not running" in called(capsys, "stop", code=4)


def test_a_driver_that_has_just_died_is_stopped(drivers: Drivers, capsys) -> None:
    drivers.names, drivers.error = {"new"}, ProcessLookupError
    assert "new is stopped" in called(capsys, "stop", "new")


def test_a_driver_of_another_user_is_not_stopped_and_that_is_said(drivers: Drivers, capsys) -> None:
    drivers.names, drivers.error, drivers.ends_at = {"new"}, PermissionError, 9
    assert "belongs to another user" in called(capsys, "stop", "new", code=2)
    assert len(drivers.signals) == 1
