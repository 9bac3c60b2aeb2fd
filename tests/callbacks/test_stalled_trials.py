"""A trial that has said nothing for ten times as long as usual is seen as STALLED, and warned about once (F4)."""

from __future__ import annotations

import logging
import time

import pytest
from callback_worlds import trial, view

import tunesmith as tune
from tunesmith.callbacks import ProgressReporter, progress_view
from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.lines import status_line
from tunesmith.callbacks.tables import trial_table
from tunesmith.trial import TrialStatus

SILENT = trial(0, reported_at=1000.0, time_total_s=10.0)  # steps of 2 s
TALKING = trial(1, reported_at=1099.0)


def states(seen):
    table = trial_table(seen, seen.trials, choices=Choices(), width=200)
    return next(column.cells for column in table.columns if column.heading == "status")


def test_the_table_and_the_status_line_show_it():
    seen = view(SILENT, TALKING, now_wall=1100.0)
    assert states(seen) == ("STALLED", "RUNNING")
    assert "2 running (1 stalled)" in status_line(seen, Choices())


def test_the_usual_silence_is_no_stall():
    seen = view(SILENT, TALKING, now_wall=1050.0)
    assert states(seen) == ("RUNNING", "RUNNING")
    assert "stalled" not in status_line(seen, Choices())


def test_a_trial_that_never_reported_stalls_when_others_have():
    never = trial(2, step=0, time_total_s=0.0, started_at=1000.0, reported_at=None)
    assert states(view(never, TALKING, now_wall=1100.0)) == ("STALLED", "RUNNING")


def test_a_trial_that_is_being_stopped_is_not_called_stalled():
    stopping = trial(0, reported_at=1000.0, stop_asked="time budget")
    assert states(view(stopping, TALKING, now_wall=1100.0)) == ("RUNNING", "RUNNING")


def test_a_trial_that_is_over_is_not_stalled():
    over = trial(0, TrialStatus.STOPPED, reported_at=0.0)
    assert states(view(over, TALKING, now_wall=1100.0)) == ("STOPPED", "RUNNING")


@pytest.mark.processes
def test_the_warning_names_the_trial_and_its_log_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress_view, "_MIN_SILENCE_S", 0.2)
    n_seen = []

    class Eyes(ProgressReporter):
        interval_s = 0.05

        def start(self, folder, verbose):
            pass

        def update(self, view, news):
            if view.silent_for_s():
                n_seen.append(1)
            if len(n_seen) == 3:  # the warning has had the chance to come again
                (tmp_path / "go-on").touch()

        def finish(self, view):
            pass

        def close(self):
            pass

    signal_file = tmp_path / "go-on"

    def train(config):
        for _ in range(3):
            tune.report(loss=1.0)
        until = time.monotonic() + 30.0
        while not signal_file.exists() and time.monotonic() < until:
            time.sleep(0.01)
        tune.report(loss=2.0)

    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        result = tune.run(train, local_dir=tmp_path, progress_reporter=Eyes(), verbose=1)
    assert len(n_seen) >= 3
    assert len(result.trials[0].values("loss")) == 4
    warnings = [message for message in caplog.messages if "Trial 0 has not reported for" in message]
    assert len(warnings) == 1
    assert warnings[0].endswith("logs/00000.log")
