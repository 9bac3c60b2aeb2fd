"""Going on: what stands in the way is said in words that the command line can follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.cli.main import main
from tunesmith.cli.request import read_record
from tunesmith.cli.wording import in_options
from tunesmith.stores import open_reader, open_store

SCRIPT = "import tunesmith as tune\ndef train(config):\n    for _ in range(4):\n        tune.report(loss=config['x'])\n"


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """A function that calls `tunesmith` in a folder with a training function, and returns output and errors."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TUNESMITH_RESULTS", str(tmp_path / "results"))
    (here / "of_resume.py").write_text(SCRIPT)

    def call(*arguments: str, code: int = 0) -> str:
        found = main([*arguments])
        captured = capsys.readouterr()
        output = " ".join((captured.out + captured.err).split())
        assert found == code, output
        return output

    return call


RUN = ("run", "of_resume.py:train", "--name", "e", "--metric", "loss", "--mode", "min", "--executor", "inline", "-q")


def train(config: dict[str, Any]) -> None:
    for _ in range(4):
        tune.report(loss=config["x"])


def test_what_a_script_gave_is_given_again_by_options(called, tmp_path: Path) -> None:
    tune.run(
        train,
        name="e",
        config={"x": tune.grid_search([1, 2])},
        metric="loss",
        mode="min",
        scheduler=tune.create_scheduler("asha", max_t=4),
        search_alg="grid",
        stop={"training_iteration": 2},
        executor="inline",
        verbose=0,
        storage_path=tmp_path / "results",
    )
    given: list[str] = []
    for words, more in (
        ("Give --scheduler as before, or --scheduler fifo", ["--scheduler", "asha", "--max-t", "4"]),
        ("Give --search as before, or --search auto", ["--search", "grid"]),
        ("Give --stop as before, or --stop none", ["--stop", "none"]),
    ):
        assert words in called("resume", "e", "of_resume.py:train", *given, "-q", code=2)
        given += more
    called("resume", "e", "of_resume.py:train", *given, "-q")


def test_another_space_is_refused_or_allowed(called, tmp_path: Path) -> None:
    called(*RUN, "-p", "x=uniform(0,1)")
    assert "--allow-change space" in called(*RUN, "-p", "x=uniform(0,2)", "-n", "2", code=2)
    called(*RUN, "-p", "x=uniform(0,2)", "-n", "2", "--allow-change", "space")
    called("resume", "e", "-n", "3", "--search", "random", "--stop", "training_iteration=1", "-q")
    reader = open_reader(tmp_path / "results/e")
    assert [trial.step for trial in reader.trials()] == [4, 4, 1]
    assert reader.spec.searcher_name == "RandomSearch"
    reader.close()


def test_an_experiment_whose_folder_was_moved_goes_on_where_it_is_told(called, tmp_path: Path) -> None:
    called(*RUN, "-p", "x=1")
    (tmp_path / "here").rename(tmp_path / "there")
    assert "--cwd FOLDER" in called("resume", "e", "-q", code=2)
    called("resume", "e", "-n", "2", "--cwd", str(tmp_path / "there"), "-q")
    record = read_record(tmp_path / "results/e")
    assert record is not None and record.cwd == str(tmp_path / "there")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("end it, or pass takeover=True to fence it off.", "end it, or pass --takeover to fence it off."),
        ("give metric='a b' and mode='min' as before", "give --metric 'a b' and --mode min as before"),
        ("or allow it with on_change={'space': 'allow'}.", "or allow it with --allow-change space."),
        (
            "Give scheduler=tune.create_scheduler('auto', max_t=50).",
            "Give --scheduler auto --max-t 50.",
        ),
        ("--stop 'name=x' is no NAME=NUMBER", "--stop 'name=x' is no NAME=NUMBER"),
        ("--tracker wandb:mode=offline", "--tracker wandb:mode=offline"),
        ("In 'x': stop=5x is odd", "In 'x': stop=5x is odd"),
    ],
)
def test_messages_are_in_the_words_of_the_command_line(said: str, shown: str) -> None:
    assert in_options(said) == shown


def test_another_driver_is_fenced_off_by_an_option(called, tmp_path: Path) -> None:
    called(*RUN, "-p", "x=1")
    with open_store(tmp_path / "results/e"):
        assert "--takeover" in called("resume", "e", "-n", "2", "-q", code=3)
