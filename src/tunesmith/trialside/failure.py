"""What is said about an exception that ended a trial."""

from __future__ import annotations

import traceback
from types import TracebackType

from tunesmith.errors import TunesmithError


class ProgramFailed(TunesmithError, RuntimeError):  # noqa: N818 (it is about a program, and says how that ended)
    """The program that a trial ran did not end well. Its message is the whole story: no traceback belongs to it."""


def failure_text(error: BaseException) -> str:
    """The traceback from the user's first frame on: how tunesmith came to call it helps nobody."""
    if isinstance(error, ProgramFailed):
        return str(error)
    first = error.__traceback__
    while first is not None and _is_own(first):
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first or error.__traceback__))


def _is_own(step: TracebackType) -> bool:
    return str(step.tb_frame.f_globals.get("__name__")).partition(".")[0] == "tunesmith"
