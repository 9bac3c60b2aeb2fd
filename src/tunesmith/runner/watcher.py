"""Reporters and callbacks follow the log by cursor, in a thread of their own: they cannot delay or lose a result."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from tunesmith.callbacks import LiveFacts, ProgressReporter, ProgressView, build_view
from tunesmith.clock import Clock
from tunesmith.events import Record
from tunesmith.experiment import Experiment
from tunesmith.protocols import Callback
from tunesmith.stores import DATABASE_NAME, Reader, open_reader

_log = logging.getLogger("tunesmith")
_BATCH = 2000
_CALLBACK_INTERVAL_S = 0.5
_SHARE_OF_TIME = 20  #: an update may take a twentieth of the time between two
_CLOSE_TIMEOUT_S = 60.0  #: how long the end of an experiment waits for a slow reporter or callback


class Watcher:
    """Reads committed records and hands them on. What a reporter or callback raises is logged once and ends only it."""

    def __init__(
        self,
        folder: Path,
        *,
        experiment: Experiment,
        clock: Clock,
        reporter: ProgressReporter | None,
        callbacks: Sequence[Callback],
        verbose: int,
        after_seq: int = 0,
    ) -> None:
        """Args: after_seq: where to begin; what a resumed log holds already is not told again."""
        self._folder, self._experiment, self._clock = folder, experiment, clock
        self._reporter, self._callbacks, self._verbose = reporter, list(callbacks), verbose
        self._cursor = after_seq
        self._started_at = clock.now()
        self._ended = threading.Event()
        self._scheduler_lines: tuple[str, ...] = ()
        self._wants_lines = True
        self._pause_s = _CALLBACK_INTERVAL_S
        self._thread = threading.Thread(target=self._run, name="tunesmith-watcher", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        if self._reporter is not None:
            self._reporter.start(self._folder, self._verbose)
            self._pause_s = self._reporter.interval_s
        self._thread.start()

    def after_pass(self) -> None:
        """Called in the loop: the scheduler may only be looked at there."""
        if self._wants_lines:
            self._wants_lines = False
            self._scheduler_lines = tuple(self._experiment.scheduler.describe())

    def close(self) -> None:
        """Show the end, then stop. The store must be closed for writing."""
        self._scheduler_lines = tuple(self._experiment.scheduler.describe())
        self._ended.set()
        self._thread.join(_CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            _log.warning("A reporter or callback did not finish within %g s; it is left behind.", _CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        reader = open_reader(self._folder)
        try:
            for callback in list(self._callbacks):
                self._guard(callback, callback.setup, self._folder)
            while True:
                is_over = self._ended.wait(self._pause_s)
                self._follow(reader)
                if is_over:
                    break
            self._finish(reader)
        finally:
            reader.close()

    def _follow(self, reader: Reader) -> None:
        """Everything committed since the last time, then one update of the reporter."""
        news: list[Record] = []
        while True:
            batch = reader.records(self._cursor, _BATCH)
            if not batch:
                break
            self._cursor = batch[-1][0]
            records = [record for _, record in batch]
            news += records
            for callback in list(self._callbacks):
                self._guard(callback, callback.on_records, records)
        if self._reporter is not None:
            self._guard_reporter(reader, news)

    def _finish(self, reader: Reader) -> None:
        for callback in list(self._callbacks):
            self._guard(callback, callback.on_end)
        if self._reporter is None:
            return
        try:
            self._reporter.finish(self._view(reader))
        except Exception:
            _log.warning("%s failed at the end.", type(self._reporter).__name__, exc_info=True)
        finally:
            self._reporter.close()

    def _guard(self, callback: Callback, call: object, *args: object) -> None:
        assert callable(call)
        try:
            call(*args)
        except Exception:
            _log.warning("%s failed and is not called any more.", type(callback).__name__, exc_info=True)
            self._callbacks.remove(callback)

    def _guard_reporter(self, reader: Reader, news: list[Record]) -> None:
        assert self._reporter is not None
        begin = self._clock.now()
        try:
            self._reporter.update(self._view(reader), news)
            # Thousands of trials take longer to read and draw: watch them less often instead of slowing them down.
            self._pause_s = max(self._reporter.interval_s, _SHARE_OF_TIME * (self._clock.now() - begin))
        except Exception:
            _log.warning("%s failed and is not called any more.", type(self._reporter).__name__, exc_info=True)
            self._reporter.close()
            self._reporter = None
        self._wants_lines = True

    def _view(self, reader: Reader) -> ProgressView:
        live = LiveFacts(
            elapsed_s=self._clock.now() - self._started_at,
            now_wall=self._clock.wall(),
            nodes=self._experiment.state.pool.nodes,
            scheduler_lines=self._scheduler_lines,
            n_steps=self._experiment.state.n_steps,
        )
        folder = self._folder
        return build_view(
            reader,
            live,
            folder=folder,
            database=folder / DATABASE_NAME,
            log_file=lambda trial: folder / "logs" / f"{trial.index:05d}.log",
        )
