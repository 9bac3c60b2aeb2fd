"""Any program as a trial: started as a child of the trial's process, followed by its report file and its output.

    functools.partial(ProgramTrainable("train"), words=("python", "train.py", "--lr", "{lr}"), has_braces=True)

The program is an argument list; there is no shell. docs/cli.md says what it finds in its environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from tunesmith.errors import CheckpointError, MetricError, ReportError, TunesmithError
from tunesmith.trialside.arguments import config_json, fill_words
from tunesmith.trialside.current import get_session
from tunesmith.trialside.failure import ProgramFailed
from tunesmith.trialside.program_files import (
    CHECKPOINT_VARIABLE,
    CONFIG_VARIABLE,
    REPORT_FILE_VARIABLE,
    SEED_VARIABLE,
    START_STEP_VARIABLE,
    STOP_FILE_VARIABLE,
    TRIAL_DIR_VARIABLE,
    TRIAL_ID_VARIABLE,
    LineFollower,
    ProgramFiles,
    checkpoint_path,
    last_metrics,
    parse_line,
)
from tunesmith.trialside.program_output import ProgramOutput
from tunesmith.trialside.session import Session, TrialStopped

_POLL_S = 0.05
_STOP_FILE_PATIENCE_S = 2.0  #: from the stop file to SIGTERM; the driver's own ladder may be quicker
_TAIL_LINES = 30


class ProgramTrainable:
    """Runs a program as the trial; returns when it has ended well."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(
        self,
        config: Mapping[str, Any],
        *,
        words: Sequence[str],
        has_braces: bool,
        metrics: tuple[str, ...] = (),
    ) -> None:
        """Args: as `fill_words` takes them; metrics: those that a JSON line on the output must have to count.

        Raises: ProgramFailed, also for reports that cannot be stored; TrialStopped, DriverLost.
        """
        session = get_session()
        if session is None:
            raise TunesmithError("A program is tuned inside a trial only: see `tunesmith run --help`.")
        files = ProgramFiles.make(session.make_trial_dir(), session.facts.attempt)
        argv = fill_words(words, config, has_braces=has_braces)
        run = _Run(argv, session, files, metrics)
        with _signals_counted(run):
            run.to_end()


