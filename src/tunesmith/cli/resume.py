"""`tunesmith resume`: go on with an experiment where it was."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from tunesmith.cli.method_options import METHOD_OPTIONS, allow_change_option, is_given, method_options
from tunesmith.cli.places import experiment_argument, find_experiment, json_option, storage_option


@click.command("resume", short_help="Go on with an experiment where it was.")
@experiment_argument
@click.argument("target", required=False)
@click.option("-n", "--num-samples", type=int, help="Trials in all, those that are over included.")
@click.option("--rerun-failed", is_flag=True, help="Run failed trials again, from their last checkpoint.")
@click.option("--from-scratch", is_flag=True, help="With --rerun-failed: not from their checkpoint.")
@method_options
@click.option(
    "--cwd", metavar="FOLDER", type=click.Path(exists=True, file_okay=False), help="Where it is run from now on."
)
@allow_change_option
@click.option("--takeover", is_flag=True, help="Fence off another process that runs the experiment.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, only how it ended.")
@storage_option
@json_option
def command(experiment: str | None, target: str | None, **options: Any) -> int:
    """Go on with EXPERIMENT (the newest, if none is named).

    What `tunesmith run` started goes on by the same arguments, in the same directory. For an experiment that a Python
    script started give the function as TARGET, with its scheduler, search and stop rule (--stop none: without one), or
    start the script again with name=.

    \b
    Examples:
      tunesmith resume my_experiment
      tunesmith resume my_experiment -n 100 --rerun-failed
      tunesmith resume my_experiment train.py:train --scheduler asha --max-t 9
    """
    from tunesmith.cli.run import conclude

    found = find_experiment(experiment, options["storage"])
    folder = found.parent if found.is_file() else found
    if options["from_scratch"] and not options["rerun_failed"]:
        raise click.UsageError("--from-scratch belongs to --rerun-failed.")
    is_silent = options["as_json"] or options["quiet"]
    given = {name: value for name, value in options.items() if is_given(value)}
    call = {
        "resume": "RESTART_ERRORED" if options["from_scratch"] else "ERRORED" if options["rerun_failed"] else True,
        "takeover": options["takeover"],
        "verbose": 0 if is_silent else 2,
    }
    resumed = _resumed if target is None else functools.partial(_resumed_by_target, target)
    return conclude(resumed(folder, given, call), as_json=options["as_json"], quiet=options["quiet"])


def _resumed_by_target(target: str, folder: Path, given: Mapping[str, Any], call: Mapping[str, Any]) -> Any:
    """For an experiment of a script: what its spec does not hold is given here."""
    from tunesmith.api import load
    from tunesmith.cli.method_options import method_arguments
    from tunesmith.cli.target import load_target

    if "cwd" in given:
        os.chdir(given["cwd"])
    arguments = method_arguments(given)
    if "num_samples" in given:
        arguments["num_samples"] = given["num_samples"]
    return load(folder).resume(
        load_target(target),
        raise_on_failed_trial=False,
        on_change=dict.fromkeys(given.get("allowed", ()), "allow"),
        **arguments,
        **call,
    )


def _resumed(folder: Path, given: Mapping[str, Any], call: Mapping[str, Any]) -> Any:
    """For an experiment of `tunesmith run`: by its record, with what is given now in place of what was."""
    from tunesmith.cli.request import enter_directory, recorded_request, run_request

    request = recorded_request(folder)
    cwd = enter_directory(given.get("cwd", request.cwd))
    changed = {name: given[name] for name in ("num_samples", *METHOD_OPTIONS) if name in given}
    request = replace(request, cwd=cwd, options={**request.options, **changed, "name": folder.name})
    return run_request(request, storage=str(folder.parent), allowed=given.get("allowed", ()), **call)
