"""Messages of the library in the words of the command line: `--takeover` where it says takeover=True."""

from __future__ import annotations

import re
import shlex

#: Arguments of `tune.run` -> options of `tunesmith run` and `resume`.
_OPTIONS = {
    "metric": "--metric",
    "mode": "--mode",
    "name": "--name",
    "scheduler": "--scheduler",
    "search_alg": "--search",
    "stop": "--stop",
    "max_t": "--max-t",
    "num_samples": "--num-samples",
    "takeover": "--takeover",
    "storage_path": "--storage",
    "seed": "--seed",
    "executor": "--executor",
}
#: Whole phrases, before the single words.
_PHRASES = (
    (re.compile(r"scheduler=tune\.create_scheduler\('(\w+)', max_t=(\d+)\)"), r"--scheduler \1 --max-t \2"),
    (re.compile(r"on_change=\{'(\w+)': '\w+'\}"), r"--allow-change \1"),
    (re.compile(r"resume='ERRORED' with its name runs"), r"`tunesmith resume --rerun-failed` runs"),
)
_ARGUMENT = re.compile(rf"(?<![\w'\"`:.-])({'|'.join(_OPTIONS)})=('[^']*'|True|None|\d+)?(?![\w\[{{(])")


def in_options(message: str) -> str:
    """The message with options in place of arguments; what a user wrote in quotes stays."""
    for pattern, words in _PHRASES:
        message = pattern.sub(words, message)
    return _ARGUMENT.sub(_option, message)


def _option(match: re.Match[str]) -> str:
    option, value = _OPTIONS[match.group(1)], match.group(2)
    if value is None or value == "True":
        return option
    return f"{option} none" if value == "None" else f"{option} {shlex.quote(value.strip(chr(39)))}"
