"""Checkpoints as folders: how one is written so that it is whole or absent, and how one is read.

Writing: a hidden folder beside the final place, every file and folder in it synced, a rename, the parent synced. What
a crash leaves is a hidden `.checkpoint_*.partial` folder, which nothing reads (test: partial leftovers do no harm).
The name `checkpoint_*` alone does not make a checkpoint: the report that carries it does, once committed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import CheckpointError

PARTIAL_SUFFIX = ".partial"

_MAX_LABEL_CHARS = 60


class Checkpoint:
    """A folder with what a training function saved."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: str = str(Path(path).absolute())

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """The checkpoint in this folder, for `report(..., checkpoint=...)`, which copies it."""
        return cls(path)

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The folder, to read from within the block. It is the checkpoint itself: do not write to it."""
        _checked_folder(Path(self.path))
        yield self.path

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """A copy in `path` (made where it is missing) or in a new temporary folder; returns where it lies."""
        source = _checked_folder(Path(self.path))
        if path is None:
            import tempfile

            path = tempfile.mkdtemp(prefix="checkpoint_")
        shutil.copytree(source, path, dirs_exist_ok=True)
        return os.fspath(path)

    def __fspath__(self) -> str:
        return self.path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r})"


def path_of(checkpoint: Any) -> Path:
    """Where a checkpoint given by a user lies: a string, a path, or an object with `.path` (Ray's, too).

    Raises: CheckpointError for anything else.
    """
    if isinstance(checkpoint, str | os.PathLike):
        path: Any = os.fspath(checkpoint)
    else:
        path = getattr(checkpoint, "path", None)
    if not isinstance(path, str) or not path:
        raise CheckpointError(
            f"checkpoint is {checkpoint!r:.200}. Give the folder with what was saved, as a path or a Checkpoint."
        )
    return Path(path).absolute()


def make_trial_dir(trial_dir: Path) -> Path:
    """Make the folder of a trial where it is missing, readable by its owner only; and make it last."""
    if not trial_dir.is_dir():
        missing = [folder for folder in (trial_dir, *trial_dir.parents) if not folder.exists()]
        trial_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in missing:
            _sync(folder.parent)
    return trial_dir


def begin_folder(trial_dir: Path, label: object, attempt: int) -> Path:
    """A new hidden folder to save into; end it with `finish_folder` or `discard_folder`."""
    stem = f".{_folder_name(label)}-{attempt}-{os.getpid()}-{os.urandom(4).hex()}{PARTIAL_SUFFIX}"
    partial = make_trial_dir(trial_dir) / stem
    partial.mkdir(mode=0o700)
    return partial


def finish_folder(partial: Path, label: object) -> Path:
    """Sync what was saved and give it its name, a fresh one where a folder of that name exists; never overwrites.

    Returns: the finished folder. Raises: OSError where the disk refuses.
    """
    _sync_tree(partial)
    name = _folder_name(label)
    n_tried = 1
    while True:
        target = partial.with_name(name if n_tried == 1 else f"{name}-{n_tried}")
        n_tried += 1
        if os.path.lexists(target):
            continue
        try:
            partial.rename(target)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                continue  # another process of the trial was quicker
            raise
        _sync(target.parent)
        return target


def discard_folder(partial: Path) -> None:
    """Remove what was saved so far, as well as can be."""
    shutil.rmtree(partial, ignore_errors=True)


def copy_folder(source: Path, trial_dir: Path, label: object, attempt: int) -> Path:
    """A finished copy of `source` in the trial's folder.

    Raises: CheckpointError if it is missing, empty, no folder, or holds the trial's folder itself.
    """
    _checked_folder(source)
    if trial_dir.resolve().is_relative_to(source.resolve()):
        raise CheckpointError(
            f"The checkpoint {str(source)!r} is a folder around the trial's own ({str(trial_dir)!r}). "
            "Save into a folder of its own and give that."
        )
    partial = begin_folder(trial_dir, label, attempt)
    try:
        shutil.copytree(source, partial, dirs_exist_ok=True)
        partial.chmod(0o700)  # copytree gave it the source's mode
        return finish_folder(partial, label)
    except BaseException:
        discard_folder(partial)
        raise


def is_empty(folder: Path) -> bool:
    """Whether nothing lies in the folder."""
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _checked_folder(path: Path) -> Path:
    if not path.exists():
        raise CheckpointError(f"There is no checkpoint at {str(path)!r}. Give a folder that exists.")
    if not path.is_dir():
        raise CheckpointError(f"The checkpoint {str(path)!r} is a file. Give the folder that holds it.")
    if is_empty(path):
        raise CheckpointError(f"The checkpoint {str(path)!r} is an empty folder. Save something into it first.")
    return path


def _folder_name(label: object) -> str:
    """`checkpoint_000003`; of a label that is no whole number only what is safe in a path remains."""
    try:
        return f"checkpoint_{int(label.__index__()):06d}"  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        return "checkpoint_" + re.sub(r"[^A-Za-z0-9._-]", "_", str(label))[:_MAX_LABEL_CHARS]


def _sync_tree(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _sync_tree(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):  # not a fifo, on which open() would wait
                _sync(Path(entry.path))
    _sync(folder)


def _sync(path: Path) -> None:
    """fsync a file or folder; folders only where the system can."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    try:
        # Windows syncs only what could be written.
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    except PermissionError:
        return  # a file that its writer made unreadable: the rename still orders it
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
