"""The files of a program: lines as they are completed, what a line says, and steps counted over processes."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunesmith.errors import MetricError, ReportError
from tunesmith.trialside.program_files import LineFollower, ProgramFiles, last_metrics, parse_line


@pytest.fixture
def files(tmp_path: Path) -> ProgramFiles:
    return ProgramFiles.make(tmp_path, 1)


def test_only_complete_lines_are_read_and_each_once(files: ProgramFiles) -> None:
    follower = LineFollower(files.reports)
    assert follower.new_lines() == []
    with files.reports.open("ab", buffering=0) as file:
        file.write('{"a": 1}\n\n{"ü'.encode())
        assert follower.new_lines() == [(1, '{"a": 1}')]
        assert follower.new_lines() == []
        file.write(b'": 2}\n{"c": 3}')
        assert follower.new_lines() == [(3, '{"ü": 2}')]
    assert follower.new_lines(is_at_end=True) == [(4, '{"c": 3}')]
    assert follower.new_lines(is_at_end=True) == []


_FIRST = '{"loss": 0.5}\n'


@pytest.mark.parametrize("text", ['{"loss": 0.4}\n', '{"loss": 0.25}\n', '{"loss": 1}\n', ""])
def test_a_file_that_is_written_anew_is_refused_since_reports_may_be_lost(files: ProgramFiles, text: str) -> None:
    follower = LineFollower(files.reports)
    files.reports.write_text(_FIRST)
    assert len(follower.new_lines()) == 1
    _write_later(files.reports, text)
    with pytest.raises(ReportError, match=r"The report file was written anew.* >> in a shell"):
        follower.new_lines()


def test_a_file_that_is_gone_is_refused_too(files: ProgramFiles) -> None:
    files.reports.unlink()
    with pytest.raises(ReportError, match="The report file was written anew"):
        LineFollower(files.reports).new_lines()


def test_a_file_that_was_copied_and_only_added_to_is_read_on(files: ProgramFiles) -> None:
    follower = LineFollower(files.reports)
    files.reports.write_text(_FIRST)
    assert len(follower.new_lines()) == 1
    _write_later(files.reports, _FIRST)  # as network file systems do when they set the time
    assert follower.new_lines() == []
    _write_later(files.reports, _FIRST + '{"loss": 0.4}\n')
    assert follower.new_lines() == [(2, '{"loss": 0.4}')]


def _write_later(path: Path, text: str) -> None:
    """Write it with a time of its own, which a coarse clock need not give."""
    later_ns = path.stat().st_mtime_ns + 10**9
    path.write_text(text)
    os.utime(path, ns=(later_ns, later_ns))


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(files: ProgramFiles) -> None:
    files.reports.write_text("x" * (2 << 20))
    with pytest.raises(ReportError, match="more than 1,048,576 bytes"):
        LineFollower(files.reports).new_lines()


def test_a_line_has_metrics_and_perhaps_step_and_checkpoint() -> None:
    assert parse_line('{"loss": 0.5}') == ({"loss": 0.5}, None, None)
    assert parse_line('{"loss": 1, "step": 3, "checkpoint": "d"}') == ({"loss": 1}, 3, "d")
    assert parse_line('{"loss": 1, "training_iteration": 3}') == ({"loss": 1}, 3, None)
    with pytest.raises(ReportError, match="has step=3 and training_iteration=4"):
        parse_line('{"loss": 1, "step": 3, "training_iteration": 4}')


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", '"NaN"'])
def test_nan_is_understood_as_languages_print_it(text: str) -> None:
    metrics, step, _ = parse_line(f'{{"loss": {text}, "step": 1}}')
    assert math.isnan(metrics["loss"])
    assert step == 1


@pytest.mark.parametrize(
    ("text", "value"), [("inf", math.inf), ("-inf", -math.inf), ("Infinity", math.inf), ('"-Infinity"', -math.inf)]
)
def test_so_are_infinities(text: str, value: float) -> None:
    assert parse_line(f'{{"a": 1, "loss": {text}}}')[0]["loss"] == value
    assert parse_line(f'{{"val": {{"loss": {text}}}}}')[0]["val"]["loss"] == value


def test_texts_stay_texts_for_report_to_refuse() -> None:
    assert parse_line('{"info": "a: nan, b", "nan": "inf"}')[0] == {"info": "a: nan, b", "nan": "inf"}


@pytest.mark.parametrize("line", ["", "x", "[1]", "1", "{", '{"a": }', "[" * 100_000])
def test_anything_else_is_no_report(line: str) -> None:
    with pytest.raises(MetricError, match="It is no"):
        parse_line(line)


def test_the_last_line_with_the_metrics_counts() -> None:
    output = 'x\n{"loss": 2}\n{"loss": 1, "acc": true}\n{"level": 5}\n{"loss": "low"}\n{broken\n'
    assert last_metrics(output, ("loss",)) == ({"loss": 1, "acc": True}, None)
    assert last_metrics(output, ()) == ({"level": 5}, None)
    assert last_metrics("done\n", ()) is None


@pytest.mark.parametrize(
    "line",
    ['{"val": {"loss": 0.5, "of": "x"}}', '{"val/loss": 0.5, "text": "a\u2028b"}', '50%|##  \r{"val/loss": 0.5}\r'],
)
def test_a_result_is_found_with_nested_names_and_whatever_else_a_line_holds(line: str) -> None:
    assert last_metrics(f"x\n{line}\n", ("val/loss",)) == ({"val/loss": 0.5}, None)


@pytest.mark.parametrize(
    ("steps", "step"),
    [
        ('"step": 3', 3),
        ('"training_iteration": 3', 3),
        ('"step": 3, "training_iteration": 3', 3),
        ('"step": 30, "training_iteration": 3', None),
        ('"step": 0', None),
        ('"step": 2.5', None),
        ('"step": true', None),
    ],
)
def test_a_result_has_the_step_that_it_names_if_it_is_one(steps: str, step: int | None) -> None:
    assert last_metrics(f'{{"loss": 1, {steps}}}', ("loss",)) == ({"loss": 1}, step)


def test_steps_are_counted_over_processes_and_not_where_a_report_failed(files: ProgramFiles) -> None:
    assert not files.has_reports
    with pytest.raises(ReportError), files.counted_step(None, start_step=5) as step:
        assert step == 6
        raise ReportError("refused")
    assert not files.has_reports
    with ThreadPoolExecutor(4) as pool:  # each has a descriptor of its own, as processes have
        steps = list(pool.map(_count, [files.folder] * 12))
    assert sorted(steps) == list(range(6, 18))
    with files.counted_step(40, start_step=5) as step:
        assert step == 40
    assert _count(files.folder) == 41
    assert files.has_reports


def _count(folder: Path) -> int:
    with ProgramFiles(folder).counted_step(None, start_step=5) as step:
        return step
