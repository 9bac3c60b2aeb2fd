import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from callback_worlds import ERROR, GrowingWorld, hostile_view, trial, view

from tunesmith.callbacks import CLIReporter, ProgressReporter
from tunesmith.clock import VirtualClock
from tunesmith.errors import ConfigError
from tunesmith.events import ConcludeAttempt, EndReason, TrialReported
from tunesmith.trial import TrialStatus

FOLDER = Path("/runs/e1")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class BrokenTerminal(Terminal):
    """A terminal whose window was closed."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.fixture(autouse=True)
def fixed_terminal(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def started(stream: io.StringIO | None = None, *, verbose: int = 3, **arguments):
    """A reporter on a plain stream, unless another is given, with its clock and stream."""
    clock, stream = VirtualClock(), stream if stream is not None else io.StringIO()
    reporter = CLIReporter(**{"stream": stream, "clock": clock, **arguments})
    reporter.start(FOLDER, verbose=verbose)
    return reporter, clock, stream


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metric_columns": "loss"}, "metric_columns is 'loss'"),
        ({"parameter_columns": 3}, "parameter_columns is 3"),
        ({"max_progress_rows": -1}, "max_progress_rows is -1"),
        ({"max_error_rows": 2.5}, "max_error_rows is 2.5"),
        ({"infer_limit": True}, "infer_limit is True"),
        ({"metric": "loss"}, "Give both"),
        ({"metric": "loss", "mode": "least"}, "Give 'min' or 'max'"),
    ],
)
def test_wrong_argument_is_named(arguments, words):
    with pytest.raises(ConfigError, match=words.replace("[", "\\[")):
        CLIReporter(**arguments)


def test_arguments_have_ray_tunes_order():
    reporter = CLIReporter(["loss"], ["lr"], 10, 5, 6, 7, 2, True, "loss", "min", True)
    choices = reporter._choices
    assert (choices.metric_columns, choices.parameter_columns) == ({"loss": "loss"}, {"lr": "lr"})
    assert (choices.total_samples, choices.max_progress_rows, choices.max_error_rows) == (10, 5, 6)
    assert (reporter._max_report_frequency, choices.infer_limit, choices.print_intermediate_tables) == (7, 2, True)
    assert (choices.metric, choices.mode, choices.sort_by_metric) == ("loss", "min", True)


# ---------------------------------------------------------------- the plain log


def test_log_has_one_status_line_every_max_report_frequency_seconds():
    reporter, clock, stream = started(max_report_frequency=5)
    for second in range(11):
        clock.advance_to(float(second))
        reporter.update(view(trial(0)), [])
    assert len(lines_of(stream)) == 3
    assert reporter.interval_s == 5


def test_status_line_says_it_all():
    reporter, _, stream = started()
    reporter.update(view(trial(0), trial(1, TrialStatus.STOPPED, loss=0.25)), [])
    assert lines_of(stream) == [
        "[01:15] 1/10 trials over, time left unknown yet; 1 running, 8 waiting, 1 stopped early; "
        "best loss 0.25 at step 5 of trial 1; CPU 8/16 · GPU 2/2"
    ]


@pytest.mark.parametrize(
    ("record", "facts", "expected"),
    [
        (
            ConcludeAttempt(1, 1, TrialStatus.STOPPED, "rank 7 of 9"),
            {"status": TrialStatus.STOPPED},
            "trial 1 (train_cifar_5d9ac_00001) stopped early at step 5: rank 7 of 9; loss 0.5",
        ),
        (
            ConcludeAttempt(1, 1, TrialStatus.COMPLETED, "returned"),
            {"status": TrialStatus.COMPLETED},
            "trial 1 (train_cifar_5d9ac_00001) completed at step 5; loss 0.5",
        ),
        (
            ConcludeAttempt(1, 1, TrialStatus.FAILED, "last line"),
            {"status": TrialStatus.FAILED, "error": ERROR, "n_failures": 1},
            "trial 1 (train_cifar_5d9ac_00001) failed at step 5: RuntimeError: CUDA out of memory. "
            "Tried to allocate 20.00 MiB (GPU 0; 8.00 GiB total capacity); loss 0.5",
        ),
        (
            ConcludeAttempt(1, 1, TrialStatus.PENDING, "retry after failure 1: ValueError"),
            {"status": TrialStatus.PENDING, "n_failures": 1, "step": 0},
            "trial 1 (train_cifar_5d9ac_00001) goes back to waiting at step 0: retry after failure 1: ValueError",
        ),
    ],
)
def test_each_end_of_a_trial_is_a_line(record, facts, expected):
    reporter, clock, stream = started(verbose=2)
    seen = view(trial(1, **{"loss": 0.5, **facts}))
    reporter.update(seen, [])
    clock.advance_to(1.0)
    reporter.update(seen, [record])
    assert lines_of(stream)[1:] == [f"[01:15] {expected}"]


REPORT = TrialReported(1, 1, 5, {"loss": 0.5, "accuracy": 0.25}, 10.0, 1010.0)
PAUSE = ConcludeAttempt(1, 1, TrialStatus.PAUSED, "waits at rung 4")
STOP = ConcludeAttempt(1, 1, TrialStatus.STOPPED, "rank 7 of 9")


@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 0), (1, 1), (2, 2), (3, 4)])
def test_verbose_says_how_much_is_logged(verbose, n_lines):
    reporter, _, stream = started(verbose=verbose)
    reporter.update(view(trial(1)), [REPORT, PAUSE, STOP])
    assert len(lines_of(stream)) == n_lines


def test_results_show_the_metrics_that_were_chosen():
    reporter, _, stream = started(metric_columns={"accuracy": "acc"})
    reporter.update(view(trial(1)), [REPORT])
    assert lines_of(stream)[0] == "[01:15] trial 1 step 5: acc 0.25"


def test_records_of_trials_that_the_view_does_not_hold_are_passed_over():
    reporter, _, stream = started(verbose=2)
    reporter.update(view(), [STOP])
    assert len(lines_of(stream)) == 1


@pytest.mark.parametrize(("argument", "n_lines"), [(None, 1), (False, 1), (True, 4)])
def test_log_holds_tables_only_if_asked_for(argument, n_lines):
    reporter, _, stream = started(print_intermediate_tables=argument)
    reporter.update(view(trial(0)), [])
    assert len(lines_of(stream)) == n_lines


def test_log_ends_with_the_table_and_the_summary():
    reporter, _, stream = started()
    reporter.finish(view(trial(0, TrialStatus.COMPLETED), end_status=EndReason.FINISHED))
    lines = lines_of(stream)
    assert lines[1].split()[:2] == ["trial", "status"]
    assert any(line.startswith("train_cifar_2025-01-31_12-00-00: finished") for line in lines)


def test_log_at_verbosity_one_ends_with_the_summary_only():
    reporter, _, stream = started(verbose=1)
    reporter.finish(view(trial(0, TrialStatus.COMPLETED), end_status=EndReason.FINISHED))
    assert lines_of(stream)[1].startswith("train_cifar_2025-01-31_12-00-00: finished")


def test_silent_reporter_writes_nothing_at_the_end():
    reporter, _, stream = started(verbose=0)
    reporter.finish(view(end_status=EndReason.FINISHED))
    assert stream.getvalue() == ""


def test_tables_in_a_log_keep_to_its_columns(monkeypatch):
    widths = {}
    for columns in ("", "60", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        reporter, _, stream = started()
        reporter.finish(GrowingWorld(30).view_at(30.0))
        widths[columns] = len(lines_of(stream)[1])
    assert widths["60"] <= 60 < widths[""] <= 120 < widths["200"] <= 200


def test_log_has_no_control_codes_even_where_colours_are_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    reporter, clock, stream = started(print_intermediate_tables=True)
    for second in range(0, 60, 6):
        clock.advance_to(float(second))
        reporter.update(GrowingWorld(30).view_at(second), [REPORT, STOP])
    reporter.update(hostile_view(), [STOP, ConcludeAttempt(1, 1, TrialStatus.FAILED, "\x1b[2J")])
    reporter.finish(hostile_view())
    assert all(c == "\n" or c.isprintable() for c in stream.getvalue())


def test_stream_of_another_encoding_gets_what_it_can_hold():
    raw = io.BytesIO()
    reporter, _, stream = started(io.TextIOWrapper(raw, encoding="ascii"))
    reporter.update(view(trial(0, config={"word": "größe"})), [])
    reporter.finish(GrowingWorld(40).view_at(60.0))
    stream.flush()
    assert b"CPU 8/16 | GPU 2/2" in raw.getvalue()


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_terminal_that_cannot_move_its_cursor_gets_the_log(monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    reporter, _, stream = started(Terminal())
    reporter.update(view(trial(0)), [])
    assert stream.getvalue().startswith("[01:15] ") and "\x1b" not in stream.getvalue()


# ---------------------------------------------------------------- the live screen


def test_terminal_gets_a_live_screen_that_is_taken_away_at_the_end():
    reporter, clock, stream = started(Terminal())
    try:
        for second in range(0, 60, 10):
            clock.advance_to(float(second))
            reporter.update(GrowingWorld(30).view_at(second), [STOP])
        assert reporter._live is not None and reporter._live.is_started
        assert "━" in stream.getvalue()
        stream.truncate(0)
        reporter.finish(GrowingWorld(30).view_at(60.0))
    finally:
        reporter.close()
    assert reporter._live is None
    assert "rich" not in type(sys.stdout).__module__
    assert "train_cifar_2025-01-31_12-00-00" in stream.getvalue()


def test_log_lines_are_written_above_the_screen(monkeypatch):
    """A handler made before the screen holds the old stream; it would tear the screen."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    handler = logging.StreamHandler()
    logger = logging.getLogger("tests.callbacks.torn")
    logger.addHandler(handler)
    reporter, _, _ = started(stream)
    try:
        reporter.update(view(trial(0)), [])
        assert handler.stream is sys.stderr is not stream
        stream.truncate(0)
        logger.warning("a word of warning")
        assert "a word of warning\n" in stream.getvalue() and "RUNNING" in stream.getvalue()
    finally:
        reporter.close()
        logger.removeHandler(handler)
    assert handler.stream is sys.stderr is stream


