"""A tracker that raises, hangs, is slow or dies changes nothing but its own output, and makes up for it later."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty import (
    Dies,
    DiesWithOpenRuns,
    Freezes,
    Hangs,
    Misbehaves,
    Notes,
    Raises,
    Refuses,
    Slow,
    StartsAnother,
    Unpicklable,
)

import tunesmith as tune
from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.runner import watcher
from tunesmith.trackers import (
    CSVLoggerCallback,
    MLflowLoggerCallback,
    WandbLoggerCallback,
    cursor,
    supervisor,
    sync,
)
from tunesmith.trackers.process import known_secrets
from tunesmith.trackers.tracker import output_name

N_STEPS = 4
SPACE = {"lr": tune.uniform(0.0, 1.0)}


def train(config):
    for step in range(1, N_STEPS + 1):
        tune.report(loss=float(step))


def run(tmp_path, *trackers, trainable=train, **arguments):
    settings = {"executor": "inline", "verbose": 0, "local_dir": tmp_path, "name": "exp", "config": SPACE}
    return tune.run(trainable, callbacks=list(trackers), **{**settings, **arguments})


def everything(n_trials=1, first=0):
    """What a tracker is told of trials that run one after the other."""
    steps = [[f"start {i}", *[f"result {i} {s}" for s in range(1, N_STEPS + 1)], f"end {i} COMPLETED"]
             for i in range(first, first + n_trials)]  # fmt: skip
    return [line for lines in steps for line in lines]


def all_results_are_there(result, n_trials=1):
    return [trial.values("loss") for trial in result.trials] == [
        [(step, float(step)) for step in range(1, N_STEPS + 1)]
    ] * n_trials


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_tracker_is_told_everything_once_in_a_process_of_its_own(tmp_path, caplog):
    notes = Notes(tmp_path / "notes")
    run(tmp_path, notes, num_samples=2)
    assert notes.lines() == ["setup", *everything(2), "over"]
    assert notes.open == set()  # the object here was not the one that was told
    assert warnings(caplog) == []


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="sessions are scheduled by niceness alone here")
def test_trainings_go_before_its_process_and_before_what_that_starts(tmp_path):
    notes = StartsAnother(tmp_path / "notes")
    run(tmp_path, notes, num_samples=2)
    assert [line.split() for line in notes.lines()][-2:] == [["10", "10"]] * 2


def test_a_resumed_experiment_goes_on_where_the_tracker_stood(tmp_path):
    notes = Notes(tmp_path / "notes")
    run(tmp_path, notes, num_samples=1)
    run(tmp_path, notes, num_samples=3)
    assert notes.lines() == ["setup", *everything(1), "over", "setup", *everything(2, first=1), "over"]


def test_a_tracker_with_another_output_is_told_from_the_start(tmp_path):
    first, second = Notes(tmp_path / "notes"), Notes(tmp_path / "others")
    run(tmp_path, first, num_samples=1)
    run(tmp_path, second, num_samples=2)
    assert second.lines() == ["setup", *everything(2), "over"]


def test_two_trackers_of_one_kind_do_not_disturb_each_other(tmp_path):
    notes = [Notes(tmp_path / "a"), Notes(tmp_path / "a", where=""), Notes(tmp_path / "b")]
    run(tmp_path, *notes)
    assert sorted(notes[0].lines()) == sorted(2 * ["setup", *everything(), "over"])
    assert notes[2].lines() == ["setup", *everything(), "over"]


@pytest.mark.parametrize("faulty", [Raises, Hangs, Freezes, Dies])
def test_after_it_raised_hung_or_died_it_is_told_the_rest(tmp_path, caplog, monkeypatch, faulty):
    if faulty is Freezes:
        monkeypatch.setattr(supervisor, "_SILENCE_S", 3.0)
    tracker = faulty(tmp_path / "notes")
    result = run(tmp_path, tracker, num_samples=2)
    assert all_results_are_there(result, 2)
    assert set(everything(2)) <= set(tracker.lines())
    assert tracker.lines()[-1] == "over"
    assert tracker.lines().count("setup") == 3
    assert len(warnings(caplog)) == 1
    why = {Raises: "503", Hangs: "on_trial_result() did not return within 0.6 s", Dies: "ended by signal 9"}
    assert why.get(faulty, "killed") in warnings(caplog)[0]


def test_a_call_that_is_refused_for_good_is_left_out_and_all_others_are_made(tmp_path, caplog):
    tracker = Refuses(tmp_path / "notes", n_times=10**6, at=2)
    run(tmp_path, tracker, num_samples=2)
    assert tracker.lines() == ["setup", *(line for line in everything(2) if not line.endswith(" 2")), "over"]
    [warning] = warnings(caplog)
    assert "on_trial_result() raised ValueError: out of range for ***" in warning


def test_results_are_committed_while_a_tracker_hangs(tmp_path):
    tracker = Hangs(tmp_path / "notes", n_times=10**6, at=1)
    tracker.grace_s, tracker.call_timeout_s = 0.3, 600.0
    seen = []

    def train_while_it_hangs(config):
        tune.report(loss=1.0)
        end = time.monotonic() + 30.0
        while not tracker.path.with_suffix(".marks-0").exists():
            assert time.monotonic() < end
        for step in range(2, N_STEPS + 1):
            tune.report(loss=float(step))
        seen.append(tracker.lines("result"))

    result = run(tmp_path, tracker, trainable=train_while_it_hangs)
    assert all_results_are_there(result)
    assert seen == [[]]


def noted(tmp_path):
    """What the tracker's cursor says."""
    return "".join(path.read_text() for path in (tmp_path / "exp" / "trackers").glob("*.json"))


