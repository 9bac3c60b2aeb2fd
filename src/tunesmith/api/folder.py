"""Which folder an experiment has: a new one, or the one of an experiment that is gone on with."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

from msgspec.structs import replace

from tunesmith.errors import ConfigError, StoreError
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import DATABASE_NAME, open_reader
from tunesmith.stores.connection import access_words
from tunesmith.trial import TrialStatus

_log = logging.getLogger("tunesmith")
_NAME = re.compile(r"[^/\\\0\n]{1,200}")
_N_LOOKED_AT = 50
_DONE = (TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED, TrialStatus.INVALID)


def new_folder(root: Path, spec: ExperimentSpec) -> tuple[Path, ExperimentSpec]:
    """A folder that does not exist yet, and the spec with its name: `<trainable>_<date>` where none was given."""
    if spec.name:
        return root / checked_name(spec.name), spec
    base = re.sub(r"[^\w.-]+", "_", spec.trainable_name)[:80]
    stem = f"{base}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    candidates = [stem, *(f"{stem}_{i}" for i in range(2, 1000))]
    name = next(name for name in candidates if not (root / name).exists())
    return root / name, replace(spec, name=name)


def checked_name(name: str) -> str:
    """The name, if it can be that of one new folder. Raises ConfigError otherwise."""
    if _is_folder_name(name) and not name.startswith("~"):  # a shell would take ~name for somebody's home
        return name
    raise ConfigError(f"name is {name!r}. Give a plain folder name: no slashes, no ~ in front, at most 200 characters.")


def existing(root: Path, name: str) -> Path | None:
    """The folder of the experiment of this name, or None; it may have been renamed to one that is not given anew."""
    try:
        is_there = _is_folder_name(name) and (root / name / DATABASE_NAME).exists()
    except PermissionError as error:  # a folder that may not be entered: somebody else's experiment of this name (F44)
        raise StoreError(access_words(root / name / DATABASE_NAME, str(error))) from error
    return root / (name if is_there else checked_name(name)) if is_there else None


def _is_folder_name(name: str) -> bool:
    is_unicode = not any("\ud800" <= character <= "\udfff" for character in name)  # SQLite takes no other paths
    return is_unicode and name not in (".", "..") and _NAME.fullmatch(name) is not None


def resumable_hint(root: Path, spec: ExperimentSpec) -> str | None:
    """A line about an interrupted (or killed) experiment with the same function and space, if the newest hold one."""
    try:
        folders = sorted(root.glob(f"*/{DATABASE_NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return None
    for database in folders[:_N_LOOKED_AT]:
        try:
            hint = _hint(database.parent, spec)
        except Exception:  # whatever lies in another folder, it is no reason not to run
            _log.debug("%s was not looked at.", database, exc_info=True)
        else:
            if hint is not None:
                return hint
    return None


def _hint(folder: Path, spec: ExperimentSpec) -> str | None:
    reader = open_reader(folder)
    try:
        old = reader.spec
        is_same = (old.trainable_name, old.space_fingerprint) == (spec.trainable_name, spec.space_fingerprint)
        is_left = reader.status().status in ("interrupted", "running") and reader.driver() is None
        if not (is_same and is_left):
            return None
        n_over = sum(reader.counts().get(status, 0) for status in _DONE)
        return (
            f"An interrupted experiment with this function and space exists ({n_over} trials done). "
            f"To go on with it: name={folder.name!r}."
        )
    finally:
        reader.close()
