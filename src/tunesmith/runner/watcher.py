"""Reporters and callbacks follow the log by cursor, in threads of their own: they cannot delay or lose a result."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tunesmith.callbacks import LiveFacts, ProgressReporter, ProgressView, build_view
from tunesmith.clock import Clock
from tunesmith.errors import StoreError
from tunesmith.events import Record
from tunesmith.experiment import Experiment
from tunesmith.runner.follower import Following
from tunesmith.runner.patience import Patience
from tunesmith.stores import DATABASE_NAME, Reader, open_reader

_log = logging.getLogger("tunesmith")
_BATCH = 2000
_INTERVAL_S = 0.5  #: without a reporter
_SHARE_OF_TIME = 20  #: an update may take a twentieth of the time between two
_CLOSE_TIMEOUT_S = 60.0  #: how long the end of an experiment waits for a slow reporter
_LEAVE_S = 2.0  #: for one that is told to leave
_QUIET_S = 2.0  #: of that wait; then it is said who is waited for


class Watcher:
    """Reads committed records and hands them to the reporter; each callback has a follower of its own beside it.

    What a reporter raises is logged once and ends only it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        experiment: Experiment,
        clock: Clock,
        reporter: ProgressReporter | None,
        followers: Sequence[Following],
        verbose: int,
        after_seq: int = 0,
    ) -> None:
        """Args: after_seq: where to begin; what a resumed log holds already is not told again."""
        self._folder, self._experiment, self._clock = folder, experiment, clock
        self._reporter, self._verbose = reporter, verbose
        self._followers = tuple(followers)
        self._cursor = after_seq
        self._news: list[Record] = []  #: read, and not shown yet
        self._patience, self._has_warned_of_reading = Patience(), False
        self._started_at = clock.now()
        self._ended = threading.Event()
        self._scheduler_lines: tuple[str, ...] = ()
        self._wants_lines = True
        self._warned_about: set[tuple[int, int]] = set()  #: attempts that are silent, and were said to be
        self._pause_s = _INTERVAL_S
        self._thread = threading.Thread(target=self._run, name="tunesmith-watcher", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        if self._reporter is not None:
            self._reporter.start(self._folder, self._verbose)
            self._pause_s = self._reporter.interval_s
        for follower in self._followers:
            follower.start()
        self._thread.start()

    def after_pass(self) -> None:
        """Called in the loop: the scheduler may only be looked at there."""
        if self._wants_lines:
            self._wants_lines = False
            self._scheduler_lines = tuple(self._experiment.scheduler.describe())

    def close(self) -> None:
        """Show the end, then stop. The store must be closed for writing. Does nothing where `start` was not reached."""
        if self._thread.ident is None:
            return
        self._scheduler_lines = tuple(self._experiment.scheduler.describe())
        self._ended.set()
        for follower in self._followers:
            follower.end()
        try:
            self._thread.join(_CLOSE_TIMEOUT_S)
            late = ["the reporter"] if self._thread.is_alive() else []
            late += self._wait_for_followers()
        except KeyboardInterrupt:  # nothing is lost by it, and the results are there: they are returned
            left = [follower for follower in self._followers if not follower.join(0.0)]
            for follower in left:
                follower.leave()
            late = [follower.name for follower in left if not follower.join(_LEAVE_S)]
        if late:
            _log.warning("Not waited for any longer, and left behind: %s.", ", ".join(late))

    def _wait_for_followers(self) -> list[str]:
        """Wait for each as long as it may take. Returns: who is not through."""
        began_at = time.monotonic()

        def slow(until_s: Callable[[Following], float]) -> list[Following]:
            return [f for f in self._followers if not f.join(max(0.0, began_at + until_s(f) - time.monotonic()))]

        if waited_for := slow(lambda _: _QUIET_S):
            longest_s = max(follower.patience_s for follower in waited_for)
            names = ", ".join(follower.name for follower in waited_for)
            how_long = f"for {longest_s:.0f} s at most" if math.isfinite(longest_s) else "for as long as it takes"
            text = f"All results are stored. Waiting {how_long} for {names}; Ctrl-C leaves what is left for later."
            if self._verbose > 0:
                print(text, flush=True)
            else:
                _log.info(text)
        return [follower.name for follower in slow(lambda follower: follower.patience_s)]

    def _run(self) -> None:
        try:
            reader = self._patience.read(partial(open_reader, self._folder))
            try:
                self._watch(reader)
            finally:
                reader.close()
        except Exception:
            _log.warning("The experiment cannot be watched any more; it goes on.", exc_info=True)
        finally:
            if self._reporter is not None:
                self._reporter.close()

    def _watch(self, reader: Reader) -> None:
        while True:
            is_over = self._ended.wait(self._pause_s)
            self._update(reader)
            for follower in self._followers:
                follower.look_after()
            if is_over:
                break
        if self._reporter is not None:
            self._finish(reader, self._reporter)

    def _update(self, reader: Reader) -> None:
        """Everything committed since the last time, in one update of the reporter."""
        if self._reporter is None:
            return
        try:
            while batch := self._patience.read(partial(reader.records, self._cursor, _BATCH)):
                self._cursor = batch[-1][0]
                self._news += [record for _, record in batch]
            begin, view = self._patience.read(partial(self._look, reader))
        except StoreError as error:  # what was read already is shown the next time
            if not self._has_warned_of_reading:
                self._has_warned_of_reading = True
                _log.warning("The progress is not shown while the store cannot be read: %s", error)
            return
        news, self._news = self._news, []
        self._guard_reporter(view, news, begin=begin)

    def _finish(self, reader: Reader, reporter: ProgressReporter) -> None:
        try:
            reporter.finish(self._patience.read(partial(self._look, reader))[1])
        except Exception:
            _log.warning("%s failed at the end.", type(reporter).__name__, exc_info=True)

    def _guard_reporter(self, view: ProgressView, news: list[Record], *, begin: float) -> None:
        assert self._reporter is not None
        try:
            self._warn_about_silence(view)
            self._reporter.update(view, news)
            # Thousands of trials take longer to read and draw: watch them less often instead of slowing them down.
            self._pause_s = max(self._reporter.interval_s, _SHARE_OF_TIME * (self._clock.now() - begin))
        except Exception:
            _log.warning("%s failed and is not called any more.", type(self._reporter).__name__, exc_info=True)
            self._reporter.close()
            self._reporter = None
        self._wants_lines = True

    def _warn_about_silence(self, view: ProgressView) -> None:
        """Once for each attempt that has not reported for ten times as long as usual (F4)."""
        for index, silent_s in view.silent_for_s().items():
            attempt = (index, view.trials[index].attempt)
            if attempt not in self._warned_about:
                self._warned_about.add(attempt)
                log = self._folder / "logs" / f"{index:05d}.log"
                _log.warning(
                    "Trial %d has not reported for %.0f s, over ten times as long as usual. Does it hang? Its log: %s",
                    index,
                    silent_s,
                    log,
                )

    def _look(self, reader: Reader) -> tuple[float, ProgressView]:
        """When looking began, and what was seen."""
        return self._clock.now(), self._view(reader)

    def _view(self, reader: Reader) -> ProgressView:
        live = LiveFacts(
            elapsed_s=self._clock.now() - self._started_at,
            time_limit_s=self._experiment.time_limit_s,
            now_wall=self._clock.wall(),
            nodes=self._experiment.state.pool.nodes,
            scheduler_lines=self._scheduler_lines,
            n_stand_ins=self._experiment.state.n_stand_ins,
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
