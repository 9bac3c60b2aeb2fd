from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import CheckpointError, MetricError, ReportError
from tunesmith.trialside import Checkpoint, Session, TrialStopped, checkpoint_dir, get_checkpoint, report

Start = Callable[..., Session]


def save(step: Any, text: str = "weights") -> None:
    with checkpoint_dir(step=step) as folder:
        Path(folder, "model.txt").write_text(text)


def visible(session: Session) -> list[str]:
    return sorted(path.name for path in session.facts.trial_dir.iterdir() if not path.name.startswith("."))


def hidden(session: Session) -> list[str]:
    return [path.name for path in session.facts.trial_dir.iterdir() if path.name.startswith(".")]


def content(session: Session, relative: str | None) -> str:
    assert relative is not None
    return (session.facts.folder / relative / "model.txt").read_text()


def test_a_checkpoint_goes_with_the_report_that_follows_and_with_no_other(driver: Any, start: Start) -> None:
    session = start()
    report(a=1)
    save(0)
    report(a=2)
    report(a=3)
    assert driver.checkpoints == [None, "trials/00017/checkpoint_000000", None]
    assert content(session, driver.checkpoints[1]) == "weights"
    assert hidden(session) == []


def test_within_the_block_the_folder_is_hidden_and_private(start: Start) -> None:
    session = start()
    with checkpoint_dir(3) as folder:
        Path(folder, "deep").mkdir()
        Path(folder, "deep", "x").write_text("x")
        assert visible(session) == []
        assert Path(folder).parent == session.facts.trial_dir
        assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert visible(session) == ["checkpoint_000003"]


def test_an_exception_in_the_block_leaves_nothing_and_the_checkpoint_before_intact(driver: Any, start: Start) -> None:
    session = start()
    save(1)
    report(a=1)
    for error in (ValueError, KeyboardInterrupt, TrialStopped):
        with pytest.raises(error), checkpoint_dir(2) as folder:
            Path(folder, "model.txt").write_text("half")
            raise error("crash")
    assert visible(session) == ["checkpoint_000001"]
    assert hidden(session) == []
    report(a=2)
    assert driver.checkpoints == ["trials/00017/checkpoint_000001", None]


def test_partial_leftovers_of_a_killed_process_do_no_harm(driver: Any, start: Start) -> None:
    session = start()
    for name in (".checkpoint_000003-1-99-aaaaaaaa.partial", ".checkpoint_000003-1-99-bbbbbbbb.partial"):
        session.make_trial_dir().joinpath(name).mkdir()
        session.facts.trial_dir.joinpath(name, "model.txt").write_text("half")
    save(3)
    report(a=1)
    assert driver.checkpoints == ["trials/00017/checkpoint_000003"]
    assert content(session, driver.checkpoints[0]) == "weights"
    assert get_checkpoint() == Checkpoint(session.facts.folder / "trials/00017/checkpoint_000003")


def test_an_existing_folder_is_never_overwritten(driver: Any, start: Start) -> None:
    session = start(attempt=2)
    session.make_trial_dir().joinpath("checkpoint_000003").mkdir()
    session.facts.trial_dir.joinpath("checkpoint_000003-2").write_text("a file of the user's")
    save(3, "new")
    save(3, "newer")
    report(a=1)
    assert visible(session) == [
        "checkpoint_000003",
        "checkpoint_000003-2",
        "checkpoint_000003-3",
        "checkpoint_000003-4",
    ]
    assert driver.checkpoints == ["trials/00017/checkpoint_000003-4"]
    assert content(session, driver.checkpoints[0]) == "newer"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (7, "checkpoint_000007"),
        (np.int64(7), "checkpoint_000007"),
        (1234567, "checkpoint_1234567"),
        ("best", "checkpoint_best"),
        ("../../etc/pass wd\0\n", "checkpoint_.._.._etc_pass_wd__"),
        (0.5, "checkpoint_0.5"),
        ("ü" * 300, "checkpoint_" + "_" * 60),
    ],
)
def test_a_label_becomes_a_safe_name(start: Start, label: Any, name: str) -> None:
    session = start()
    save(label)
    assert visible(session) == [name]


def test_a_checkpoint_without_a_step_is_refused(start: Start) -> None:
    start()
    with pytest.raises(ValueError, match="was given None"):
        save(None)


def test_a_block_that_saved_nothing_makes_no_checkpoint(driver: Any, start: Start) -> None:
    session = start()
    with checkpoint_dir(1):
        pass
    report(a=1)
    assert driver.checkpoints == [None]
    assert visible(session) == hidden(session) == []


def test_outside_a_trial_it_is_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="outside a trial"):
        save(1)
    assert (tmp_path / "model.txt").exists()
    assert get_checkpoint() is None


