"""The model of a disk: what survives a power loss after any recorded operation.

What a file held at its last sync is there. Each write and truncation since may be lost, kept, torn at sector borders,
or kept while an earlier one is lost. A name (creation, link, rename, removal) is safe once its folder was synced;
before, it may be lost: in order, as the journals of ext4 and xfs lose them, or one by one, which POSIX allows too.
A rename is atomic; a folder whose name is lost is lost with all that is in it. Bytes beside a write are never harmed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

#: Path -> bytes; a folder's path ends in a slash and stands before what is in it.
Tree = dict[str, bytes]

#: The folder that exists, safely, before anything is recorded.
ROOT = 0


@dataclass(frozen=True, slots=True)
class Create:
    """A file, folder or further link got a name."""

    folder: int
    name: str
    node: int
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Remove:
    """A name was removed."""

    folder: int
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A name was replaced by another one in the same folder."""

    folder: int
    name: str
    to_name: str
    node: int


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes were written into a file."""

    node: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file was cut, or extended with zeros."""

    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file's bytes, or a folder's names, are on the disk."""

    node: int


@dataclass(frozen=True, slots=True)
class Mark:
    """No operation of the disk: a pass began, was acknowledged, or time went by."""

    kind: str
    number: int = 0


NameOp = Create | Remove | Rename
DataOp = Write | Truncate
Op = NameOp | DataOp | Sync | Mark


@dataclass(frozen=True, slots=True)
class Loss:
    """How a power loss treats what was not synced."""

    data: str  #: drop, keep, prefix, subset, torn512, torn4096, or mixed: any of these for each file
    names: str  #: drop, keep, prefix (in order over all folders), subset


DATA_LOSSES = ("drop", "keep", "prefix", "subset", "torn512", "torn4096")
NAME_LOSSES = ("drop", "keep", "prefix", "subset")


@dataclass(slots=True)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[DataOp] = field(default_factory=list)


class Disk:
    """The fold of the operations: what is safe, and what waits for a sync."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._folders: dict[int, dict[str, int]] = {ROOT: {}}  #: safe names
        self._names: list[NameOp] = []  #: in order, those not yet safe

    def apply(self, op: Op) -> None:
        """Fold one operation."""
        if isinstance(op, Write | Truncate):
            self._files[op.node].pending.append(op)
        elif isinstance(op, Sync):
            self._sync(op.node)
        elif isinstance(op, Create | Remove | Rename):
            if isinstance(op, Create):
                if op.is_folder:
                    self._folders.setdefault(op.node, {})
                else:
                    self._files.setdefault(op.node, _File())
            self._names.append(op)

    def _sync(self, node: int) -> None:
        if node in self._folders:
            for op in self._names:
                if op.folder == node:
                    _apply_name(self._folders[node], op)
            self._names = [op for op in self._names if op.folder != node]
        else:
            file = self._files[node]
            for op in file.pending:
                _apply_data(file.synced, op)
            file.pending = []

    @property
    def n_pending(self) -> int:
        """Operations that a power loss could take."""
        return len(self._names) + sum(len(file.pending) for file in self._files.values())

    def rebuild(self, loss: Loss, rng: Random) -> Tree:
        """What may be found after the loss."""
        folders = {node: dict(names) for node, names in self._folders.items()}
        for op in _surviving_names(self._names, loss.names, rng):
            _apply_name(folders[op.folder], op)
        contents = {node: self._after(file, loss.data, rng) for node, file in sorted(self._files.items())}
        tree: Tree = {}
        _list_tree("", ROOT, folders, contents, tree)
        return tree

    @staticmethod
    def _after(file: _File, style: str, rng: Random) -> bytes:
        if not file.pending:
            return bytes(file.synced)
        if style == "mixed":
            style = rng.choice(DATA_LOSSES)
        content = bytearray(file.synced)
        for op in _surviving_data(file.pending, style, rng):
            _apply_data(content, op)
        return bytes(content)


def _surviving_names(ops: Sequence[NameOp], style: str, rng: Random) -> list[NameOp]:
    if style == "drop":
        return []
    if style == "keep":
        return list(ops)
    if style == "prefix":
        return list(ops[: rng.randint(0, len(ops))])
    return [op for op in ops if rng.random() < 0.5]


def _surviving_data(ops: Sequence[DataOp], style: str, rng: Random) -> list[DataOp]:
    if style == "drop":
        return []
    if style == "keep":
        return list(ops)
    if style == "prefix":
        return list(ops[: rng.randint(0, len(ops))])
    share = rng.choice((0.2, 0.5, 0.8, 0.95))
    if style == "subset":
        return [op for op in ops if rng.random() < share]
    sector_bytes = int(style.removeprefix("torn"))
    kept: list[DataOp] = []
    for op in ops:
        if isinstance(op, Truncate):
            if rng.random() < share:
                kept.append(op)
        else:
            kept += [piece for piece in _sectors(op, sector_bytes) if rng.random() < share]
    return kept


def _sectors(op: Write, sector_bytes: int) -> list[Write]:
    """The write as the parts that fall into each sector of the file."""
    pieces = []
    at, end = op.offset, op.offset + len(op.data)
    while at < end:
        border = min(end, (at // sector_bytes + 1) * sector_bytes)
        pieces.append(Write(op.node, at, op.data[at - op.offset : border - op.offset]))
        at = border
    return pieces


def _apply_data(content: bytearray, op: DataOp) -> None:
    if isinstance(op, Truncate):
        del content[op.size :]
        content.extend(bytes(op.size - len(content)))
        return
    if op.offset > len(content):
        content.extend(bytes(op.offset - len(content)))
    content[op.offset : op.offset + len(op.data)] = op.data


def _apply_name(names: dict[str, int], op: NameOp) -> None:
    if isinstance(op, Create):
        names[op.name] = op.node
    elif isinstance(op, Remove):
        names.pop(op.name, None)
    else:
        names.pop(op.name, None)
        names[op.to_name] = op.node


def _list_tree(
    path: str, node: int, folders: dict[int, dict[str, int]], contents: dict[int, bytes], tree: Tree
) -> None:
    for name, child in folders[node].items():
        if child in folders:
            tree[f"{path}{name}/"] = b""
            _list_tree(f"{path}{name}/", child, folders, contents, tree)
        else:
            tree[path + name] = contents[child]


def write_tree(target: Path, tree: Tree) -> None:
    """Lay the files and folders out below an existing folder."""
    for name, content in tree.items():
        if name.endswith("/"):
            (target / name).mkdir(mode=0o700)
        else:
            (target / name).write_bytes(content)


def digest_tree(tree: Tree) -> bytes:
    """The same for the same files, folders and bytes."""
    digest = hashlib.sha256()
    for name, content in sorted(tree.items()):
        digest.update(f"{len(name)} {name} {len(content)} ".encode())
        digest.update(content)
    return digest.digest()
