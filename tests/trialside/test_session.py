from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tunesmith.clock import VirtualClock
from tunesmith.errors import ConfigError, MetricError, ReportError
from tunesmith.trialside import (
    ReportDecision,
    Session,
    TrialStopped,
    get_context,
    get_session,
    get_trial_dir,
    get_trial_id,
    get_trial_index,
    get_trial_name,
    get_trial_resources,
    inline_session,
    is_session_enabled,
    report,
    set_session,
)

Start = Callable[..., Session]


@pytest.mark.parametrize(
    ("call", "metrics"),
    [
        (lambda: report(loss=0.3, acc=0.9), {"loss": 0.3, "acc": 0.9}),
        (lambda: report({"loss": 0.3}), {"loss": 0.3}),
        (lambda: report({"loss": 0.3}, acc=0.9), {"loss": 0.3, "acc": 0.9}),
        (lambda: report(0.3), {"_metric": 0.3}),
        (lambda: report(_metric=0.3), {"_metric": 0.3}),
        (lambda: report(np.float32(0.5)), {"_metric": 0.5}),
        (lambda: report(0.3, acc=1), {"_metric": 0.3, "acc": 1}),
        (lambda: report(metrics={"loss": 0.3}), {"loss": 0.3}),
        (lambda: report({"metrics": {"loss": 0.3}}), {"metrics/loss": 0.3}),
        (lambda: report({"step": 7, "loss": 0.3}), {"step": 7, "loss": 0.3}),
        (lambda: report(mean_loss=2.0), {"mean_loss": 2.0, "neg_mean_loss": -2.0}),
        (lambda: report(mean_loss=2.0, neg_mean_loss=5.0), {"mean_loss": 2.0, "neg_mean_loss": 5.0}),
        (lambda: report(loss=1, should_checkpoint=True, done=False), {"loss": 1}),
        (lambda: report(), {}),
    ],
)
def test_every_way_to_report_stores_its_metrics(driver: Any, start: Start, call: Any, metrics: Any) -> None:
    start()
    assert call() == ReportDecision(should_stop=False)
    assert driver.metrics == [metrics]
    assert driver.steps == [1]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: report({"a": 1}, a=2), MetricError, "Metric 'a' is in the dict and among the keywords"),
        (lambda: report("low"), MetricError, "Metric '_metric' is 'low'"),
        (lambda: report(loss=None), MetricError, "Metric 'loss' is None"),
        (lambda: report(done="yes"), MetricError, "Metric 'done' is 'yes'"),
        (lambda: report(a=1, step=0), ReportError, r"is 0\. Give a whole number of 1 or more.*step=i \+ 1"),
        (lambda: report(a=1, step=-1), ReportError, "is -1"),
        (lambda: report(a=1, step=True), ReportError, "is True"),
        (lambda: report(a=1, step=1.5), ReportError, "is 1.5"),
        (lambda: report(a=1, training_iteration="3"), ReportError, "is '3'"),
        (lambda: report(a=1, training_iteration=3, step=4), ReportError, "step=4 and training_iteration=3"),
        (lambda: report(a=1, on_stop="ignore"), ConfigError, "on_stop is 'ignore'"),
    ],
)
def test_a_bad_report_is_refused_before_the_driver_hears_of_it_inside_and_outside_a_trial(
    driver: Any, start: Start, call: Any, error: Any, said: str
) -> None:
    with pytest.raises(error, match=said):
        call()
    start()
    with pytest.raises(error, match=said):
        call()
    assert driver.reports == []
    report(a=1)
    assert driver.steps == [1]


def test_steps_are_counted_from_the_start_checkpoint_and_the_user_may_name_them(driver: Any, start: Start) -> None:
    start(start_step=5)
    report(a=1)
    report(a=1, step=10)
    report(a=1, training_iteration=np.int64(20))
    report({"a": 1, "training_iteration": 21}, step=21)
    report(a=1)
    assert driver.steps == [6, 10, 20, 21, 22]
    assert all(metrics == {"a": 1} for metrics in driver.metrics)


def test_a_new_attempt_may_report_steps_again(driver: Any, start: Start) -> None:
    start(start_step=5, attempt=2)
    report(a=1, step=1)
    assert driver.steps == [1]


def test_the_same_step_with_the_same_metrics_is_answered_without_the_driver(driver: Any, start: Start) -> None:
    start()
    driver.verdicts[3] = ("continue", "noted")
    first = report(a=math.nan, b=1, step=3)
    assert report(a=math.nan, b=1, step=3) is first
    assert driver.steps == [3]


def test_a_step_that_goes_back_or_changes_is_refused(driver: Any, start: Start) -> None:
    start()
    report(a=1, step=3)
    with pytest.raises(ReportError, match="Step 2 was reported after step 3"):
        report(a=1, step=2)
    with pytest.raises(ReportError, match=r"Step 3 was reported twice with different metrics: \{'a': 1\}, then"):
        report(a=2, step=3)
    with pytest.raises(ReportError, match="different metrics"):
        report(a=1, b=1, step=3)
    assert driver.steps == [3]


def test_a_report_that_the_driver_refuses_counts_as_none(driver: Any, start: Start) -> None:
    session = start()
    report(a=1)
    driver.refusals[2] = "Step 2 was reported by process 99."
    with pytest.raises(ReportError, match="by process 99"):
        report(a=2)
    with pytest.raises(ReportError, match="by process 99"):
        report(a=2, step=2)
    assert session.last_step == 1


