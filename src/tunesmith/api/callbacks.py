"""What a user passes as `callbacks=`, and who calls each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.hooks import Callback, ForgivingCaller
from tunesmith.protocols import RecordCallback
from tunesmith.runner.follower import Follower, Following

AnyCallback = Callback | RecordCallback


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse what is no callback before anything is made. Raises ConfigError."""
    if not isinstance(callbacks, list | tuple):
        raise ConfigError(f"callbacks is {callbacks!r}. Give a list of callbacks.")
    for i, callback in enumerate(callbacks):
        if isinstance(callback, type):
            raise ConfigError(
                f"callbacks[{i}] is the class {callback.__name__}. Give an object: {callback.__name__}()."
            )
        if not isinstance(callback, Callback) and not callable(getattr(callback, "on_records", None)):
            raise ConfigError(
                f"callbacks[{i}] is {callback!r}. Give an object of a subclass of tunesmith.Callback, or one with the "
                "methods of tunesmith.protocols.RecordCallback."
            )


def make_followers(folder: Path, callbacks: Sequence[AnyCallback], *, after_seq: int) -> list[Following]:
    """One follower for each callback: a thread."""
    return [_follower(folder, callback, after_seq=after_seq) for callback in callbacks]


def _follower(folder: Path, callback: AnyCallback, *, after_seq: int) -> Following:
    if not isinstance(callback, Callback):
        return Follower(folder, callback, after_seq=after_seq)
    caller = ForgivingCaller(callback, after_seq=after_seq)
    return Follower(folder, caller, after_seq=after_seq, name=type(callback).__name__)
