"""What callbacks and reporters do is their own affair: no result is lost or late because of them (F48)."""

from __future__ import annotations

import itertools
import logging
import threading

import pytest

import tunesmith as tune
from tunesmith.callbacks import ProgressReporter
from tunesmith.errors import StoreError, TrainableError
from tunesmith.events import TrialReported
from tunesmith.runner import follower, patience, watcher
from tunesmith.stores import Reader


class Recorder:
    """A callback that keeps what it is told."""

    def __init__(self):
        self.records = []
        self.calls = []
        self.is_told = threading.Event()

    def setup(self, folder):
        self.calls.append("setup")

    def on_records(self, records):
        self.records += records
        if self.losses:
            self.is_told.set()

    def on_end(self):
        self.calls.append("end")

    @property
    def losses(self):
        return [record.metrics["loss"] for record in self.records if isinstance(record, TrialReported)]


class Healthy(Recorder):
    """Another one beside it."""


class Raising(Recorder):
    """Fails in one of its methods; counts the calls."""

    def __init__(self, where, error=RuntimeError):
        super().__init__()
        self.where, self.error = where, error

    def _maybe(self, where):
        self.calls.append(where)
        if where == self.where:
            raise self.error("the callback is broken")

    def setup(self, folder):
        self._maybe("setup")

    def on_records(self, records):
        self._maybe("on_records")

    def on_end(self):
        self._maybe("on_end")


class Hanging(Recorder):
    """Returns from `on_records` only when it is let go."""

    def __init__(self):
        super().__init__()
        self.is_in, self.may_go = threading.Event(), threading.Event()

    def on_records(self, records):
        self.is_in.set()
        self.may_go.wait(30.0)


def run(trainable, tmp_path, *callbacks, **arguments):
    settings = {"executor": "inline", "verbose": 0, "local_dir": tmp_path, "callbacks": list(callbacks)}
    return tune.run(trainable, **{**settings, **arguments})


def train(config):
    for step in range(1, 4):
        tune.report(loss=float(step))


def test_a_callback_is_told_everything_in_order_and_of_the_end(tmp_path):
    callback = Recorder()
    run(train, tmp_path, callback, num_samples=2)
    assert callback.losses == [1.0, 2.0, 3.0] * 2
    assert callback.calls == ["setup", "end"]


