"""The values of `sample_from` leaves, each function called once, whatever the order in which they depend on each other.

A function that reads a value not made yet makes it at that moment: the reading waits, the other function runs, the
reading goes on. A function that is read while it waits for itself is a cycle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.rng import derived_seed, generator, seeded_globals
from tunesmith.space.labels import object_label, one_line
from tunesmith.space.parse import Parser
from tunesmith.space.tags import MAX_DEPTH, plain_scalar
from tunesmith.space.tree import Draft, Draw, Path, Pending

#: How many sample_from functions may return one another before it must be a mistake.
MAX_RETURNS = 20
#: How many sample_from functions may wait for each other; Python's own recursion limit allows about twice as many.
MAX_WAITING = 100
_SCALARS = (float, int, str, bool, type(None))


class _Abort(BaseException):
    """Ends the making of a config. No Exception, so that `except Exception` in a user's function lets it pass."""


class Resolver:
    """Fills the pending places of one config."""

    def __init__(self, config: dict[Any, Any], draw: Draw, *, seed: int, index: int) -> None:
        self._config = config
        self._draw = draw
        self._seed = seed
        self._index = index
        self._view = SpecView(config, self)
        #: The leaves whose functions have read a value of the config.
        self.readers: set[Path] = set()
        #: The values whose functions are running, each waiting for the next.
        self._waiting: list[Pending] = []
        #: The first error, kept in case a user's bare `except:` swallows it on its way.
        self._failure: SpaceError | None = None

    def resolve(self) -> dict[Any, Any]:
        """The config with every pending value made.

        Raises: SpaceError naming the leaf whose function failed, or the leaves that wait for each other.
        """
        import numpy as np

        with seeded_globals(0):  # one saving and restoring for all leaves; each reseeds
            for pending in self._draw.pending:  # grows while functions return further ones
                if pending.container[pending.key] is not pending:
                    continue
                seed = self._leaf_seed(pending)
                random.seed(seed)
                np.random.seed(seed)
                try:
                    self.force(pending)
                except _Abort:
                    pass
                if self._failure is not None:
                    raise self._failure from self._failure.__cause__
        for pending in self._draw.pending:
            if isinstance(pending.container, Draft):
                sealed = _sealed(self._config)
                assert isinstance(sealed, dict)
                return sealed
        return self._config

    def note_reading(self) -> None:
        """The function that runs at present reads the config."""
        if self._waiting:
            self.readers.add(self._waiting[-1].leaf.path)

    def is_running(self, value: Any) -> bool:
        """Whether this is the place of the value whose function runs at present."""
        return bool(self._waiting) and self._waiting[-1] is value

    def force(self, pending: Pending) -> Any:
        """The value of a pending place, made now and put there."""
        if pending in self._waiting:
            cycle = [*self._waiting[self._waiting.index(pending) :], pending]
            raise self._fail(
                f"sample_from values depend on each other in a cycle: {' -> '.join(repr(p.leaf.name) for p in cycle)}. "
                "Let one of them not read the next."
            )
        if len(self._waiting) >= MAX_WAITING:
            raise self._fail(
                f"{pending.leaf.name!r} ends a chain of more than {MAX_WAITING} sample_from values written in the "
                "reverse of their order of use. Write them in the order of use."
            )
        nested = bool(self._waiting)
        self._waiting.append(pending)
        try:
            if nested:
                with seeded_globals(self._leaf_seed(pending)):
                    result = self._made(pending)
            else:
                result = self._made(pending)
        finally:
            self._waiting.pop()
        pending.container[pending.key] = result
        if type(result) is Pending:
            result.container, result.key = pending.container, pending.key
            return self.force(result)
        return result

    def _made(self, pending: Pending) -> Any:
        """What the function returns, its domains resolved. Called once a leaf: a user's error is not tried again."""
        domain = pending.domain
        try:
            result = domain.fn(self._view) if domain.takes_config else domain.fn()
            if type(result) in _SCALARS:
                return result
            return self._nested(self._unwrapped(result), pending)
        except Exception as error:
            text = one_line(f"{type(error).__name__}: {error}", 300)
            hint = f" The config has: {self._view}." if isinstance(error, KeyError | AttributeError) else ""
            raise self._fail(
                f"sample_from of {pending.leaf.name!r} raised {text}.{hint} Mend the function.", cause=error
            ) from error

    def _nested(self, result: Any, pending: Pending) -> Any:
        """The result itself, or what becomes of it where it is or holds domains."""
        parser = Parser()
        node = parser.parse(result, pending.leaf.path, may_grid=False)
        if not parser.leaves:
            return result
        if pending.depth >= MAX_RETURNS:
            raise SpaceError(f"it returned a space within a space more than {MAX_RETURNS} times over")
        purpose = f"sample_from/{pending.leaf.name}/{pending.depth}"
        draw = Draw(lambda: generator(self._seed, purpose, self._index), {}, self._draw.pending, pending.depth + 1)
        return node.build(draw)

    def _unwrapped(self, value: Any, depth: int = 0) -> Any:
        """The value with views replaced by the plain values they show, and NumPy scalars by Python's."""
        if depth > MAX_DEPTH:
            raise SpaceError(f"it returned a value nested deeper than {MAX_DEPTH} levels")
        kind = type(value)
        if kind is dict or kind is ConfigView or kind is SpecView:
            return {key: self._unwrapped(value[key], depth + 1) for key in value}
        if kind is list or kind is ListView:
            return [self._unwrapped(item, depth + 1) for item in value]
        if kind is tuple:
            return tuple(self._unwrapped(item, depth + 1) for item in value)
        return plain_scalar(value)

    def _leaf_seed(self, pending: Pending) -> int:
        return derived_seed(self._seed, f"sample_from/{pending.leaf.name}/{pending.depth}", self._index)

    def _fail(self, message: str, cause: BaseException | None = None) -> _Abort:
        if self._failure is None:
            self._failure = SpaceError(message)
            self._failure.__cause__ = cause
        return _Abort()


