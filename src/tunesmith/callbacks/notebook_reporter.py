"""The reporter for notebooks: the live screen in the cell's output, drawn over as the experiment goes on."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.callbacks.cli_reporter import CLIReporter
from tunesmith.callbacks.progress_reporter import ProgressReporter
from tunesmith.callbacks.progress_view import ProgressView
from tunesmith.callbacks.summary import summary_lines
from tunesmith.events import Record

if TYPE_CHECKING:
    from rich.style import Style
    from rich.text import Text

_WIDTH = 110  #: characters; a narrower page scrolls sideways
_HEIGHT = 48
_LIVE_INTERVAL_S = 1.0  #: each drawing is a message to the browser
#: Of the screen's styles, readable on white and on black.
_COLOURS = {
    "red": "#d9534f",
    "green": "#2e9e5b",
    "yellow": "#b8860b",
    "cyan": "#2596be",
    "magenta": "#b05cc0",
    "bright_black": "#888888",
}
_PRE = '<pre style="white-space:pre;overflow-x:auto;line-height:1.25;margin:0">{}</pre>'


class JupyterNotebookReporter(CLIReporter):
    """Shows an experiment in a notebook's cell; `run` takes it by itself there. Elsewhere it is a CLIReporter.

    Args:
        overwrite: draw over the output before; otherwise each report is left standing, at most every
            `max_report_frequency` seconds.
        arguments, keywords: as of `CLIReporter`, in its order.
    Raises: ConfigError for an argument of the wrong kind.
    """

    def __init__(self, overwrite: bool = True, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._overwrite = overwrite
        #: What replaces the output; set between `start` and the end, in a notebook, if it draws over.
        self._handle: Any = None
        self._is_notebook = False

    def start(self, folder: Path, verbose: int = 3) -> None:
        """Take a place in the output of the cell that runs: later drawings come from another thread."""
        super().start(folder, verbose)
        self._is_notebook = is_notebook()
        if not self._is_notebook or verbose < 1:
            return
        self._console = None  # a kernel's output is no terminal, whatever it says
        if self._overwrite:
            self.interval_s = min(self._max_report_frequency, _LIVE_INTERVAL_S)
            self._handle = _show(_PRE.format("Starting ..."), display_id=True)

    def update(self, view: ProgressView, records: Sequence[Record]) -> None:
        """Draw if it is time to; single results have no lines here, as on a live screen."""
        if not self._is_notebook:
            super().update(view, records)
        elif self._verbose >= 1:
            ProgressReporter.update(self, view, records)

    def report(self, view: ProgressView, done: bool, *facts: str) -> None:
        """Draw the screen; at the end the final table and the summary."""
        if not self._is_notebook:
            super().report(view, done, *facts)
            return
        text = _PRE.format("\n".join(map(html_line, self._lines(view, done))))
        if self._handle is None:
            _show(text)
        else:
            self._handle.update(_html(text))

    def _lines(self, view: ProgressView, done: bool) -> Iterable[Text]:
        from tunesmith.callbacks.screen import live_lines, styled_line, styled_lines, table_lines

        if not done:
            has_tables = self._verbose >= 2 and self._choices.print_intermediate_tables is not False
            return live_lines(view, self._choices, width=_WIDTH, height=_HEIGHT, has_tables=has_tables)
        table = table_lines(view, self._choices, width=_WIDTH) if self._verbose >= 2 else []
        gap = [styled_line("")] if table else []
        return [*table, *gap, *styled_lines(summary_lines(view, self._choices, width=100))]


def is_notebook() -> bool:
    """Whether this is the process of a notebook's kernel. IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    get_ipython = getattr(ipython, "get_ipython", None)
    return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None


def default_reporter() -> CLIReporter:
    """The reporter that suits the place where this runs."""
    return JupyterNotebookReporter() if is_notebook() else CLIReporter()


def html_line(line: Text) -> str:
    """A styled line as HTML. Its text, which comes from anywhere, is escaped."""
    from rich.style import Style

    def parsed(style: str | Style) -> Style:
        return Style.parse(style) if isinstance(style, str) else style

    edges = sorted({0, len(line.plain), *(edge for span in line.spans for edge in (span.start, span.end))})
    parts = []
    for start, end in pairwise(edge for edge in edges if edge <= len(line.plain)):
        inside = [parsed(span.style) for span in line.spans if span.start <= start and end <= span.end]
        parts.append(_span(line.plain[start:end], Style.combine([parsed(line.style), *inside])))
    return "".join(parts)


def _span(text: str, style: Style) -> str:
    escaped = html.escape(text, quote=True)
    rules = []
    if style.color is not None and style.color.name in _COLOURS:
        rules.append(f"color:{_COLOURS[style.color.name]}")
    if style.bold:
        rules.append("font-weight:bold")
    if style.dim:
        rules.append("opacity:0.75")
    return f'<span style="{";".join(rules)}">{escaped}</span>' if rules else escaped


def _ipython() -> Any:
    import IPython.display

    return IPython.display


def _html(text: str) -> Any:
    return _ipython().HTML(text)


def _show(text: str, **options: Any) -> Any:
    return _ipython().display(_html(text), **options)
