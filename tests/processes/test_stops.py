"""Whoever is told to stop is gone within its grace, whatever it does (F20, F21, F22)."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import pytest
from msgspec.structs import replace

import tunesmith as tune
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    AttemptEnded,
    Decision,
    StartAttempt,
    StopAttempt,
    TrialReported,
    Verdict,
)
from tunesmith.executors import attempts
from tunesmith.executors.processes import ProcessExecutor
from tunesmith.experiment.state import as_told
from tunesmith.resources import Placement, Resources
from tunesmith.stores import open_reader
from tunesmith.testing.executor import Driver
from tunesmith.trial import AttemptOutcome, TrialStatus

from .harness import Outside, pid_of

pytestmark = pytest.mark.processes

GRACE_S = 1.5
MARGIN_S = 2.5  #: for a busy machine; a ladder that were not climbed would hang for ever


def records_of(result):
    reader = open_reader(result.folder)
    try:
        return [record for _, record in reader.records(0, 1_000_000)]
    finally:
        reader.close()


def stop_after_one_report(tune_run, stubborn, **arguments):
    """Two trials are told to stop at their first report; `stubborn(config)` is what the second does about it."""

    def train(config):
        tune.report(loss=1.0)

    def train_stubbornly(config):
        return stubborn(config) if config["i"] else train(config)

    began = time.monotonic()
    result = tune_run(
        train_stubbornly,
        config={"i": tune.grid_search([0, 1])},
        stop={"training_iteration": 1},
        grace_s=GRACE_S,
        **arguments,
    )
    assert time.monotonic() - began < GRACE_S + MARGIN_S + 5.0
    assert [trial.state for trial in result.trials] == [TrialStatus.COMPLETED, TrialStatus.COMPLETED]
    assert [trial.step for trial in result.trials] == [1, 1]
    ends = {record.trial: record for record in records_of(result) if isinstance(record, AttemptEnded)}
    assert ends[1].error is None
    return ends[1].outcome


def test_a_stop_is_raised_inside_the_report_and_finally_blocks_run(tune_run, pids):
    folder = str(pids)

    def train(config):
        try:
            tune.report(loss=1.0)
        finally:
            open(f"{folder}/cleaned-up", "w").close()

    assert stop_after_one_report(tune_run, train) is AttemptOutcome.STOPPED
    assert (pids / "cleaned-up").exists()


def test_who_never_returns_after_the_stop_is_ended_by_an_interrupt(tune_run):
    def train(config):
        try:
            tune.report(loss=1.0)
        finally:
            time.sleep(1000)

    assert stop_after_one_report(tune_run, train) is AttemptOutcome.STOPPED


def test_who_ignores_sigint_and_sigterm_is_killed(tune_run):
    def train(config):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            tune.report(loss=1.0)
        finally:
            while True:
                time.sleep(1)

    assert stop_after_one_report(tune_run, train) is AttemptOutcome.STOPPED


def test_who_swallows_the_stop_and_goes_on_reporting_is_ended_and_gets_no_more_results(tune_run):
    def train(config):
        while True:
            try:
                tune.report(loss=1.0)
            except:  # noqa: E722
                time.sleep(0.01)

    assert stop_after_one_report(tune_run, train) is AttemptOutcome.STOPPED


def test_who_catches_keyboard_interrupt_is_ended(tune_run):
    def train(config):
        while True:
            try:
                tune.report(loss=1.0)
                time.sleep(1)
            except BaseException:
                time.sleep(0.05)

    assert stop_after_one_report(tune_run, train) is AttemptOutcome.STOPPED


def test_who_blocks_in_c_and_holds_the_gil_is_killed(tune_run):
    def train(config):
        import ctypes

        try:
            tune.report(loss=1.0)
        finally:
            ctypes.PyDLL(None).sleep(1000)

    assert stop_after_one_report(tune_run, train) is AttemptOutcome.STOPPED


def test_who_has_stopped_itself_with_sigstop_is_killed(tune_run):
    def train(config):
        try:
            tune.report(loss=1.0)
        finally:
            os.kill(os.getpid(), signal.SIGSTOP)

    assert stop_after_one_report(tune_run, train) is AttemptOutcome.STOPPED


STOP = StopAttempt(3, 1, "interrupted", TrialStatus.INTERRUPTED)


@pytest.mark.parametrize(
    ("stop", "decision", "is_interruption"),
    [
        (STOP, as_told(STOP), True),
        (STOP, Decision(Verdict.STOP, "rank 7 of 9"), False),
        (STOP, CONTINUE, False),
        (None, as_told(STOP), False),
        (replace(STOP, attempt=2), as_told(STOP), False),
        (replace(STOP, trial=4), as_told(STOP), False),
        (replace(STOP, status_after=TrialStatus.STOPPED), as_told(STOP), False),
        (replace(STOP, status_after=TrialStatus.FAILED), as_told(STOP), False),
    ],
)
def test_only_what_ends_by_an_interrupt_alone_is_told_that_it_goes_on_later(stop, decision, is_interruption):
    assert attempts.is_interruption(AnswerReport(3, 1, 5, decision), stop) == is_interruption


@pytest.mark.parametrize("is_told_before", [False, True], ids=["told once", "on a longer ladder already"])
def test_a_stop_with_a_shorter_grace_than_the_experiments_ends_the_trial_within_it(tmp_path, is_told_before):
    """F36: of SIGTERM and SIGHUP; the grace of this experiment is 5 s."""

    def train(config):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tune.report(loss=1.0)
        while True:
            time.sleep(1)

    executor = ProcessExecutor({"cpu": 1})
    driver = Driver(executor, train, tmp_path)
    try:
        executor.carry_out([StartAttempt(0, 1, Placement(executor.nodes()[0].name, Resources(cpu=1.0)))])
        driver.run(lambda: bool(driver.of(TrialReported)))
        began = time.monotonic()
        executor.carry_out([StopAttempt(0, 1, "the time budget is used up")] if is_told_before else [])
        executor.carry_out([StopAttempt(0, 1, "SIGTERM", grace_s=0.2)])
        driver.run_to_the_end()
        assert time.monotonic() - began < 0.2 + MARGIN_S
    finally:
        executor.close()
    assert [end.outcome for end in driver.of(AttemptEnded)] == [AttemptOutcome.STOPPED]


def test_a_swallowed_stop_followed_by_a_return_is_a_stop(tune_run):
    def train(config):
        try:
            tune.report(loss=1.0)
        except BaseException:
            pass

    assert stop_after_one_report(tune_run, train) is AttemptOutcome.STOPPED


def test_a_thread_that_goes_on_after_the_function_returned_does_not_hold_the_slot_for_ever(tune_run):
    def train(config):
        import threading

        tune.report(1.0)
        threading.Thread(target=time.sleep, args=(1000,)).start()

    trial = tune_run(train, grace_s=GRACE_S).trials[0]
    assert trial.state is TrialStatus.COMPLETED
    assert trial.metrics["_metric"] == 1.0


def test_an_atexit_function_that_hangs_does_not_hold_the_slot_for_ever(tune_run):
    def train(config):
        import atexit

        tune.report(1.0)
        atexit.register(time.sleep, 1000)

    assert tune_run(train, grace_s=GRACE_S).trials[0].state is TrialStatus.COMPLETED


def test_the_time_budget_ends_trials_that_never_report(tune_run):
    began = time.monotonic()
    result = tune_run(lambda config: time.sleep(1000), num_samples=2, time_budget_s=1.0, grace_s=GRACE_S)
    assert time.monotonic() - began < 1.0 + GRACE_S + MARGIN_S
    assert {trial.state for trial in result.trials} == {TrialStatus.INTERRUPTED}
    assert "time budget of 1 s is used up" in result.trials[0].reason


def test_the_time_budget_ends_trials_that_report_and_keeps_their_results(tune_run):
    def train(config):
        while True:
            tune.report(loss=1.0)
            time.sleep(0.02)

    result = tune_run(train, num_samples=-1, time_budget_s=1.0, grace_s=GRACE_S)
    begun = [trial for trial in result.trials if trial.trial.attempt]
    assert begun
    assert all(trial.state is TrialStatus.INTERRUPTED and trial.step > 0 for trial in begun)


def test_trials_that_still_wait_for_the_template_are_stopped_without_being_started(tune_run, pids):
    """The import takes longer than the time budget: what was not begun need not end."""
    folder = str(pids)

    class Slow:
        def __reduce__(self):
            return time.sleep, (3.0,)

    slow = Slow()

    def train(config):
        open(f"{folder}/started", "w").close()
        return slow

    result = tune_run(train, time_budget_s=0.5, grace_s=0.5)
    assert result.trials[0].state is TrialStatus.INTERRUPTED
    assert not (pids / "started").exists()


def test_a_trial_that_cannot_be_killed_is_given_up_after_a_bounded_time(tune_run, say, pids, caplog):
    """With its template stopped nobody signals the trial, as with one in state D; the experiment's end clears it."""

    def train(config):
        say(f"trial{config['i']}")
        try:
            tune.report(loss=1.0)
        finally:
            time.sleep(1000)

    def stop_template():
        pid = pid_of(pids, "trial0")
        template = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
        os.kill(template, signal.SIGSTOP)

    outside = Outside(stop_template)
    began = time.monotonic()
    result = tune_run(train, config={"i": tune.grid_search([0])}, stop={"training_iteration": 1}, grace_s=1.0)
    outside.join()
    assert time.monotonic() - began < 20.0
    assert result.trials[0].values("loss") == [(1, 1.0)]
    end = next(record for record in records_of(result) if isinstance(record, AttemptEnded))
    assert end.outcome is AttemptOutcome.LOST
    assert "cannot be killed" in end.error
    warning = f"Trial 0 (process {pid_of(pids, 'trial0')}) was killed and does not end; it is given up."
    assert caplog.messages.count(warning) == 1


