"""Checkpoints that lie at a URL: fetched when they are looked at, whole or not at all."""

from __future__ import annotations

import pytest

from tunesmith.errors import TunesmithError
from tunesmith.executors.remote_folders import download, fetch_if_elsewhere, remove, upload, write_pointer

pytest.importorskip("fsspec")


@pytest.fixture
def bucket(tmp_path):
    """A checkpoint with a file in a folder of it, at a URL."""
    source = tmp_path / "source"
    (source / "part").mkdir(parents=True)
    (source / "weights").write_bytes(b"1234")
    (source / "part" / "more").write_bytes(b"56")
    url = f"file://{tmp_path}/bucket/experiment"
    upload(source, f"{url}/trials/00000/checkpoint_000001")
    return url


def test_it_comes_back_as_it_was(bucket, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    write_pointer(folder, bucket)
    found = fetch_if_elsewhere(folder, "trials/00000/checkpoint_000001")
    assert (found / "weights").read_bytes() == b"1234"
    assert (found / "part" / "more").read_bytes() == b"56"
    remove(f"{bucket}/trials/00000/checkpoint_000001")
    assert fetch_if_elsewhere(folder, "trials/00000/checkpoint_000001") == found, "it is here now"


def test_without_a_pointer_nothing_is_fetched(bucket, tmp_path):
    assert not fetch_if_elsewhere(tmp_path, "trials/00000/checkpoint_000001").exists()


def test_what_is_not_there_is_said_and_leaves_nothing(bucket, tmp_path):
    with pytest.raises(TunesmithError, match="could not be fetched"):
        download(f"{bucket}/trials/00009/checkpoint_000001", tmp_path / "target" / "checkpoint")
    assert list((tmp_path / "target").iterdir()) == []
    remove(f"{bucket}/trials/00009/checkpoint_000001")
