"""What is said about an exception that ended a trial."""

from __future__ import annotations

import traceback
from types import TracebackType


def failure_text(error: BaseException) -> str:
    """The traceback from the user's first frame on: how tunesmith came to call it helps nobody."""
    first = error.__traceback__
    while first is not None and _is_own(first):
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first or error.__traceback__))


def _is_own(step: TracebackType) -> bool:
    return str(step.tb_frame.f_globals.get("__name__")).partition(".")[0] == "tunesmith"
