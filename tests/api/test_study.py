"""Ask and tell without running."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.api.study import Study
from tunesmith.errors import (
    ConfigError,
    DiskFullError,
    ExperimentExistsError,
    LeaseError,
    MetricError,
    ReportError,
    StoreError,
    StudyExhausted,
    StudyWaiting,
)
from tunesmith.events import ConfigsSuggested, EndExperiment, Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.runner import study_link
from tunesmith.runner.study_client import StudyClient, WriterGone
from tunesmith.schedulers import ASHAScheduler
from tunesmith.stores import SqliteStore, open_store
from tunesmith.trial import TrialStatus

SPACE = {"x": tune.uniform(0, 1)}


def open_study(space: Any = SPACE, **arguments: Any) -> Study:
    return Study(space, "loss", "min", **{"name": "mine", "search_alg": "random", "seed": 1, **arguments})


def states(study: Study) -> list[str]:
    return [trial.state.value for trial in study.trials]


class Spy:
    """Proposes what it is told to, and notes what it knew."""

    uses_results = True

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[int, tuple[Any, ...]]] = []

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Any:
        self.seen.append((n, tuple(trial.metrics for trial in history.trials)))
        found = self.answers.pop(0) if self.answers else 0.5
        return [Suggestion({"x": found})] if isinstance(found, float) else found


def test_what_is_told_is_the_result_of_the_trial_that_was_asked_for() -> None:
    with open_study() as study:
        told = []
        for i in range(3):
            t = study.ask()
            assert (t.index, t.attempt) == (i, 1)
            assert 0 <= t.config["x"] <= 1
            study.tell(t, loss=t.config["x"])
            told.append(t)
        assert [trial.config for trial in study.trials] == [t.config for t in told]
        assert [trial.trial_id for trial in study.results] == [t.trial_id for t in told]
        assert [trial.last_result["loss"] for trial in study.trials] == [t.config["x"] for t in told]
        assert states(study) == ["COMPLETED"] * 3
        best = min(told, key=lambda t: t.config["x"])
        assert (study.best.config, study.best.value, study.best.step) == (best.config, best.config["x"], 1)


def test_the_best_is_config_value_and_step_of_one_and_the_same_step() -> None:
    with open_study() as study:
        t = study.ask()
        for step, loss in [(1, 0.9), (3, 0.2), (4, 0.5)]:
            assert not t.report(step=step, loss=loss).should_stop
        study.tell(t)
        assert (study.best.value, study.best.step) == (0.2, 3)
        assert states(study) == ["COMPLETED"]


def test_every_ask_is_answered_from_the_newest_results_and_for_one_config() -> None:
    spy = Spy()
    with open_study(search_alg=spy) as study:
        first, second = study.ask(), study.ask()
        study.tell(second, loss=2.0)
        first.report(loss=1.0)
        study.ask()
        study.tell(first)
    assert spy.seen == [(1, ()), (1, (None,)), (1, ({"loss": 1.0}, {"loss": 2.0}))]


def test_a_dict_and_keywords_are_the_same_report() -> None:
    with open_study() as study:
        t = study.ask()
        t.report({"loss": 0.4}, step=3)
        t.report(loss=0.3)
        study.tell(t, {"loss": 0.2, "nested": {"a": 1}})
        assert list(study.trials.reader.rows("step", trial=0)) == [(3,), (4,), (5,)]
        assert study.trials[0].metrics == {"loss": 0.2, "nested/a": 1.0}


def test_final_metrics_that_repeat_the_last_report_are_no_further_step() -> None:
    with open_study() as study:
        t = study.ask()
        t.report(step=7, loss=math.nan)
        study.tell(t, loss=math.nan)
        assert study.trials[0].values("loss")[0][0] == 7
        assert len(study.trials[0].values("loss")) == 1


# ------------------------------------------------------------ stops, failures, repeats


def stopped(study: Study) -> Any:
    """A trial that the scheduler has just told to stop, at its second step."""
    good, bad = study.ask(), study.ask()
    for step in (1, 2):
        good.report(step=step, loss=0.0)
    assert not bad.report(step=1, loss=0.0).should_stop
    decision = bad.report(step=2, loss=1.0)
    assert decision.should_stop
    assert "rank 2 of 2 at rung 2" in str(decision.reason)
    return bad


def test_a_trial_told_to_stop_is_told_so_again_and_what_it_still_reports_is_no_result() -> None:
    with open_study(scheduler=ASHAScheduler(max_t=8, grace_period=2, reduction_factor=2)) as study:
        bad = stopped(study)
        again = bad.report(step=3, loss=-5.0)
        assert again.should_stop
        assert "rank 2 of 2 at rung 2" in str(again.reason)
        study.tell(bad, loss=-5.0)
        trial = study.trials[bad.index]
        assert trial.state is TrialStatus.STOPPED
        assert (trial.step, trial.metrics) == (2, {"loss": 1.0})
        assert study.best.value == 0.0


def test_a_report_at_max_t_says_to_stop_and_the_trial_is_completed() -> None:
    with open_study(scheduler=ASHAScheduler(max_t=2)) as study:
        t = study.ask()
        t.report(step=1, loss=1.0)
        assert t.report(step=2, loss=1.0).verdict == "complete"
        study.tell(t)
        assert states(study) == ["COMPLETED"]


def test_a_final_value_completes_its_trial_whatever_the_scheduler_thinks_of_it() -> None:
    with open_study(scheduler=ASHAScheduler(max_t=8)) as study:
        for loss in (0.0, 1.0):
            study.tell(study.ask(), loss=loss)
        assert states(study) == ["COMPLETED"] * 2


def test_a_failure_is_stored_with_its_error_and_is_not_tried_again() -> None:
    with open_study() as study:
        first, second = study.ask(), study.ask()
        first.report(loss=0.1)
        study.tell(first, failed="oom")
        try:
            raise ValueError("no such layer")
        except ValueError as error:
            study.tell(second, failed=error)
        assert states(study) == ["FAILED", "FAILED"]
        assert study.trials[0].error == "oom"
        assert "ValueError: no such layer" in str(study.trials[1].error)
        assert study.ask().index == 2


def test_any_number_of_equal_failures_ends_no_study() -> None:
    with open_study() as study:
        for i in range(12):
            t = study.ask()
            assert t.index == i
            study.tell(t, failed="oom")


@pytest.mark.parametrize("how", [{"loss": 0.3}, {"failed": "oom"}])
def test_a_trial_is_told_only_once(how: dict[str, Any]) -> None:
    with open_study() as study:
        t = study.ask()
        study.tell(t, **how)
        before = study.trials[0].trial
        with pytest.raises(ReportError, match=r"Trial 0 was told already: it is (COMPLETED|FAILED)"):
            study.tell(t, **how)
        with pytest.raises(ReportError, match="Trial 0 was told already"):
            study.tell(0, loss=0.1)
        with pytest.raises(ReportError, match="Trial 0 was told already"):
            t.report(loss=0.1)
        assert study.trials[0].trial == before


def test_nan_is_stored_as_told_and_is_never_the_best() -> None:
    with open_study() as study:
        for loss in (math.nan, 2.0, -math.inf):
            study.tell(study.ask(), loss=loss)
        losses = [trial.metrics["loss"] for trial in study.trials]
        assert math.isnan(losses[0])
        assert losses[1:] == [2.0, -math.inf]
        assert states(study) == ["COMPLETED"] * 3
        assert study.best.value == 2.0


def test_a_refused_tell_leaves_the_trial_open() -> None:
    with open_study() as study:
        t = study.ask()
        with pytest.raises(ReportError, match="without metrics"):
            study.tell(t)
        with pytest.raises(ReportError, match="'accuracy', but not 'loss'"):
            study.tell(t, accuracy=0.5)
        with pytest.raises(MetricError, match="loss"):
            study.tell(t, loss="low")
        with pytest.raises(ConfigError, match="metrics and failed"):
            study.tell(t, loss=0.5, failed="oom")
        with pytest.raises(ConfigError, match="failed is ''"):
            study.tell(t, failed="")
        t.report(step=5, loss=0.5)
        with pytest.raises(ReportError, match="Step 4"):
            study.tell(t, loss=0.4, step=4)
        study.tell(t, loss=0.3)
        assert (study.best.value, study.best.step) == (0.3, 6)


def test_a_step_that_goes_back_is_refused_and_the_next_one_is_not() -> None:
    with open_study() as study:
        t = study.ask()
        t.report(step=2, loss=0.5)
        with pytest.raises(ReportError, match="Step 1"):
            t.report(step=1, loss=0.5)
        assert not t.report(loss=0.4).should_stop
        assert [step for step, _ in study.trials[0].values("loss")] == [2, 3]
        study.tell(t)


def test_what_is_no_trial_of_the_study_is_refused() -> None:
    with open_study() as study, open_study(name="other") as other:
        t = study.ask()
        with pytest.raises(ReportError, match="no trial 7 in this study; it has 1"):
            study.tell(7, loss=1.0)
        with pytest.raises(ReportError, match="no trial 'x_00000'"):
            study.trial("x_00000")
        with pytest.raises(ConfigError, match="Give what ask\\(\\) returned"):
            study.tell(None, loss=1.0)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="of the study 'mine', not of 'other'"):
            other.tell(t, loss=1.0)
        study.tell(t.trial_id, loss=1.0)


# ------------------------------------------------------------ the end


def test_as_many_trials_are_handed_out_as_were_asked_for() -> None:
    with open_study(num_samples=2) as study:
        handed = list(study)
        assert [t.index for t in handed] == [0, 1]
        with pytest.raises(StudyExhausted, match=r"all 2 trials \(num_samples\); 2 are open"):
            study.ask()
        for t in handed:
            study.tell(t, loss=1.0)
        with pytest.raises(StudyExhausted, match="0 are open"):
            study.ask()
        assert study.results.stats()["status"] == "finished"
    with open_study(num_samples=3) as study:
        assert study.ask().index == 2
        assert study.results.stats()["status"] == "running"


def test_every_point_of_a_grid_is_handed_out_once() -> None:
    space = {"a": tune.grid_search([1, 2]), "b": tune.grid_search([1, 2])}
    with open_study(space, search_alg="grid") as study:
        points = []
        for t in study:
            points.append((t.config["a"], t.config["b"]))
            study.tell(t, loss=1.0)
        assert sorted(points) == [(1, 1), (1, 2), (2, 1), (2, 2)]
        assert study.results.stats()["status"] == "exhausted"


def test_an_exhausted_study_goes_on_with_another_searcher() -> None:
    with open_study(search_alg=Spy(Exhausted("seen all"))) as study, pytest.raises(StudyExhausted, match="seen all"):
        study.ask()
    with open_study() as study:
        study.tell(study.ask(), loss=1.0)
        assert states(study) == ["COMPLETED"]


def test_a_searcher_that_waits_is_asked_again_when_there_is_news() -> None:
    spy = Spy(0.1, Wait("no result yet"), 0.2)
    with open_study(search_alg=spy) as study:
        t = study.ask()
        for _ in range(2):
            with pytest.raises(StudyWaiting, match="1 trials are open"):
                study.ask()
        assert len(spy.seen) == 2
        study.tell(t, loss=1.0)
        assert study.ask().config == {"x": 0.2}


def test_having_nothing_open_is_no_end_of_an_endless_study() -> None:
    with open_study() as study:
        study.tell(study.ask(), loss=1.0)
        assert not [r for r in study.results.reader.records() if isinstance(r[1], EndExperiment)]
        assert study.results.stats()["status"] == "running"


def test_a_closed_study_hands_out_nothing_and_still_has_its_results() -> None:
    study = open_study()
    study.tell(study.ask(), loss=1.0)
    study.close()
    study.close()
    assert study.best.value == 1.0
    with pytest.raises(StoreError, match="closed"):
        study.ask()


# ------------------------------------------------------------ going on


def test_a_study_goes_on_under_its_name_as_if_it_had_not_been_closed() -> None:
    def run(*pieces: int, name: str) -> tuple[list[Any], list[str]]:
        configs, words = [], []
        for n in pieces:
            scheduler = ASHAScheduler(max_t=2, reduction_factor=2)
            with open_study(name=name, scheduler=scheduler, search_alg="auto") as study:
                for _ in range(n):
                    t = study.ask()
                    configs.append(t.config)
                    words.append(str(t.report(step=1, loss=t.config["x"]).reason))
                    study.tell(t)
        return configs, words

    whole = run(6, name="whole")
    assert any("rung" in word for word in whole[1])
    assert run(1, 3, 2, name="pieces") == whole


def test_another_space_or_objective_is_refused_unless_it_is_allowed() -> None:
    with open_study() as study:
        study.tell(study.ask(), loss=1.0, other=5.0)
    wider = {"x": tune.uniform(0, 2)}
    with pytest.raises(ExperimentExistsError, match="another space"):
        open_study(wider)
    with pytest.raises(ExperimentExistsError, match="another objective"):
        Study(SPACE, "other", "max", name="mine")
    with open_study(wider, on_change={"space": "allow"}) as study:
        assert study.ask().index == 1
    with Study(wider, "other", "max", name="mine", on_change={"objective": "allow"}) as study:
        assert study.best.value == 5.0


def test_an_experiment_that_was_run_is_no_study() -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)

    tune.run(train, config=SPACE, metric="loss", mode="min", name="mine", verbose=0, executor="inline")
    with pytest.raises(ExperimentExistsError, match="is no study: it trains 'train'"):
        open_study()


def test_studies_without_a_name_are_new_ones() -> None:
    with open_study(name=None) as one, open_study(name=None) as two:
        assert one.folder != two.folder
        assert two.ask().index == 0


def test_open_trials_of_a_closed_study_wait_to_be_told_by_anybody() -> None:
    with open_study() as study:
        t = study.ask()
        t.report(step=3, loss=0.5)
    with open_study() as study:
        assert study.ask().index == 1
        again = study.trial(t.index)
        assert (again.trial_id, again.config, again.attempt) == (t.trial_id, t.config, 1)
        again.report(loss=0.4)
        study.tell(t.trial_id)
        assert study.trials[0].values("loss") == [(3, 0.5), (4, 0.4)]


def test_an_exception_gives_open_trials_back_and_they_begin_anew() -> None:
    with pytest.raises(RuntimeError), open_study(num_samples=2) as study:
        t = study.ask()
        t.report(step=1, loss=0.5)
        study.tell(study.ask(), loss=0.7)
        raise RuntimeError
    with open_study(num_samples=2) as study:
        again = study.ask()
        assert (again.index, again.attempt, again.config) == (t.index, 2, t.config)
        with pytest.raises(StudyExhausted):
            study.ask()
        with pytest.raises(ReportError, match="handed out again since"):
            study._report(t, 2, {"loss": 0.1}, is_last=False)
        again.report(step=1, loss=0.6)
        study.tell(again)
        assert study.trials[0].values("loss") == [(1, 0.6)]


# ------------------------------------------------------------ several objects, lost answers, faults


class Kind:
    """Something that only Python can hold."""


def test_a_second_object_asks_the_first_and_objects_in_configs_are_its_own() -> None:
    space = {"kind": tune.choice([Kind, dict]), "at": tune.choice([math.inf])}
    with open_study(space) as first, open_study(space) as second:
        assert first._link.is_writer
        assert not second._link.is_writer
        one, two = first.ask(), second.ask()
        assert [one.index, two.index] == [0, 1]
        assert two.config["kind"] in (Kind, dict)
        assert two.config["at"] == math.inf
        two.report(loss=math.nan)
        second.tell(two)
        with pytest.raises(ReportError, match="Trial 1 was told already"):
            second.tell(two)
        first.tell(one, loss=1.0)
        first.close()
        assert second.ask().index == 2
        assert second._link.is_writer


def test_threads_that_share_an_object_get_a_trial_each() -> None:
    with open_study(num_samples=40), open_study(num_samples=40) as study, ThreadPoolExecutor(4) as pool:

        def work(_: int) -> list[int]:
            handed = []
            for t in study:
                t.report(loss=t.config["x"])
                study.tell(t)
                handed.append(t.index)
            return handed

        found = list(pool.map(work, range(4)))
        assert sorted(index for handed in found for index in handed) == list(range(40))
        assert states(study) == ["COMPLETED"] * 40


@pytest.mark.parametrize("is_writer", [True, False])
def test_a_slow_model_delays_no_report(*, is_writer: bool) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    class Slow(Spy):
        def suggest(self, history: History, rng: np.random.Generator, n: int) -> Any:
            if history.trials:
                is_asked.set()
                assert may_answer.wait(30)
            return super().suggest(history, rng, n)

    with open_study(search_alg=Slow()) as first, open_study() as second, ThreadPoolExecutor(1) as pool:
        study = first if is_writer else second
        t = study.ask()
        asking = pool.submit(study.ask)
        assert is_asked.wait(30)
        t.report(loss=1.0)
        study.tell(t)
        assert not asking.done()
        may_answer.set()
        assert asking.result(30).index == 1


@pytest.fixture
def lose_answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """As often as it has items, the next answer to a client is lost on its way: the writer has done what it asked."""
    left: list[bool] = []
    real = StudyClient.answer

    def answer(self: StudyClient, question: Any) -> Any:
        found = real(self, question)
        if left:
            left.pop()
            raise WriterGone("The writer of the study is gone: test.")
        return found

    monkeypatch.setattr(StudyClient, "answer", answer)
    return left


def test_nothing_is_done_twice_where_an_answer_was_lost(lose_answers: list[bool]) -> None:
    with open_study() as first, open_study() as second:
        lose_answers.append(True)
        t = second.ask()
        assert (t.index, len(first.trials)) == (0, 1)
        lose_answers.append(True)
        t.report(step=1, loss=0.5)
        lose_answers.append(True)
        second.tell(t, loss=0.4)
        assert first.trials[0].values("loss") == [(1, 0.5), (2, 0.4)]
        u = second.ask()
        lose_answers.append(True)
        second.tell(u, failed="oom")
        assert states(first) == ["COMPLETED", "FAILED"]
        assert not lose_answers


def test_a_stop_is_still_one_where_its_answer_was_lost(lose_answers: list[bool]) -> None:
    scheduler = ASHAScheduler(max_t=8, grace_period=2, reduction_factor=2)
    with open_study(scheduler=scheduler), open_study(scheduler=scheduler) as second:
        good, bad = second.ask(), second.ask()
        good.report(step=2, loss=0.0)
        lose_answers.append(True)
        decision = bad.report(step=2, loss=1.0)
        assert decision.should_stop
        assert "rank 2 of 2" in str(decision.reason)
        second.tell(good)
        second.tell(bad)


def test_a_full_disk_is_said_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SqliteStore.append
    full: list[bool] = []

    def append(self: SqliteStore, records: Sequence[Any], trials: Sequence[Any]) -> None:
        if full:
            raise DiskFullError("There is no room.")
        real(self, records, trials)

    monkeypatch.setattr(SqliteStore, "append", append)
    with open_study() as study:
        t = study.ask()
        full.append(True)
        with pytest.raises(DiskFullError, match="no room"):
            study.tell(t, loss=1.0)
        assert states(study) == ["RUNNING"]
        full.clear()
        study.tell(t, loss=1.0)
        assert study.best.value == 1.0


def test_a_writer_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_link, "_PATIENCE_S", 0.1)
    with open_study() as study:
        folder = study.folder
    with open_store(folder), pytest.raises(LeaseError, match=r"this very process.*share a study on one machine"):
        open_study()


def test_the_writer_before_goes_on_through_the_one_that_took_over() -> None:
    with open_study() as first:
        t = first.ask()
        with open_study(takeover=True) as second:
            assert second._link.is_writer
            t.report(loss=1.0)
            assert not first._link.is_writer
            second.tell(t.index)
            assert second.ask().index == 1
        assert first.ask().index == 2
        assert first._link.is_writer
        assert states(first) == ["COMPLETED", "RUNNING", "RUNNING"]


def test_a_searcher_that_raises_is_stood_in_for_by_random_search() -> None:
    class Broken(Spy):
        def suggest(self, history: History, rng: np.random.Generator, n: int) -> Any:
            raise RuntimeError("singular matrix")

    with open_study(search_alg=Broken()) as study:
        assert 0 <= study.ask().config["x"] <= 1
        notes = [r.note for _, r in study.results.reader.records() if isinstance(r, ConfigsSuggested)]
        assert "singular matrix" in str(notes[0])


def test_nothing_of_a_study_lies_around_when_it_is_closed(tmp_path: Path) -> None:
    with open_study(storage_path=tmp_path / "here") as study:
        assert (study.folder / "study.json").stat().st_mode & 0o777 == 0o600
    assert not (study.folder / "study.json").exists()
