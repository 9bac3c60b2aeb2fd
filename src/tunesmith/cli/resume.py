"""`tunesmith resume`: go on with an experiment where it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from tunesmith.cli.output import warn
from tunesmith.cli.places import experiment_argument, find_experiment, json_option, storage_option


@click.command("resume", short_help="Go on with an experiment where it was.")
@experiment_argument
@click.argument("target", required=False)
@click.option("-n", "--num-samples", type=int, help="Trials in all, those that are over included.")
@click.option("--rerun-failed", is_flag=True, help="Run failed trials again, from their last checkpoint.")
@click.option("--from-scratch", is_flag=True, help="With --rerun-failed: not from their checkpoint.")
@click.option("--takeover", is_flag=True, help="Fence off another process that runs the experiment.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, only how it ended.")
@storage_option
@json_option
def command(
    experiment: str | None,
    target: str | None,
    num_samples: int | None,
    rerun_failed: bool,
    from_scratch: bool,
    takeover: bool,
    quiet: bool,
    storage: str | None,
    as_json: bool,
) -> int:
    """Go on with EXPERIMENT (the newest, if none is named).

    What `tunesmith run` started goes on by the same arguments, in the same directory. For an experiment that a Python
    script started give the function as TARGET, or start the script again with name=.

    \b
    Examples:
      tunesmith resume my_experiment
      tunesmith resume my_experiment -n 100 --rerun-failed
      tunesmith resume my_experiment train.py:train
    """
    from tunesmith.cli.run import conclude

    found = find_experiment(experiment, storage)
    folder = found.parent if found.is_file() else found
    if from_scratch and not rerun_failed:
        raise click.UsageError("--from-scratch belongs to --rerun-failed.")
    word = "RESTART_ERRORED" if from_scratch else "ERRORED" if rerun_failed else True
    changes: dict[str, Any] = {"resume": word, "takeover": takeover, "verbose": 0 if as_json or quiet else 2}
    if num_samples is not None:
        changes["num_samples"] = num_samples
    return conclude(_resumed(folder, target, changes), as_json=as_json, quiet=quiet)


def _resumed(folder: Path, target: str | None, changes: dict[str, Any]) -> Any:
    if target is not None:
        from tunesmith.api import load
        from tunesmith.cli.target import load_target

        return load(folder).resume(load_target(target), raise_on_failed_trial=False, **changes)
    from tunesmith.cli.request import read_record, run_request

    request = read_record(folder)
    if request is None:
        raise click.UsageError(
            f"{folder.name} was not started by `tunesmith run`, and code is not stored. Start its script again with "
            f"name={folder.name!r}, or give the function: tunesmith resume {folder.name} module:function"
        )
    if request.cwd and request.cwd != str(Path.cwd()):
        try:
            os.chdir(request.cwd)
        except OSError as error:
            raise click.UsageError(f"It was run in {request.cwd}, which is not there: {error.strerror}.") from None
        warn(f"tunesmith: in {request.cwd}")
    word = changes.pop("resume")
    takeover, verbose = changes.pop("takeover"), changes.pop("verbose")
    request = replace(request, options={**request.options, **changes, "name": folder.name})
    return run_request(request, storage=str(folder.parent), takeover=takeover, verbose=verbose, resume=word)
