"""What is found or made in MLflow's store, by the driver's tracker and by trials alike; and what it takes as a name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.trackers.cursor import FOLDER
from tunesmith.trackers.values import flat_masked

_log = logging.getLogger("tunesmith")
PARENT_TAG = "mlflow.parentRunId"
RUN_TAG = "tunesmith.run"  #: the tag by which a run is found again: experiment and trial
MAX_CHARS = 6000  #: of a parameter's value and of a tag
_MAX_NAME_CHARS = 240
_SERVERS = ("http", "https", "databricks", "uc")


def find_experiment(client: Any, name: str, *, artifact_location: str | None = None, may_create: bool = True) -> str:
    """The id of MLflow's experiment of that name, which is made where there is none.

    Raises: ConfigError if there is none and none may be made.
    """
    found = client.get_experiment_by_name(name)
    if found is None and not may_create:
        raise ConfigError(f"MLflow has no experiment {name!r}. Give create_experiment_if_not_exists=True to make it.")
    if found is None:
        return _created(client, name, artifact_location)
    existing: str = found.experiment_id
    if found.lifecycle_stage == "deleted":  # it takes no runs, and its name cannot be used again
        _log.warning("The experiment %r in MLflow was deleted; it is restored, to log to.", name)
        client.restore_experiment(existing)
    return existing


def find_run(client: Any, experiment_id: str, key: str) -> str | None:
    """The id of the run that has the key, in MLflow's experiment."""
    found = client.search_runs([experiment_id], filter_string=f"tags.`{RUN_TAG}` = '{key}'", max_results=1)
    return found[0].info.run_id if found else None


def find_orphans(client: Any, mlflow_id: str, experiment_id: str) -> list[str]:
    """The ids of runs that trials opened before there was one of the whole to lie under."""
    found: list[str] = []
    token: str | None = None
    while token is None or token:
        filter_string = f"tags.`{RUN_TAG}` LIKE '{experiment_id}/%-t'"
        page = client.search_runs([mlflow_id], filter_string=filter_string, max_results=1000, page_token=token)
        found += [run.info.run_id for run in page if PARENT_TAG not in run.data.tags]
        token = page.token or ""
    return found


def as_params(config: Mapping[str, Any]) -> dict[str, str]:
    """The config as MLflow's parameters."""
    return {name: str(value)[:MAX_CHARS] for name, value in with_clean_names(flat_masked(dict(config))).items()}


def with_clean_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with what MLflow does not take in a name replaced: odd letters, and what is no plain path.

    Two names that come to the same stay apart by a number.
    """
    clean: dict[str, Any] = {}
    for name, value in values.items():
        letters = "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)[:_MAX_NAME_CHARS]
        stem = "/".join(part for part in letters.split("/") if part.strip() not in ("", ".", "..")) or "_"
        word, n = stem, 1
        while word in clean:
            n += 1
            word = f"{stem}_{n}"
        clean[word] = value
    return clean


def _created(client: Any, name: str, artifact_location: str | None) -> str:
    try:
        created: str = client.create_experiment(name, artifact_location=artifact_location)
        return created
    except Exception:
        found = client.get_experiment_by_name(name)  # a process elsewhere made it in the same instant
        if found is None:
            raise
        existing: str = found.experiment_id
        return existing


@contextmanager
def opening(uri: str, folder: Path | None) -> Iterator[None]:
    """For the block in which a client is made: no other process of the experiment is in one.

    In a new local database MLflow makes its tables then; two that do so at once leave one that neither can use.
    A server is open to many.

    Args: folder: of our experiment; None: there is nobody else.
    """
    try:
        import fcntl
    except ImportError:  # Windows runs trials inline
        folder = None
    if folder is None or uri.partition(":")[0] in _SERVERS:
        yield
        return
    path = folder / FOLDER / "mlflow.lock"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
