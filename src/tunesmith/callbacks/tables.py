"""Tables that fit: text columns are shortened and dropped in a stated order until every row is one line.

Pure: trials in, text out. `MEASURES` is the order. At 200 columns nothing of it is usually needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

import msgspec
from rich.cells import cell_len, set_cell_size

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.progress_view import ProgressView, last_value
from tunesmith.callbacks.text import (
    ELLIPSIS,
    clean,
    flat_config,
    format_duration,
    format_number,
    format_value,
)
from tunesmith.callbacks.trial_words import counts_words, error_words
from tunesmith.trial import Trial, TrialStatus

GAP = "  "
_MAX_CELL = 40  #: of a parameter or a heading, however wide the screen
_SHORT_CELL = 12
_MIN_REASON = 32  #: a column of sentences is dropped rather than made narrower
_MIN_ERROR = 48

#: Shown where the user chose no metrics and a trial has them; the user's own metrics come before these.
DEFAULT_METRICS = {
    "mean_accuracy": "acc",
    "mean_loss": "loss",
    "episode_reward_mean": "reward",
    "timesteps_total": "ts",
    "training_iteration": "iter",
    "time_total_s": "total time (s)",
}
_SHORT_HEADINGS = {"training_iteration": "iter", "time_total_s": "time (s)", "timesteps_total": "ts"}
_NEVER_INFERRED = {"done", "pid", "timestamp", "time_this_iter_s", "time_since_restore", "iterations_since_restore"}


class Kind(Enum):
    """What a column is for; `MEASURES` speaks of kinds."""

    TRIAL = "trial"
    STATUS = "status"
    LOC = "loc"
    PARAMETER = "parameter"
    CONSTANT = "constant"  #: a parameter with the same value in every row
    METRIC = "metric"
    REASON = "reason"
    COUNT = "count"
    LOG = "log"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column. `shorter` says the same in less room, where that is possible."""

    kind: Kind
    heading: str
    cells: tuple[str, ...]
    shorter: Column | None = None
    is_right: bool = False  #: aligned right, as numbers are
    min_width: int | None = None  #: of a column that takes what room is left and is cut to it; None: never cut

    @property
    def natural_width(self) -> int:
        """Terminal cells that show it whole."""
        return max(map(cell_len, (self.heading, *self.cells)))

    @property
    def needed_width(self) -> int:
        """Terminal cells below which it does not fit."""
        return self.natural_width if self.min_width is None else min(self.natural_width, self.min_width)


class Table(msgspec.Struct, frozen=True):
    """Columns that fit, the width of each, and the headings of those that did not."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    not_shown: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows under the heading."""
        return len(self.columns[0].cells) if self.columns else 0

    def heading(self) -> list[str]:
        """The headings, padded."""
        return [_pad(c.heading, width, c.is_right) for c, width in zip(self.columns, self.widths, strict=True)]

    def row(self, i: int) -> list[str]:
        """The cells of row `i`, padded."""
        return [_pad(c.cells[i], width, c.is_right) for c, width in zip(self.columns, self.widths, strict=True)]

    def lines(self) -> list[str]:
        """Heading and rows as plain text."""
        rows = [self.heading(), *(self.row(i) for i in range(self.n_rows))]
        return [GAP.join(row).rstrip() for row in rows]


class Action(Enum):
    """What a measure does."""

    SHORTEN = "shorten"  #: every column of the kind at once
    DROP = "drop"  #: columns of the kind, from the last, one at a time


#: What is given up when there is no room, in this order. The state and the first metric are never dropped.
MEASURES: tuple[tuple[Action, Kind], ...] = (
    (Action.SHORTEN, Kind.CONSTANT),  # shorter headings, texts of a dozen characters
    (Action.SHORTEN, Kind.METRIC),
    (Action.SHORTEN, Kind.TRIAL),  # the id instead of the name
    (Action.SHORTEN, Kind.PARAMETER),
    (Action.DROP, Kind.LOC),
    (Action.SHORTEN, Kind.TRIAL),  # the number instead of the id
    (Action.DROP, Kind.LOG),
    (Action.DROP, Kind.CONSTANT),
    (Action.DROP, Kind.REASON),
    (Action.DROP, Kind.PARAMETER),
    (Action.DROP, Kind.METRIC),
)


