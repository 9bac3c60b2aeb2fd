"""What a user passes as `callbacks=`, and who calls each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.executors.pickling import dumps
from tunesmith.hooks import Callback, ForgivingCaller
from tunesmith.protocols import RecordCallback
from tunesmith.runner.follower import Follower, Following
from tunesmith.stores import open_reader

AnyCallback = Callback | RecordCallback


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse what is no callback before anything is made. Raises ConfigError."""
    if not isinstance(callbacks, list | tuple):
        raise ConfigError(f"callbacks is {callbacks!r}. Give a list of callbacks.")
    for i, callback in enumerate(callbacks):
        if isinstance(callback, type):
            name = callback.__name__
            raise ConfigError(f"callbacks[{i}] is the class {name}. Give an object: {name}().")
        if not isinstance(callback, Callback) and not callable(getattr(callback, "on_records", None)):
            raise ConfigError(
                f"callbacks[{i}] is {callback!r}. Give an object of a subclass of tunesmith.Callback, or one with the "
                "methods of tunesmith.protocols.RecordCallback."
            )
    for tracker in _parted(callbacks)[0]:
        from tunesmith.trackers.tracker import check_times

        check_times(tracker)
        try:
            dumps(tracker)
        except Exception as error:
            raise ConfigError(f"{type(tracker).__name__} cannot be sent to its process: {error}") from error


def make_followers(folder: Path, callbacks: Sequence[AnyCallback], *, after_seq: int) -> list[Following]:
    """One follower for each callback: a process for a tracker, which knows where it stood, else a thread."""
    trackers, others = _parted(callbacks)
    return [*_tracker_processes(folder, trackers), *(_follower(folder, each, after_seq=after_seq) for each in others)]


def catch_up(folder: Path, callbacks: Sequence[AnyCallback]) -> None:
    """Let the trackers that are behind tell what they have not told of a finished experiment."""
    trackers, _ = _parted(callbacks)
    if not trackers:
        return
    reader = open_reader(folder)
    try:
        behind = [process for process in _tracker_processes(folder, trackers) if process.is_behind(reader)]
    finally:
        reader.close()
    for process in behind:
        process.start()
        process.end()
    for process in behind:
        process.join(process.patience_s)


def _parted(callbacks: Sequence[AnyCallback]) -> tuple[list[Any], list[AnyCallback]]:
    """Trackers and others. Without any callback the trackers' modules are not imported."""
    if not callbacks:
        return [], []
    from tunesmith.trackers import Tracker

    trackers = [callback for callback in callbacks if isinstance(callback, Tracker)]
    return trackers, [callback for callback in callbacks if not isinstance(callback, Tracker)]


def _tracker_processes(folder: Path, trackers: Sequence[Any]) -> Sequence[Any]:
    if not trackers:
        return []
    from tunesmith.trackers import make_tracker_processes

    return make_tracker_processes(folder, trackers)


def _follower(folder: Path, callback: AnyCallback, *, after_seq: int) -> Following:
    if not isinstance(callback, Callback):
        return Follower(folder, callback, after_seq=after_seq)
    caller = ForgivingCaller(callback, after_seq=after_seq)
    return Follower(folder, caller, after_seq=after_seq, name=type(callback).__name__)
