"""Which experiment a command means: a name in the results folder, a path, or the newest one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.output import is_utf_8

if TYPE_CHECKING:
    from tunesmith.stores import Reader

DATABASE_NAME = "experiment.db"
_F = Callable[..., Any]


def results_root(storage: str | None) -> Path:
    """Where experiments lie, as `tune.run` finds it."""
    from tunesmith.stores.root import results_folder

    return results_folder(storage)


def experiment_folders(root: Path) -> list[Path]:
    """Folders below the root that hold an experiment, the one changed last first."""
    found: list[tuple[float, Path]] = []
    if not root.is_dir():
        return []
    for folder in root.iterdir():
        try:
            found.append((_changed_at(folder), folder))
        except OSError:
            continue
    return [path for _, path in sorted(found, key=lambda item: (-item[0], item[1].name))]


def _changed_at(folder: Path) -> float:
    """When something was last stored: a driver writes to the log beside the database, and only at times into it.

    Raises: OSError where there is no database.
    """
    at = (folder / DATABASE_NAME).stat().st_mtime
    with suppress(OSError):
        log = (folder / f"{DATABASE_NAME}-wal").stat()
        if log.st_size:  # else somebody who reads has made it
            at = max(at, log.st_mtime)
    return at


def find_experiment(name: str | None, storage: str | None) -> Path:
    """The folder or file that `open_reader` takes.

    Args: name: of a folder in the results folder, or a path; None means the newest experiment.
    Raises: click.UsageError where there is none.
    """
    root = results_root(storage)
    if name is None:
        folders = experiment_folders(root)
        if not folders:
            raise click.UsageError(f"There is no experiment in {root}. Give a path, or --storage.")
        name = str(folders[0])
    if not is_utf_8(name):
        raise click.UsageError(f"{name!r} is not UTF-8, and no name of an experiment. Rename its folder.")
    if "/" not in name and (root / name / DATABASE_NAME).exists():
        return root / name
    path = Path(name).expanduser()
    if path.is_file() or (path / DATABASE_NAME).exists():
        return path.absolute()
    raise click.UsageError(f"There is no experiment {name!r} in {root}{_did_you_mean(name, root)}.")


def open_experiment(name: str | None, storage: str | None) -> Reader:
    """A reader of the experiment meant. Raises click.UsageError, or StoreError for what is no store."""
    from tunesmith.stores import open_reader

    return open_reader(find_experiment(name, storage))


def running_experiments(root: Path) -> list[Path]:
    """Folders of the experiments that have a driver, the one changed last first."""
    from tunesmith.errors import TunesmithError
    from tunesmith.stores import open_reader

    found = []
    for folder in filter(lambda folder: is_utf_8(str(folder)), experiment_folders(root)):
        with suppress(TunesmithError):
            reader = open_reader(folder)
            try:
                if reader.driver() is not None:
                    found.append(folder)
            finally:
                reader.close()
    return found


def _did_you_mean(name: str, root: Path) -> str:
    import difflib

    close = difflib.get_close_matches(name, [path.name for path in experiment_folders(root)], n=3, cutoff=0.5)
    return f". Did you mean {' or '.join(close)}?" if close else ", nor is it a path to one. See `tunesmith ls`"


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names in the results folder that begin so."""
    names = [path.name for path in experiment_folders(results_root(ctx.params.get("storage")))]
    return [name for name in names if name.startswith(incomplete)]


def storage_option(command: _F) -> _F:
    """`--storage`, of every command."""
    return click.option(
        "--storage", metavar="FOLDER", help="Where experiments lie; also TUNESMITH_RESULTS.", is_eager=True
    )(command)


def json_option(command: _F) -> _F:
    """`--json`, of every command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def experiment_argument(command: _F) -> _F:
    """The experiment, the newest one where it is left out."""
    return click.argument("experiment", required=False, shell_complete=complete_names)(command)
