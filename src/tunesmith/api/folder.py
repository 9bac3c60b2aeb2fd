"""Which folder an experiment has: a new one, or the one of an experiment that is gone on with."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

from msgspec.structs import replace

from tunesmith.errors import ConfigError, ExperimentExistsError, StoreError
from tunesmith.space import space_difference
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import DATABASE_NAME, open_reader
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
    """The name, if it can be that of one folder. Raises ConfigError otherwise."""
    if not _NAME.fullmatch(name) or name in (".", "..") or name.startswith("~"):
        raise ConfigError(f"name is {name!r}. Give a plain folder name: no slashes, at most 200 characters.")
    return name


def existing(root: Path, name: str) -> Path | None:
    """The folder of the experiment of this name, or None."""
    folder = root / checked_name(name)
    return folder if (folder / DATABASE_NAME).exists() else None


def continued_spec(old: ExperimentSpec, new: ExperimentSpec, *, on_change: dict[str, str]) -> ExperimentSpec:
    """The spec to go on with: the old one's identity and seed, the new one's budgets.

    Raises: ExperimentExistsError if space, metric or mode differ and `on_change` does not allow it.
    """
    changes = (
        {"space": [], "objective": []}
        if old.space_fingerprint == new.space_fingerprint
        else {"space": space_difference(old.space, new.space), "objective": []}
    )
    if old.objective != new.objective:
        changes["objective"] = [f"the objective was {_words(old)}, is {_words(new)}"]
    for what, differences in changes.items():
        if differences and on_change.get(what, "refuse") == "refuse":
            raise ExperimentExistsError(
                f"The experiment {old.name!r} exists with another {what}: {'; '.join(differences)}. "
                f"Give another name, or allow it with on_change={{'{what}': 'allow'}}."
            )
    if old.source_digest != new.source_digest and on_change.get("code", "warn") == "warn":
        _log.warning("The source of %s has changed since the experiment %r began.", new.trainable_name, old.name)
    return replace(new, experiment_id=old.experiment_id, name=old.name, seed=old.seed, created_at=old.created_at)


def _words(spec: ExperimentSpec) -> str:
    if spec.objective is None:
        return "none"
    pairs = zip(spec.objective.modes, spec.objective.metrics, strict=True)
    return ", ".join(f"{mode.value} {metric}" for mode, metric in pairs)


def resumable_hint(root: Path, spec: ExperimentSpec) -> str | None:
    """A line about an interrupted (or killed) experiment with the same function and space, if the newest hold one."""
    try:
        folders = sorted(root.glob(f"*/{DATABASE_NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return None
    for database in folders[:_N_LOOKED_AT]:
        try:
            reader = open_reader(database.parent)
        except StoreError:
            continue
        try:
            old = reader.spec
            is_same = (old.trainable_name, old.space_fingerprint) == (spec.trainable_name, spec.space_fingerprint)
            is_left = reader.status().status in ("interrupted", "running") and reader.driver() is None
            if is_same and is_left:
                n_over = sum(reader.counts().get(status, 0) for status in _DONE)
                return (
                    f"An interrupted experiment with this function and space exists ({n_over} trials done). "
                    f"To go on with it: name={old.name!r}."
                )
        finally:
            reader.close()
    return None
