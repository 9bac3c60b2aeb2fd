"""Keys that old code puts into its config. What is in a config is stored, shown and logged: they must not be there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

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
