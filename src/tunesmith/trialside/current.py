"""Which session the running code is in: the process's, or the context's where trials run inline.

A process that a trial started anew (a spawned worker, a script that re-executes itself) finds the session through
its environment.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from tunesmith.trialside.channel import SocketChannel
from tunesmith.trialside.session import Session, TrialFacts, TrialStopped

SOCKET_VARIABLE = "TUNESMITH_SOCKET"
TOKEN_VARIABLE = "TUNESMITH_TOKEN"
TRIAL_VARIABLE = "TUNESMITH_TRIAL"
ATTEMPT_VARIABLE = "TUNESMITH_ATTEMPT"
#: When the attempt started, by the clock that all processes of the machine share.
STARTED_VARIABLE = "TUNESMITH_STARTED_AT"

_lock = threading.Lock()
#: The session of this process and of its forked children; None outside a trial.
_process_session: Session | None = None
#: The session of an inline trial: beside others in one process, so it belongs to a context.
_context_session: ContextVar[Session | None] = ContextVar("tunesmith_session", default=None)


def set_session(session: Session | None) -> None:
    """Make this the session of the process; None: it has none any more."""
    global _process_session
    with _lock:
        _process_session = session


@contextmanager
def inline_session(session: Session) -> Iterator[None]:
    """Within the block, and in this context only (not in threads it starts), this is the session."""
    token = _context_session.set(session)
    try:
        yield
    finally:
        _context_session.reset(token)


def get_session() -> Session | None:
    """The session that the running code is in, or None outside a trial.

    Raises: DriverLost in a process of a trial whose driver is gone.
    """
    session = _context_session.get() or _process_session
    if session is None and TRIAL_VARIABLE in os.environ:
        return attach_from_environment()
    return session


def has_own_session() -> bool:
    """Whether this very process, or the process that forked it, was made a trial: not one that a trial started anew."""
    return (_context_session.get() or _process_session) is not None


def attach_from_environment() -> Session | None:
    """The session of the trial that this process descends from, by the TUNESMITH_ variables; None where there are none.

    Its config comes from the driver as JSON: objects in it are labels only, and no key but a string.
    """
    global _process_session
    with _lock:
        if _process_session is None and TRIAL_VARIABLE in os.environ:  # a template has the socket but no trial
            channel = SocketChannel(
                os.environ[SOCKET_VARIABLE],
                int(os.environ[TRIAL_VARIABLE]),
                int(os.environ[ATTEMPT_VARIABLE]),
                os.environ[TOKEN_VARIABLE],
            )
            started_at = os.environ.get(STARTED_VARIABLE)
            _process_session = Session(
                TrialFacts.from_welcome(channel.welcome),
                channel,
                started_at=None if started_at is None else float(started_at),
            )
            _say_stops_shortly()
        return _process_session


def _say_stops_shortly() -> None:
    """Where a script does not catch its stop, its end is one line instead of a traceback: it is no error."""
    before = sys.excepthook

    def say(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, TrialStopped):
            print(f"The trial ends here: {error}", file=sys.stderr)
        else:
            before(kind, error, traceback)

    sys.excepthook = say


def session_environment(path: str | os.PathLike[str], trial: int, attempt: int, token: str) -> Mapping[str, str]:
    """The variables by which the processes of an attempt find its driver."""
    return {
        SOCKET_VARIABLE: os.fspath(path),
        TOKEN_VARIABLE: token,
        TRIAL_VARIABLE: str(trial),
        ATTEMPT_VARIABLE: str(attempt),
    }


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
