"""From what the user wrote to the tree of nodes: the place where a space is found to be wrong."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.base import Domain
from tunesmith.space.categorical import Categorical, GridSearch
from tunesmith.space.domains import grid_search
from tunesmith.space.free import SampleFrom
from tunesmith.space.labels import object_label, one_line
from tunesmith.space.tags import MAX_DEPTH
from tunesmith.space.tree import (
    ConstantNode,
    DictNode,
    FreeNode,
    Leaf,
    Node,
    OptionNode,
    Path,
    SequenceNode,
    ValueNode,
    path_name,
)

MAX_LEAVES = 10_000
MAX_NAME = 200


@dataclass(slots=True)
class Parser:
    """Turns one space into nodes and keeps what it met on the way."""

    #: All leaves, each before those within its options, in the order written.
    leaves: list[Leaf] = field(default_factory=list)
    #: Every name given so far and the path it stands for.
    names: dict[str, Path] = field(default_factory=dict)
    n_constants: int = 0

    def parse_space(self, tree: Any) -> DictNode:
        """The root.

        Raises: SpaceError if this is no dict, or anything in it is wrong.
        """
        if not isinstance(tree, dict):
            raise SpaceError(
                f"a space is a dict from names to domains, saw {object_label(tree)}. Write {{'name': domain}}."
            )
        if is_raw_grid(tree):
            raise SpaceError("the space itself is a grid_search. Give it a name: {'name': grid_search([...])}.")
        return self._dict_node(tree, (), self._children(tree, (), may_grid=True))

    def parse(self, tree: Any, path: Path, *, may_grid: bool) -> Node:
        """The node of a subtree; `may_grid` says whether a grid_search may stand there."""
        if len(path) > MAX_DEPTH:
            raise SpaceError(
                f"{one_line(path_name(path))!r} is nested deeper than {MAX_DEPTH} levels. "
                "Flatten the space, or see whether it holds itself."
            )
        if isinstance(tree, Domain):
            return self._leaf_node(tree, path, may_grid=may_grid)
        if is_raw_grid(tree):
            return self._leaf_node(self._grid(tree["grid_search"], path), path, may_grid=may_grid)
        if isinstance(tree, dict):
            children = self._children(tree, path, may_grid=may_grid)
            return ConstantNode(tree) if _all_constant(children) else self._dict_node(tree, path, children)
        if isinstance(tree, list | tuple):
            items = {i: self.parse(item, (*path, i), may_grid=may_grid) for i, item in enumerate(tree)}
            return ConstantNode(tree) if _all_constant(items) else self._sequence_node(tree, path, items)
        return ConstantNode(tree)

    def _children(self, tree: dict[Any, Any], path: Path, *, may_grid: bool) -> dict[Any, Node]:
        return {key: self.parse(value, (*path, key), may_grid=may_grid) for key, value in tree.items()}

    def _dict_node(self, tree: dict[Any, Any], path: Path, children: dict[Any, Node]) -> DictNode:
        for key in tree:
            check_key(key, path)
        self._note_constants(path, children)
        return DictNode(children)

    def _sequence_node(self, tree: Any, path: Path, items: dict[int, Node]) -> SequenceNode:
        self._note_constants(path, items)
        kind = list if isinstance(tree, list) else tuple
        make = getattr(type(tree), "_make", kind)  # a named tuple stays one
        return SequenceNode(tuple(items.values()), kind, make)

    def _leaf_node(self, domain: Domain, path: Path, *, may_grid: bool) -> Node:
        for i, key in enumerate(path):
            check_key(key, path[:i])
        if isinstance(domain, GridSearch) and not may_grid:
            raise SpaceError(
                f"{one_line(path_name(path))!r} is a grid_search within an option or a sample_from value, where it may "
                "be inactive. Use choice there, or move the grid to the outside."
            )
        leaf = Leaf(path, domain)
        if len(self.leaves) >= MAX_LEAVES:
            raise SpaceError(f"the space has more than {MAX_LEAVES} leaves. Search over fewer, or make them constants.")
        self.leaves.append(leaf)
        self._note_name(path)
        if isinstance(domain, SampleFrom):
            return FreeNode(leaf, domain)
        if isinstance(domain, Categorical):
            nodes = [self.parse(option, (*path, i), may_grid=False) for i, option in enumerate(domain.options)]
            branches = tuple(None if isinstance(node, ConstantNode) else node for node in nodes)
            return OptionNode(leaf, domain, branches)
        return ValueNode(leaf)

    def _grid(self, values: Any, path: Path) -> GridSearch:
        if not isinstance(values, list | tuple):
            raise SpaceError(
                f"{one_line(path_name(path))!r}: grid_search expected a list, saw {object_label(values)}. "
                "Write {'grid_search': [...]}."
            )
        try:
            return grid_search(values)
        except SpaceError as error:
            raise SpaceError(f"{one_line(path_name(path))!r}: {error}") from None

    def _note_constants(self, path: Path, children: dict[Any, Node]) -> None:
        for key, child in children.items():
            if isinstance(child, ConstantNode):
                self.n_constants += 1
                self._note_name((*path, key))
        if self.n_constants > MAX_LEAVES:
            raise SpaceError(
                f"the space has more than {MAX_LEAVES} constants, and every config would repeat them. "
                "Hand large data to the trials with with_parameters."
            )

    def _note_name(self, path: Path) -> None:
        name = path_name(path)
        other = self.names.setdefault(name, path)
        if other != path:
            raise SpaceError(f"{one_line(name)!r} is the name of two leaves, {other} and {path}. Rename a key.")


def check_key(key: Any, path: Path) -> None:
    """A key of the space is text or an integer, at most MAX_NAME long, without control characters.

    Raises: SpaceError naming the dict and the key.
    """
    place = f"in {one_line(path_name(path))!r}: " if path else ""
    if type(key) is int:
        if abs(key) > 2**53:
            raise SpaceError(f"{place}the key {object_label(hex(key))} is beyond +-2**53. Use text.")
        return
    if not isinstance(key, str):
        raise SpaceError(f"{place}the key {object_label(key)} is no name. Expected text or an integer; use str(...).")
    if not key:
        raise SpaceError(f"{place}a key is the empty text. Give it a name.")
    if len(key) > MAX_NAME:
        raise SpaceError(f"{place}the key {one_line(key, 40)!r} has {len(key)} characters. Use at most {MAX_NAME}.")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in key):
        raise SpaceError(f"{place}the key '{one_line(key)}' has a control character or half a character. Take it out.")


def is_raw_grid(tree: Any) -> bool:
    """Whether this is Ray Tune's dict form of a grid, `{"grid_search": [...]}`."""
    return isinstance(tree, dict) and len(tree) == 1 and "grid_search" in tree


def _all_constant(nodes: dict[Any, Node]) -> bool:
    return all(isinstance(node, ConstantNode) for node in nodes.values())
