"""`tunesmith completion`: what a shell needs to complete commands, options and names of experiments."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from tunesmith.cli.output import print_json, say

_VARIABLE = "_TUNESMITH_COMPLETE"


@click.command("completion", short_help="Completion for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_context
def command(ctx: click.Context, /, shell: str, as_json: bool) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      echo 'eval "$(tunesmith completion bash)"' >> ~/.bashrc
      echo 'eval "$(tunesmith completion zsh)"' >> ~/.zshrc
      tunesmith completion fish > ~/.config/fish/completions/tunesmith.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "tunesmith", _VARIABLE)
    source = script.source_template % script.source_vars()  # source() would start the shell to ask for its version
    if as_json:
        print_json({"shell": shell, "script": source})
    else:
        say(source)