@pytest.mark.parametrize("error", [RuntimeError, StoreError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["setup", "on_records", "on_end"])
def test_a_callback_that_raises_is_said_once_and_ends_alone(tmp_path, caplog, where, error):
    broken, healthy = Raising(where, error), Recorder()
    result = run(train, tmp_path, broken, healthy)
    assert result.trials[0].values("loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert healthy.losses == [1.0, 2.0, 3.0]
    assert broken.calls.count(where) == 1
    assert broken.calls[-1] == where
    warnings = [record for record in caplog.records if f"{where}() of Raising failed" in record.getMessage()]
    assert len(warnings) == 1
    assert "the callback is broken" in warnings[0].exc_text or error is SystemExit


def test_while_a_callback_hangs_results_are_committed_and_other_callbacks_are_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(follower, "_PATIENCE_S", 0.2)
    hanging = Hanging()

    def train(config):
        tune.report(loss=1.0)
        assert hanging.is_in.wait(30.0)  # from here on it hangs
        for step in range(2, 101):
            tune.report(loss=float(step))

    healthy = Recorder()
    result = run(train, tmp_path, hanging, healthy)
    try:
        assert not hanging.may_go.is_set()
        assert len(result.trials[0].values("loss")) == 100
        assert healthy.losses == [float(step) for step in range(1, 101)]
        assert "left behind: Hanging." in caplog.text
    finally:
        hanging.may_go.set()
    for thread in threading.enumerate():
        if thread.name == "tunesmith-Hanging":
            thread.join(30.0)
            assert not thread.is_alive()


def test_a_call_that_does_not_return_is_warned_about_while_it_lasts_and_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(follower, "_HANG_S", 0.0)
    hanging = Hanging()
    has_warned = threading.Event()

    class Listen(logging.Handler):
        def emit(self, record):
            if "Hanging.on_records() has not returned" in record.getMessage():
                has_warned.set()
                hanging.may_go.set()

    logger, listen = logging.getLogger("tunesmith"), Listen()
    logger.addHandler(listen)

    def train(config):
        tune.report(loss=1.0)
        assert has_warned.wait(30.0)

    try:
        run(train, tmp_path, hanging)
    finally:
        logger.removeHandler(listen)
    assert sum("Hanging.on_records() has not returned" in message for message in caplog.messages) == 1


class BrokenReporter(ProgressReporter):
    """Raises in one method."""

    interval_s = 0.01

    def __init__(self, where):
        self.where, self.n_closed = where, 0

    def start(self, folder, verbose):
        pass

    def update(self, view, news):
        if self.where == "update":
            raise RuntimeError("no terminal")

    def finish(self, view):
        if self.where == "finish":
            raise RuntimeError("no terminal")

    def close(self):
        self.n_closed += 1


@pytest.mark.parametrize("where", ["update", "finish"])
def test_a_reporter_that_raises_ends_alone_and_gives_the_terminal_back(tmp_path, caplog, where):
    reporter, callback = BrokenReporter(where), Recorder()
    result = run(train, tmp_path, callback, progress_reporter=reporter, verbose=2)
    assert len(result.trials[0].values("loss")) == 3
    assert callback.losses == [1.0, 2.0, 3.0]
    assert reporter.n_closed >= 1
    assert sum("BrokenReporter failed" in message for message in caplog.messages) == 1


# ---------------------------------------------------------------- reads that fail


@pytest.fixture
def failing_reads(monkeypatch):
    """Makes reads of one thread fail: those of these numbers, from 0."""
    monkeypatch.setattr(patience, "_INTERVAL_S", 0.01)

    def fail(thread, method, numbers):
        read, count = getattr(Reader, method), itertools.count()

        def maybe(reader, *arguments):
            if threading.current_thread().name == thread and next(count) in numbers:
                raise StoreError("locked by a backup program")
            return read(reader, *arguments)

        monkeypatch.setattr(Reader, method, maybe)

    return fail


def test_a_callback_is_told_everything_though_some_reads_fail(tmp_path, failing_reads, caplog):
    failing_reads("tunesmith-Recorder", "records", {0, 1, 2, 4})
    callback = Recorder()
    run(train, tmp_path, callback)
    assert callback.losses == [1.0, 2.0, 3.0]
    assert callback.calls == ["setup", "end"]
    assert caplog.messages == []


@pytest.mark.parametrize("module", [follower, watcher])
def test_who_cannot_open_the_store_at_once_opens_it_later(tmp_path, monkeypatch, module):
    monkeypatch.setattr(patience, "_INTERVAL_S", 0.01)
    open_reader, count = module.open_reader, itertools.count()

    def maybe(folder):
        if next(count) == 0:
            raise StoreError("locked by a backup program")
        return open_reader(folder)

    monkeypatch.setattr(module, "open_reader", maybe)
    callback, reporter = Recorder(), Collecting()
    run(train, tmp_path, callback, progress_reporter=reporter, verbose=2)
    assert (callback.losses, callback.calls) == ([1.0, 2.0, 3.0], ["setup", "end"])
    assert (reporter.losses, reporter.n_finished) == ([1.0, 2.0, 3.0], 1)


def test_a_callback_is_told_of_the_end_though_nothing_can_be_read_any_more(
    tmp_path, failing_reads, caplog, monkeypatch
):
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.05)
    failing_reads("tunesmith-Recorder", "records", range(10**6))
    callback, healthy = Recorder(), Healthy()
    run(train, tmp_path, callback, healthy)
    assert callback.calls == ["setup", "end"]
    assert healthy.losses == [1.0, 2.0, 3.0]
    assert [message for message in caplog.messages if "Recorder is behind" in message] == [
        "Recorder is behind with what it is told, since the store cannot be read: locked by a backup program"
    ]


def test_a_callback_is_told_the_rest_once_the_store_can_be_read_again(tmp_path, failing_reads, monkeypatch, caplog):
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(follower, "_INTERVAL_S", 0.01)
    failing_reads("tunesmith-Recorder", "records", range(3))
    callback = Recorder()

    def train(config):
        tune.report(loss=1.0)
        assert callback.is_told.wait(30.0)
        tune.report(loss=2.0)

    run(train, tmp_path, callback)
    assert callback.losses == [1.0, 2.0]
    assert sum("Recorder is behind" in message for message in caplog.messages) == 1


class Collecting(ProgressReporter):
    """Keeps what it is shown."""

    interval_s = 0.01

    def __init__(self):
        self.losses, self.n_closed, self.n_finished = [], 0, 0

    def start(self, folder, verbose):
        pass

    def update(self, view, news):
        self.losses += [record.metrics["loss"] for record in news if isinstance(record, TrialReported)]

    def finish(self, view):
        self.n_finished += 1

    def close(self):
        self.n_closed += 1


@pytest.mark.parametrize("method", ["records", "trials", "status"])
@pytest.mark.parametrize(("patience_s", "numbers"), [(20.0, range(0, 10**6, 2)), (0.0, {0, 1, 3})])
def test_a_reporter_is_shown_everything_though_some_reads_fail(
    tmp_path, failing_reads, monkeypatch, method, patience_s, numbers
):
    monkeypatch.setattr(patience, "_PATIENCE_S", patience_s)
    monkeypatch.setattr(watcher, "_BATCH", 2)
    failing_reads("tunesmith-watcher", method, numbers)
    reporter, callback = Collecting(), Recorder()

    def train(config):
        for step in range(1, 4):
            tune.report(loss=float(step))
        while not reporter.losses:
            threading.Event().wait(0.01)

    run(train, tmp_path, callback, progress_reporter=reporter, verbose=2)
    assert reporter.losses == [1.0, 2.0, 3.0]
    assert (reporter.n_finished, reporter.n_closed) == (1, 1)


def test_a_reporter_that_cannot_be_shown_anything_gives_the_terminal_back(tmp_path, failing_reads, monkeypatch, caplog):
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.05)
    failing_reads("tunesmith-watcher", "records", range(10**6))
    failing_reads("tunesmith-watcher", "trials", range(10**6))
    reporter = Collecting()
    result = run(train, tmp_path, progress_reporter=reporter, verbose=2)
    assert len(result.trials[0].values("loss")) == 3
    assert reporter.n_closed == 1
    assert sum("The progress is not shown" in message for message in caplog.messages) == 1


def test_an_error_before_anything_is_watched_is_not_hidden_behind_another(tmp_path):
    lock = threading.Lock()
    with pytest.raises(TrainableError, match="'lock' cannot be pickled"):
        run(lambda config: lock, tmp_path, Recorder(), executor="processes", verbose=0)


def test_no_thread_is_left_after_a_run(tmp_path):
    run(train, tmp_path, Recorder(), verbose=0)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("tunesmith")] == []
