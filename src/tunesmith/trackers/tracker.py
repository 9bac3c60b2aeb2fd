"""What a tracker is: a callback that another tool gets an experiment through, with what its process needs to know."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.hooks import LoggerCallback


class MissingExtraError(TunesmithError, ImportError):
    """A package that an optional part of tunesmith needs is not installed."""


class Tracker(LoggerCallback):
    """A callback that runs in a process of its own, and goes on where it stood when that or the experiment is gone.

    It is pickled on its way there. What its hooks raise ends the process; it is started anew after a pause and told
    again what was not safe. So hooks may be told the same twice, always from some moment on in the same order; a
    subclass makes that come to the same output.
    """

    extra: ClassVar[str] = ""  #: what `pip install tunesmith[...]` installs it with
    modules: ClassVar[tuple[str, ...]] = ()  #: third-party modules that must be there

    #: Seconds (or math.inf) that the end of `tune.run` waits for what was not told by then. May be set on an object.
    grace_s: float = 30.0
    #: Seconds (or math.inf) that one hook may take; then the process is killed, and told to again later.
    call_timeout_s: float = 120.0

    def __init__(self) -> None:
        """Raises MissingExtraError if a package is missing."""
        require(self.modules, self.extra)

    def identity(self) -> Mapping[str, Any]:
        """The arguments that say where the output goes, no secrets: with others it begins anew, at the start."""
        return {}

    def secrets(self) -> Collection[str]:
        """What no log and no traceback may show."""
        return ()

    def environment(self) -> Mapping[str, str]:
        """Variables that are set in the tracker's process, and nowhere else."""
        return {}

    def time_limit_s(self, hook: str) -> float:
        """Seconds that this hook may take."""
        return self.call_timeout_s

    def is_refusal(self, error: Exception) -> bool:
        """Whether the call that raised this would raise it at every other time too: then that one call is left out.

        Anything else is taken for a server that is down, and everything is told again later.
        """
        return isinstance(error, (ValueError, TypeError)) and not isinstance(error, OSError)

    def flush(self) -> Collection[int]:
        """Make safe what was told.

        Returns: the trials (by index) of which something would be lost if this process were killed now: if it is, they
            are told again from their start.
        """
        return ()


def require(modules: Collection[str], extra: str) -> None:
    """Raise MissingExtraError unless all the modules are installed; nothing is imported."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"The package {', '.join(missing)} is not installed. Install it with: pip install 'tunesmith[{extra}]'"
        )


def check_times(tracker: Tracker) -> None:
    """Raise ConfigError for a time limit that is no number of seconds."""
    for name in ("grace_s", "call_timeout_s"):
        value = getattr(tracker, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            kind = type(tracker).__name__
            raise ConfigError(f"{kind}.{name} is {value!r}. Give seconds, 0 or more; math.inf for no limit.")


def passwords_in(*urls: str | None) -> list[str]:
    """Those that stand in URLs, as they are written and as they are meant: `http://me:p%40ss@host`."""
    found: set[str] = set()
    for url in urls:
        try:
            password = urlsplit(url or "").password
        except ValueError:
            continue
        found |= {password, unquote(password)} if password else set()
    return sorted(found, key=len, reverse=True)


def output_name(tracker: Tracker) -> str:
    """The class and a digest of where its output goes: the name of the files that say how far it came."""
    text = json.dumps(tracker.identity(), sort_keys=True, default=str)
    return f"{type(tracker).__name__}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Secret:
    """A text that is not shown by accident: neither by `repr` nor in a format string."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        return "***"


def read_key(api_key: str | None, api_key_file: str | None) -> Secret | None:
    """The key that was given by itself or by the name of a file.

    Raises: ConfigError if both were given, or the file cannot be read. No message holds the key.
    """
    if api_key is not None and api_key_file is not None:
        raise ConfigError("api_key and api_key_file are both given. Give one of them.")
    if api_key_file is None:
        return None if api_key is None else Secret(api_key)
    path = Path(api_key_file).expanduser()
    try:
        return Secret(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"api_key_file {str(path)!r} cannot be read: {type(error).__name__}.") from None
