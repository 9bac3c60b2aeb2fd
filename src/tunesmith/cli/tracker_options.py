"""`--tracker wandb:project=digits`: the trackers of a `tunesmith run`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.cli.output import warn
from tunesmith.errors import ConfigError

#: What `--tracker` may name -> the class in `tunesmith.trackers`.
TRACKERS = {
    "wandb": "WandbLoggerCallback",
    "mlflow": "MLflowLoggerCallback",
    "tensorboard": "TBXLoggerCallback",
    "csv": "CSVLoggerCallback",
    "json": "JsonLoggerCallback",
}
_KEYS = {"api_key": "WANDB_API_KEY", "tracking_token": "MLFLOW_TRACKING_TOKEN"}
_WORDS = {"true": True, "false": False}


def make_trackers(texts: Iterable[str], *, of_sweep: Mapping[str, str]) -> list[Any]:
    """The trackers in several `name` or `name:argument=value,argument=value`.

    Args: of_sweep: what a sweep file says of W&B; taken where the text does not give it.
    Raises: ConfigError that says what is wrong; MissingExtraError where a package is not installed.
    """
    parsed = [_parsed(text) for text in texts]
    if of_sweep and all(name != "wandb" for name, _ in parsed):
        warn(f"tunesmith: {' and '.join(of_sweep)} in the sweep: nothing is sent to W&B without --tracker wandb.")
    if not parsed:
        return []
    from tunesmith import trackers

    found = []
    for name, arguments in parsed:
        if name == "wandb":
            arguments = {**of_sweep, **arguments}
        try:
            found.append(getattr(trackers, TRACKERS[name])(**arguments))
        except TypeError as error:
            raise ConfigError(f"--tracker {name}: {error}. See docs/tracking.md.") from None
    return found


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    name, _, rest = text.partition(":")
    if name not in TRACKERS:
        raise ConfigError(f"--tracker {text!r}: there is no {name!r}. Give one of {', '.join(TRACKERS)}.")
    arguments: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, has_value, value = part.partition("=")
        key = key.strip()
        if not has_value or not key.isidentifier():
            raise ConfigError(f"--tracker {text!r}: {part!r} is no ARGUMENT=VALUE, such as wandb:project=digits.")
        if key in _KEYS:  # everybody on the machine sees arguments, and they are kept for `resume`
            raise ConfigError(f"--tracker {name}: {key} is not taken here. Set the variable {_KEYS[key]}.")
        arguments[key] = _WORDS.get(value, value)
    return name, arguments
