"""A space as a tree of nodes: checked once when it is written, then walked for every config.

A node builds its part of a config, traces a given config (which value did each leaf take?), and counts its points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from tunesmith.errors import SpaceError
from tunesmith.space.base import Domain
from tunesmith.space.categorical import Categorical
from tunesmith.space.free import SampleFrom
from tunesmith.space.identity import identity_key
from tunesmith.space.labels import label, one_line
from tunesmith.space.numeric import is_number

if TYPE_CHECKING:
    import numpy as np

#: Keys and indices from the root of the space to a leaf. Beneath a `choice` or `grid_search` the option's index comes
#: first, so that leaves of the same name in two options have two paths.
Path: TypeAlias = tuple[str | int, ...]


def path_name(path: Path) -> str:
    """The path as one name, `model/layers/0`; unique within a space."""
    return "/".join(map(str, path))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One varying value of a space."""

    path: Path
    domain: Domain

    @property
    def name(self) -> str:
        """The path as one name, `model/layers/0`."""
        return path_name(self.path)


@dataclass(slots=True, eq=False)
class Pending:
    """The place in a config of a `sample_from` value that is not made yet."""

    leaf: Leaf
    domain: SampleFrom
    depth: int
    container: Any = None
    key: Any = None


class Draft(list[Any]):
    """A tuple in the making: it holds pending values, and becomes what `make` makes of it when all are there."""

    def __init__(self) -> None:
        super().__init__()
        self.make: Callable[[list[Any]], Any] = tuple


@dataclass(slots=True)
class Draw:
    """One config in the making."""

    make_rng: Callable[[], np.random.Generator]
    fixed: Mapping[Path, Any]
    #: Every sample_from value met so far, in the order of the tree; resolved or not.
    pending: list[Pending] = field(default_factory=list)
    #: How many sample_from functions returned each other so far.
    depth: int = 0
    _rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator, made when the first value is drawn: many configs are given whole."""
        if self._rng is None:
            self._rng = self.make_rng()
        return self._rng


class Node(Protocol):
    """What each kind of node does."""

    def build(self, draw: Draw) -> Any:
        """This part of a new config."""

    def trace(self, value: Any, where: Path, found: dict[Path, Any]) -> None:
        """Note in `found` what each active leaf of this part took; options as written.

        Raises: SpaceError naming the place in the config, if the value cannot come from this node.
        """

    def template(self) -> Any:
        """This part of the space as the user wrote it, grids in their one form."""

    @property
    def cardinality(self) -> int | None:
        """How many different values this part takes, None if they cannot be counted."""


def wrong(where: Path, seen: Any, expected: str) -> SpaceError:
    """The error for a config that lies outside the space."""
    place = repr(one_line(path_name(where))) if where else "the config"
    return SpaceError(f"{place} is {label(seen)!r} ({type(seen).__name__}); expected {expected}. Correct the config.")


@dataclass(frozen=True, slots=True)
class ConstantNode:
    """A subtree without domains."""

    value: Any

    def build(self, draw: Draw) -> Any:
        """The constant; its lists and dicts are new ones, so that a trial may change its config."""
        return copy_containers(self.value)

    def trace(self, value: Any, where: Path, found: dict[Path, Any]) -> None:
        """The same value, or an equal number."""
        own = self.value
        if value is own or identity_key(value) == identity_key(own):
            return
        if not (is_number(value) and is_number(own) and value == own):
            raise wrong(where, value, f"the constant {label(own)!r}")

    def template(self) -> Any:
        """The constant itself."""
        return self.value

    @property
    def cardinality(self) -> int | None:
        """One."""
        return 1


@dataclass(frozen=True, slots=True)
class DictNode:
    """A dict with a domain somewhere in it."""

    children: dict[str | int, Node]

    def build(self, draw: Draw) -> Any:
        """A dict with all keys, in the order of the space."""
        config: dict[Any, Any] = {}
        for key, child in self.children.items():
            value = child.build(draw)
            if type(value) is Pending:
                value.container, value.key = config, key
            config[key] = value
        return config

    def trace(self, value: Any, where: Path, found: dict[Path, Any]) -> None:
        """A dict with these keys and no others."""
        if not isinstance(value, dict):
            raise wrong(where, value, f"a dict with the keys {_listed(self.children)}")
        for key in value:
            if key not in self.children:
                place = one_line(path_name((*where, key)))
                raise SpaceError(f"{place!r} is not in the space; expected {_listed(self.children)}. Leave it out.")
        for key, child in self.children.items():
            if key not in value:
                raise SpaceError(f"{path_name((*where, key))!r} is missing from the config. Give it a value.")
            child.trace(value[key], (*where, key), found)

    def template(self) -> Any:
        """The dict."""
        return {key: child.template() for key, child in self.children.items()}

    @property
    def cardinality(self) -> int | None:
        """The product of the children's."""
        return product(child.cardinality for child in self.children.values())


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list or tuple with a domain somewhere in it."""

    children: tuple[Node, ...]
    kind: type[list[Any]] | type[tuple[Any, ...]]
    make: Callable[[list[Any]], Any]

    def build(self, draw: Draw) -> Any:
        """The list, or the tuple; a draft of it while values are pending."""
        before = len(draw.pending)
        items = Draft()
        for i, child in enumerate(self.children):
            value = child.build(draw)
            if type(value) is Pending:
                value.container, value.key = items, i
            items.append(value)
        if len(draw.pending) == before:
            return self.make(items)
        items.make = self.make
        return items

    def trace(self, value: Any, where: Path, found: dict[Path, Any]) -> None:
        """The same kind of sequence and the same length."""
        if not isinstance(value, self.kind) or len(value) != len(self.children):
            raise wrong(where, value, f"a {self.kind.__name__} of length {len(self.children)}")
        for i, child in enumerate(self.children):
            child.trace(value[i], (*where, i), found)

    def template(self) -> Any:
        """The list or tuple."""
        return self.make([child.template() for child in self.children])

    @property
    def cardinality(self) -> int | None:
        """The product of the children's."""
        return product(child.cardinality for child in self.children)


