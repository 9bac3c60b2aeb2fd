"""The files of a program: lines as they are completed, what a line says, and steps counted over processes."""

from __future__ import annotations

import math
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


def test_a_file_that_is_written_anew_is_read_anew(files: ProgramFiles) -> None:
    follower = LineFollower(files.reports)
    files.reports.write_text('{"a": 1, "b": 2}\n')
    assert len(follower.new_lines()) == 1
    files.reports.write_text('{"a": 3}\n')
    assert [line for _, line in follower.new_lines()] == ['{"a": 3}']


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(files: ProgramFiles) -> None:
    files.reports.write_text("x" * (2 << 20))
    with pytest.raises(ReportError, match="more than 1,048,576 bytes"):
        LineFollower(files.reports).new_lines()


def test_a_line_has_metrics_and_perhaps_step_and_checkpoint() -> None:
    assert parse_line('{"loss": 0.5}') == ({"loss": 0.5}, None, None)
    assert parse_line('{"loss": 1, "step": 3, "checkpoint": "d"}') == ({"loss": 1}, 3, "d")


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


def test_texts_stay_texts_for_report_to_refuse() -> None:
    assert parse_line('{"info": "a: nan, b", "nan": "inf"}')[0] == {"info": "a: nan, b", "nan": "inf"}


@pytest.mark.parametrize("line", ["", "x", "[1]", "1", "{", '{"a": }', "[" * 100_000])
def test_anything_else_is_no_report(line: str) -> None:
    with pytest.raises(MetricError, match="It is no"):
        parse_line(line)


def test_the_last_line_with_the_metrics_counts() -> None:
    output = 'x\n{"loss": 2}\n{"loss": 1, "acc": true}\n{"level": 5}\n{"loss": "low"}\n{broken\n'
    assert last_metrics(output, ("loss",)) == {"loss": 1, "acc": True}
    assert last_metrics(output, ()) == {"level": 5}
    assert last_metrics("done\n", ()) is None


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
