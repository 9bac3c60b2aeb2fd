"""Only checkpoints of the experiment are ever deleted."""

from __future__ import annotations

import threading

import pytest

from tunesmith.events import DeleteCheckpoint
from tunesmith.runner.housekeeping import Housekeeper


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "experiment"
    for name in ("trials/00000/checkpoint_000001", "trials/00000/checkpoint_000002", "logs/a"):
        (folder / name).mkdir(parents=True)
        (folder / name / "weights").write_text("w")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights").write_text("w")
    return folder


def test_a_checkpoint_is_deleted_and_its_neighbour_is_not(folder):
    housekeeper = Housekeeper(folder)
    housekeeper.delete(DeleteCheckpoint(0, "trials/00000/checkpoint_000001"))
    housekeeper.close()
    assert [path.name for path in (folder / "trials/00000").iterdir()] == ["checkpoint_000002"]


@pytest.mark.parametrize(
    "path", ["../other", "logs/a", "trials", "trials/00000", ".", "", "trials/../logs/a", "trials/00000/../../logs"]
)
def test_nothing_else_is_deleted(folder, path, caplog):
    before = sorted(folder.parent.rglob("*"))
    housekeeper = Housekeeper(folder)
    housekeeper.delete(DeleteCheckpoint(0, path))
    housekeeper.close()
    assert sorted(folder.parent.rglob("*")) == before
    assert "is not deleted" in caplog.text


def test_an_absolute_path_elsewhere_is_not_deleted(folder, caplog):
    housekeeper = Housekeeper(folder)
    housekeeper.delete(DeleteCheckpoint(0, str(folder.parent / "other" / "weights")))
    housekeeper.close()
    assert (folder.parent / "other" / "weights").exists()


def test_a_link_out_of_the_experiment_is_not_followed(folder, caplog):
    (folder / "trials/00000/checkpoint_000003").symlink_to(folder.parent / "other")
    housekeeper = Housekeeper(folder)
    housekeeper.delete(DeleteCheckpoint(0, "trials/00000/checkpoint_000003"))
    housekeeper.close()
    assert (folder.parent / "other" / "weights").exists()


def test_what_is_gone_already_does_no_harm_and_the_thread_ends(folder):
    housekeeper = Housekeeper(folder)
    for _ in range(2):
        housekeeper.delete(DeleteCheckpoint(0, "trials/00000/checkpoint_000001"))
    housekeeper.close()
    housekeeper.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "tunesmith-housekeeper"]