@dataclass(frozen=True, slots=True)
class ValueNode:
    """A leaf of numbers."""

    leaf: Leaf

    def build(self, draw: Draw) -> Any:
        """The fixed value, or one drawn."""
        if draw.fixed and self.leaf.path in draw.fixed:
            return draw.fixed[self.leaf.path]
        return self.leaf.domain.sample(draw.rng)

    def trace(self, value: Any, where: Path, found: dict[Path, Any]) -> None:
        """A value of the domain."""
        if not self.leaf.domain.contains(value):
            raise wrong(where, value, f"a value of {self.leaf.domain}")
        found[self.leaf.path] = value

    def template(self) -> Any:
        """The domain."""
        return self.leaf.domain

    @property
    def cardinality(self) -> int | None:
        """The domain's."""
        return self.leaf.domain.cardinality


@dataclass(frozen=True, slots=True)
class OptionNode:
    """A leaf of options; `branches` holds a node for each option with domains in it, None for the others."""

    leaf: Leaf
    domain: Categorical
    branches: tuple[Node | None, ...]

    def build(self, draw: Draw) -> Any:
        """The option fixed or drawn, its own domains resolved."""
        if draw.fixed and self.leaf.path in draw.fixed:
            index = self.domain.index(draw.fixed[self.leaf.path])
            if index is None:
                raise wrong(self.leaf.path, draw.fixed[self.leaf.path], f"an option of {self.domain} as written")
        else:
            index = self.domain.sample_index(draw.rng)
        branch = self.branches[index]
        return self.domain.options[index] if branch is None else branch.build(draw)

    def trace(self, value: Any, where: Path, found: dict[Path, Any]) -> None:
        """One of the options, or what the first matching option with domains could have become."""
        index = self.domain.index(value)
        if index is not None and self.branches[index] is None:
            found[self.leaf.path] = self.domain.options[index]
            return
        reasons = []
        for option, branch in zip(self.domain.options, self.branches, strict=True):
            if branch is None:
                continue
            inner: dict[Path, Any] = {}
            try:
                branch.trace(value, where, inner)
            except SpaceError as error:
                reasons.append(str(error))
                continue
            found[self.leaf.path] = option
            found.update(inner)
            return
        if len(self.branches) == len(reasons) == 1:
            raise SpaceError(reasons[0])
        raise wrong(where, value, f"one of the options of {one_line(repr(self.domain))}")

    def template(self) -> Any:
        """The domain."""
        return self.domain

    @property
    def cardinality(self) -> int | None:
        """The sum over the options."""
        counts = [1 if branch is None else branch.cardinality for branch in self.branches]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


@dataclass(frozen=True, slots=True)
class FreeNode:
    """A leaf made by a function of the user."""

    leaf: Leaf
    domain: SampleFrom

    def build(self, draw: Draw) -> Any:
        """The fixed value, or a place that the resolver fills in."""
        if draw.fixed and self.leaf.path in draw.fixed:
            return draw.fixed[self.leaf.path]
        pending = Pending(self.leaf, self.domain, draw.depth)
        draw.pending.append(pending)
        return pending

    def trace(self, value: Any, where: Path, found: dict[Path, Any]) -> None:
        """Anything."""
        found[self.leaf.path] = value

    def template(self) -> Any:
        """The domain."""
        return self.domain

    @property
    def cardinality(self) -> int | None:
        """None: not known."""
        return None


def copy_containers(value: Any) -> Any:
    """The value with plain dicts, lists and tuples rebuilt; all else is the same object."""
    kind = type(value)
    if kind is dict:
        return {key: copy_containers(item) for key, item in value.items()}
    if kind is list:
        return [copy_containers(item) for item in value]
    if kind is tuple:
        return tuple(copy_containers(item) for item in value)
    return value


def product(counts: Any) -> int | None:
    """The product of the counts, None if one of them is not known."""
    total = 1
    for count in counts:
        if count is None:
            return None
        total *= count
    return total


def _listed(keys: Any) -> str:
    names = [repr(key) for key in keys]
    return one_line(", ".join(names[:20]) + (", ..." if len(names) > 20 else "")) or "no keys"
