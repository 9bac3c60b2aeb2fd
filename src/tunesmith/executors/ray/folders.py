"""Checkpoint folders on their way between nodes that share no storage: an archive, unpacked beside and renamed."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import uuid
from pathlib import Path

from tunesmith.errors import TunesmithError

MAX_TRAVEL_BYTES = 256 << 20


class FolderTooLargeError(TunesmithError):
    """The folder is too large to travel."""


def pack_folder(folder: Path, *, max_bytes: int = MAX_TRAVEL_BYTES) -> bytes:
    """The folder as an archive. Raises: FolderTooLargeError above the limit; OSError."""
    size_bytes = sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())
    if size_bytes > max_bytes:
        raise FolderTooLargeError(
            f"The checkpoint {folder.name} has {size_bytes / 2**20:,.0f} MiB, and the nodes share no storage: up to "
            f"{max_bytes / 2**20:g} MiB travel. Give a storage_path that all nodes see."
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def unpack_folder(packed: bytes, folder: Path) -> None:
    """Make the folder, whole and synced or not at all; one that is there stays as it is."""
    if folder.is_dir():
        return
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(draft, filter="data")
        for path in [*(entry for entry in draft.rglob("*") if entry.is_file()), draft]:
            _sync(path)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another one put it there
                raise
        _sync(folder.parent)
    finally:
        remove_folder(draft)


def remove_folder(folder: Path) -> None:
    """With all that is in it; nothing where it is gone."""
    shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
