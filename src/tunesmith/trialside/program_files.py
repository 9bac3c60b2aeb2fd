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

from tunesmith.errors import CheckpointError, MetricError, ReportError

CONFIG_VARIABLE = "TUNESMITH_CONFIG"
REPORT_FILE_VARIABLE = "TUNESMITH_REPORT_FILE"
STOP_FILE_VARIABLE = "TUNESMITH_STOP_FILE"
CHECKPOINT_VARIABLE = "TUNESMITH_CHECKPOINT_DIR"
TRIAL_DIR_VARIABLE = "TUNESMITH_TRIAL_DIR"
TRIAL_ID_VARIABLE = "TUNESMITH_TRIAL_ID"
SEED_VARIABLE = "TUNESMITH_SEED"
START_STEP_VARIABLE = "TUNESMITH_START_STEP"

#: Names of a line in the report file that are no metrics.
_STEP_NAMES, _CHECKPOINT = ("step", "training_iteration"), "checkpoint"
_FOLDER_STEM, _STEP_FILE = "attempt_", "last_step"
_MAX_LINE_BYTES = 1 << 20
_MARK_BYTES = 4096
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
        folder = trial_dir / f"{_FOLDER_STEM}{attempt}"
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

    def stop_reason(self) -> str:
        """What the stop file says; empty where there is none."""
        try:
            return self.stop.read_text(errors="replace").strip()
        except OSError:
            return ""

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


def stop_program(trial_dir: Path, attempt: int, reason: str) -> None:
    """Make the stop file of this attempt, where the trial is a program."""
    files = ProgramFiles(trial_dir / f"{_FOLDER_STEM}{attempt}")
    with suppress(OSError):
        if files.reports.exists():
            files.say_stop(reason)


def write_stop_file(path: str | os.PathLike[str], reason: str) -> None:
    """Make the file that tells a program to stop; nothing where it cannot be made: signals follow."""
    with suppress(OSError):
        Path(path).write_text(f"{reason}\n")


class LineFollower:
    """Reads a file that another process adds to, complete line by complete line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._n_lines = 0
        self._mark = b""  #: what stands before the offset, as far as it is kept
        self._seen: tuple[int, int, int] | None = None  #: how the file was when it was last read

    def new_lines(self, *, is_at_end: bool = False) -> list[tuple[int, str]]:
        """Number and text of the lines completed since the last call; at the end also one without a line break.

        Raises: ReportError for a line of more than a megabyte, and where what was read is no longer there; OSError.
        """
        data = self._added(is_at_end=is_at_end)
        complete = data if is_at_end else data[: data.rfind(b"\n") + 1]
        if len(data) - len(complete) > _MAX_LINE_BYTES:
            raise ReportError(f"Line {self._n_lines + 1} of {self._path} has more than {_MAX_LINE_BYTES:,} bytes.")
        self._offset += len(complete)
        self._mark = (self._mark + complete)[-_MARK_BYTES:]
        lines = complete.decode(errors="replace").split("\n")
        numbered = list(enumerate(lines, self._n_lines + 1))
        self._n_lines += complete.count(b"\n")
        return [(number, line) for number, line in numbered if line.strip()]

    def _added(self, *, is_at_end: bool) -> bytes:
        """What stands behind the offset, where the file has changed."""
        try:
            if not is_at_end and _state_of(self._path.stat()) == self._seen:
                return b""
            with self._path.open("rb") as file:
                file.seek(self._offset - len(self._mark))
                before, data = file.read(len(self._mark)), file.read()
                self._seen = _state_of(os.fstat(file.fileno()))
        except FileNotFoundError:
            before, data = None, b""
        # By its content: a new time alone says nothing, network file systems set it later on.
        if before != self._mark:
            raise ReportError(
                f"The report file was written anew after line {self._n_lines}, so that reports may be lost. "
                'Add each line to the end of the file: >> in a shell, the mode "a" in other languages.'
            )
        return data


def _state_of(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def parse_line(line: str) -> tuple[dict[str, Any], Any, Any]:
    """Metrics, step and checkpoint folder in a line such as `{"loss": 0.3, "step": 1}`.

    Raises: MetricError if it is no JSON object, ReportError for two steps. What its values must be, `report` says.
    """
    metrics = _json_object(line)
    step, checkpoint = take_step(metrics), metrics.pop(_CHECKPOINT, None)
    return metrics, step, checkpoint


def take_step(report: dict[str, Any]) -> Any:
    """Take the step out of a report, `step` or `training_iteration`; None if it names none.

    Raises: ReportError if it names two.
    """
    step, iteration = (report.pop(name, None) for name in _STEP_NAMES)
    if None not in (step, iteration) and step != iteration:
        raise ReportError(f"The report has step={step!r} and training_iteration={iteration!r}. Give one of them.")
    return iteration if step is None else step


def checkpoint_path(checkpoint: Any, trial_dir: Path) -> Any:
    """Where a checkpoint lies: a relative path begins in the trial's folder.

    The working directory is the same for all trials: from there a trial would take what another one saved.
    Raises: CheckpointError if there is nothing.
    """
    if not isinstance(checkpoint, str) or not checkpoint:
        return checkpoint  # what else it may be, `report` says
    path = trial_dir / checkpoint
    if not Path(checkpoint).is_absolute() and not path.exists():
        raise CheckpointError(
            f"There is no checkpoint at {str(path)!r}: a relative path begins in the trial's folder, since all trials "
            f'share the working directory. Save into "${TRIAL_DIR_VARIABLE}/saved" and give that.'
        )
    return path


def last_metrics(output: str, metrics: tuple[str, ...]) -> tuple[dict[str, float], int | None] | None:
    """Numbers and step of the last line of a program's output that is a JSON object with these metrics (any, if none).

    Nested names are joined as `report` joins them. What is no number is left out, for the line was not made for us.
    """
    for line in reversed(output.split("\n")):
        text = line.strip().rpartition("\r")[2]  # what a terminal shows of a line that was written over
        if not text.lstrip().startswith("{"):
            continue
        try:
            found = _json_object(text)
            steps = {step for name in _STEP_NAMES if _is_step(step := found.pop(name, None))}
            numbers = dict(_numbers_in(found, ""))
        except (MetricError, RecursionError):
            continue
        if numbers and all(name in numbers for name in metrics):
            return numbers, steps.pop() if len(steps) == 1 else None
    return None


def _is_step(value: Any) -> bool:
    return type(value) is int and value >= 1


def _numbers_in(found: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _numbers_in(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield prefix + name, value


def _json_object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(_BARE_NUMBER.sub(_json_number, line), object_hook=_with_numbers)
    except (ValueError, RecursionError) as error:
        raise MetricError(f"It is not JSON: {error}. It begins with {line[:60]!r}.") from None
    if not isinstance(found, dict):
        raise MetricError(f'It is no JSON object. It begins with {line[:60]!r}; expected {{"loss": 0.3}}.')
    return found


def _json_number(match: re.Match[str]) -> str:
    sign, word = match.group(1), (match.group(2) or "").lower()
    if not word:
        return match.group()  # a text, whatever stands in it
    return "NaN" if word == "nan" else f"{sign if sign == '-' else ''}Infinity"


def _with_numbers(found: dict[str, Any]) -> dict[str, Any]:
    """The object with numbers in place of the words that stand for them."""
    return {name: _NUMBER_WORDS.get(value, value) if type(value) is str else value for name, value in found.items()}
