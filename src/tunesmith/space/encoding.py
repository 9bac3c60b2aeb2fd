"""Configs as the store keeps them: JSON, with tags for what JSON does not know (see `tags`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.space.labels import label, object_label
from tunesmith.space.space import Space
from tunesmith.space.tags import MAX_DEPTH, decode_value, encode_value, is_native
from tunesmith.space.tree import path_name

__all__ = ["Opaque", "config_is_json", "decode_config", "encode_config", "flatten_config", "label"]


@dataclass(frozen=True, slots=True, repr=False)
class Opaque:
    """Stands for an object of which only its label is known, since the space that held it is not at hand."""

    label: str

    def __repr__(self) -> str:
        return self.label


def encode_config(config: Any, space: Space | None = None) -> Any:
    """The config as a JSON-able tree; with the space, its objects are tagged with their place in the space.

    Raises: SpaceError if the config is nested too deep.
    """

    def tag_object(value: Any) -> dict[str, Any] | None:
        if isinstance(value, Opaque):
            return {"$object": value.label}
        place = None if space is None else space.place_of(value)
        if place is None:
            return None
        path, option = place
        tag = {"$object": object_label(value), "leaf": list(path)}
        return tag if option is None else {**tag, "choice": option}

    return encode_value(config, tag_object=tag_object)


def decode_config(tree: Any, space: Space | None = None) -> Any:
    """The config that was encoded; objects are those of the space, or `Opaque` if it has none of that label there.

    Raises: SpaceError if the tree is damaged.
    """

    def find_object(tag: dict[str, Any]) -> Any:
        text = str(tag["$object"])
        if space is None or "leaf" not in tag:
            return Opaque(text)
        path = tuple(tag["leaf"])
        try:
            value = space.find((*path, tag["choice"]) if "choice" in tag else path)
        except KeyError:
            return Opaque(text)
        return value if object_label(value) == text else Opaque(text)

    return decode_value(tree, find_object=find_object)


def config_is_json(config: Any) -> bool:
    """Whether encoding and decoding gives an equal config of the same types back without the space."""
    return is_native(config)


def flatten_config(config: dict[Any, Any]) -> dict[str, Any]:
    """The values by name, `model/layers/0`, for tables; an empty dict or list stays as it is."""
    flat: dict[str, Any] = {}
    _flatten(config, (), flat)
    return flat


def _flatten(value: Any, path: tuple[Any, ...], flat: dict[str, Any]) -> None:
    if value and len(path) <= MAX_DEPTH and isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            _flatten(item, (*path, key), flat)
    elif path:
        name = path_name(path)
        flat[name if name not in flat else "/".join(str(p).replace("~", "~0").replace("/", "~1") for p in path)] = value
