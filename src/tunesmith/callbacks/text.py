"""How numbers, times and foreign text read on a screen.

Configs, names and error texts come from users and from libraries. Whatever could steer a terminal (escape sequences,
line breaks, characters that turn the direction of writing) is written out as an escape; nothing here is markup.
"""

from __future__ import annotations

import math
import pprint
import re
from collections.abc import Mapping
from typing import Any

ELLIPSIS = "…"
_SECRET = re.compile(
    r"(^|[_\-/.])(password|passwd|passphrase|secret|credentials?|token|(api|access|private)_?key)$", re.I
)
_FRAME = re.compile(r'^\s*File ".*", line \d+')


def clean(text: object) -> str:
    """The text on one line, with whatever a terminal would obey or hide written out: `\\x1b`, `\\n`, `\\u202e`."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def clean_lines(text: str) -> list[str]:
    """The lines of a text, each of them clean; tabs become spaces."""
    return [clean(line.rstrip("\r")) for line in text.expandtabs(4).rstrip("\n").split("\n")]


def shorten(text: str, n: int) -> str:
    """At most `n` characters, the last of them an ellipsis where something was cut."""
    return text if len(text) <= n else text[: max(n - 1, 0)] + ELLIPSIS[:n]


def format_number(value: float) -> str:
    """Five digits; whole numbers without a point; nan and inf by name."""
    if math.isfinite(value) and float(value).is_integer() and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.5g}"


def format_duration(seconds: float) -> str:
    """The two largest units: `12 s`, `3 min 12 s`, `2 h 05 min`, `3 d 04 h`."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def format_time_left(seconds: float | None) -> str:
    """An estimate in one unit, or two near a change of unit: no more digits than it is worth."""
    if seconds is None:
        return "time left unknown yet"
    if seconds < 60:
        return "less than a minute left"
    if seconds < 3600:
        return f"about {seconds / 60:.0f} min left"
    if seconds < 36000:
        return f"about {seconds / 3600:.1f} h left"
    return f"about {seconds / 3600:.0f} h left" if seconds < 172800 else f"about {seconds / 86400:.1f} d left"


def format_clock(seconds: float) -> str:
    """A running time as clocks show it: `03:12`, `1:03:12`."""
    whole = max(0, int(seconds)) if math.isfinite(seconds) else 0
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60:02d}:{rest % 60:02d}"


def format_count(n: int, word: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def is_secret(name: str, value: object) -> bool:
    """Whether a config entry is called like a password and holds a text: then its value is not shown."""
    return isinstance(value, str) and _SECRET.search(name) is not None


def format_value(name: str, value: Any) -> str:
    """One config value in few characters, for a table cell or a line."""
    from tunesmith.space import label

    if is_secret(name, value):
        return "***"
    return clean(label(value))


def flat_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config without nesting: `optimizer/lr` and its value, sorted by name."""
    from tunesmith.space import flatten_config

    return {str(name): value for name, value in sorted(flatten_config(config).items())}


def format_config(config: dict[str, Any]) -> str:
    """A config on one line: `l1=64 lr=0.0012`."""
    return " ".join(f"{clean(name)}={format_value(name, value)}" for name, value in flat_config(config).items())


def config_literal(config: Mapping[str, Any], *, width: int = 80) -> list[str]:
    """The config as lines of Python that can be pasted: `config = {...}`. Values stay exact."""
    text = pprint.pformat(_literal("", dict(config)), width=width - len("config = "), sort_dicts=False)
    first, *rest = text.split("\n")
    indent = " " * len("config = ")
    return [clean("config = " + first), *(clean(indent + line) for line in rest)]


class _Code:
    """Prints as the code it holds."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __repr__(self) -> str:
        return self.code


def _literal(name: str, value: Any) -> Any:
    """The value with whatever has no literal of its own replaced by code, or by its label in quotes."""
    if is_secret(name, value):
        return "***"
    if isinstance(value, Mapping):
        return {key: _literal(str(key), entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_literal(name, entry) for entry in value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _Code(f'float("{float(value)}")')
    if value is None or isinstance(value, bool | int | str):
        return value
    return format_value(name, value)


def error_headline(error: str) -> str:
    """The line of a traceback that says what went wrong: the first one after the last frame; else the last line."""
    lines = [line for line in error.splitlines() if line.strip()]
    frames = [i for i, line in enumerate(lines) if _FRAME.match(line)]
    after = [line for line in lines[frames[-1] + 1 :] if not line.startswith(" ")] if frames else []
    if after:
        return clean(after[0].strip())
    return clean(lines[-1].strip()) if lines else "no error text"
