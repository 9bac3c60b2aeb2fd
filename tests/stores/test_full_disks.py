"""F42: what the store does when its disk is full, or nearly so."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest

from tunesmith.errors import DiskFullError
from tunesmith.events import Suggest
from tunesmith.stores import create_store, open_store
from tunesmith.stores.connection import access_words, check_reserve

from .store_samples import make_spec

MIB = 2**20


def disk(free_bytes, size_bytes):
    return SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096, f_blocks=size_bytes // 4096, f_favail=1000)


@pytest.mark.parametrize(
    ("free_mib", "size_mib", "is_refused"),
    [(65, 100_000, False), (63, 100_000, True), (0, 100_000, True), (6, 100, False), (4, 100, True)],
)
def test_so_much_is_kept_in_reserve(tmp_path, monkeypatch, free_mib, size_mib, is_refused):
    monkeypatch.setattr(os, "statvfs", lambda path: disk(free_mib * MIB, size_mib * MIB))
    if is_refused:
        with pytest.raises(DiskFullError, match=rf"only {free_mib} MiB left\. Free some space"):
            check_reserve(tmp_path / "experiment.db")
    else:
        check_reserve(tmp_path / "experiment.db")


def test_an_append_below_the_reserve_stores_nothing_and_may_be_tried_again(tmp_path, monkeypatch):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append([Suggest(1, 1)], [])
        store._look_at_disk_at = float("-inf")
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", lambda path: disk(MIB, 100_000 * MIB))
            for _ in range(3):
                with pytest.raises(DiskFullError):
                    store.append([Suggest(2, 1)], [])
            assert store.last_seq() == 1
        store.append([Suggest(2, 1)], [])
    with open_store(tmp_path / "e") as store:
        assert [record.request for record in store.records()] == [1, 2]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_full_disk_what_was_acknowledged_is_stored_and_it_goes_on_when_there_is_room(small_disk, monkeypatch):
    monkeypatch.setattr("tunesmith.stores.sqlite.check_reserve", lambda path: None)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3 * MIB))
    n = 0
    with create_store(small_disk / "e", make_spec()) as store:
        with pytest.raises(DiskFullError, match=r"is full\. Nothing of this write was stored"):
            while n < 100_000:
                store.append([Suggest(n, 1)] * 1, [])
                n += 1
        assert n > 10
        assert store.last_seq() == n
        ballast.unlink()
        store.append([Suggest(n, 1)], [])
    with open_store(small_disk / "e") as store:
        assert [record.request for record in store.records()] == list(range(n + 1))


def test_a_disk_that_can_hold_no_more_files_is_not_taken_for_missing_permissions(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=1000, f_files=500, f_favail=0))
    assert access_words(tmp_path / "experiment.db", "unable to open database file").endswith(
        "its disk can hold no more files. Delete some, or move it."
    )
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=1000, f_files=0, f_favail=0))  # btrfs
    assert "Check the owner and permissions" in access_words(tmp_path / "experiment.db", "no")