def test_a_report_interrupted_while_it_waits_is_sent_again_on_repeat(driver: Any, start: Start) -> None:
    start()

    def interrupt() -> None:
        driver.on_report = lambda: None
        raise KeyboardInterrupt

    driver.on_report = interrupt
    with pytest.raises(KeyboardInterrupt):
        report(a=1, step=1)
    report(a=1, step=1)
    assert driver.steps == [1]


def test_a_report_from_inside_a_report_is_refused(driver: Any, start: Start) -> None:
    start()
    driver.on_report = lambda: report(a=2)
    with pytest.raises(ReportError, match="inside report"):
        report(a=1)
    driver.on_report = lambda: None
    report(a=1)
    assert driver.steps == [1]


def test_training_time_counts_the_attempts_before(driver: Any, start: Start) -> None:
    clock = VirtualClock()
    start(clock=clock, start_time_s=10.0)
    clock.advance_to(2.5)
    report(a=1)
    assert driver.reports[0]["time_total_s"] == 12.5


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("verdict", ["stop", "complete", "pause", "clone"])
def test_every_verdict_but_continue_is_raised(driver: Any, start: Start, verdict: str) -> None:
    session = start()
    driver.verdicts[1] = (verdict, "rank 7 of 9")
    with pytest.raises(TrialStopped, match="rank 7 of 9") as caught:
        report(a=1)
    assert (caught.value.reason, caught.value.verdict) == ("rank 7 of 9", verdict)
    assert session.stop == ReportDecision(True, "rank 7 of 9", verdict)


def test_a_stop_runs_finally_and_passes_except_exception(driver: Any, start: Start) -> None:
    start()
    driver.verdicts[2] = ("stop", None)
    ran = []

    def train() -> None:
        try:
            for _ in range(10):
                try:
                    report(a=1)
                except Exception:
                    ran.append("swallowed")
            ran.append("finished")
        finally:
            ran.append("finally")

    with pytest.raises(TrialStopped, match="told to stop"):
        train()
    assert ran == ["finally"]
    assert driver.steps == [1, 2]


def test_a_stop_swallowed_by_a_bare_except_is_raised_at_every_later_report(driver: Any, start: Start) -> None:
    start()
    driver.verdicts[2] = ("stop", "enough")
    n_stops = 0
    for _ in range(6):
        try:
            report(a=1)
        except:  # noqa: E722
            n_stops += 1
    assert n_stops == 5
    assert driver.steps == [1, 2]
    with pytest.raises(TrialStopped, match="enough"):
        report(a="not even looked at")


def test_with_on_stop_return_the_stop_is_returned_again_and_again(driver: Any, start: Start) -> None:
    start()
    driver.verdicts[2] = ("stop", "enough")
    decisions = [report(a=1, on_stop="return") for _ in range(4)]
    assert [d.should_stop for d in decisions] == [False, True, True, True]
    assert decisions[-1].reason == "enough"
    assert driver.steps == [1, 2]
    with pytest.raises(TrialStopped):
        report(a=1)


def test_done_ends_the_trial_after_its_report(driver: Any, start: Start) -> None:
    start()
    with pytest.raises(TrialStopped) as caught:
        report(a=1, done=np.bool_(True))
    assert caught.value.verdict == "complete"
    assert driver.reports[0]["is_last"] is True
    assert driver.metrics == [{"a": 1}]
    assert report(a=2, on_stop="return").should_stop
    assert driver.steps == [1]


def test_threads_report_one_after_the_other(driver: Any, start: Start) -> None:
    start()
    busy = threading.Lock()

    def one_at_a_time() -> None:
        assert busy.acquire(blocking=False)
        busy.release()

    driver.on_report = one_at_a_time
    threads = [threading.Thread(target=lambda: [report(a=1) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert driver.steps == list(range(1, 401))


def test_a_stop_reaches_every_thread(driver: Any, start: Start) -> None:
    start()
    driver.verdicts[1] = ("stop", None)
    with pytest.raises(TrialStopped):
        report(a=1)
    caught = []

    def other() -> None:
        try:
            report(a=1)
        except TrialStopped as stop:
            caught.append(stop)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(caught) == 1


# ---------------------------------------------------------------- which session, which trial


def test_outside_a_trial_a_report_warns_once_and_goes_nowhere() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert report(a=1) == ReportDecision()
        assert report(a=2) == ReportDecision()
    assert [str(w.message) for w in caught] == ["report() was called outside a trial: the metrics go nowhere."]
    assert caught[0].filename == __file__


def test_outside_a_trial_every_question_is_answered_none() -> None:
    context = get_context()
    names = [name for name in dir(context) if name.startswith("get_")]
    assert names and all(getattr(context, name)() is None for name in names)
    assert not is_session_enabled()


def test_inside_a_trial_the_questions_are_answered(start: Start, tmp_path: Any) -> None:
    start()
    assert is_session_enabled()
    assert (get_trial_index(), get_trial_id(), get_trial_name()) == (17, "abcde_00017", "train_abcde_00017")
    assert get_trial_resources() == {"cpu": 2.0, "gpu": 0.5}
    assert get_context().get_experiment_name() == "demo"
    assert not (tmp_path / "trials").exists()
    assert get_trial_dir() == get_context().get_trial_dir() == str(tmp_path / "trials" / "00017")
    assert (tmp_path / "trials" / "00017").stat().st_mode & 0o777 == 0o700


def test_an_inline_session_hides_the_process_session_in_its_context_only(start: Start) -> None:
    inline = start()
    process = start()
    seen = []
    with inline_session(inline):
        seen.append(get_session())
        thread = threading.Thread(target=lambda: seen.append(get_session()))
        thread.start()
        thread.join()
    seen.append(get_session())
    assert seen == [inline, process, process]
    set_session(None)
    assert get_session() is None
