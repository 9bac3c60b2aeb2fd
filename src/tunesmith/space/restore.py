"""A space from its stored description, for going on with an experiment whose script is not at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space import domains
from tunesmith.space.encoding import Opaque, decode_config
from tunesmith.space.free import SampleFrom
from tunesmith.space.space import Space
from tunesmith.space.tree import Path, path_name


def restore_space(description: dict[str, Any]) -> Space:
    """The space that `Space.describe()` described.

    Raises: SpaceError naming the leaves that only their code can rebuild: `sample_from`, and classes or functions.
    """
    lost: list[str] = []
    tree = _Restorer(None, lost).restored(description["tree"], ())
    if lost:
        raise SpaceError(
            f"These leaves cannot be rebuilt from their description: {', '.join(lost)}. Give the space again."
        )
    return Space(tree)


def readable_space(description: dict[str, Any], drawn: Mapping[Path, Sequence[Any]] | None = None) -> Space:
    """A space that reads the configs of the described one, as the store gives them back: no code is needed for it.

    Objects stand as their labels. A `sample_from` leaf accepts anything, and draws what is given here for it, one value
    after the other, over and over. Constraints are left out.

    Args: drawn: by path of a `sample_from` leaf, the values that it took; None is drawn where there are none.
    Raises: SpaceError where two objects have one label.
    """
    return Space(_Restorer(drawn or {}, []).restored(description["tree"], ()))


class _Restorer:
    """Rebuilds a described tree."""

    def __init__(self, drawn: Mapping[Path, Sequence[Any]] | None, lost: list[str]) -> None:
        """Args: drawn: as above; None: without stand-ins. lost: receives the leaves that only code can rebuild."""
        self._drawn = drawn
        self._lost = lost

    def restored(self, node: Any, path: Path) -> Any:
        """What stands at this path of the space."""
        if isinstance(node, list):
            return [self.restored(item, (*path, i)) for i, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        if node.keys() == {"$domain"}:
            return self._domain(dict(node["$domain"]), path)
        if node.keys() == {"$tuple"}:
            return tuple(self.restored(node["$tuple"], path))
        if len(node) == 1 and next(iter(node)).startswith("$"):
            value = decode_config(node, None)
            if isinstance(value, Opaque):
                self._lost.append(path_name(path))
            return value
        return {key: self.restored(item, (*path, key)) for key, item in node.items()}

    def _domain(self, arguments: dict[str, Any], path: Path) -> Any:
        kind = arguments.pop("type")
        if kind == "sample_from":
            self._lost.append(path_name(path))
            values = cycle((self._drawn or {}).get(path) or [None])
            return SampleFrom(lambda: next(values))
        if "options" in arguments:
            before = len(self._lost)
            options = [self.restored(option, (*path, i)) for i, option in enumerate(arguments["options"])]
            self._lost[before:] = [path_name(path)] * (len(self._lost) - before)
            is_lost = len(self._lost) > before and self._drawn is None
            return None if is_lost else getattr(domains, kind)(options)
        return getattr(domains, kind)(**arguments)
