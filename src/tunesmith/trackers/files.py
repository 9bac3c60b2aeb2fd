"""Results as plain files in each trial's folder: `progress.csv`; `result.json` (JSON lines) and `params.json`."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.hooks import LiveTrial
from tunesmith.trackers.tracker import Tracker
from tunesmith.trackers.values import masked

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _OneLineAReport(Tracker):
    """A file with one line for each report: their number says what was told before."""

    name: str  #: of the file
    n_head_lines = 0

    def __init__(self) -> None:
        super().__init__()
        self._n_lines: dict[LiveTrial, int] = {}

    def _path(self, trial: LiveTrial) -> Path:
        return Path(trial.logdir) / self.name

    def is_new(self, trial: LiveTrial) -> bool:
        """Whether the trial's last report has no line yet; one that was cut off by a crash is removed first."""
        if trial not in self._n_lines:
            self._n_lines[trial] = _n_whole_lines(self._path(trial)) - self.n_head_lines
        if trial.n_reports <= self._n_lines[trial]:
            return False
        self._n_lines[trial] = trial.n_reports
        return True


class JsonLoggerCallback(_OneLineAReport):
    """Appends each result, with its config, to `result.json` as a line of JSON; configs are in `params.json` too.

    NaN and infinities are the texts "NaN", "Infinity" and "-Infinity": JSON has no numbers for them.
    """

    name = "result.json"

    def log_trial_start(self, trial: LiveTrial) -> None:
        """See LoggerCallback."""
        text = json.dumps(_finite(masked(trial.config)), indent=1, allow_nan=False)
        _replace(Path(trial.logdir) / "params.json", text + "\n")

    def log_trial_result(self, iteration: int, trial: LiveTrial, result: dict[str, Any]) -> None:
        """See LoggerCallback."""
        if self.is_new(trial):
            with self._path(trial).open("a", encoding="utf-8") as file:
                file.write(json.dumps(_finite(masked(result)), allow_nan=False) + "\n")


class CSVLoggerCallback(_OneLineAReport):
    """Appends each result, without its config, to `progress.csv`.

    A metric that comes later gets a column of its own, empty above; Ray Tune leaves it out. Texts that a spreadsheet
    would take for formulas get a `'` in front.
    """

    name = "progress.csv"
    n_head_lines = 1

    def __init__(self) -> None:
        super().__init__()
        self._columns: dict[LiveTrial, list[str]] = {}

    def log_trial_result(self, iteration: int, trial: LiveTrial, result: dict[str, Any]) -> None:
        """See LoggerCallback."""
        if not self.is_new(trial):
            return
        path = self._path(trial)
        row = {_cell(name): _cell(value) for name, value in result.items() if name != "config"}
        if trial not in self._columns:
            self._columns[trial] = _header(path)
        if new := [name for name in row if name not in self._columns[trial]]:
            self._columns[trial] += new
            _widen(path, self._columns[trial])
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns[trial], lineterminator="\n").writerow(row)


def _n_whole_lines(path: Path) -> int:
    """How many lines the file has; a last one without its end is cut off."""
    try:
        with path.open("rb+") as file:
            data = file.read()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                file.truncate(whole)
            return data.count(b"\n")
    except FileNotFoundError:
        return 0


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    except FileNotFoundError:
        return []


def _widen(path: Path, columns: Sequence[str]) -> None:
    """Write the file anew with these columns."""
    rows: list[dict[str, str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draft.replace(path)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _cell(value: Any) -> Any:
    """One cell: no line break, so that a report is a line, and nothing that a spreadsheet would compute (F106)."""
    if not isinstance(value, str):
        return value
    value = value.replace("\n", " ").replace("\r", " ")
    return f"'{value}" if value.startswith(_FORMULA) else value


def _finite(value: Any) -> Any:
    """The value with NaN and infinities as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list) else value
