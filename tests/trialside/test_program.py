"""A program as the trial, followed in this process: its pipes, its report file, and how it is told to end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.trialside.conftest import InProcessDriver

from tunesmith.trialside.failure import ProgramFailed
from tunesmith.trialside.program import ProgramTrainable
from tunesmith.trialside.program_files import ProgramFiles
from tunesmith.trialside.session import Session, TrialStopped

pytestmark = pytest.mark.processes

Run = Callable[..., None]


@pytest.fixture
def run(start: Callable[..., Session]) -> Run:
    """Runs a shell script as the trial; `metrics` are those that its output is searched for."""

    def run_script(script: str, *, metrics: tuple[str, ...] = ()) -> None:
        start()
        ProgramTrainable("program")({}, words=("sh", "-c", script), has_braces=False, metrics=metrics)

    return run_script


@pytest.fixture
def trial_dir(tmp_path: Path) -> Path:
    return tmp_path / "trials/00017"


def test_the_result_is_found_on_standard_output_whatever_standard_error_says(
    run: Run, driver: InProcessDriver, capfd: pytest.CaptureFixture[str]
) -> None:
    run(r"""printf '\r100%%|###| 10/10' >&2; echo '{"loss": 0.25}'; echo '{"loss": 9}' >&2""", metrics=("loss",))
    assert driver.metrics == [{"loss": 0.25}]
    log = capfd.readouterr().out
    assert '{"loss": 0.25}' in log and "100%" in log and '{"loss": 9}' in log


def test_a_result_on_the_output_names_its_step(run: Run, driver: InProcessDriver) -> None:
    run("""echo '{"val": {"loss": 0.5}, "training_iteration": 10}'""", metrics=("val/loss",))
    assert (driver.steps, driver.metrics) == ([10], [{"val/loss": 0.5}])


def test_a_line_of_the_report_file_names_its_step_by_either_name(run: Run, driver: InProcessDriver) -> None:
    run(
        """echo '{"loss": 3, "training_iteration": 2}' >> $TUNESMITH_REPORT_FILE
        echo '{"loss": 2, "step": 4, "training_iteration": 4}' >> $TUNESMITH_REPORT_FILE
        echo '{"loss": 1}' >> $TUNESMITH_REPORT_FILE"""
    )
    assert (driver.steps, driver.metrics) == ([2, 4, 5], [{"loss": 3}, {"loss": 2}, {"loss": 1}])


def test_a_line_with_two_steps_is_refused(run: Run) -> None:
    with pytest.raises(
        ProgramFailed, match="Line 1 of the report file: The report has step=1 and training_iteration=2"
    ):
        run("""echo '{"loss": 3, "step": 1, "training_iteration": 2}' >> $TUNESMITH_REPORT_FILE""")


def test_a_crash_is_told_where_it_left_half_a_line(run: Run, driver: InProcessDriver) -> None:
    script = r"""printf '{"loss": 1}\n{"loss": 0.' >> $TUNESMITH_REPORT_FILE; echo 'out of memory' >&2; exit 3"""
    with pytest.raises(ProgramFailed, match="sh ended with exit code 3: out of memory"):
        run(script)
    assert driver.metrics == [{"loss": 1}]


def test_what_the_output_calls_a_metric_and_is_none_fails_the_trial(run: Run) -> None:
    with pytest.raises(ProgramFailed, match="The JSON line at the end of the output: Metric 'loss' is an int"):
        run("""echo '{"loss": 1'$(printf '%0400d' 0)'}'""")


def test_half_a_line_of_a_program_that_ended_well_is_a_fault(run: Run) -> None:
    with pytest.raises(ProgramFailed, match="Line 1 of the report file: It is not JSON"):
        run("""printf '{"loss": 0.' >> $TUNESMITH_REPORT_FILE""")


def test_a_relative_checkpoint_is_a_folder_of_the_trials_own(
    run: Run, driver: InProcessDriver, trial_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where all trials run
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/model").write_text("of another trial")
    run(
        """mkdir $TUNESMITH_TRIAL_DIR/saved; echo mine > $TUNESMITH_TRIAL_DIR/saved/model
        echo '{"loss": 1, "checkpoint": "saved"}' >> $TUNESMITH_REPORT_FILE"""
    )
    (checkpoint,) = driver.checkpoints
    assert checkpoint is not None
    assert (tmp_path / checkpoint / "model").read_text() == "mine\n"


def test_a_checkpoint_that_only_the_working_directory_has_is_refused_with_where_to_save(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProgramFailed, match=r"Line 1 .*There is no checkpoint at .*00017/saved.*TUNESMITH_TRIAL_DIR"):
        run("""mkdir saved; echo 1 > saved/model
            echo '{"loss": 1, "checkpoint": "saved"}' >> $TUNESMITH_REPORT_FILE""")


#: Says what it is told, in the order in which it comes, and ends at SIGTERM.
_TELLTALE = """
    exec 2> /dev/null
    trap 'echo terminated; exit 1' TERM
    touch ready
    until [ -e "$TUNESMITH_STOP_FILE" ]; do sleep 0.02; done
    echo 'saw the file'
    touch seen
    while :; do sleep 0.02; done
"""


def test_the_first_signal_of_the_ladder_makes_the_stop_file_and_the_second_one_terminates(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tunesmith.trialside.program._STOP_FILE_PATIENCE_S", 600.0)
    ladder = _signals_when({"ready": signal.SIGINT, "seen": signal.SIGTERM})
    with pytest.raises(TrialStopped, match="told to end"):
        run(_TELLTALE)
    ladder.join()
    assert capfd.readouterr().out == "saw the file\nterminated\n"


def test_who_only_looks_for_signals_is_terminated_when_the_patience_is_over(
    run: Run, trial_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tunesmith.trialside.program._STOP_FILE_PATIENCE_S", 0.2)
    teller = threading.Thread(target=_when_there, args=(Path("ready"), lambda: _say_stop(trial_dir)))
    teller.start()
    with pytest.raises(TrialStopped, match="enough"):
        run(_TELLTALE)
    teller.join()
    assert capfd.readouterr().out == "saw the file\nterminated\n"


def test_who_ends_well_after_its_stop_is_stopped_and_what_it_printed_counts(
    run: Run, driver: InProcessDriver, trial_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    teller = threading.Thread(target=_when_there, args=(Path("ready"), lambda: _say_stop(trial_dir)))
    teller.start()
    with pytest.raises(TrialStopped):
        run("""touch ready; until [ -e "$TUNESMITH_STOP_FILE" ]; do sleep 0.02; done; echo '{"loss": 1}'""")
    teller.join()
    assert driver.metrics == [{"loss": 1}]


def _say_stop(trial_dir: Path) -> None:
    ProgramFiles(trial_dir / "attempt_1").say_stop("enough")


def _signals_when(signals: dict[str, int]) -> threading.Thread:
    def send() -> None:
        for name, number in signals.items():
            _when_there(Path(name), lambda number=number: os.kill(os.getpid(), number))

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def _when_there(path: Path, act: Callable[[], None]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    act()
