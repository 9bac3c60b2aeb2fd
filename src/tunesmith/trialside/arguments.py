"""A config as arguments of a program: one value is one argument, whatever it holds. No shell, no template engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.trialside.wire import encode_config

#: Words of a command that stand for several arguments, as W&B sweeps have them, and what each stands for.
MACROS = {
    "${args}": "--name=value for each parameter",
    "${args_no_hyphens}": "name=value for each parameter",
    "${args_no_equals}": "--name and value, two arguments for each parameter",
    "${args_no_boolean_flags}": "--name=value; of a boolean --name where it is true, and nothing where it is false",
    "${args_append_hydra}": "+name=value for each parameter",
    "${args_override_hydra}": "++name=value for each parameter",
    "${args_json}": "one argument: the config as JSON",
}
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def fill_words(words: Sequence[str], config: Mapping[str, Any], *, has_braces: bool) -> list[str]:
    """The argument list of one trial.

    Args:
        words: the command; each word of MACROS becomes several arguments.
        has_braces: whether `{name}` stands for the value of a parameter, and `{{` for a brace.
    Raises: ConfigError for a name that the config does not have.
    """
    filled: list[str] = []
    for word in words:
        if word in MACROS:
            filled += _expanded(word, config)
        elif has_braces:
            filled.append(fill_braces(word, config))
        else:
            filled.append(word)
    return filled


def fill_braces(word: str, config: Mapping[str, Any]) -> str:
    """The word with values in place of `{name}`. Nothing in a value is looked at again."""
    return "".join(part if name is None else argument_text(value_at(config, name)) for part, name in split_braces(word))


def split_braces(word: str) -> list[tuple[str, str | None]]:
    """The parts of a word: text (without a name), and the names that stand in braces.

    Raises: ConfigError for a brace without its partner.
    """
    parts: list[tuple[str, str | None]] = []
    end = 0
    for match in _TOKEN.finditer(word):
        parts.append((word[end : match.start()], None))
        end, token = match.end(), match.group()
        if token in ("{{", "}}"):
            parts.append((token[0], None))
        elif match.group(1) is None:
            raise ConfigError(f"The argument {word!r} has a brace without its partner. A brace is written {token * 2}.")
        else:
            parts.append(("", match.group(1)))
    return [*parts, (word[end:], None)]


def value_at(config: Mapping[str, Any], name: str) -> Any:
    """The value of a parameter, `optimizer/lr` of a nested one.

    Raises: ConfigError if the config has none of this name.
    """
    value: Any = config
    for key in name.split("/"):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise ConfigError(f"This config has no parameter {name!r}: it has {', '.join(map(repr, config))}.")
    return value


def argument_text(value: Any) -> str:
    """A value as one argument: as Python prints it, dicts and lists as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(encode_config(value))
    return str(value)


def config_json(config: Mapping[str, Any]) -> str:
    """The config as one line of JSON."""
    return json.dumps(encode_config(config))


def _expanded(macro: str, config: Mapping[str, Any]) -> Iterable[str]:
    texts = {name: argument_text(value) for name, value in config.items()}
    if macro == "${args_json}":
        return [config_json(config)]
    if macro == "${args_no_equals}":
        return [argument for name, text in texts.items() for argument in (f"--{name}", text)]
    if macro == "${args_no_boolean_flags}":
        return [
            f"--{name}" if config[name] is True else f"--{name}={text}"
            for name, text in texts.items()
            if config[name] is not False
        ]
    before = {"${args}": "--", "${args_append_hydra}": "+", "${args_override_hydra}": "++"}.get(macro, "")
    return [f"{before}{name}={text}" for name, text in texts.items()]
