"""Domains of listed values: `choice` draws one, `grid_search` tries each.

Options keep their types and their identity and are addressed by index, so they may be of any type, mutable or not.
An option may be, or hold, domains: that makes the space conditional; `Space` resolves them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.errors import SpaceError
from tunesmith.space.base import Domain, unit
from tunesmith.space.identity import identity_key
from tunesmith.space.labels import label
from tunesmith.space.tags import encode_value

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Categorical(Domain):
    """One of several options; at least one, no two the same by type and value."""

    options: tuple[Any, ...]
    kind: ClassVar[str]
    advice: ClassVar[str]

    def __post_init__(self) -> None:
        if not self.options:
            raise SpaceError(f"{self.kind}([]) has no option. Give at least one.")
        if len(self._index) < len(self.options):
            seen: set[Hashable] = set()
            for option in self.options:
                if (key := identity_key(option)) in seen:
                    raise SpaceError(f"{self.kind} has the value {label(option)!r} twice. {self.advice}")
                seen.add(key)

    @cached_property
    def _index(self) -> dict[Hashable, int]:
        return {identity_key(option): i for i, option in enumerate(self.options)}

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuilt rather than copied: the index refers to some options by their place in this process's memory."""
        return (type(self), (self.options,))

    def index(self, option: Any) -> int | None:
        """The index of an option as it was written, None if it is none of them."""
        return self._index.get(identity_key(option))

    def sample_index(self, rng: np.random.Generator) -> int:
        """The index of one option, all equally likely, in the same time however many there are."""
        return int(rng.random() * len(self.options))

    def sample(self, rng: np.random.Generator) -> Any:
        """One option as it was written; `Space` resolves the domains in it."""
        return self.options[self.sample_index(rng)]

    def encode(self, value: Any) -> float:
        """The middle of the option's cell; all cells are equally wide.

        Raises: SpaceError if the value is no option: there is no nearest one.
        """
        index = self.index(value)
        if index is None:
            raise SpaceError(f"{label(value)!r} is no option of {self}. Give one of the options, with its type.")
        return (index + 0.5) / len(self.options)

    def decode(self, u: float) -> Any:
        """The option whose cell holds `u`, as it was written."""
        n_options = len(self.options)
        return self.options[min(int(unit(u) * n_options), n_options - 1)]

    def contains(self, value: Any) -> bool:
        """Whether the value is one of the options as written, type included."""
        return self.index(value) is not None

    @property
    def cardinality(self) -> int | None:
        """How many options there are; the domains within them are counted by `Space`."""
        return len(self.options)

    def describe(self) -> dict[str, Any]:
        """Constructor and options, encoded like configs; domains within them as `{"$domain": ...}`."""
        return {"type": self.kind, "options": [describe_value(option) for option in self.options]}


class Choice(Categorical):
    """One option at random, all equally likely."""

    kind = "choice"
    advice = "Give each option once."


class GridSearch(Categorical):
    """Every option, crossed with the other grids of the space; equal to Ray Tune's dict form of the same grid."""

    kind = "grid_search"
    advice = "Give each value once; num_samples= repeats the whole grid."

    def __eq__(self, other: object) -> bool:
        if isinstance(other, dict):
            return list(other) == ["grid_search"] and list(self.options) == other["grid_search"]
        return super().__eq__(other)

    __hash__ = Domain.__hash__


def describe_value(value: Any) -> Any:
    """A value of a space, domains included, as JSON; equal in every run for equal values."""
    return encode_value(value, tag_object=_tag_domain)


def _tag_domain(value: Any) -> dict[str, Any] | None:
    return {"$domain": value.describe()} if isinstance(value, Domain) else None
