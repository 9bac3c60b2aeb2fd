"""Keys that old code puts into its config. What is in a config is stored, shown and logged: they must not be there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

_ENTRY, _KEY, _VARIABLE = "wandb", "api_key", "WANDB_API_KEY"


def without_api_keys(config: Any) -> Any:
    """The config without `config["wandb"]["api_key"]`, the way `@wandb_mixin` used to be given its key.

    The key goes into the environment, which the trials inherit; the caller's config is left as it is.
    """
    settings = config.get(_ENTRY) if isinstance(config, Mapping) else None
    if not isinstance(settings, Mapping) or _KEY not in settings:
        return config
    key = settings[_KEY]
    if isinstance(key, str) and key:
        os.environ[_VARIABLE] = key
    return {**config, _ENTRY: {name: value for name, value in settings.items() if name != _KEY}}
