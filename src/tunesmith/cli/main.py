"""The entry point: which command is meant, and what its end means to the shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tunesmith.cli import exit_codes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["report"]:
        from tunesmith.cli.report import main as report

        return report(given[1:])
    import click

    from tunesmith.cli.group import OutputClosed, cli
    from tunesmith.errors import LeaseError, TuneError, TunesmithError

    try:
        code = cli.main(given, prog_name="tunesmith", standalone_mode=False, obj=given)
        return code if isinstance(code, int) else exit_codes.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return exit_codes.INTERRUPTED
    except OutputClosed:  # `tunesmith trials | head`: what is still to be flushed goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exit_codes.OK
    except LeaseError as error:
        return _said(error, exit_codes.OWNED)
    except TuneError as error:
        return _said(error, exit_codes.FAILED)
    except (TunesmithError, ImportError) as error:
        if isinstance(error, ImportError) and "pip install" not in str(error):
            raise
        return _said(error, exit_codes.USAGE)


def _said(error: BaseException, code: int) -> int:
    from tunesmith.cli.wording import in_options

    print(f"tunesmith: {in_options(str(error))}", file=sys.stderr)
    return code
