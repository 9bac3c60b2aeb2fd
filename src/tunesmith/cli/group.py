"""The group of commands. Each is imported when it is called, so that `tunesmith ls` loads nothing of `run`."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

#: Command -> the module that holds it, as `command`; in the order in which the help lists them.
COMMANDS = {
    "run": "run",
    "ls": "listing",
    "show": "show",
    "best": "best",
    "trials": "trials",
    "log": "log",
    "plot": "plot",
    "export": "export",
    "compare": "compare",
    "confirm": "confirm",
    "resume": "resume",
    "stop": "stop",
    "report": "report_help",
    "doctor": "doctor",
    "completion": "completion",
}

_EPILOG = """\b
Examples:
  tunesmith run -p 'lr=loguniform(1e-5,1e-1)' --metric loss --mode min \\
      -n 20 -- python train.py --lr {lr}
  tunesmith run sweep.yaml
  tunesmith ls
  tunesmith best my_experiment --json

\b
Experiments lie in ~/tunesmith_results, or as TUNESMITH_RESULTS or --storage say.
Exit status: 0 good, 1 trials failed, 2 wrong usage, 3 run by another process,
4 nothing there, 130 interrupted.
"""


class OutputClosed(Exception):  # noqa: N818 (it is no fault)
    """Whoever read the output went away. Said in a class of ours, as click makes a failure of a broken pipe."""


class _LazyGroup(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise OutputClosed from error
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(f"tunesmith.cli.{module}").command
        return command


def _print_version(ctx: click.Context, option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tunesmith {version('tunesmith')}")
        ctx.exit()


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Say which.")
def cli() -> None:
    """Tune a function or any program, and look at what was found.

    `tunesmith COMMAND --help` says more, with examples.
    """