def fit(columns: Sequence[Column], width: int) -> Table:
    """The columns in `width` terminal cells, after as few measures as it takes."""
    fitting: list[Column] = list(columns)
    for fitting in _narrower(columns):
        if _needed(fitting) <= width:
            break
    kept = {column.kind: column for column in fitting}
    n_kept = {kind: sum(column.kind is kind for column in fitting) for kind in kept}
    return Table(tuple(fitting), _widths(fitting, width), _dropped(columns, n_kept))


def _narrower(columns: Sequence[Column]) -> Iterator[list[Column]]:
    """The columns, and then after each further measure."""
    current = list(columns)
    yield current
    for action, kind in MEASURES:
        if action is Action.SHORTEN:
            current = [column.shorter or column if column.kind is kind else column for column in current]
            yield current
            continue
        n_kept_always = 1 if kind is Kind.METRIC else 0
        while sum(column.kind is kind for column in current) > n_kept_always:
            last = max(i for i, column in enumerate(current) if column.kind is kind)
            current = current[:last] + current[last + 1 :]
            yield current


def _needed(columns: Sequence[Column]) -> int:
    return sum(column.needed_width for column in columns) + len(GAP) * (len(columns) - 1)


def _widths(columns: Sequence[Column], width: int) -> tuple[int, ...]:
    """The width of each; an elastic column gets what is left, and in the utmost need the last ones are cut."""
    spare = width - _needed(columns)
    widths: list[int] = []
    for column in columns:
        extra = min(max(spare, 0), column.natural_width - column.needed_width)
        spare -= extra
        left = width - sum(widths) - len(GAP) * len(widths)
        widths.append(max(0, min(column.needed_width + extra, left)))
    return tuple(widths)


def _dropped(columns: Sequence[Column], n_kept: dict[Kind, int]) -> tuple[str, ...]:
    """Headings of what is gone: columns of a kind go from the last, so the first ones are those kept."""
    seen: dict[Kind, int] = {}
    dropped = []
    for column in columns:
        seen[column.kind] = seen.get(column.kind, 0) + 1
        if seen[column.kind] > n_kept.get(column.kind, 0):
            dropped.append(column.heading)
    return tuple(dropped)


