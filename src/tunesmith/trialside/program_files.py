"""The files by which a program that knows nothing of tunesmith reports, learns of its stop, and counts its steps."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tunesmith.errors import MetricError, ReportError

CONFIG_VARIABLE = "TUNESMITH_CONFIG"
REPORT_FILE_VARIABLE = "TUNESMITH_REPORT_FILE"
STOP_FILE_VARIABLE = "TUNESMITH_STOP_FILE"
CHECKPOINT_VARIABLE = "TUNESMITH_CHECKPOINT_DIR"
TRIAL_DIR_VARIABLE = "TUNESMITH_TRIAL_DIR"
TRIAL_ID_VARIABLE = "TUNESMITH_TRIAL_ID"
SEED_VARIABLE = "TUNESMITH_SEED"
START_STEP_VARIABLE = "TUNESMITH_START_STEP"

#: Names of a line in the report file that are no metrics.
_STEP, _CHECKPOINT = "step", "checkpoint"
_STEP_FILE = "last_step"
_MAX_LINE_BYTES = 1 << 20
#: What C's printf makes of a number that JSON lacks: -nan, inf.
_BARE_NUMBER = re.compile(r'"(?:\\.|[^"\\])*"|([+-]?)\b(nan|inf(?:inity)?)\b', re.I)
_NUMBER_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class ProgramFiles:
    """The files of one attempt, in a folder of its own within the trial's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports = folder / "reports.jsonl"
        self.stop = folder / "stop"

    @classmethod
    def make(cls, trial_dir: Path, attempt: int) -> ProgramFiles:
        """In the folder of the trial. The report file exists and is empty."""
        folder = trial_dir / f"attempt_{attempt}"
        folder.mkdir(mode=0o700, exist_ok=True)
        files = cls(folder)
        descriptor = os.open(files.reports, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        os.close(descriptor)
        return files

    @property
    def has_reports(self) -> bool:
        """Whether a report was counted here, whoever made it."""
        step_file = self.folder / _STEP_FILE
        return step_file.exists() and step_file.stat().st_size > 0

    def say_stop(self, reason: str) -> None:
        """Make the stop file, with the reason in it."""
        write_stop_file(self.stop, reason)

    @contextmanager
    def counted_step(self, asked: int | None, *, start_step: int) -> Iterator[int]:
        """The step of the next report: the one asked for, else one above the last of any process of the attempt.

        Others wait until the block is left; an exception leaves the count as it was.
        """
        import fcntl

        descriptor = os.open(self.folder / _STEP_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            last = int(os.read(descriptor, 32) or start_step)
            step = last + 1 if asked is None else asked
            yield step
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d" % step, 0)
        finally:
            os.close(descriptor)


def write_stop_file(path: str | os.PathLike[str], reason: str) -> None:
    """Make the file that tells a program to stop; nothing where it cannot be made: signals follow."""
    with suppress(OSError):
        Path(path).write_text(f"{reason}\n")


class LineFollower:
    """Reads a file that another process writes, complete line by complete line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._n_lines = 0

    def new_lines(self, *, is_at_end: bool = False) -> list[tuple[int, str]]:
        """Number and text of the lines completed since the last call; at the end also one without a line break.

        Raises: ReportError for a line of more than a megabyte; OSError.
        """
        size = self._path.stat().st_size
        if size < self._offset:  # written anew instead of added to
            self._offset = 0
        if size == self._offset:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        complete = data if is_at_end else data[: data.rfind(b"\n") + 1]
        if len(data) - len(complete) > _MAX_LINE_BYTES:
            raise ReportError(f"Line {self._n_lines + 1} of {self._path} has more than {_MAX_LINE_BYTES:,} bytes.")
        self._offset += len(complete)
        lines = complete.decode(errors="replace").split("\n")
        numbered = list(enumerate(lines, self._n_lines + 1))
        self._n_lines += complete.count(b"\n")
        return [(number, line) for number, line in numbered if line.strip()]


def parse_line(line: str) -> tuple[dict[str, Any], int | None, str | None]:
    """Metrics, step and checkpoint folder in a line such as `{"loss": 0.3, "step": 1}`.

    Raises: MetricError if it is no JSON object. What its values must be, `report` says.
    """
    try:
        found = json.loads(_BARE_NUMBER.sub(_json_number, line))
    except (ValueError, RecursionError) as error:
        raise MetricError(f"It is not JSON: {error}. It begins with {line[:60]!r}.") from None
    if not isinstance(found, dict):
        raise MetricError(f'It is no JSON object. It begins with {line[:60]!r}; expected {{"loss": 0.3}}.')
    step, checkpoint = found.pop(_STEP, None), found.pop(_CHECKPOINT, None)
    return (
        {name: _NUMBER_WORDS.get(value, value) if type(value) is str else value for name, value in found.items()},
        step,
        checkpoint,
    )


def _json_number(match: re.Match[str]) -> str:
    sign, word = match.group(1), (match.group(2) or "").lower()
    if not word:
        return match.group()  # a text, whatever stands in it
    return "NaN" if word == "nan" else f"{sign if sign == '-' else ''}Infinity"


def last_metrics(output: str, metrics: tuple[str, ...]) -> Mapping[str, float] | None:
    """The numbers in the last line of a program's output that is a JSON object with these metrics (any, if none)."""
    for line in reversed(output.splitlines()):
        if not line.lstrip().startswith("{"):
            continue
        try:
            found, _, _ = parse_line(line)
        except MetricError:
            continue
        numbers = {k: v for k, v in found.items() if isinstance(v, int | float)}
        if numbers and all(name in numbers for name in metrics):
            return numbers
    return None