def test_the_reason_of_a_stop_is_in_the_log_of_events(tune_run):
    result = tune_run(lambda config: time.sleep(1000), time_budget_s=0.5, grace_s=0.5)
    stops = [record for record in records_of(result) if isinstance(record, StopAttempt)]
    assert [stop.reason for stop in stops] == ["the time budget of 0.5 s is used up"]


def test_a_trial_that_says_nothing_for_too_long_is_ended_and_tried_again(tune_run):
    """F4: the first attempt hangs after its first report; the second goes on from the checkpoint to the end."""

    def train(config, checkpoint_dir=None):
        first = 1 if checkpoint_dir is None else int(open(os.path.join(checkpoint_dir, "step")).read()) + 1
        for step in range(first, 4):
            with tune.checkpoint_dir(step=step) as folder, open(os.path.join(folder, "step"), "w") as file:
                file.write(str(step))
            tune.report(loss=1.0 / step)
            if checkpoint_dir is None:
                time.sleep(600)

    result = tune_run(train, report_timeout_s=0.5, max_failures=1, grace_s=GRACE_S)
    [trial] = result.trials
    assert (trial.state, trial.step, trial.trial.attempt, trial.trial.n_failures) == (TrialStatus.COMPLETED, 3, 2, 1)
    assert trial.error == "no report for 0.5 s (report_timeout_s)"


def test_a_trial_that_hangs_with_the_gil_held_before_its_first_report_fails(tune_run):
    def train(config):
        ctypes.PyDLL(None).sleep(600)

    result = tune_run(train, first_report_timeout_s=0.5, grace_s=GRACE_S, raise_on_failed_trial=False)
    [trial] = result.trials
    assert (trial.state, trial.reason) == (
        TrialStatus.FAILED,
        "no report within 0.5 s of its start (first_report_timeout_s)",
    )