def _pad(text: str, width: int, is_right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(set_cell_size(text, max(width - 1, 0)) + ELLIPSIS, width)
    padding = " " * (width - cell_len(text))
    return padding + text if is_right else text + padding


# ---------------------------------------------------------------- rows


def select_rows(view: ProgressView, choices: Choices, *, n_max: int) -> list[Trial]:
    """The trials to show: running ones first, then the best.

    Where many run, a quarter of the rows is kept for the best of the others.
    """
    running = [trial for trial in view.trials if trial.status is TrialStatus.RUNNING]
    rest = sorted(
        (t for t in view.trials if t.status is not TrialStatus.RUNNING), key=lambda t: _rank(view, choices, t)
    )
    if choices.sort_by_metric:
        running.sort(key=lambda trial: _rank(view, choices, trial))
    n_reserved = min(len(rest), n_max // 4)
    n_running = min(len(running), n_max - n_reserved)
    return running[:n_running] + rest[: n_max - n_running]


def hidden_words(view: ProgressView, shown: Sequence[Trial]) -> str | None:
    """How many trials the table leaves out, by state; None where it shows all."""
    n_hidden = len(view.trials) - len(shown)
    if n_hidden <= 0:
        return None
    indices = {trial.index for trial in shown}
    counts = Counter(trial.status for trial in view.trials if trial.index not in indices)
    return f"{ELLIPSIS} {n_hidden} more: {counts_words(counts)}"


def _rank(view: ProgressView, choices: Choices, trial: Trial) -> tuple[int, int, float, float]:
    """Sorts the best first, then those without a value by their end, those that have not begun last.

    Of a cross-validation trials with more folds go before those with fewer, unless the table's own values rank.
    """
    value, sign = _ranked_value(view, choices, trial)
    if value is not None and value == value:
        is_by_last = choices.metric is not None or choices.sort_by_metric
        return (0, 0 if is_by_last else -len(trial.folds), sign * value, trial.index)
    return (1 if trial.attempt else 2, 0, -(trial.ended_at or 0.0), trial.index)


def _ranked_value(view: ProgressView, choices: Choices, trial: Trial) -> tuple[float | None, int]:
    """The value that ranks the trial, and the sign that makes small ones good.

    The best value it ever had; with `sort_by_metric`, or a metric of the reporter's own, the one that is in the table.
    """
    if choices.metric is not None:
        return last_value(trial, choices.metric), 1 if choices.mode == "min" else -1
    if view.objective is None:
        return None, 1
    sign = 1 if view.objective.mode.value == "min" else -1
    return (last_value(trial, view.objective.metric) if choices.sort_by_metric else trial.best_value), sign


# ---------------------------------------------------------------- columns


def trial_table(view: ProgressView, rows: Sequence[Trial], *, choices: Choices, width: int) -> Table:
    """The table of these trials: name, state, where, parameters, metrics, and why it is in its state."""
    silent_s = view.silent_for_s()
    columns = [
        _trial_column(view, rows),
        Column(kind=Kind.STATUS, heading="status", cells=tuple(_status(trial, silent_s) for trial in rows)),
        Column(kind=Kind.LOC, heading="loc", cells=tuple(_loc(trial) for trial in rows)),
        *_parameter_columns(rows, choices),
        *_metric_columns(view, rows, choices),
        _sentences("why", [_why(trial, silent_s.get(trial.index)) for trial in rows], _MIN_REASON),
    ]
    return fit([column for column in columns if any(column.cells)], width)


def error_table(view: ProgressView, rows: Sequence[Trial], *, width: int) -> Table:
    """The table of these failed trials: name, how often it failed, the line of the error that says what, the log."""
    columns = [
        _trial_column(view, rows),
        Column(kind=Kind.COUNT, heading="failures", cells=tuple(str(t.n_failures) for t in rows), is_right=True),
        _sentences("error", [error_words(trial) for trial in rows], _MIN_ERROR),
        Column(kind=Kind.LOG, heading="log file", cells=tuple(_log_file(view, trial) for trial in rows)),
    ]
    return fit([column for column in columns if any(column.cells)], width)


def _trial_column(view: ProgressView, rows: Sequence[Trial]) -> Column:
    numbers = Column(kind=Kind.TRIAL, heading="trial", cells=tuple(str(t.index) for t in rows), is_right=True)
    ids = Column(kind=Kind.TRIAL, heading="trial", cells=tuple(clean(t.trial_id) for t in rows), shorter=numbers)
    names = tuple(clean(view.trial_name(trial.index)) for trial in rows)
    return Column(kind=Kind.TRIAL, heading="trial", cells=names, shorter=ids)


def _status(trial: Trial, silent_s: Mapping[int, float]) -> str:
    """The trial's state; STALLED where it runs and says nothing, which is a state for the eyes only (F4)."""
    return "STALLED" if trial.index in silent_s and not trial.stop_asked else trial.status.value


def _loc(trial: Trial) -> str:
    if trial.status is not TrialStatus.RUNNING or trial.pid is None:
        return ""
    return clean(f"{trial.node}:{trial.pid}" if trial.node else f"{trial.pid}")


def _log_file(view: ProgressView, trial: Trial) -> str:
    """Relative to the experiment's folder, which is named elsewhere."""
    return clean(view.log_files.get(trial.index, "").removeprefix(view.folder).lstrip("/\\"))


def _why(trial: Trial, silent_for_s: float | None) -> str:
    if trial.status in (TrialStatus.FAILED, TrialStatus.INVALID):
        return error_words(trial)
    if trial.status is not TrialStatus.RUNNING:
        return "" if trial.reason == "returned" else clean(trial.reason or "")
    if trial.stop_asked:
        return clean(f"stopping: {trial.stop_asked}")
    if silent_for_s is not None:
        return f"no report for {format_duration(silent_for_s)}"
    return f"attempt {trial.attempt}" if trial.attempt > 1 else ""


def _sentences(heading: str, cells: Sequence[str], min_width: int) -> Column:
    return Column(kind=Kind.REASON, heading=heading, cells=tuple(cells), min_width=min_width)


def _parameter_columns(rows: Sequence[Trial], choices: Choices) -> list[Column]:
    """One for each leaf of the configs by name, or those the user chose in the order given."""
    flat = [flat_config(trial.config) for trial in rows]
    headings = choices.parameter_columns
    if headings is None:
        headings = {name: name for name in sorted({name for config in flat for name in config})}
    lasts = [name.rsplit("/", 1)[-1] for name in headings]
    columns = []
    for name, heading in headings.items():
        cells = [format_value(name, config[name]) if name in config else "" for config in flat]
        is_constant = len(rows) > 1 and len(set(cells)) == 1 and choices.parameter_columns is None
        last = name.rsplit("/", 1)[-1]
        short = last if heading == name and lasts.count(last) == 1 else heading
        is_number = all(isinstance(config.get(name, 0), int | float) for config in flat)
        columns.append(
            _value_column(Kind.CONSTANT if is_constant else Kind.PARAMETER, heading, short, cells, is_number)
        )
    return columns


def _metric_columns(view: ProgressView, rows: Sequence[Trial], choices: Choices) -> list[Column]:
    headings = choices.metric_columns
    if headings is None:
        headings = _inferred_metrics(view, rows, choices)
    columns = []
    for name, heading in headings.items():
        values = [last_value(trial, name) for trial in rows]
        cells = ["" if value is None else format_number(value) for value in values]
        columns.append(_value_column(Kind.METRIC, heading, _SHORT_HEADINGS.get(name, heading), cells, True))
    return columns


def _inferred_metrics(view: ProgressView, rows: Sequence[Trial], choices: Choices) -> dict[str, str]:
    """The objective, then `infer_limit` further metrics as the trials first reported them, then the usual ones."""
    found = [name for trial in rows for name in trial.metrics or {} if name not in _NEVER_INFERRED]
    objective = list(view.objective.metrics) if view.objective is not None else []
    own = [name for name in dict.fromkeys(found) if name not in DEFAULT_METRICS and name not in objective]
    headings = {name: name for name in [*objective, *own[: choices.infer_limit]]}
    return headings | {name: heading for name, heading in DEFAULT_METRICS.items() if name not in headings}


def _value_column(kind: Kind, heading: str, short_heading: str, cells: Sequence[str], is_right: bool) -> Column:
    """A column of values whose shorter form cuts the heading to its cells, and text cells to a dozen."""
    heading, short_heading = clean(heading), clean(short_heading)
    short_cells = tuple(_cut(cell, _SHORT_CELL) for cell in cells)
    room = max([10, *map(cell_len, short_cells)])
    shorter = Column(kind=kind, heading=_cut(short_heading, room), cells=short_cells, is_right=is_right)
    whole = tuple(_cut(cell, _MAX_CELL) for cell in cells)
    return Column(kind=kind, heading=_cut(heading, _MAX_CELL), cells=whole, shorter=shorter, is_right=is_right)


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + ELLIPSIS
