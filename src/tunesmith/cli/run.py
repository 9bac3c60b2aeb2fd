"""`tunesmith run`: tune a Python function, or any program."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tunesmith.cli import exit_codes
from tunesmith.cli.method_options import allow_change_option, is_given, method_options
from tunesmith.cli.output import is_utf_8, print_json, say, warn
from tunesmith.cli.places import json_option, storage_option

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


def seconds(ctx: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """A duration in seconds: 90, 30m, 2h, 1.5d. Raises click.BadParameter."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|)", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration. Give seconds, or 30m, 2h, 1.5d.", ctx, option)
    return float(found.group(1)) * _SECONDS[found.group(2)]


_EPILOG = """\b
Examples:
  tunesmith run train.py:train -p 'lr=loguniform(1e-5,1e-1)' \\
      --metric loss --mode min -n 20
  tunesmith run -p 'lr=loguniform(1e-5,1e-1)' -p 'opt=choice(adam,sgd)' \\
      --metric loss --mode min -n 20 --max-t 10 \\
      -- python train.py --lr {lr} --opt {opt}
  tunesmith run sweep.yaml -n 50
  tunesmith run --space space.yaml --metric loss --mode min \\
      -- ./simulate '${args}'

In a command {name} is the value of a parameter, one argument however it looks; {{ is a brace. The words ${args},
${args_no_hyphens} and ${args_json} stand for all parameters. There is no shell. docs/cli.md says how a program reports.
"""


@click.command(
    "run",
    short_help="Tune a Python function, or any program.",
    epilog=_EPILOG,
    context_settings={"ignore_unknown_options": False},
)
@click.argument("target", required=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=DOMAIN", help="A parameter; may be repeated.")
@click.option("--space", metavar="FILE|MODULE:NAME", help="A YAML file with parameters, or a dict in Python.")
@click.option("--metric", multiple=True, help="What is optimised; repeated for several.")
@click.option(
    "--mode", multiple=True, type=click.Choice(["min", "max"]), help="Whether small or large values of it are good."
)
@click.option("-n", "--num-samples", type=int, help="Trials in all (samples of a grid); -1 is endless.  [default: 1]")
@method_options
@click.option("--name", help="Of the experiment. An existing one is gone on with.")
@click.option("--cpus", type=float, help="CPUs for each trial.  [default: 1]")
@click.option("--gpus", type=float, help="GPUs for each trial, 0.5 shares one.")
@click.option("--max-concurrent", type=click.IntRange(1), help="At most so many trials at once.")
@click.option("--time-budget", callback=seconds, metavar="DURATION", help="End after 90 (seconds), 30m, 2h.")
@click.option("--max-failures", type=int, help="Further attempts of a trial that failed.")
@click.option("--fail-fast", is_flag=True, default=None, help="End at the first trial that fails for good.")
@click.option("--grace", callback=seconds, metavar="DURATION", help="What a trial that must end gets before SIGKILL.")
@click.option(
    "--report-timeout", callback=seconds, metavar="DURATION", help="Without a report for so long a trial fails."
)
@click.option("--seed", type=click.IntRange(0), help="For the same configs again.")
@click.option("--executor", type=click.Choice(["processes", "inline", "ray"]), help="Where trials run.")
@click.option(
    "--tracker",
    "trackers",
    multiple=True,
    metavar="NAME[:ARGUMENT=VALUE,...]",
    help="wandb, mlflow, tensorboard, csv or json; may be repeated: wandb:project=digits,mode=offline.",
)
@allow_change_option
@click.option("--takeover", is_flag=True, help="Fence off another process that runs the experiment.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, only how it ended.")
@storage_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, target: str | None, words: tuple[str, ...], **options: Any) -> int:
    """Tune TARGET (module:function, file.py:function or sweep.yaml), or the command after `--`."""
    from tunesmith.cli.request import Request, run_request

    given = {name: value for name, value in options.items() if is_given(value)}
    _check_texts(given, ctx)
    target, words = split_target(target, words, ctx)
    request = Request(target=target, words=words, options=_recorded(given), cwd=str(Path.cwd()))
    as_json = options["as_json"]
    result = run_request(
        request,
        storage=options["storage"],
        takeover=options["takeover"],
        allowed=options["allowed"],
        verbose=0 if as_json or options["quiet"] else 2,
    )
    return conclude(result, as_json=as_json, quiet=options["quiet"])


def _check_texts(given: Mapping[str, Any], ctx: click.Context) -> None:
    """Raise for an option that could not be stored; words of the command may hold any bytes."""
    for value in given.values():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not is_utf_8(text):
                raise click.UsageError(f"{text!r} is not UTF-8. Only words of a command may be other bytes.", ctx)


def split_target(target: str | None, words: tuple[str, ...], ctx: click.Context) -> tuple[str | None, tuple[str, ...]]:
    """The target, and the command. Before `--` stands at most the target.

    Raises: click.UsageError.
    """
    given: list[str] = ctx.obj  # click does not say where the -- stood
    n_after = len(given) - 1 - given.index("--") if "--" in given else 0
    all_words = ((target,) if target is not None else ()) + words
    before, command_words = all_words[: len(all_words) - n_after], all_words[len(all_words) - n_after :]
    if len(before) > 1:
        raise click.UsageError(f"{before[1]!r} is one argument too many. A command stands after --.", ctx)
    if not before and not command_words:
        raise click.UsageError("Give module:function, file.py:function, a sweep.yaml, or a command after --.", ctx)
    return (before[0] if before else None), command_words


def _recorded(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is meant for good: kept with the experiment, and used again by `tunesmith resume`."""
    of_this_call = ("as_json", "quiet", "takeover", "storage", "allowed")
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if name not in of_this_call
    }


def conclude(result: Any, *, as_json: bool, quiet: bool) -> int:
    """Say how it ended where nothing has, and the exit status that belongs to it."""
    from tunesmith.cli.show import facts
    from tunesmith.cli.unreported import unreported_words
    from tunesmith.trial import TrialStatus

    found = facts(result.reader)
    if as_json:
        print_json(found)
    elif quiet:
        best = found["best"]
        say(
            f"{found['folder']}: {found['status']}"
            + ("" if best is None else f", {best['metric']} {best['value']:.6g}")
        )
    if found["status"] == "interrupted":
        if not as_json:
            say(f"go on       tunesmith resume {shlex.quote(found['name'])}")
        return exit_codes.INTERRUPTED
    states = result.reader.counts()
    is_refused = bool(states) and set(states) == {TrialStatus.INVALID}
    if (words := unreported_words(result.reader)) is not None:
        warn(f"tunesmith: {words}")
        return exit_codes.FAILED
    is_failed = found["status"] == "failed" or states.get(TrialStatus.FAILED, 0) > 0 or is_refused
    return exit_codes.FAILED if is_failed else exit_codes.OK
