"""`tunesmith doctor`: whether this machine has what tunesmith needs, and what to do where it has not."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from tunesmith.cli import exit_codes
from tunesmith.cli.output import print_json, say
from tunesmith.cli.places import experiment_folders, json_option, results_root, storage_option

_EXTRAS = {
    "pandas": "pandas",
    "parquet": "pyarrow",
    "plots": "plotly",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "tensorboard": "tensorboardX",
    "optuna": "optuna",
    "cmaes": "cmaes",
    "ray": "ray",
    "torch": "torch",
}
_MIN_FREE_BYTES = 1 << 30
_MIN_PYTHON = (3, 11)
_WAL_FIX = (3, 51, 3)  #: SQLite without the WAL-reset bug


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    status: str  #: ok, warning or failed
    words: str


@click.command("doctor", short_help="Whether this machine has what is needed.")
@storage_option
@json_option
def command(storage: str | None, as_json: bool) -> int:
    """Check Python, the database engine, CPUs and GPUs, the results folder, and what of the extras is installed.

    \b
    Examples:
      tunesmith doctor
      tunesmith doctor --json
    """
    root = results_root(storage)
    checks: list[Callable[[], Finding]] = [
        _python,
        _sqlite,
        _machine,
        _gpus,
        _processes,
        lambda: _folder(root),
        lambda: _space(root),
        lambda: _experiments(root),
        _command,
        _extras,
    ]
    found = [_looked_at(check) for check in checks]
    if as_json:
        print_json([finding._asdict() for finding in found])
    else:
        for finding in found:
            say(f"{finding.status:<8}{finding.name:<13}{finding.words}")
    is_failed = any(finding.status == "failed" for finding in found)
    return exit_codes.FAILED if is_failed else exit_codes.OK


def _looked_at(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # a doctor who cannot look says so, and looks at the rest
        name = getattr(check, "__name__", "check").strip("_<>")
        return Finding(name, "failed", f"{type(error).__name__}: {error}")


def _python() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("tunesmith")
    except PackageNotFoundError:
        own = "not installed, run from its source"
    words = f"{platform.python_version()} at {sys.executable}; tunesmith {own}; {platform.platform()}"
    return Finding("python", "ok" if sys.version_info >= _MIN_PYTHON else "failed", words)


def _sqlite() -> Finding:
    import apsw

    words = apsw.sqlite_lib_version()
    if tuple(map(int, words.split("."))) >= _WAL_FIX:
        return Finding("sqlite", "ok", words)
    return Finding("sqlite", "failed", f"{words} can lose rows (WAL-reset bug): pip install -U apsw")


def _machine() -> Finding:
    import psutil

    from tunesmith.executors.machine import n_usable_cpus

    memory = psutil.virtual_memory()
    words = f"{n_usable_cpus()} CPUs that may be used of {os.cpu_count()}; {memory.available / 2**30:.1f} GiB free"
    return Finding("machine", "ok", f"{words} of {memory.total / 2**30:.1f}")


def _gpus() -> Finding:
    from tunesmith.executors.machine import usable_gpus

    gpus = usable_gpus()
    return Finding("gpus", "ok", f"{len(gpus)}: {', '.join(gpus)}" if gpus else "none")


def _processes() -> Finding:
    if sys.platform == "linux":
        return Finding("processes", "ok", "trials are forked: they start in milliseconds")
    if sys.platform == "darwin":
        return Finding("processes", "warning", "trials are spawned here, which is slower than on Linux")
    return Finding(
        "processes", "warning", "trials run inside the driver here, one at a time; on Linux they are isolated"
    )


def _folder(root: Path) -> Finding:
    where = root
    while not where.exists():
        where = where.parent
    try:
        with tempfile.NamedTemporaryFile(dir=where, prefix=".tunesmith-doctor-"):
            pass
    except OSError as error:
        return Finding("folder", "failed", f"{root} cannot be written ({error.strerror}). Give TUNESMITH_RESULTS=...")
    return Finding("folder", "ok", str(root) if root.exists() else f"{root} (made when it is needed)")


def _space(root: Path) -> Finding:
    import psutil

    where = root
    while not where.exists():
        where = where.parent
    free = psutil.disk_usage(str(where)).free
    words = f"{free / 2**30:.1f} GiB free there"
    return Finding("disk", "ok" if free >= _MIN_FREE_BYTES else "warning", words)


def _experiments(root: Path) -> Finding:
    from tunesmith.cli.listing import summary

    folders = experiment_folders(root)[:50]
    facts = [summary(folder) for folder in folders]
    n_running = sum(fact["status"] == "running" for fact in facts)
    words = f"{len(facts)} looked at, {n_running} running"
    if lost := [fact["name"] for fact in facts if fact["status"] == "lost"]:
        return Finding("experiments", "warning", f"{words}; without their driver: {', '.join(lost)} (tunesmith resume)")
    if bad := [fact["name"] for fact in facts if fact["status"] == "unreadable"]:
        return Finding("experiments", "warning", f"{words}; cannot be read: {', '.join(bad)} (tunesmith show says why)")
    return Finding("experiments", "ok", words)


def _command() -> Finding:
    import shutil

    found = shutil.which("tunesmith")
    if found is None:
        return Finding(
            "command", "warning", "`tunesmith` is not on the PATH of this shell; python -m tunesmith works too"
        )
    return Finding("command", "ok", found)


def _extras() -> Finding:
    """Looked for, not imported: some of them take seconds."""
    installed: dict[str, Any] = {name: importlib.util.find_spec(module) for name, module in _EXTRAS.items()}
    here = [name for name, found in installed.items() if found is not None]
    missing = [name for name, found in installed.items() if found is None]
    words = f"installed: {', '.join(here) or 'none'}"
    return Finding("extras", "ok", words + (f"; not: {', '.join(missing)}" if missing else ""))
