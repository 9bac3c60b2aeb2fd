"""Going on with an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, SpaceError
from tunesmith.schedulers import ASHAScheduler


def train(config: dict[str, Any]) -> None:
    for i in range(1, 4):
        tune.report(loss=config["x"] + 1 / i)


def start(**arguments: Any) -> Any:
    given = {"config": {"x": tune.uniform(0, 1)}, "metric": "loss", "mode": "min", "num_samples": 2, "name": "mine"}
    return tune.run(train, **{**given, "verbose": 0, "executor": "inline", **arguments})


def test_a_loaded_experiment_goes_on_without_its_script(tmp_path: Path) -> None:
    first = start()
    loaded = tune.load(tmp_path / "results" / "mine")
    more = loaded.resume(train, num_samples=4, executor="inline", verbose=0)
    assert len(more) == 4
    assert [t.config for t in more][:2] == [t.config for t in first]
    assert [t.config for t in more] == [t.config for t in start(name="other", num_samples=4, seed=_seed(first))]


def _seed(result: Any) -> int:
    return int(result.reader.spec.seed)


def test_a_space_that_only_code_can_rebuild_must_be_given_again(tmp_path: Path) -> None:
    start(config={"x": tune.sample_from(lambda _: 0.5)})
    loaded = tune.load(tmp_path / "results" / "mine")
    with pytest.raises(SpaceError, match="x"):
        loaded.resume(train, num_samples=3)
    more = loaded.resume(
        train, config={"x": tune.sample_from(lambda _: 0.5)}, num_samples=3, executor="inline", verbose=0,
        on_change={"space": "allow"},
    )  # fmt: skip
    assert len(more) == 3


def test_a_scheduler_must_be_given_again(tmp_path: Path) -> None:
    scheduler = ASHAScheduler(max_t=3, metric="loss", mode="min")
    start(metric=None, mode=None, scheduler=scheduler)
    loaded = tune.load(tmp_path / "results" / "mine")
    with pytest.raises(ConfigError, match="AsyncHyperBandScheduler"):
        loaded.resume(train, num_samples=3)
    again = ASHAScheduler(max_t=3, metric="loss", mode="min")
    assert len(loaded.resume(train, num_samples=3, scheduler=again, executor="inline", verbose=0)) == 3


def flaky(config: dict[str, Any]) -> None:
    """Fails until the file is there."""
    tune.report(loss=config["x"])
    if not Path(config["mended"]).exists():
        raise RuntimeError("not yet")


def failed_experiment(tmp_path: Path, **arguments: Any) -> Any:
    config = {"x": tune.uniform(0, 1), "mended": str(tmp_path / "mended")}
    given = {"config": config, "metric": "loss", "mode": "min", "num_samples": 2, "name": "flaky", "verbose": 0}
    return tune.run(flaky, **{**given, "executor": "inline", "raise_on_failed_trial": False, **arguments})


@pytest.mark.parametrize("word", ["ERRORED_ONLY", "local+errored_only", "AUTO+RESTART_ERRORED_ONLY"])
def test_failed_trials_run_again_and_nothing_new(tmp_path: Path, word: str) -> None:
    assert [t.status for t in failed_experiment(tmp_path)] == ["ERROR", "ERROR"]
    (tmp_path / "mended").touch()
    again = failed_experiment(tmp_path, resume=word, num_samples=10)
    assert [t.status for t in again] == ["TERMINATED", "TERMINATED"]


def test_failed_trials_run_again_beside_new_ones(tmp_path: Path) -> None:
    failed_experiment(tmp_path)
    (tmp_path / "mended").touch()
    again = failed_experiment(tmp_path, resume="ERRORED", num_samples=3)
    assert [t.status for t in again] == ["TERMINATED"] * 3


def test_failed_trials_stay_failed_without_the_word(tmp_path: Path) -> None:
    failed_experiment(tmp_path)
    (tmp_path / "mended").touch()
    again = failed_experiment(tmp_path, resume=True, num_samples=3)
    assert [t.status for t in again] == ["ERROR", "ERROR", "TERMINATED"]


@pytest.mark.parametrize("word", [True, "LOCAL", "REMOTE", "ERRORED_ONLY"])
def test_what_must_exist_and_does_not_is_refused(word: Any) -> None:
    with pytest.raises(ConfigError, match=r"no experiment 'mine'.*AUTO"):
        start(resume=word)


def test_auto_makes_what_does_not_exist_and_goes_on_with_what_does() -> None:
    assert len(start(resume="AUTO")) == 2
    assert len(start(resume="AUTO", num_samples=3)) == 3


@pytest.mark.parametrize("word", ["MAYBE", "AUTO+", "ERRORED+LOCAL", "LOCAL+PROMPT", 3])
def test_a_word_that_nobody_knows_is_refused(word: Any) -> None:
    with pytest.raises(ConfigError, match="resume is"):
        start(resume=word)


def test_a_word_that_needs_a_name_says_so() -> None:
    with pytest.raises(ConfigError, match="no name"):
        start(resume=True, name=None)


@pytest.mark.parametrize(("answer", "names"), [("", {"mine"}), ("y", {"mine"}), ("n", {"mine", "mine_2"})])
def test_prompt_asks_and_never_overwrites(monkeypatch: Any, tmp_path: Path, answer: str, names: set[str]) -> None:
    start()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert len(start(resume="PROMPT", num_samples=3)) == 3
    assert {path.name for path in (tmp_path / "results").iterdir()} == names


def test_prompt_without_a_terminal_is_refused() -> None:
    start()
    with pytest.raises(ConfigError, match="no terminal"):
        start(resume="PROMPT")
