"""YAML from users: the safe loader, with limits, without duplicate keys, and with 1e-3 as the number that it is."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tunesmith.errors import ConfigError

_MAX_BYTES = 1 << 20
_MAX_ALIASES = 100
_MAX_NODES = 100_000  #: after aliases are followed
#: YAML 1.1 takes 1e-3 for a text, since it lacks the point. Nobody means that.
_FLOAT = re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+")


class _Loader(yaml.SafeLoader):
    """Counts aliases while it reads, and refuses keys that are there twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._n_aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As the safe loader does, up to a number of aliases."""
        if self.check_event(yaml.AliasEvent):
            self._n_aliases += 1
            if self._n_aliases > _MAX_ALIASES:
                raise yaml.YAMLError(f"more than {_MAX_ALIASES} aliases (*name)")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """As the safe loader does; of two equal keys it would silently take the last."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.YAMLError(
                        f"the key {key!r} is there twice, again in line {key_node.start_mark.line + 1}"
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def load_yaml(path: Path) -> Any:
    """What the file holds, as plain dicts, lists and scalars.

    Raises: ConfigError that names the file and what is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path} has more than {_MAX_BYTES:,} bytes, which no sweep needs.")
    try:
        return parse_yaml(data.decode())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ConfigError(f"{path} is no YAML that can be used: {what}.") from None


def parse_yaml(text: str) -> Any:
    """The same from a text. Raises: yaml.YAMLError, ValueError, RecursionError."""
    loader = _Loader(text)
    try:
        found = loader.get_single_data()
    finally:
        loader.dispose()
    _check_size(found)
    return found


def _check_size(value: Any) -> None:
    """Raise YAMLError where aliases of aliases make more of it than any sweep has."""
    n_nodes = 0
    stack = [value]
    while stack:
        current = stack.pop()
        n_nodes += 1
        if n_nodes > _MAX_NODES:
            raise yaml.YAMLError(f"it has more than {_MAX_NODES:,} entries once its aliases are followed")
        if isinstance(current, dict):
            stack.extend(current.values())
        elif isinstance(current, list):
            stack.extend(current)