def test_trials_whose_output_was_not_safe_are_told_again_from_their_start(tmp_path):
    tracker = DiesWithOpenRuns(tmp_path / "notes", at=3)

    def train_and_see(config):
        for step in range(1, N_STEPS + 1):
            tune.report(loss=float(step))
            if tune.get_trial_id().endswith("1") and step == 2:  # until both are told, and noted as told
                end = time.monotonic() + 30.0
                while "result 1 2" not in tracker.lines() or '"unsafe": [1]' not in noted(tmp_path):
                    assert time.monotonic() < end

    result = run(tmp_path, tracker, trainable=train_and_see, num_samples=2)
    assert all_results_are_there(result, 2)
    last = len(tracker.lines()) - 1 - tracker.lines()[::-1].index("setup")
    told_at_last = tracker.lines()[last:]
    assert told_at_last == ["setup", *everything(1, first=1), "over"]


def test_one_that_is_down_delays_the_end_for_its_grace_only_and_says_how_to_sync(tmp_path, caplog):
    tracker = Raises(tmp_path / "notes", n_times=10**6)
    tracker.grace_s = 0.8
    result = run(tmp_path, tracker)
    assert all_results_are_there(result)
    assert len(warnings(caplog)) == 2
    assert f"tunesmith.trackers.sync({str(tmp_path / 'exp')!r}, <your Raises>)" in warnings(caplog)[1]
    assert "503" in warnings(caplog)[1]
    assert "over" not in tracker.lines()

    with pytest.raises(TunesmithError, match="503"):
        sync(tmp_path / "exp", tracker)
    tracker.n_times = 0
    sync(tmp_path / "exp", tracker)
    assert tracker.lines()[-3:] == [f"result 0 {N_STEPS}", "end 0 COMPLETED", "over"]