def test_a_refused_report_keeps_the_checkpoint_for_the_next(driver: Any, start: Start) -> None:
    start()
    save(1)
    driver.refusals[5] = "no"
    with pytest.raises(MetricError):
        report(a="x")
    with pytest.raises(ReportError):
        report(a=1, step=5)
    report(a=1, step=6)
    assert driver.checkpoints == ["trials/00017/checkpoint_000001"]


def test_special_files_are_left_alone(driver: Any, start: Start) -> None:
    session = start()
    with checkpoint_dir(1) as folder:
        os.mkfifo(Path(folder, "pipe"))
        Path(folder, "link").symlink_to("/nowhere")
    assert visible(session) == ["checkpoint_000001"]


# ---------------------------------------------------------------- report(checkpoint=...)


class RayLike:
    def __init__(self, path: Path) -> None:
        self.path = str(path)


@pytest.mark.parametrize("wrap", [str, Path, Checkpoint.from_directory, RayLike])
def test_a_given_folder_is_copied_and_stays_the_users(driver: Any, start: Start, tmp_path: Path, wrap: Any) -> None:
    session = start()
    mine = tmp_path / "mine"
    (mine / "sub").mkdir(parents=True, mode=0o755)
    (mine / "model.txt").write_text("weights")
    report({"a": 1}, step=3, checkpoint=wrap(mine))
    (mine / "model.txt").write_text("changed")
    report({"a": 2}, step=4, checkpoint=wrap(mine))
    assert driver.checkpoints == ["trials/00017/checkpoint_000003", "trials/00017/checkpoint_000004"]
    assert [content(session, c) for c in driver.checkpoints] == ["weights", "changed"]
    assert (session.facts.trial_dir / "checkpoint_000003" / "sub").is_dir()
    assert hidden(session) == []


def test_a_finished_folder_of_this_trial_is_copied_only_if_a_report_carried_it(driver: Any, start: Start) -> None:
    session = start()
    save(1)
    mine = session.facts.trial_dir / "checkpoint_000001"
    report({"a": 1}, checkpoint=mine)
    report({"a": 2}, checkpoint=mine)
    assert driver.checkpoints == ["trials/00017/checkpoint_000001", "trials/00017/checkpoint_000002"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda tmp: tmp / "missing", "There is no checkpoint at .*missing"),
        (lambda tmp: (tmp / "empty").mkdir() or tmp / "empty", "is an empty folder"),
        (lambda tmp: (tmp / "f").write_text("x") and tmp / "f", "is a file. Give the folder"),
        (lambda tmp: tmp, "around the trial's own"),
        (lambda tmp: 3, "checkpoint is 3. Give the folder"),
        (lambda tmp: "", "Give the folder"),
    ],
)
def test_a_path_that_is_no_checkpoint_is_refused(
    driver: Any, start: Start, tmp_path: Path, make: Any, said: str
) -> None:
    session = start()
    session.make_trial_dir()
    with pytest.raises(CheckpointError, match=said):
        report({"a": 1}, checkpoint=make(tmp_path))
    assert driver.reports == []
    assert visible(session) == hidden(session) == []
    report(a=1)
    assert driver.steps == [1]


def test_a_checkpoint_that_comes_after_its_step_was_reported_is_refused(start: Start, tmp_path: Path) -> None:
    start()
    report(a=1, step=1)
    with pytest.raises(ReportError, match="Give it with the step's first report"):
        report(a=1, step=1, checkpoint=tmp_path)


def test_the_newest_checkpoint_is_the_one_to_start_from_until_one_is_reported(start: Start, tmp_path: Path) -> None:
    first = tmp_path / "first"
    session = start(start_checkpoint=first)
    assert get_checkpoint() == Checkpoint(first)
    save(1)
    assert get_checkpoint() == Checkpoint(first)
    report(a=1)
    newest = get_checkpoint()
    assert newest == Checkpoint(session.facts.trial_dir / "checkpoint_000001")
    assert os.fspath(newest) == newest.path and hash(newest) == hash(Checkpoint(newest.path))


def test_a_checkpoint_is_read_in_place_or_as_a_copy(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x").write_text("x")
    checkpoint = Checkpoint.from_directory(tmp_path / "c")
    with checkpoint.as_directory() as folder:
        assert folder == str(tmp_path / "c")
    assert Path(checkpoint.to_directory(tmp_path / "d"), "x").read_text() == "x"
    copy = Path(checkpoint.to_directory())
    assert (copy / "x").read_text() == "x"
    shutil.rmtree(copy)  # a new temporary folder is the caller's
    with pytest.raises(CheckpointError, match="There is no checkpoint"), Checkpoint(tmp_path / "gone").as_directory():
        pass