class ConfigView(Mapping[Any, Any]):
    """The config as a `sample_from` function sees it: `config["a"]`, `config.a`, `config.get("a")`, at any depth."""

    __slots__ = ("_data", "_resolver")

    def __init__(self, data: dict[Any, Any], resolver: Resolver) -> None:
        self._data = data
        self._resolver = resolver

    def __getitem__(self, key: Any) -> Any:
        return _seen(self._data[key], self._resolver)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._data:
            raise AttributeError(f"the config has no value {name!r}")
        return self[name]

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[Any]:
        """All keys but that of the value being made, so that `dict(config)` does not read what it is to become."""
        return iter([key for key, value in self._data.items() if not self._resolver.is_running(value)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        shown = {key: ... if isinstance(value, Pending) else value for key, value in self._data.items()}
        return one_line(object_label(shown))


class SpecView(ConfigView):
    """The whole config, which also answers to `spec.config.a` and `spec["config"]["a"]`.

    Where the space has a key `config` of its own, `spec["config"]` is that value, and `spec.config` stays the whole.
    """

    __slots__ = ()

    @property
    def config(self) -> ConfigView:
        """The whole config."""
        return ConfigView(self._data, self._resolver)

    def __getitem__(self, key: Any) -> Any:
        if key == "config" and "config" not in self._data:
            return self.config
        return super().__getitem__(key)


class ListView(Sequence[Any]):
    """A list of the config that holds dicts, lists or values not made yet."""

    __slots__ = ("_data", "_resolver")

    def __init__(self, data: Sequence[Any], resolver: Resolver) -> None:
        self._data = data
        self._resolver = resolver

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return _seen(self._data[index], self._resolver)

    def __len__(self) -> int:
        return len(self._data)


def _seen(value: Any, resolver: Resolver) -> Any:
    """A value of the config as a function may see it."""
    resolver.note_reading()
    if type(value) is Pending:
        value = resolver.force(value)
    if type(value) is dict:
        return ConfigView(value, resolver)
    if isinstance(value, list) and any(isinstance(item, dict | list | Pending) for item in value):
        return ListView(value, resolver)
    return value


def _sealed(value: Any) -> Any:
    """The config with drafts turned into the lists and tuples they stand for."""
    if type(value) is dict:
        return {key: _sealed(item) for key, item in value.items()}
    if type(value) is list:
        return [_sealed(item) for item in value]
    if type(value) is Draft:
        return value.make([_sealed(item) for item in value])
    return value
