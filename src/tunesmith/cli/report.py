"""`tunesmith report loss=0.3`, from any program inside a trial. Standard library only: it is started at each report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tunesmith.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith.trialside.session import Session

HELP = """\
Usage: tunesmith report [--step N] [--checkpoint DIR] [--json] NAME=NUMBER ...

  Report metrics of the trial that this runs in. Returns when they are stored.

Options:
  --step N          The step, 1 or more and growing; else it is counted.
  --checkpoint DIR  The folder that was saved for this step; it is copied.
                    A relative one begins in $TUNESMITH_TRIAL_DIR.
  --json            Print the answer: should_stop, verdict and reason.
  --help            Show this message.

Exit status: 0 go on; 10 stored, and the trial is to end now; 2 refused, with
the reason; 75 the driver is gone; 4 not inside a trial (nothing was stored).

Examples:
  tunesmith report loss=0.3 accuracy=0.9
  tunesmith report loss="$loss" --step "$epoch" || exit
  tunesmith report loss="$loss" --checkpoint "$TUNESMITH_TRIAL_DIR/saved"

A plain exit hands the status on: a trial that was told to end ended well with
any status, and of another one all but 0 is a failure. So is a refused report.
"""


def main(arguments: Sequence[str]) -> int:
    """Report, and return the exit status."""
    if not arguments or arguments[0] in ("--help", "-h"):
        print(HELP, end="")
        return exit_codes.OK if arguments else exit_codes.USAGE
    from tunesmith.errors import TunesmithError

    try:
        metrics, options = _parsed(arguments)
        return _reported(metrics, options)
    except (TunesmithError, ValueError) as error:
        print(f"tunesmith report: {error}", file=sys.stderr)
        return exit_codes.USAGE


def _reported(metrics: dict[str, float], options: dict[str, Any]) -> int:
    from tunesmith.trialside.channel import DriverLost
    from tunesmith.trialside.current import TRIAL_VARIABLE, attach_from_environment

    if TRIAL_VARIABLE not in os.environ:
        print("tunesmith report: not inside a trial, so nothing is stored.", file=sys.stderr)
        return exit_codes.NOTHING
    from tunesmith.trialside.program_files import checkpoint_path

    try:
        session = attach_from_environment()
        assert session is not None
        checkpoint = checkpoint_path(options["checkpoint"], session.facts.trial_dir)
        with _counted(session, options["step"]) as step:
            decision = session.report(metrics, step=step, checkpoint=checkpoint, on_stop="return")
    except DriverLost as error:
        print(f"tunesmith report: {error}", file=sys.stderr)
        return exit_codes.NO_DRIVER
    if options["json"]:
        answer = {"should_stop": decision.should_stop, "verdict": decision.verdict, "reason": decision.reason}
        print(json.dumps(answer))
    return exit_codes.STOP if decision.should_stop else exit_codes.OK


@contextmanager
def _counted(session: Session, step: int | None) -> Iterator[int | None]:
    """The next step, counted over all processes of the attempt where the trial is a program."""
    from pathlib import Path

    from tunesmith.trialside.program_files import REPORT_FILE_VARIABLE, ProgramFiles

    reports = os.environ.get(REPORT_FILE_VARIABLE)
    if reports is None:
        yield step
        return
    with ProgramFiles(Path(reports).parent).counted_step(step, start_step=session.facts.start_step) as counted:
        yield counted


def _parsed(arguments: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """The metrics, and the options. Raises ValueError with what is wrong, ReportError for two steps."""
    from tunesmith.trialside.program_files import take_step

    metrics: dict[str, float] = {}
    options: dict[str, Any] = {"checkpoint": None, "json": False}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--json":
            options["json"] = True
        elif word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            if name not in ("step", "checkpoint"):
                raise ValueError(f"there is no option {word!r}. See tunesmith report --help.")
            if not has_value and not rest:
                raise ValueError(f"--{name} needs a value.")
            value = value if has_value else rest.pop(0)
            if name == "step":
                _add(metrics, name, _whole(value))
            else:
                options[name] = value
        else:
            name, has_value, value = word.partition("=")
            if not name or not has_value:
                raise ValueError(f"{word!r} is no NAME=NUMBER, such as loss=0.3.")
            _add(metrics, name, _number(name, value))
    options["step"] = take_step(metrics)
    if not metrics:
        raise ValueError("no metric is given. Give one as NAME=NUMBER, such as loss=0.3.")
    return metrics, options


def _add(metrics: dict[str, float], name: str, number: float) -> None:
    if name in metrics:
        raise ValueError(f"{name!r} is given twice.")
    metrics[name] = number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"the step is {text!r}. Give a whole number of 1 or more.") from None


def _number(name: str, text: str) -> float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(f"{name} is {text[:60]!r}, which is no number.")
