"""F76: names in a space are labels; they never become paths, control sequences or columns that hide each other."""

from __future__ import annotations

import pytest

import tunesmith as tune
from tunesmith import CLIReporter

# fmt: off
NAMES = [
    "a/b", "..", "../../etc/passwd", "/abs", "lr", "LR", "rate 🎲", "\u05e9\u05dc", "\u202etxt", "%s{0}$HOME",
    "x" * 200,
]
# fmt: on


@pytest.fixture
def result(tmp_path):
    def train(config):
        tune.report({"loss": sum(config.values()), "../../metric": 1.0})
        with tune.checkpoint_dir(step=2) as folder:
            (tmp_path / "seen").write_text(str(folder))
        tune.report({"loss": 1.0, "../../metric": 2.0})

    found = tune.run(
        train, config={name: tune.uniform(0, 1) for name in NAMES}, metric="loss", mode="min", num_samples=2,
        executor="inline", verbose=0, local_dir=tmp_path / "results", name="e",
    )  # fmt: skip
    yield found
    found.reader.close()


def test_no_file_is_named_after_a_parameter_or_metric(result, tmp_path):
    paths = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert [path for path in paths if any(name in path for name in ("passwd", "etc", "txt", "HOME", "metric"))] == []
    assert {path.parts[0] for path in (p.relative_to(tmp_path) for p in tmp_path.rglob("*"))} <= {"results", "seen"}


def test_every_name_comes_back_as_it_was_written(result):
    for trial in result.trials:
        assert list(trial.config) == NAMES
    columns = list(result.dataframe().columns)
    assert len(set(columns)) == len(columns)
    assert {f"config/{name}" for name in NAMES} <= set(columns)


def test_reporters_show_them_without_control_characters(tmp_path, capsys):
    def train(config):
        tune.report(loss=1.0)

    tune.run(
        train, config={name: tune.uniform(0, 1) for name in NAMES}, metric="loss", mode="min", num_samples=2,
        executor="inline", verbose=2, local_dir=tmp_path, progress_reporter=CLIReporter(),
    ).reader.close()  # fmt: skip
    shown = capsys.readouterr().out
    assert "etc/passwd" in shown
    assert {char for char in shown if not char.isprintable()} == {"\n"}, "U+202E would turn the rest of the line round"
