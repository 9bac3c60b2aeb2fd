"""A whole search space: what may vary, and the configs that come out."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.rng import generator
from tunesmith.space.base import Domain, canonical_json
from tunesmith.space.categorical import Categorical, GridSearch, describe_value
from tunesmith.space.constraints import (
    MAX_DRAWS,
    Constraint,
    broken_constraint,
    check_constraints,
    never_met,
    parse_constraints,
    redrawn,
)
from tunesmith.space.identity import identity_key
from tunesmith.space.labels import object_label
from tunesmith.space.parse import Parser
from tunesmith.space.resolve import Resolver
from tunesmith.space.source import source_text
from tunesmith.space.tags import is_native, plain_scalar
from tunesmith.space.tree import Draw, Leaf, Path, path_name, product

_JSON_SCALARS = (str, int, float, bool, type(None))


class Space:
    """The checked form of a (nested) dict of domains, constants, and options that hold further domains.

    A function or class as a value is a constant; `sample_from` marks a function to be called.
    """

    def __init__(self, tree: dict[Any, Any], constraints: Sequence[Constraint] = ()) -> None:
        """Check the dict.

        Args:
            constraints: each is called with a config and returns whether it is allowed: `lambda c: c["a"] < c["b"]`.
        Raises: SpaceError naming the leaf that is wrong.
        """
        self._constraints = parse_constraints(constraints)
        parser = Parser()
        self._root = parser.parse_space(tree)
        self._leaves = tuple(parser.leaves)
        self._by_path = {leaf.path: leaf for leaf in self._leaves}
        #: The leaves of grid_search, in the order written; the first varies fastest.
        self._grids = tuple((leaf.path, leaf.domain) for leaf in self._leaves if isinstance(leaf.domain, GridSearch))
        self._n_grid = product(len(domain.options) for _, domain in self._grids) or 1

    def __repr__(self) -> str:
        return f"Space({self.tree!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuilt from the dict: indices by identity do not travel."""
        return (Space, (self.tree, self._constraints))

    @property
    def has_constraints(self) -> bool:
        """Whether some configs of its domains are not allowed."""
        return bool(self._constraints)

    @property
    def tree(self) -> dict[Any, Any]:
        """The space as a dict, every grid in the form `grid_search([...])`."""
        return self._root.template()  # type: ignore[no-any-return]

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every leaf, also those within options, each option's after the choice itself; in the order written."""
        return self._leaves

    @property
    def is_empty(self) -> bool:
        """Whether nothing varies: every config is the same."""
        return not self._leaves

    @property
    def n_grid(self) -> int:
        """How many points the crossed grid has; 1 without a grid."""
        return self._n_grid

    @property
    def cardinality(self) -> int | None:
        """How many different configs there are, the grid included; None if they cannot be counted."""
        return self._root.cardinality

    def name(self, path: Path) -> str:
        """The path as one name, `model/layers/0`; no two leaves share one."""
        return path_name(path)

    def grid_point(self, i: int) -> dict[Path, Any]:
        """The values of the grid leaves at point `i` of the crossed grid, the first leaf varying fastest.

        Raises: SpaceError unless 0 <= i < n_grid.
        """
        if not 0 <= i < self._n_grid:
            raise SpaceError(f"the grid has the points 0 to {self._n_grid - 1}, saw {i}. Use i % n_grid.")
        point = {}
        for path, domain in self._grids:
            i, option = divmod(i, len(domain.options))
            point[path] = domain.options[option]
        return point

    def sample(self, seed: int, index: int) -> dict[Any, Any]:
        """The config of sample number `index`: repetition index // n_grid of grid point index % n_grid.

        The same (seed, index) gives the same config whatever was drawn before; all other leaves differ by index.

        Raises: SpaceError if index < 0 or a sample_from function fails.
        """
        if index < 0:
            raise SpaceError(f"samples are counted from 0, saw index {index}.")
        return self.draw(seed, index)[0]

    def draw(self, seed: int, index: int) -> tuple[dict[Any, Any], frozenset[Path]]:
        """The config of `sample`, and the `sample_from` leaves whose functions read other values to make theirs."""
        fixed = self.grid_point(index % self._n_grid) if self._grids else {}
        for attempt in range(MAX_DRAWS):
            config, readers = self._build(fixed, seed=redrawn(seed, attempt), index=index)
            if not self._constraints or broken_constraint(self._constraints, config) is None:
                return config, readers
        raise never_met(self._constraints, config, fixed)

    def assemble(self, values: Mapping[Path, Any], *, seed: int, index: int) -> dict[Any, Any]:
        """The config in which the given leaves take the given values, the other active ones are drawn as in `sample`.

        Args:
            values: by path; an option as it was written, as `Choice.decode` and `Space.values` give it.
        Raises: SpaceError if a path is no leaf, a value lies outside its domain, or the config breaks a constraint.
        """
        self._check_values(values)
        config, _ = self._build(values, seed=seed, index=index)
        check_constraints(self._constraints, config)
        return config

    def allows(self, values: Mapping[Path, Any], *, seed: int, index: int) -> bool:
        """Whether `assemble` would give a config that meets the constraints.

        Raises: SpaceError as `assemble` does for other reasons, or if a constraint itself fails.
        """
        self._check_values(values)
        config, _ = self._build(values, seed=seed, index=index)
        return broken_constraint(self._constraints, config) is None

    def _check_values(self, values: Mapping[Path, Any]) -> None:
        for path, value in values.items():
            leaf = self._by_path.get(path)
            if leaf is None:
                raise SpaceError(f"{path_name(path)!r} is no leaf of the space. Use the paths in Space.leaves.")
            if not leaf.domain.contains(value):
                raise SpaceError(f"{leaf.name!r} cannot be {object_label(value)}; expected a value of {leaf.domain}.")

    def _build(self, fixed: Mapping[Path, Any], *, seed: int, index: int) -> tuple[dict[Any, Any], frozenset[Path]]:
        draw = Draw(lambda: generator(seed, "space", index), fixed)
        config: dict[Any, Any] = self._root.build(draw)
        if not draw.pending:
            return config, frozenset()
        resolver = Resolver(config, draw, seed=seed, index=index)
        return resolver.resolve(), frozenset(resolver.readers)

    def check(self, config: Any) -> None:
        """Accept a config that could have been drawn; sample_from leaves accept anything.

        Raises: SpaceError naming the field: outside its domain, of another type, missing, or not in the space; or the
            constraint that it breaks.
        """
        self.values(config)
        check_constraints(self._constraints, config)

    def values(self, config: Any) -> dict[Path, Any]:
        """What each active leaf took, in the order of the space; an option as it was written.

        Where several options with domains could have given the value, it is the first of them.

        Raises: SpaceError as `check` does.
        """
        found: dict[Path, Any] = {}
        self._root.trace(config, (), found)
        return found

    def active(self, config: Any) -> tuple[Leaf, ...]:
        """The leaves that take part in the config: all but those within options that were not chosen.

        Raises: SpaceError as `check` does.
        """
        return tuple(self._by_path[path] for path in self.values(config))

    def describe(self) -> dict[str, Any]:
        """The space as JSON: `tree` with `{"$domain": ...}` for domains and labels for objects, `grids` in their order.

        Equal for equal spaces in every run and, where sources are at hand, for equal `sample_from` functions.
        """
        facts = {"tree": describe_value(self.tree), "grids": [path_name(path) for path, _ in self._grids]}
        constraints = [source_text(constraint) for constraint in self._constraints]
        return {**facts, "constraints": constraints} if constraints else facts

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the description in hexadecimal; the order of keys makes no difference, that of grids does."""
        return hashlib.sha256(canonical_json(self.describe()).encode()).hexdigest()

    def find(self, path: Path) -> Any:
        """What stands at a path of the space as written, option indices included.

        Raises: KeyError if nothing does.
        """
        value: Any = self.tree
        for key in path:
            try:
                inside: Any = value.options if isinstance(value, Categorical) else value
                value = inside[key]
            except (KeyError, IndexError, TypeError) as error:
                raise KeyError(path_name(path)) from error
        return value

    def place_of(self, value: Any) -> tuple[Path, int | None] | None:
        """Where an object that JSON does not know stands in the space: leaf and option index, or constant and None."""
        return self._places.get(identity_key(value))

    @cached_property
    def _places(self) -> dict[Hashable, tuple[Path, int | None]]:
        places: dict[Hashable, tuple[Path, int | None]] = {}
        for path, option, value in objects_in(self.tree):
            places.setdefault(identity_key(value), (path, option))
        return places


def objects_in(tree: Any, path: Path = (), option: int | None = None) -> Iterator[tuple[Path, int | None, Any]]:
    """The objects in a space or a config that JSON does not know, each with its leaf and option index, or constant and
    None; domains are none of them.
    """
    if isinstance(tree, Categorical):
        for i, inner in enumerate(tree.options):
            yield from objects_in(inner, path, i)
        return
    here = path if option is None else (*path, option)
    if type(tree) is dict:
        for key, inner in tree.items():
            if type(key) in (str, int):
                yield from objects_in(inner, (*here, key))
    elif type(tree) in (list, tuple):
        for i, inner in enumerate(tree):
            yield from objects_in(inner, (*here, i))
    elif not (type(tree) in _JSON_SCALARS or isinstance(tree, Domain) or is_native(plain_scalar(tree))):
        yield path, option, tree
