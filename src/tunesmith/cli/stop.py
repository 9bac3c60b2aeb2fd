"""`tunesmith stop`: end an experiment that runs, from another terminal."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunesmith.cli import exit_codes
from tunesmith.cli.listing import standing_word
from tunesmith.cli.output import print_json, say, warn
from tunesmith.cli.places import (
    experiment_argument,
    json_option,
    open_experiment,
    results_root,
    running_experiments,
    storage_option,
)

if TYPE_CHECKING:
    from tunesmith.stores import Lease, Reader

_POLL_S = 0.1


@click.command("stop", short_help="Stop an experiment that runs.")
@experiment_argument
@click.option("--now", is_flag=True, help="Kill the trials instead of asking them to end at their next report.")
@click.option("--wait", "wait_s", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds to wait.")
@storage_option
@json_option
def command(experiment: str | None, now: bool, wait_s: float, storage: str | None, as_json: bool) -> int:
    """Stop EXPERIMENT as Ctrl-C does: trials end at their next report, and it can be gone on with.

    Without a name it is the one that runs.

    \b
    Examples:
      tunesmith stop my_experiment
      tunesmith stop my_experiment --now --wait 10
    """
    reader = open_experiment(experiment or _running_one(storage), storage)
    try:
        driver = reader.driver()
        if driver is None:
            return _say(reader, "is not running", exit_codes.NOTHING, as_json=as_json)
        _check_here(driver)
        _interrupt(driver)
        if now:
            time.sleep(_POLL_S)  # two signals at once are one
            if _same(reader.driver(), driver):
                _interrupt(driver)
        deadline = time.monotonic() + wait_s
        while _same(reader.driver(), driver):
            if time.monotonic() >= deadline:
                warn(f"tunesmith: it was told, and is still ending after {wait_s:g} s.")
                return _say(reader, "is ending", exit_codes.FAILED, as_json=as_json)
            time.sleep(_POLL_S)
        return _say(reader, "is stopped", exit_codes.OK, as_json=as_json)
    finally:
        reader.close()


def _running_one(storage: str | None) -> str | None:
    """The one experiment that runs; None where none does. Raises click.UsageError where several do."""
    running = [str(folder) for folder in running_experiments(results_root(storage))]
    if len(running) > 1:
        names = ", ".join(sorted(Path(folder).name for folder in running))
        raise click.UsageError(f"Several experiments run: {names}. Name one.")
    return running[0] if running else None


def _interrupt(driver: Lease) -> None:
    """Raise click.UsageError where that is not allowed."""
    try:
        os.kill(driver.owner.pid, signal.SIGINT)
    except ProcessLookupError:
        pass  # it has just ended
    except PermissionError:
        raise click.UsageError(f"{driver.words()} belongs to another user, who can stop it.") from None


def _check_here(driver: Lease) -> None:
    """Raise unless the process can be signalled from here: a process id of elsewhere means another process."""
    if sys.platform == "win32":
        raise click.UsageError("On Windows stop it where it runs, with Ctrl-C.")
    if driver.owner.is_alive() is not True:
        raise click.UsageError(f"It is run by {driver.words()}, which cannot be reached from here. Stop it there.")


def _same(now: Lease | None, before: Lease) -> bool:
    return now is not None and now.epoch == before.epoch


def _say(reader: Reader, words: str, code: int, *, as_json: bool) -> int:
    name, status = reader.folder.name, standing_word(reader)
    if as_json:
        print_json({"name": name, "status": status, "is_stopped": reader.driver() is None})
    else:
        say(f"{name} {words} ({status}).")
    return code
