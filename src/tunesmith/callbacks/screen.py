"""The live screen: a view as styled lines that fit the terminal, whatever its size. Pure but for asking the size.

Every line is a `Text`, never markup, and no longer than the width; there are fewer lines than the terminal has, since
a live display that is higher than the terminal scrolls garbage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.lines import (
    DOT,
    best_of,
    best_words,
    count_words,
    progress_fraction,
    progress_words,
    resource_words,
    wrap_tokens,
)
from tunesmith.callbacks.progress_view import Best, ProgressView
from tunesmith.callbacks.tables import GAP, Kind, Table, error_table, hidden_words, select_rows, trial_table
from tunesmith.callbacks.text import ELLIPSIS, clean, flat_config, format_count, format_duration, format_value
from tunesmith.callbacks.trial_words import failure_words, stop_words
from tunesmith.trial import TrialStatus

_TALL = 30  #: from this height there is room for empty lines and more detail
_LABEL = 11
_MAX_BAR = 40
_MAX_STOPS = 8
_N_COMPARED = 20  #: trials that tell which parameters vary
_STYLES = {
    TrialStatus.RUNNING.value: "cyan",
    TrialStatus.PENDING.value: "dim",
    TrialStatus.PAUSED.value: "magenta",
    TrialStatus.COMPLETED.value: "green",
    TrialStatus.STOPPED.value: "yellow",
    TrialStatus.FAILED.value: "red",
    TrialStatus.INVALID.value: "red",
    TrialStatus.INTERRUPTED.value: "magenta",
}


class TerminalConsole(Console):
    """A console whose writer learns that the terminal is gone; rich would end the whole program."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled: let it go on."""
        raise BrokenPipeError("the terminal is gone")


class LiveScreen:
    """What rich draws: measured anew each time, so that it follows a terminal that is resized."""

    def __init__(self, view: ProgressView, choices: Choices, *, has_tables: bool) -> None:
        self._view = view
        self._choices = choices
        self._has_tables = has_tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from live_lines(
            self._view,
            self._choices,
            width=options.max_width,
            height=options.size.height,
            has_tables=self._has_tables,
        )


def live_lines(view: ProgressView, choices: Choices, *, width: int, height: int, has_tables: bool = True) -> list[Text]:
    """The screen: at most `height - 1` lines of at most `width` cells."""
    lines = _head(view, choices, width, height)
    if has_tables:
        lines += _tables(view, choices, width, height - 1 - len(lines), is_tall=height >= _TALL)
    del lines[max(1, height - 1) :]
    for line in lines:  # a terminal too narrow even for labels
        line.truncate(width, overflow="crop")
    return lines


def table_lines(view: ProgressView, choices: Choices, *, width: int) -> list[Text]:
    """The table of trials as it is printed once, at the end: as high as the user's choice of rows."""
    rows = select_rows(view, choices, n_max=choices.max_progress_rows)
    if not rows:
        return []
    return _trial_lines(view, choices, width, len(rows))


def styled_line(text: str, style: str = "") -> Text:
    """One line that is neither wrapped nor read as markup."""
    return Text(text, style=style, no_wrap=True, overflow="ignore", end="\n")


# ---------------------------------------------------------------- head


def _head(view: ProgressView, choices: Choices, width: int, height: int) -> list[Text]:
    """Title, bar, counts, resources, best and scheduler: what is always there."""
    is_tall = height >= _TALL
    lines = [_title(view, width), _bar(view, choices, width), _field("trials", count_words(view, choices), width)]
    resources = resource_words(view)
    if resources:
        lines.append(_field("resources", resources, width))
    lines += _best_lines(view, choices, width, n_config_lines=4 if is_tall else 1)
    methods = DOT.join(clean(name) for name in dict.fromkeys((view.searcher_name, view.scheduler_name)) if name)
    if methods and is_tall:
        lines.append(_field("method", methods, width))
    for line in view.scheduler_lines[: 6 if is_tall else 1]:
        lines.append(_field("scheduler" if line is view.scheduler_lines[0] else "", clean(line), width, style="dim"))
    if view.end_detail and view.end_status is not None:
        lines.append(_field("ending", clean(view.end_detail), width, style="yellow"))
    return lines


def _title(view: ProgressView, width: int) -> Text:
    """The name is cut before the state is."""
    tail = f"{DOT}{view.state}{DOT}{format_duration(view.elapsed_s)}"
    title = styled_line(_fit(clean(view.name), max(8, width - len(tail))), "bold")
    style = "bold cyan" if view.end_status is None else "bold green" if view.is_complete else "bold yellow"
    title.append(_fit(tail, width - cell_len(title.plain)), style=style)
    return title


def _bar(view: ProgressView, choices: Choices, width: int) -> Text:
    words = progress_words(view, choices)
    fraction = progress_fraction(view, choices)
    n_cells = min(_MAX_BAR, width - len(words) - len(GAP))
    if fraction is None or n_cells < 8:
        return styled_line(_fit(words, width))
    n_done = int(fraction * n_cells)
    bar = styled_line("━" * n_done, "green")
    bar.append("─" * (n_cells - n_done), style="bright_black")
    bar.append(_fit(GAP + words, width - n_cells), style="default")
    return bar