def test_errors_that_go_to_a_file_still_go_there(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    reporter, _, stream = started(Terminal())
    try:
        reporter.update(view(trial(0)), [])
        print("to the file", file=sys.stderr)
    finally:
        reporter.close()
    assert file.getvalue() == "to the file\n" and "to the file" not in stream.getvalue()


def test_cursor_is_left_visible_should_the_driver_be_killed():
    reporter, _, stream = started(Terminal())
    try:
        reporter.update(view(trial(0)), [])
        shown, hidden = (stream.getvalue().rfind(code) for code in ("\x1b[?25h", "\x1b[?25l"))
        assert shown > hidden
    finally:
        reporter.close()


def test_live_screen_is_drawn_at_most_twice_a_second():
    reporter, clock, stream = started(Terminal())
    try:
        for tick in range(10):
            clock.advance_to(tick / 10)
            reporter.update(view(trial(0)), [])
        assert stream.getvalue().count("time left unknown yet") == 2
    finally:
        reporter.close()


@pytest.mark.parametrize(
    ("arguments", "verbose", "has_table"),
    [({}, 3, True), ({}, 2, True), ({}, 1, False), ({"print_intermediate_tables": False}, 3, False)],
)
def test_live_screen_has_a_table_unless_it_is_not_wanted(arguments, verbose, has_table):
    reporter, _, stream = started(Terminal(), verbose=verbose, **arguments)
    try:
        reporter.update(view(trial(0)), [])
        assert ("batch_size  " in stream.getvalue()) is has_table
    finally:
        reporter.close()


def test_terminal_whose_window_is_closed_does_not_raise():
    reporter, clock, _ = started(BrokenTerminal())
    for second in range(3):
        clock.advance_to(float(second))
        reporter.update(view(trial(0)), [])
    reporter.finish(view(trial(0)))
    reporter.close()
    assert "rich" not in type(sys.stdout).__module__


def test_log_whose_reader_is_gone_does_not_raise():
    stream = io.StringIO()
    reporter, _, _ = started(stream)
    stream.close()
    stdout = sys.stdout
    reporter.update(view(trial(0)), [])
    reporter.finish(view(trial(0)))
    assert sys.stdout is stdout and stream.closed


def test_closing_twice_or_without_a_start_does_nothing():
    reporter, stdout = CLIReporter(), sys.stdout
    reporter.close()
    reporter.close()
    assert sys.stdout is stdout


def test_reporter_can_be_started_again_for_the_next_experiment():
    reporter, _, stream = started()
    reporter.update(view(trial(0)), [])
    reporter.finish(view(trial(0)))
    reporter.start(FOLDER)
    reporter.update(view(trial(0)), [])
    assert sum("time left" in line for line in lines_of(stream)) == 2


def test_stream_is_standard_output_as_it_is_at_the_start(capsys):
    reporter = CLIReporter()
    reporter.start(FOLDER)
    reporter.update(view(trial(0)), [])
    assert capsys.readouterr().out.startswith("[01:15] 0/10 trials over")


# ---------------------------------------------------------------- subclasses


class EndReporter(CLIReporter):
    """As in Ray Tune's documentation: reports when trials terminate."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.n_terminated = 0

    def should_report(self, trials, done=False):
        old = self.n_terminated
        self.n_terminated = len([t for t in trials if t.status == "TERMINATED"])
        return self.n_terminated > old


def test_subclass_written_for_ray_tune_decides_when_to_report():
    stream = io.StringIO()
    reporter = EndReporter(stream=stream)
    reporter.start(FOLDER)
    reporter.update(view(trial(0), trial(1)), [])
    assert stream.getvalue() == ""
    reporter.update(view(trial(0), trial(1, TrialStatus.STOPPED)), [])
    reporter.update(view(trial(0), trial(1, TrialStatus.STOPPED)), [])
    assert len(lines_of(stream)) == 1


class CountingReporter(ProgressReporter):
    """A reporter of the user's own."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool, int]] = []

    def should_report(self, trials, done=False):
        return True

    def report(self, trials, done, *sys_info):
        self.calls.append((len(list(trials)), done, len(sys_info)))


def test_base_class_calls_report_with_trials_and_facts():
    reporter = CountingReporter()
    reporter.start(FOLDER, verbose=1)
    reporter.update(view(trial(0)), [])
    reporter.finish(view(trial(0), trial(1)))
    reporter.close()
    assert reporter.calls == [(1, False, 4), (2, True, 4)]


def test_base_class_alone_reports_nothing_by_itself():
    with pytest.raises(NotImplementedError):
        ProgressReporter().update(view(), [])


# ---------------------------------------------------------------- imports


@pytest.mark.parametrize("name", ["rich", "psutil", "numpy", "scipy"])
def test_importing_callbacks_is_cheap(name):
    code = f"import sys, tunesmith.callbacks as c; c.CLIReporter(['loss']); sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
