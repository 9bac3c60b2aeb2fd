"""What every domain can do."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tunesmith.errors import SpaceError
from tunesmith.space.labels import number_text, one_line

if TYPE_CHECKING:
    import numpy as np

#: Largest whole number up to which a float, and so JSON read by other programs, holds every integer exactly.
MAX_EXACT_INT = 2**53


class Domain(ABC):
    """What one leaf of a space may be. Immutable; two domains are equal when they mean the same."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Any:
        """One value drawn at random, a plain Python object."""

    @abstractmethod
    def encode(self, value: Any) -> float:
        """The place of a value in the unit interval; a number outside the domain is put at the nearer end."""

    @abstractmethod
    def decode(self, u: float) -> Any:
        """The value at place `u`, the inverse of `encode`; `u` outside [0, 1] is put at the nearer end."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether the value, type included, could have been drawn."""

    @property
    @abstractmethod
    def cardinality(self) -> int | None:
        """How many different values there are; None if they cannot be counted."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The domain as JSON-able facts, equal in every run for equal domains; the key `type` is its constructor."""

    def __eq__(self, other: object) -> bool:
        return self.describe() == other.describe() if isinstance(other, Domain) else NotImplemented

    def __hash__(self) -> int:
        return hash(canonical_json(self.describe()))

    def __repr__(self) -> str:
        return description_text(self.describe())


def unit(u: float) -> float:
    """`u` clipped to [0, 1].

    Raises: SpaceError if u is NaN.
    """
    if 0.0 <= u <= 1.0:
        return u
    if u != u:
        raise SpaceError("NaN has no place in a domain; expected a number. Look at the searcher that proposed it.")
    return 0.0 if u < 0.0 else 1.0


def canonical_json(tree: Any) -> str:
    """The one JSON text of a description: keys sorted, also those that are no text, ASCII only."""
    tree = _with_sorted_pairs(tree)
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _with_sorted_pairs(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_with_sorted_pairs(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if list(tree) == ["$dict"]:
        return {"$dict": sorted(([key, _with_sorted_pairs(item)] for key, item in tree["$dict"]), key=json.dumps)}
    return {key: _with_sorted_pairs(item) for key, item in tree.items()}


def description_text(description: dict[str, Any]) -> str:
    """A domain's description as the user would have written it, for example `loguniform(0.0001, 0.1)`."""
    kind = description["type"]
    if "options" in description:
        options = description["options"]
        shown = ", ".join(value_text(option) for option in options[:8])
        return f"{kind}([{shown}])" if len(options) <= 8 else f"{kind}([{shown}, ...]) with {len(options)} options"
    if "source" in description:
        return f"{kind}({one_line(description['source'])})"
    return f"{kind}({', '.join(number_text(v) for k, v in description.items() if k != 'type')})"


def value_text(tree: Any) -> str:
    """An encoded value on one line, for messages."""
    if isinstance(tree, dict):
        if "$domain" in tree:
            return description_text(tree["$domain"])
        if "$object" in tree:
            return str(tree["$object"])
        if "$tuple" in tree:
            return f"({', '.join(value_text(item) for item in tree['$tuple'])})"
        return "{" + ", ".join(f"{key}: {value_text(item)}" for key, item in tree.items()) + "}"
    if isinstance(tree, list):
        return f"[{', '.join(value_text(item) for item in tree)}]"
    return one_line(repr(tree), 100)
