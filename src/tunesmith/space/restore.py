"""A space from its stored description, for going on with an experiment whose script is not at hand."""

from __future__ import annotations

from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space import domains
from tunesmith.space.encoding import Opaque, decode_config
from tunesmith.space.space import Space

_OPAQUE_TYPES = ("sample_from",)


def restore_space(description: dict[str, Any]) -> Space:
    """The space that `Space.describe()` described.

    Raises: SpaceError naming the leaves that only their code can rebuild: `sample_from`, and classes or functions.
    """
    lost: list[str] = []
    tree = _restored(description["tree"], "", lost)
    if lost:
        raise SpaceError(
            f"These leaves cannot be rebuilt from their description: {', '.join(lost)}. Give the space again."
        )
    return Space(tree)


def _restored(node: Any, path: str, lost: list[str]) -> Any:
    if isinstance(node, list):
        return [_restored(item, f"{path}/{i}", lost) for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"$domain"}:
        return _domain(dict(node["$domain"]), path, lost)
    if node.keys() == {"$tuple"}:
        return tuple(_restored(node["$tuple"], path, lost))
    if len(node) == 1 and next(iter(node)).startswith("$"):
        value = decode_config(node, None)
        if isinstance(value, Opaque):
            lost.append(path.lstrip("/"))
        return value
    return {key: _restored(item, f"{path}/{key}", lost) for key, item in node.items()}


def _domain(arguments: dict[str, Any], path: str, lost: list[str]) -> Any:
    kind = arguments.pop("type")
    if kind in _OPAQUE_TYPES:
        lost.append(path.lstrip("/"))
        return None
    if "options" in arguments:
        n_lost = len(lost)
        options = [_restored(option, path, lost) for option in arguments["options"]]
        return None if len(lost) > n_lost else getattr(domains, kind)(options)
    return getattr(domains, kind)(**arguments)
