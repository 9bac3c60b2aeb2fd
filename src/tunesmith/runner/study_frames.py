"""What processes that share a study say to its writer, and what it answers: frames of `trialside.wire`.

A process connects to the Unix socket named in the study's address (`study_server`), says `hello` with the id of the
experiment, and is answered `welcome`, or finds the connection closed where this is not the writer (any more). Each
further frame is one question, and is answered by one frame after what it says is committed: by `refused` where it
cannot be done. A connection that ends without an answer leaves open whether it was done: the same question may be put
to the next writer, and is not done twice.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tunesmith.trialside.wire import FrameError


class _Frame(msgspec.Struct, frozen=True, tag_field="type"):
    """Base: the type stands in `type`, as in all frames."""


class Holder(msgspec.Struct, frozen=True):
    """The process that trains a trial."""

    pid: int
    host: str


class Ask(_Frame, frozen=True, tag="ask"):
    """Hand out a trial."""

    holder: Holder
    #: (index, attempt) of the open trials that it has. One it holds by the log and has not got was lost on its way.
    received: tuple[tuple[int, int], ...] = ()


class Look(_Frame, frozen=True, tag="look"):
    """Hand over an open trial by its index or id: this process trains it, if the one that held it is gone."""

    trial: int | str
    holder: Holder


class Report(_Frame, frozen=True, tag="report"):
    """Metrics of one step."""

    trial: int | str
    attempt: int
    step: int
    metrics: dict[str, float | int | str]  #: as `encode_numbers` makes them
    time_total_s: float
    holder: Holder
    is_last: bool = False


class Tell(_Frame, frozen=True, tag="tell"):
    """The end of a trial: complete, with final metrics if given, or failed."""

    trial: int | str
    attempt: int | None = None  #: None: whichever is open
    step: int | None = None  #: None: the one after the last
    metrics: dict[str, float | int | str] | None = None
    time_total_s: float | None = None
    failed: str | None = None  #: the error
    is_retry: bool = False  #: it may have been done before: the answer got lost


class Leave(_Frame, frozen=True, tag="leave"):
    """This process trains these trials no more."""

    holder: Holder
    trials: tuple[tuple[int, int], ...]  #: (index, attempt)
    is_given_back: bool = False  #: hand them out again; else they wait to be told by anybody


Question = Ask | Look | Report | Tell | Leave


class Handed(_Frame, frozen=True, tag="handed"):
    """An open trial."""

    trial: int
    trial_id: str
    attempt: int
    config: str  #: as the store has it: objects are those of the receiver's own space
    step: int  #: the last one reported


class Judged(_Frame, frozen=True, tag="judged"):
    """What becomes of a trial after a report."""

    verdict: str  #: a value of `tunesmith.events.Verdict`
    reason: str | None = None


class Done(_Frame, frozen=True, tag="done"):
    """It is committed."""


class Refused(_Frame, frozen=True, tag="refused"):
    """It was not done."""

    error: str  #: name of a class in `tunesmith.errors`
    text: str


Answer = Handed | Judged | Done | Refused


def parse_question(frame: dict[str, Any]) -> Question:
    """The question in a frame. Raises: FrameError if it is none."""
    try:
        found: Question = msgspec.convert(frame, Question)
    except msgspec.ValidationError as error:
        raise FrameError(f"A frame is no question to a study: {error}.") from None
    return found


def parse_answer(frame: dict[str, Any]) -> Answer:
    """The answer in a frame. Raises: FrameError if it is none."""
    try:
        found: Answer = msgspec.convert(frame, Answer)
    except msgspec.ValidationError as error:
        raise FrameError(f"A frame is no answer of a study: {error}.") from None
    return found


def as_frame(message: Question | Answer) -> dict[str, Any]:
    """The message as plain values for `encode_frame`."""
    found: dict[str, Any] = msgspec.to_builtins(message)
    return found
