"""`tunesmith stop`: end an experiment that runs, from another terminal."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import click

from tunesmith.cli import exit_codes
from tunesmith.cli.output import print_json, say, warn
from tunesmith.cli.places import experiment_argument, json_option, open_experiment, storage_option

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
    """Stop a running experiment as Ctrl-C does: trials end at their next report, and it can be gone on with.

    \b
    Examples:
      tunesmith stop my_experiment
      tunesmith stop my_experiment --now --wait 10
    """
    reader = open_experiment(experiment, storage)
    try:
        driver = reader.driver()
        if driver is None:
            return _say(reader, "is not running", exit_codes.NOTHING, as_json=as_json)
        _check_here(driver)
        os.kill(driver.owner.pid, signal.SIGINT)
        if now:
            time.sleep(_POLL_S)  # two signals at once are one
            if _same(reader.driver(), driver):
                os.kill(driver.owner.pid, signal.SIGINT)
        deadline = time.monotonic() + wait_s
        while _same(reader.driver(), driver):
            if time.monotonic() >= deadline:
                warn(f"tunesmith: it was told, and is still ending after {wait_s:g} s.")
                return _say(reader, "is ending", exit_codes.FAILED, as_json=as_json)
            time.sleep(_POLL_S)
        return _say(reader, "is stopped", exit_codes.OK, as_json=as_json)
    finally:
        reader.close()


def _check_here(driver: Lease) -> None:
    """Raise unless the process can be signalled from here: a process id of elsewhere means another process."""
    if sys.platform == "win32":
        raise click.UsageError("On Windows stop it where it runs, with Ctrl-C.")
    if driver.owner.is_alive() is not True:
        raise click.UsageError(f"It is run by {driver.words()}, which cannot be reached from here. Stop it there.")


def _same(now: Lease | None, before: Lease) -> bool:
    return now is not None and now.epoch == before.epoch


def _say(reader: Reader, words: str, code: int, *, as_json: bool) -> int:
    name, status = reader.folder.name, reader.status().status
    if as_json:
        print_json({"name": name, "status": status, "is_stopped": reader.driver() is None})
    else:
        say(f"{name} {words} ({status}).")
    return code