class _Run:
    """One attempt of the program."""

    def __init__(self, argv: list[str], session: Session, files: ProgramFiles, metrics: tuple[str, ...]) -> None:
        self._argv, self._session, self._files, self._metrics = argv, session, files, metrics
        self._lines = LineFollower(files.reports)
        self._stop_seen_at: float | None = None
        self._n_sent = 0  #: signals sent to the program: SIGTERM, then SIGKILL
        self.n_signals = 0  #: signals that came here: each moves the ladder one step
        self._n_used = 0  #: of these, such as made the stop file; 1 at most

    def to_end(self) -> None:
        """Start it, follow it, and judge its end."""
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=program_environment(self._session, self._files),
                process_group=0,
            )
        except (OSError, ValueError) as error:
            raise ProgramFailed(f"{self._argv[0]!r} cannot be started: {error}") from None
        output = ProgramOutput(process)
        try:
            self._follow(process, output)
        finally:
            if process.poll() is None:
                _kill(process, signal.SIGKILL)
                process.wait()
            output.close()
        self._judge(process.returncode, output)

    def _follow(self, process: subprocess.Popen[bytes], output: ProgramOutput) -> None:
        while process.poll() is None:
            if output.is_open:
                output.copy(_POLL_S)
            else:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
            self._report_lines()
            self._climb(process)
        output.drain()
        try:
            self._report_lines(is_at_end=True)
        except ProgramFailed:
            if process.returncode == 0:
                raise
            # A crash may leave half a line; why it crashed is what is to be told.

    def _report_lines(self, *, is_at_end: bool = False) -> None:
        try:
            lines = self._lines.new_lines(is_at_end=is_at_end)
        except ReportError as error:
            raise ProgramFailed(str(error)) from None
        for number, line in lines:
            if self._session.stop is not None:
                return  # nobody is asked any more
            try:
                metrics, step, checkpoint = parse_line(line)
                self._report(metrics, step, checkpoint_path(checkpoint, self._session.facts.trial_dir))
            except (MetricError, ReportError, CheckpointError) as error:
                raise ProgramFailed(f"Line {number} of the report file: {error}") from None

    def _report(self, metrics: Mapping[str, Any], step: int | None, checkpoint: Any = None) -> None:
        start = self._session.facts.start_step
        with self._files.counted_step(step, start_step=start) as counted:
            decision = self._session.report(metrics, step=counted, checkpoint=checkpoint, on_stop="return")
        if decision.should_stop:
            self._files.say_stop(decision.reason or decision.verdict)

    def _climb(self, process: subprocess.Popen[bytes]) -> None:
        """The stop file first, then SIGTERM, then SIGKILL: by the signals that come here, or by patience.

        The driver makes the stop file too, as soon as it ends the attempt; its signals follow later.
        """
        now = time.monotonic()
        if self._stop_seen_at is None and (self.n_signals or self._files.stop.exists()):
            self._stop_seen_at = now
            if not self._files.stop.exists():
                self._files.say_stop("the trial was told to end")
                self._n_used = 1
        if self._stop_seen_at is None:
            return
        is_patience_over = now >= self._stop_seen_at + _STOP_FILE_PATIENCE_S
        n_due = max(self.n_signals - self._n_used, 1 if is_patience_over else 0)
        for number in (signal.SIGTERM, signal.SIGKILL)[self._n_sent : n_due]:
            _kill(process, number)
            self._n_sent += 1

    def _judge(self, code: int, output: ProgramOutput) -> None:
        """Report what is only known now, and raise what the end means unless it is a good one."""
        is_told = self._session.stop is not None or self.n_signals > 0 or self._files.stop.exists()
        if code != 0 and not is_told:
            raise ProgramFailed(_failure_words(self._argv, code, output.end))
        if code == 0 and not self._files.has_reports:
            self._report_output(output.results)
        stop = self._session.stop
        if stop is not None:
            raise TrialStopped(stop.reason or "told to stop", stop.verdict)
        if is_told:  # by the driver, by its answer to another process of the trial, or by a signal
            raise TrialStopped(self._files.stop_reason() or "told to end")

    def _report_output(self, output: str) -> None:
        """For programs that only print at their end: the last JSON line is the report."""
        found = last_metrics(output, self._metrics)
        if found is None:
            return
        numbers, step = found
        is_step = step is not None and step > self._session.facts.start_step
        try:
            self._report(numbers, step if is_step else None)
        except ReportError as error:  # it reported by other means, and prints its numbers too
            print(f"The JSON line at the end of the output is not stored: {error}", file=sys.stderr)
        except MetricError as error:
            raise ProgramFailed(f"The JSON line at the end of the output: {error}") from None


def program_environment(session: Session, files: ProgramFiles) -> dict[str, str]:
    """What the program finds in its environment, beside the variables of the session."""
    facts = session.facts
    environment = dict(os.environ)
    environment.pop(CHECKPOINT_VARIABLE, None)
    if facts.start_checkpoint is not None:
        environment[CHECKPOINT_VARIABLE] = str(facts.start_checkpoint)
    environment.setdefault("PYTHONUNBUFFERED", "1")
    # For `tunesmith report` where the environment that tunesmith is installed in was not activated.
    scripts = os.path.dirname(sys.executable)  # noqa: PTH120
    environment["PATH"] = os.pathsep.join([*filter(None, [environment.get("PATH")]), scripts])
    return environment | {
        CONFIG_VARIABLE: config_json(facts.config),
        REPORT_FILE_VARIABLE: str(files.reports),
        STOP_FILE_VARIABLE: str(files.stop),
        TRIAL_DIR_VARIABLE: str(facts.trial_dir),
        TRIAL_ID_VARIABLE: facts.trial_id,
        SEED_VARIABLE: str(facts.seed),
        START_STEP_VARIABLE: str(facts.start_step),
    }


def _kill(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal the program and what it started, unless it has put that into other groups."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextmanager
def _signals_counted(run: _Run) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM, the driver's ladder, are counted instead of ending this process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def count(number: int, frame: FrameType | None) -> None:
        run.n_signals += 1

    before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failure_words(argv: Sequence[str], code: int, output: str) -> str:
    """The end of the output, and in the last line what happened: that line is what tables show."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    how = f"exit code {code}" if code > 0 else f"signal {_signal_name(-code)}"
    last = f"{os.path.basename(argv[0])} ended with {how}"  # noqa: PTH119
    if not lines:
        return f"{last}; it printed nothing"
    if len(lines) == 1:
        return f"{last}: {lines[0][:200]}"
    return "\n".join(["The end of its output:", *lines[-_TAIL_LINES:], f"{last}: {lines[-1][:200]}"])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
