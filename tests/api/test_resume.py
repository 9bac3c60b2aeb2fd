"""Going on with an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, SpaceError, TuneError
from tunesmith.schedulers import ASHAScheduler
from tunesmith.trial import TrialStatus


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


# ---------------------------------------------------------------- a limit for the session


def fails_while_unmended(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])
    if not Path(config["mended"]).exists():
        raise RuntimeError("not yet")


def cut_short(tmp_path: Path, **arguments: Any) -> Any:
    """Eight samples of which one or two have begun: at the first failure all is over."""
    config = {"x": tune.grid_search([1, 2, 3, 4]), "mended": str(tmp_path / "mended")}
    given = {"config": config, "metric": "loss", "mode": "min", "num_samples": 2, "name": "cut", "verbose": 0}
    given |= {"executor": "inline", "raise_on_failed_trial": False, "fail_fast": True}
    return tune.run(fails_while_unmended, **{**given, **arguments})


def test_errored_only_starts_nothing_that_had_not_begun_and_leaves_the_number_of_samples_as_it_was(
    tmp_path: Path,
) -> None:
    first = cut_short(tmp_path)
    n_begun = sum(trial.trial.attempt > 0 for trial in first)
    assert n_begun == 1 < len(first)
    (tmp_path / "mended").touch()
    again = cut_short(tmp_path, resume="ERRORED_ONLY", num_samples=50)
    assert [trial.trial.attempt for trial in again] == [2, *[0] * (len(first) - 1)]
    assert (again[0].status, again.reader.spec.n_trials) == ("TERMINATED", 8)
    assert again.stats()["status"] == "interrupted"
    loaded = tune.load(tmp_path / "results" / "cut")
    rest = loaded.resume(fails_while_unmended, executor="inline", verbose=0)
    assert [trial.config["x"] for trial in rest] == [1, 2, 3, 4] * 2
    assert {trial.status for trial in rest} == {"TERMINATED"}


def test_errored_only_finishes_an_experiment_in_which_nothing_else_was_left(tmp_path: Path) -> None:
    failed_experiment(tmp_path)
    (tmp_path / "mended").touch()
    assert failed_experiment(tmp_path, resume="ERRORED_ONLY").stats()["status"] == "finished"


def test_errored_only_in_a_new_experiment_is_no_limit() -> None:
    assert len(start(resume="AUTO+ERRORED_ONLY")) == 2


# ---------------------------------------------------------------- configs that run out or cannot be made


def test_whoever_ran_out_of_configs_is_asked_anew_when_another_searcher_is_there() -> None:
    space = {"x": tune.choice([1, 2, 3])}
    few = start(config=space, search_alg="grid", num_samples=10)
    assert (len(few), few.stats()["status"]) == (3, "exhausted")
    assert len(start(config=space, search_alg="grid", num_samples=10)) == 3
    many = start(config=space, search_alg="random", num_samples=10)
    assert (len(many), many.stats()["status"]) == (10, "finished")


def test_whoever_ran_out_of_configs_is_finished_where_no_more_are_asked_for(capsys: Any) -> None:
    space = {"x": tune.choice([1, 2, 3])}
    start(config=space, search_alg="grid", num_samples=10)
    start(config=space, search_alg="grid", num_samples=3, verbose=1)
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize("raise_on_failed_trial", [True, False])
def test_a_space_that_cannot_be_sampled_raises_with_the_leaf_and_can_be_gone_on_with_when_mended(
    tmp_path: Path, raise_on_failed_trial: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def draw() -> float:
        return 0.25 if (tmp_path / "mended").exists() else {}["oops"]

    space = {"x": tune.sample_from(draw)}
    with pytest.raises(tune.TuneError, match=r"sample_from of 'x' raised KeyError: 'oops'"):
        start(config=space, raise_on_failed_trial=raise_on_failed_trial)
    assert "random search answered" not in caplog.text
    assert caplog.text.count("No config can be made: sample_from of 'x' raised KeyError: 'oops'") == 1
    stats = tune.load(tmp_path / "results" / "mine").stats()
    assert (stats["status"], stats["detail"][:35]) == ("failed", "sample_from of 'x' raised KeyError:")
    (tmp_path / "mended").touch()
    assert [trial.config["x"] for trial in start(config=space)] == [0.25, 0.25]


def test_what_runs_comes_to_its_end_when_no_further_config_can_be_made(tmp_path: Path) -> None:
    def draw(config: Any) -> float:
        n_drawn = len(list(tmp_path.glob("drawn*")))
        (tmp_path / f"drawn{n_drawn}").touch()
        if n_drawn >= 1:
            raise ValueError("no more")
        return 0.5

    class OneByOne:
        uses_results = True

        def suggest(self, history: Any, rng: Any, n: int) -> Any:
            from tunesmith.searchers import RandomSearch

            return RandomSearch().suggest(history, rng, 1)

    with pytest.raises(tune.TuneError, match="no more"):
        start(config={"x": tune.sample_from(draw)}, num_samples=4, search_alg=OneByOne())
    loaded = tune.load(tmp_path / "results" / "mine")
    assert [(trial.status, trial.last_result["training_iteration"]) for trial in loaded] == [("TERMINATED", 3)]
    loaded.reader.close()  # the logged traceback holds this frame


def test_a_rule_that_cannot_be_asked_whether_to_end_raises_too() -> None:
    class Broken(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            raise ZeroDivisionError("in stop_all")

    with pytest.raises(tune.TuneError, match=r"ZeroDivisionError in the stop rule: in stop_all"):
        start(stop=Broken(), raise_on_failed_trial=False)


# ---------------------------------------------------------------- a finished one


@pytest.mark.parametrize("verbose", [0, 1])
def test_whoever_raises_a_limit_of_a_finished_experiment_is_told_that_only_samples_go_on(
    verbose: int, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start(stop={"training_iteration": 2})
    with caplog.at_level("INFO", "tunesmith"):
        again = start(stop={"training_iteration": 3}, verbose=verbose)
    assert [trial.last_result["training_iteration"] for trial in again] == [2, 2]
    said = capsys.readouterr().out if verbose else caplog.text
    assert "is finished" in said and "Only a larger num_samples goes on" in said and "max_t" in said


def test_fewer_samples_than_there_are_leave_what_had_not_begun_where_it_was(tmp_path: Path) -> None:
    first = cut_short(tmp_path)
    (tmp_path / "mended").touch()
    begun = cut_short(tmp_path, resume="ERRORED", num_samples=1)
    assert [trial.trial.attempt > 0 for trial in begun][:4] == [True] * 4
    n_begun = sum(trial.trial.attempt > 0 for trial in begun)
    assert (n_begun, begun.stats()["status"]) == (4, "finished")
    n_records = begun.reader.last_seq()
    assert cut_short(tmp_path, num_samples=1).reader.last_seq() == n_records, "it was finished, and ran again"
    assert len(first) == len(begun)


def test_the_error_at_the_end_says_why_the_experiment_ended_and_how_what_failed_runs_again(tmp_path: Path) -> None:
    def broken(config: dict[str, Any]) -> None:
        raise ValueError("no data")

    with pytest.raises(TuneError) as caught:
        tune.run(broken, name="broken", num_samples=20, executor="inline", verbose=0)
    text = str(caught.value)
    assert "The experiment ended early: the first 5 trials failed alike before any report: ValueError: no data." in text
    assert "resume='ERRORED' with its name runs what failed again" in text
    result = tune.run(
        lambda config: 1.0, name="broken", num_samples=20, executor="inline", verbose=0, resume="ERRORED",
        on_change={"code": "ignore"},
    )  # fmt: skip
    assert {trial.state for trial in result.trials} == {TrialStatus.COMPLETED}


def test_where_every_config_was_refused_that_is_an_error_and_can_be_run_again() -> None:
    def picky(config: dict[str, Any]) -> None:
        raise tune.InvalidConfig("units must divide 7")

    with pytest.raises(TuneError, match="units must divide 7"):
        tune.run(picky, name="picky", num_samples=2, executor="inline", verbose=0)
    changed = {"code": "ignore"}
    result = tune.run(
        lambda config: 1.0, name="picky", num_samples=2, executor="inline", verbose=0, resume="ERRORED",
        on_change=changed,
    )  # fmt: skip
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED] * 2
