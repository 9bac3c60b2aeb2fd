"""`tunesmith report` in the help's list of commands. What it does is in `report`, without click: it must start fast."""

from __future__ import annotations

import click

from tunesmith.cli import exit_codes


@click.command(
    "report",
    short_help="From within a trial: tunesmith report loss=0.3.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("words", nargs=-1)
def command(words: tuple[str, ...]) -> int:
    """Report metrics from within a trial: tunesmith report loss=0.3."""
    from tunesmith.cli.report import main

    return main(words) if words else exit_codes.USAGE