def test_for_one_that_has_failed_again_and_again_the_end_waits_for_one_more_try_only(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(supervisor, "_HOPELESS", 2)
    tracker = Raises(tmp_path / "notes", n_times=10**6)
    tracker.grace_s = 3600.0
    run(tmp_path, tracker)
    assert "left behind" in warnings(caplog)[1]
    assert tracker.lines().count("setup") == 2


def test_one_that_hangs_again_and_again_has_failed_as_often(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(supervisor, "_HOPELESS", 2)
    monkeypatch.setattr(supervisor, "_SOUND_S", 0.1)  # shorter than what its process lives, as with real limits
    tracker = Hangs(tmp_path / "notes", n_times=10**6, at=1)
    tracker.grace_s = 3600.0
    run(tmp_path, tracker)
    assert "left behind" in warnings(caplog)[1]


def test_an_interrupt_while_trackers_are_waited_for_leaves_them_behind_and_returns_the_results(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(watcher, "_QUIET_S", 0.1)
    tracker = Hangs(tmp_path / "notes", at=1)
    tracker.call_timeout_s, tracker.grace_s = math.inf, math.inf
    said = []

    def interrupt(*words, **_):
        said.append(words[0])
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(watcher._log, "info", interrupt)
    result = run(tmp_path, tracker)
    assert all_results_are_there(result)
    assert "Waiting for as long as it takes for Hangs" in said[0]
    assert "left behind" in warnings(caplog)[0]


@pytest.mark.parametrize("value", [None, -1, math.nan, "30"])
def test_a_limit_that_is_no_number_of_seconds_is_refused(tmp_path, value):
    notes = Notes(tmp_path / "notes")
    notes.grace_s = value
    with pytest.raises(ConfigError, match="grace_s"):
        run(tmp_path, notes)
    assert not (tmp_path / "exp").exists()


def test_the_drivers_own_wandb_process_is_not_shared(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SERVICE", "2-1-unix-/nowhere")
    notes = Notes(tmp_path / "notes")
    run(tmp_path, notes)
    assert notes.lines()[0] == "setup"


def test_a_process_that_holds_the_cursor_for_ever_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cursor, "_HOLDER_S", 0.0)
    first, second = (cursor.Cursor(tmp_path, "notes", experiment_id="x") for _ in range(2))
    first.hold()
    with pytest.raises(TunesmithError, match=f"kill -9 {os.getpid()}"):
        second.hold()
    for each in (first, second):
        each.close()


def test_passwords_in_urls_are_secrets(monkeypatch):
    monkeypatch.setenv("DATABASE", "postgresql://me:p%40ssw0rd@host/db")
    assert {"p%40ssw0rd", "p@ssw0rd"} <= set(known_secrets())
    assert set(MLflowLoggerCallback("http://alice:s3cret@host").secrets()) == {"s3cret"}


def test_another_server_is_told_from_the_start(monkeypatch):
    def names():
        return {output_name(WandbLoggerCallback()), output_name(MLflowLoggerCallback())}

    before = names()
    for variable, value in (("WANDB_MODE", "online"), ("MLFLOW_TRACKING_URI", "http://elsewhere")):
        monkeypatch.setenv(variable, value)
    assert not before & names()


def test_a_running_experiment_is_not_synced(tmp_path):
    def train_and_try(config):
        tune.report(loss=1.0)
        with pytest.raises(TunesmithError, match=f"run by process {os.getpid()}"):
            sync(tmp_path / "exp", Notes(tmp_path / "notes"))

    run(tmp_path, trainable=train_and_try)
    assert not (tmp_path / "notes").exists()


def test_one_that_is_slow_is_left_behind_and_catches_up_at_the_same_call(tmp_path, caplog):
    tracker = Slow(tmp_path / "notes")
    result = run(tmp_path, tracker, num_samples=2)
    assert all_results_are_there(result, 2)
    assert "over" not in tracker.lines()
    assert len(warnings(caplog)) == 1
    tracker.grace_s = 20.0
    run(tmp_path, tracker, num_samples=2)
    assert set(everything(2)) <= set(tracker.lines())
    assert tracker.lines()[-1] == "over"
    n_lines = len(tracker.lines())
    run(tmp_path, tracker, num_samples=2)
    assert len(tracker.lines()) == n_lines


def test_an_experiment_without_trackers_is_synced_afterwards(tmp_path):
    run(tmp_path, num_samples=2)
    notes = Notes(tmp_path / "notes")
    sync(tmp_path / "exp", notes)
    assert notes.lines() == ["setup", *everything(2), "over"]


def test_a_secret_is_in_no_file_and_no_message(tmp_path, caplog):
    tracker = Raises(tmp_path / "notes", n_times=1)
    run(tmp_path, tracker)
    assert "503 to ***" in warnings(caplog)[0]
    assert tracker.key not in caplog.text
    for path in (tmp_path / "exp").rglob("*"):
        assert not path.is_file() or tracker.key.encode() not in path.read_bytes(), path


def test_one_that_cannot_travel_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="holds a socket"):
        run(tmp_path, Unpicklable(tmp_path / "notes"))
    assert not (tmp_path / "exp").exists()


SCRIPT = """
import sys, time
sys.path.insert(0, {helpers!r})
import tunesmith as tune
from faulty import Notes

def train(config):
    for step in range(1, 10**6):
        tune.report(loss=float(step))
        time.sleep(0.05)

space = {{"lr": tune.uniform(0.0, 1.0)}}
notes = Notes({notes!r})
tune.run(train, config=space, executor="inline", verbose=0, local_dir={root!r}, name="exp", callbacks=[notes])
"""


def test_a_killed_drivers_tracker_comes_to_its_end_and_the_next_one_goes_on(tmp_path):
    notes = Notes(tmp_path / "notes")
    helpers = str(Path(__file__).parent)
    script = SCRIPT.format(helpers=helpers, root=str(tmp_path), notes=str(notes.path))
    with subprocess.Popen([sys.executable, "-c", script]) as driver:
        end = time.monotonic() + 30.0
        while len(notes.lines("result")) < 5 and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(driver.pid, signal.SIGKILL)

    def train_on(config):
        tune.report(loss=0.0)

    result = run(tmp_path, notes, trainable=train_on, on_change={"code": "ignore"})
    told = notes.lines("result")
    assert len(told) >= 6
    assert len(set(told[:-1])) == len(told[:-1])  # none twice: the first process was through before the second began
    assert told[-1] == f"result 0 {result.trials[0].step}"
    assert [line for line in notes.lines() if line in ("setup", "over")] == ["setup", "over"] * 2


def test_csv_is_written_though_another_tracker_never_works(tmp_path):
    broken = Raises(tmp_path / "notes", n_times=10**6, at=1)
    broken.grace_s = 0.3
    result = run(tmp_path, broken, CSVLoggerCallback())
    assert len(Path(result.trials[0].logdir, "progress.csv").read_text().splitlines()) == 1 + N_STEPS


def test_misbehaving_at_no_step_is_behaving(tmp_path):
    tracker = Misbehaves(tmp_path / "notes", at=99)
    run(tmp_path, tracker)
    assert tracker.lines() == ["setup", *everything(), "over"]
