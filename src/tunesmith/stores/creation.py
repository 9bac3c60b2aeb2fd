"""Making the database of a new experiment: complete before it gets its name, durable before it is used."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import apsw

from tunesmith.errors import StoreError
from tunesmith.spec import ExperimentSpec
from tunesmith.stores.codec import plain_text, spec_text
from tunesmith.stores.schema import create_schema, sync_folder


def write_draft(draft: Path, spec: ExperimentSpec, *, is_wal: bool) -> None:
    """All tables and the experiment's one row, in a file that exists and is empty."""
    connection = apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute("BEGIN IMMEDIATE")
        create_schema(connection)
        metric, mode = (spec.objective.metric, spec.objective.mode.value) if spec.objective else (None, None)
        values = (
            spec.experiment_id, spec.name, spec.trainable_name, metric, mode, spec.n_trials, spec.searcher_name,
            spec.scheduler_name, spec.tunesmith_version,
        )  # fmt: skip
        texts = [plain_text(value) if isinstance(value, str) else value for value in values]
        connection.execute(
            "INSERT INTO experiment VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL, ?)",
            (*texts, spec.created_at, spec_text(spec)),
        )
        connection.execute("COMMIT")
        if is_wal:
            connection.pragma("journal_mode", "wal")
    finally:
        connection.close()


def make_folder(folder: Path) -> None:
    """Make the folder where it is missing, with those around it, and make their names durable."""
    new = [part for part in (folder, *folder.parents) if not part.exists()] or [folder]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in new:
        with suppress(PermissionError):  # a folder around it that may be passed but not read: nothing more can be done
            sync_folder(part.parent)


def refuse_leftovers(path: Path) -> None:
    """Nothing is created beside the newest rows of a database that is gone: SQLite would put them into the new one.

    Raises: StoreError that says what to do.
    """
    for beside in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")):
        if beside.exists() and not path.exists():
            raise StoreError(
                f"{beside} is there without its {path.name}, which was removed or not copied with it. Put {path.name} "
                f"back to go on with that experiment, remove {beside.name} to give it up, or give another folder."
            )


def publish(draft: Path, path: Path) -> None:
    """Give the complete file its name, never over another one, and make the name durable."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise StoreError(f"{path} exists already. Open it with open_store(), or give another folder.") from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise StoreError(f"{path} exists already. Open it with open_store(), or give another folder.") from None
        draft.rename(path)
    sync_folder(path.parent)
