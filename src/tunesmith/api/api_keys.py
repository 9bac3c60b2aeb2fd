"""Keys that old code puts into its config. What is in a config is stored, shown and logged: they must not be there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.callbacks.text import is_secret

_log = logging.getLogger("tunesmith")

#: Entry of the config, what in it is a key, and the variable that the library looks for it in.
_KEYS = (
    ("wandb", "api_key", "WANDB_API_KEY"),
    ("mlflow", "tracking_token", "MLFLOW_TRACKING_TOKEN"),
)


def without_api_keys(config: Any) -> Any:
    """The config without `config["wandb"]["api_key"]` and its like: how `@wandb_mixin` used to be given its key.

    The key goes into the environment, which the trials inherit; the caller's config is left as it is.
    """
    for entry, name, variable in _KEYS:
        settings = config.get(entry) if isinstance(config, Mapping) else None
        if not isinstance(settings, Mapping) or name not in settings:
            continue
        key = settings[name]
        if isinstance(key, str) and key:
            os.environ[variable] = key
        config = {**config, entry: {other: value for other, value in settings.items() if other != name}}
    return config


def warn_of_secrets(config: Any) -> None:
    """Say which constants are called like passwords: tables and trackers mask them, but the store has them (F107)."""
    if found := sorted(_secrets(config, "")):
        _log.warning(
            "The config is stored in plain text, with %s. Keep secrets in the environment or in a file that is named "
            "in the config.",
            ", ".join(map(repr, found)),
        )


def _secrets(node: Any, name: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _secrets(value, f"{name}/{key}" if name else str(key))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _secrets(value, name)
    elif is_secret(name, node):
        yield name
