"""The reporter for terminals and logs: a live screen where somebody can watch it, plain lines where not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tunesmith.callbacks.choices import Choices, check_limit, check_metric, parse_columns
from tunesmith.callbacks.lines import record_lines, status_line
from tunesmith.callbacks.log_redirect import LogRedirect
from tunesmith.callbacks.progress_reporter import ProgressReporter
from tunesmith.callbacks.progress_view import ProgressView
from tunesmith.callbacks.summary import summary_lines
from tunesmith.clock import Clock, SystemClock
from tunesmith.events import Record

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_LIVE_INTERVAL_S = 0.5  #: a screen is drawn anew at most so often
_LOG_WIDTH = 120  #: of tables in a log, which has no width of its own
_ASCII = str.maketrans({"…": "...", "·": "|", "━": "-"})


class CLIReporter(ProgressReporter):
    """Shows an experiment in the terminal.

    On a terminal: a live screen with progress, time left, resources, the best trial, the table of trials, the latest
    early stops with their reasons, and failures. Elsewhere (CI, nohup, a pipe): plain lines without control codes.
    At the end a table and a summary. The arguments mean what they mean in Ray Tune.

    Args:
        metric_columns: metrics to show, a list or {metric: heading}; they replace the defaults.
        parameter_columns: parameters to show, likewise; nested ones as "optimizer/lr". None: all, by name.
        total_samples: number of trials to expect, if not the experiment's own.
        max_progress_rows: rows of the table of trials.
        max_error_rows: rows of the table of failures.
        max_report_frequency: least number of seconds between two status lines of the plain log.
        infer_limit: how many metrics to show besides the objective where `metric_columns` is not given.
        print_intermediate_tables: whether the table is shown before the end. None: on a live screen, yes; in a log, no.
        metric, mode: what "best" means here, by the last report, if not the experiment's objective.
        sort_by_metric: rank trials, running ones too, by their last value rather than by the best they had.
        stream: where to write; None: sys.stdout as it is when the experiment starts.
        clock: for tests.
    Raises: ConfigError for an argument of the wrong kind.
    """

    def __init__(
        self,
        metric_columns: Sequence[str] | Mapping[str, str] | None = None,
        parameter_columns: Sequence[str] | Mapping[str, str] | None = None,
        total_samples: int | None = None,
        max_progress_rows: int = 20,
        max_error_rows: int = 20,
        max_report_frequency: float = 5,
        infer_limit: int = 3,
        print_intermediate_tables: bool | None = None,
        metric: str | None = None,
        mode: str | None = None,
        sort_by_metric: bool = False,
        *,
        stream: TextIO | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_metric(metric, mode)
        self._choices = Choices(
            metric_columns=parse_columns(metric_columns, "metric_columns"),
            parameter_columns=parse_columns(parameter_columns, "parameter_columns"),
            total_samples=total_samples,
            max_progress_rows=check_limit(max_progress_rows, "max_progress_rows"),
            max_error_rows=check_limit(max_error_rows, "max_error_rows"),
            infer_limit=check_limit(infer_limit, "infer_limit"),
            print_intermediate_tables=print_intermediate_tables,
            metric=metric,
            mode=mode,
            sort_by_metric=sort_by_metric,
        )
        self._max_report_frequency = max_report_frequency
        self._given_stream = stream
        self._clock: Clock = clock or SystemClock()
        self._verbose = 3
        self._stream: TextIO | None = None  #: None before `start`, and after writing to it failed
        self._console: Console | None = None  #: set if and only if the stream is a terminal
        self._live: Live | None = None  #: set while the live screen is on
        self._logs = LogRedirect()
        self._reported_at: float | None = None

    def start(self, folder: Path, verbose: int = 3) -> None:
        """Find out whether somebody can watch; draws nothing yet."""
        self._verbose = verbose
        self._stream = self._given_stream or sys.stdout
        self._console = _open_console(self._stream) if _is_screen(self._stream) else None
        self._reported_at = None
        limit_s = self._max_report_frequency
        self.interval_s = limit_s if self._console is None else min(limit_s, _LIVE_INTERVAL_S)

    def update(self, view: ProgressView, records: Sequence[Record]) -> None:
        """Log what ended (where there is no screen), then report if it is time to."""
        if self._verbose < 1:
            return
        if self._console is None:
            self._write(record_lines(view, records, choices=self._choices, verbose=self._verbose))
        super().update(view, records)

    def finish(self, view: ProgressView) -> None:
        """Take the live screen away; leave the final table and the summary."""
        try:
            if self._verbose >= 1:
                super().finish(view)
        finally:
            self.close()

    def close(self) -> None:
        """Take the live screen away, if it is on."""
        live, self._live = self._live, None
        self._logs.stop()
        if live is not None:
            try:
                live.stop()
            except (OSError, ValueError):
                self._stream = None

    def should_report(self, view: ProgressView, done: bool = False) -> bool:
        """At the end, and otherwise at most every `max_report_frequency` seconds; a live screen twice a second."""
        now = self._clock.now()
        if not done and self._reported_at is not None and now - self._reported_at < self.interval_s:
            return False
        self._reported_at = now
        return True

    def report(self, view: ProgressView, done: bool, *facts: str) -> None:
        """Draw the screen or write the status line; at the end the final table and the summary."""
        if done:
            self._report_end(view)
        elif self._console is not None:
            self._draw(view, self._console)
        else:
            self._write([status_line(view, self._choices)])
            if self._choices.print_intermediate_tables:
                self._write(self._table(view))

    def _report_end(self, view: ProgressView) -> None:
        self.close()
        if self._console is None:
            table = self._table(view) if self._verbose >= 2 else []
            summary = [text for text, _ in summary_lines(view, self._choices)]
            self._write(["", *table, *([""] if table else []), *summary])
            return
        from tunesmith.callbacks.screen import styled_line, styled_lines, table_lines

        console = self._console
        table_texts = table_lines(view, self._choices, width=console.width) if self._verbose >= 2 else []
        gap = [styled_line("")] if table_texts else []
        summary_width = min(max(40, console.width), 100)
        summary_texts = styled_lines(summary_lines(view, self._choices, width=summary_width))
        try:
            for text in [*table_texts, *gap, *summary_texts]:
                # soft_wrap: a long path is left to the terminal, which can copy it whole.
                console.print(text, soft_wrap=True)
        except (OSError, ValueError):
            self._stream = None

    def _draw(self, view: ProgressView, console: Console) -> None:
        """Bring the live screen up to date; the first call switches it on."""
        if self._stream is None:
            return
        from tunesmith.callbacks.screen import LiveScreen

        has_tables = self._verbose >= 2 and self._choices.print_intermediate_tables is not False
        screen = LiveScreen(view, self._choices, has_tables=has_tables)
        try:
            if self._live is None:
                self._switch_on(console)
            if self._live is not None:
                self._live.update(screen, refresh=True)
        except (OSError, ValueError):
            self._stream = None  # the terminal is gone: nobody is left to tell
            self.close()

    def _switch_on(self, console: Console) -> None:
        """What is printed or logged appears above the screen; a stream that goes to a file is left alone."""
        from rich.live import Live

        live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        stdout, stderr = sys.stdout, sys.stderr
        live.start()
        self._live = live
        self._logs.start(stdout, sys.stdout)
        self._logs.start(stderr, sys.stderr)
        console.show_cursor(True)  # a driver that is killed must not leave a terminal without a cursor

    def _table(self, view: ProgressView) -> list[str]:
        from tunesmith.callbacks.screen import plain_text, table_lines

        return plain_text(table_lines(view, self._choices, width=_log_width()))

    def _write(self, lines: Iterable[str]) -> None:
        """Write the lines in the stream's own encoding; a stream that breaks is not written to again."""
        text = "".join(f"{line}\n" for line in lines)
        if self._stream is None or not text:
            return
        try:
            self._stream.write(_encodable(text, self._stream))
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None


def _is_screen(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can move its cursor and show the characters of the screen.

    Asked of the stream itself: variables such as FORCE_COLOR ask for colours, not for a screen, and CI sets them.
    """
    can_move = os.environ.get("TERM", "") not in ("dumb", "unknown")
    return can_move and _is_terminal(stream) and _is_unicode(stream)


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sees what is written to it; no stream, or a closed one, is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _is_unicode(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def _encodable(text: str, stream: TextIO) -> str:
    if _is_unicode(stream):
        return text
    return text.translate(_ASCII).encode(stream.encoding, "replace").decode(stream.encoding)


def _open_console(stream: TextIO) -> Console:
    from tunesmith.callbacks.screen import TerminalConsole

    return TerminalConsole(
        file=stream,
        force_terminal=True,
        force_interactive=True,
        force_jupyter=False,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _log_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return max(40, int(columns)) if columns.isdecimal() else _LOG_WIDTH