def _best_lines(view: ProgressView, choices: Choices, width: int, n_config_lines: int) -> list[Text]:
    best = best_of(view, choices)
    if best is None:
        return []
    words = best_words(best)
    name = f" ({clean(best.name)})"
    lines = [_field("best", words + name if _LABEL + len(words + name) <= width else words, width, style="bold green")]
    tokens = [f"{clean(key)}={value}" for key, value in _config_values(view, best).items()]
    lines += [_field("", line, width) for line in wrap_tokens(tokens, width - _LABEL, n_lines=n_config_lines)]
    return lines


def _config_values(view: ProgressView, best: Best) -> dict[str, str]:
    """The best config's values by name; those that the latest trials have in common come last."""
    values = {key: format_value(key, value) for key, value in flat_config(best.config).items()}
    others = [flat_config(trial.config) for trial in view.trials[-_N_COMPARED:]]
    varying = [k for k, value in values.items() if any(k not in o or format_value(k, o[k]) != value for o in others)]
    return {key: values[key] for key in [*varying, *(key for key in values if key not in varying)]}


def _field(label: str, words: str, width: int, style: str = "") -> Text:
    line = styled_line(label.ljust(_LABEL), "bright_black")
    line.append(_fit(words, width - _LABEL), style=style or "default")
    return line


def _fit(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + ELLIPSIS if width > 0 else ""


# ---------------------------------------------------------------- tables


class _Shares(msgspec.Struct, frozen=True):
    """How many entries each part of the screen shows."""

    n_rows: int
    n_stops: int
    n_errors: int


def _tables(view: ProgressView, choices: Choices, width: int, n_lines: int, *, is_tall: bool) -> list[Text]:
    """Trials, latest stops and failures in `n_lines` lines, the trials having the greater part."""
    stops, failures = view.stops(), view.failures()
    shares = _share_lines(view, choices, n_lines, n_stops=len(stops), n_failures=len(failures), is_tall=is_tall)
    lines: list[Text] = []
    if shares.n_rows > 0:
        lines += [styled_line(""), *_trial_lines(view, choices, width, shares.n_rows)]
    if shares.n_stops > 0:
        lines += _part_title(f"latest of {format_count(len(stops), 'early stop')}", width, is_tall=is_tall)
        lines += [styled_line(_fit(stop_words(trial), width), "yellow") for trial in stops[: shares.n_stops]]
    if shares.n_errors > 0:
        shown = failures[: shares.n_errors]
        lines += _part_title(f"latest of {format_count(len(failures), 'failed trial')}", width, is_tall=is_tall)
        if is_tall:
            lines += _styled(error_table(view, shown, width=width), heading_style="bold", row_style="red")
        else:
            lines += [styled_line(_fit(failure_words(trial), width), "red") for trial in shown]
    return lines


def _part_title(words: str, width: int, *, is_tall: bool) -> list[Text]:
    """An empty line and a title; a low terminal has no room for them, and the entries speak for themselves."""
    return [styled_line(""), styled_line(_fit(words, width), "bright_black")] if is_tall else []


def _share_lines(
    view: ProgressView, choices: Choices, n_lines: int, *, n_stops: int, n_failures: int, is_tall: bool
) -> _Shares:
    """About a sixth of the lines each for failures and for stops, the rest for the trials; a low terminal: trials only.

    The trials cost an empty line, the heading and a line on what is hidden; on a high one each part has a title, and
    the failures a heading.
    """
    n_title = 2 if is_tall else 0
    n_heading = 1 if is_tall else 0
    n_errors = min(n_failures, choices.max_error_rows, max(1, n_lines // 6 - 1)) if n_lines >= 8 else 0
    n_latest = min(n_stops, max(1, n_lines // 6 - 1), _MAX_STOPS) if n_lines >= 12 else 0
    used = (n_errors + n_heading + n_title if n_errors else 0) + (n_latest + n_title if n_latest else 0)
    n_rows = min(len(view.trials), choices.max_progress_rows, max(0, n_lines - used - 3))
    return _Shares(n_rows, n_latest, n_errors)


def _trial_lines(view: ProgressView, choices: Choices, width: int, n_rows: int) -> list[Text]:
    """Heading, rows, and a line that says what is not shown."""
    rows = select_rows(view, choices, n_max=n_rows)
    table = trial_table(view, rows, choices=choices, width=width)
    notes = [note for note in (hidden_words(view, rows), _not_shown(table)) if note]
    lines = _styled(table, heading_style="bold")
    if notes:
        lines.append(styled_line(_fit(DOT.join(notes), width), "bright_black"))
    return lines


def _not_shown(table: Table) -> str | None:
    return f"no room for: {', '.join(table.not_shown)}" if table.not_shown else None


def _styled(table: Table, *, heading_style: str, row_style: str = "") -> list[Text]:
    lines = [styled_line(GAP.join(table.heading()).rstrip(), heading_style)]
    lines += [_styled_row(table, i, row_style) for i in range(table.n_rows)]
    return lines


def _styled_row(table: Table, i: int, style: str) -> Text:
    line = styled_line("", style)
    for n, (column, cell) in enumerate(zip(table.columns, table.row(i), strict=True)):
        if n:
            line.append(GAP)
        line.append(cell, style=_STYLES.get(cell.strip(), "") if column.kind is Kind.STATUS else "")
    return line


def plain_text(lines: Iterable[Text]) -> list[str]:
    """The lines without their styles."""
    return [line.plain.rstrip() for line in lines]


def styled_lines(lines: Sequence[tuple[str, str]]) -> list[Text]:
    """Pairs of text and style as lines."""
    return [styled_line(text, style) for text, style in lines]
