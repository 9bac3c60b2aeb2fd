"""A tiny model of the disk on which trials save checkpoints: what a process sees, and what a power loss leaves.

The real writer (`tunesmith.trialside.checkpoint`) runs on it: `mounted` puts the model in the place of its `os` and
`Path`. A file's bytes and a folder's names survive a power loss only as they were at their last sync; what was not
synced is kept or lost at random, a folder's names all together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from tunesmith.trialside import checkpoint


class File:
    """Bytes, and those of the last sync; None before the first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.durable: bytes | None = None

    def sync(self) -> None:
        """What it holds is on the disk."""
        self.durable = self.data

    def lose_power(self, rng: Random) -> None:
        """Keep what was synced; of the rest, all or nothing."""
        if self.durable != self.data and rng.random() < 0.7:
            self.data = self.durable or b""
        self.durable = self.data


class Folder:
    """Names, and those of the last sync."""

    def __init__(self) -> None:
        self.names: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}

    def sync(self) -> None:
        """Its names are on the disk; what they name need not be."""
        self.durable = dict(self.names)

    def lose_power(self, rng: Random) -> None:
        """Keep the names that were synced; of later changes, all or none."""
        if self.durable != self.names and rng.random() < 0.7:
            self.names = dict(self.durable)
        self.durable = dict(self.names)
        for node in self.names.values():
            node.lose_power(rng)


class Disk:
    """The experiment's folder."""

    def __init__(self) -> None:
        self.root = Folder()
        self._n_random = 0

    def find(self, path: str) -> File | Folder | None:
        """What lies at the path, below the experiment's folder."""
        node: File | Folder | None = self.root
        for name in path.split("/"):
            node = node.names.get(name) if isinstance(node, Folder) else None
        return node

    def folder(self, path: str) -> Folder:
        """The folder at the path, which must be there."""
        node = self.root if path in ("", ".") else self.find(path)
        if not isinstance(node, Folder):
            raise FileNotFoundError(path)
        return node

    def remove_tree(self, path: str) -> None:
        """As `shutil.rmtree(path, ignore_errors=True)`."""
        parent, _, name = path.rpartition("/")
        node = self.root if not parent else self.find(parent)
        if isinstance(node, Folder):
            node.names.pop(name, None)

    def random_bytes(self, n: int) -> bytes:
        """Never the same twice."""
        self._n_random += 1
        return self._n_random.to_bytes(n, "big")


class ModelPath:
    """As much of `pathlib.Path` as the checkpoint writer uses."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk, self._path = disk, str(PurePosixPath(path))

    def __str__(self) -> str:
        return self._path

    def __truediv__(self, name: str) -> ModelPath:
        return ModelPath(self._disk, f"{self._path}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self._path.rpartition("/")[2]

    @property
    def parent(self) -> ModelPath:
        """The folder that it lies in."""
        return ModelPath(self._disk, self._path.rpartition("/")[0] or ".")

    @property
    def parents(self) -> list[ModelPath]:
        """All folders around it, the nearest first."""
        return [] if self._path == "." else [self.parent, *self.parent.parents]

    def with_name(self, name: str) -> ModelPath:
        """A path beside it."""
        return self.parent / name if str(self.parent) != "." else ModelPath(self._disk, name)

    def exists(self) -> bool:
        """Whether something lies there."""
        return self._path == "." or self._disk.find(self._path) is not None

    def is_dir(self) -> bool:
        """Whether a folder does."""
        return self._path == "." or isinstance(self._disk.find(self._path), Folder)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """A new folder, and those around it."""
        if self.exists():
            if not exist_ok:
                raise FileExistsError(self._path)
            return
        if parents and not self.parent.exists():
            self.parent.mkdir(mode, parents, exist_ok)
        self._disk.folder(str(self.parent)).names[self.name] = Folder()

    def rename(self, target: ModelPath) -> None:
        """Another name in the same folder; a name that is taken by a folder with something in it is refused."""
        assert str(self.parent) == str(target.parent)
        names = self._disk.folder(str(self.parent)).names
        if target.name in names:
            raise FileExistsError(17, str(target))
        names[target.name] = names.pop(self.name)

    def write(self, name: str, data: bytes) -> None:
        """A new file in the folder."""
        self._disk.folder(self._path).names[name] = File(data)


@contextmanager
def mounted(disk: Disk) -> Iterator[None]:
    """Within the block the real checkpoint writer works on the model."""
    with patch.object(checkpoint, "os", _Os(disk)), patch.object(checkpoint, "Path", lambda p: ModelPath(disk, str(p))):
        yield


class _Os:
    """As much of `os` as the checkpoint writer uses."""

    name = "posix"
    O_RDONLY = O_RDWR = 0

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.urandom = disk.random_bytes
        self.path = SimpleNamespace(lexists=lambda path: path.exists())

    def getpid(self) -> int:
        return 1

    @contextmanager
    def scandir(self, path: ModelPath) -> Iterator[list[Any]]:
        names = self._disk.folder(str(path)).names
        yield [
            SimpleNamespace(
                path=f"{path}/{name}",
                is_dir=lambda follow_symlinks, node=node: isinstance(node, Folder),
                is_file=lambda follow_symlinks, node=node: isinstance(node, File),
            )
            for name, node in sorted(names.items())
        ]

    def open(self, path: ModelPath, flags: int) -> File | Folder:
        """The node itself stands for its descriptor."""
        node = self._disk.folder(".") if str(path) == "." else self._disk.find(str(path))
        if node is None:
            raise FileNotFoundError(str(path))
        return node

    def fsync(self, node: File | Folder) -> None:
        node.sync()

    def close(self, node: File | Folder) -> None:
        """Nothing to close."""
