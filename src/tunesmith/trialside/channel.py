"""How a trial talks to its driver: the interface, and the one over a Unix socket (`wire` has the frames)."""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from tunesmith.errors import ReportError
from tunesmith.trialside.wire import FrameBuffer, FrameError, decode_frame, encode_frame, encode_numbers

#: How long a driver may take to answer a hello. An answer to a report has no limit: a full disk may delay it, and
#: a driver that dies closes the connection.
WELCOME_TIMEOUT_S = 60.0

#: How an attempt can end by its own word.
Outcome = Literal["returned", "stopped", "raised", "invalid", "exited"]

_MAX_ERROR_CHARS = 200_000
_RECV_BYTES = 1 << 16


class DriverLost(BaseException):
    """The driver is gone. Not an Exception, so that a trial without a driver ends instead of training for nobody."""


class Answer(NamedTuple):
    """The driver's answer to a report."""

    verdict: str  #: a value of `tunesmith.events.Verdict`
    reason: str | None
    step: int
    is_interrupted: bool = False  #: the trial is not over: it goes on from its newest checkpoint some other time


class Channel(Protocol):
    """The way to the driver. Used by one thread at a time; the session sees to that.

    In a forked child of the process that made it, a channel either works or raises ReportError.
    """

    def report(
        self, step: int, metrics: Mapping[str, float], *, time_total_s: float, checkpoint: str | None, is_last: bool
    ) -> Answer:
        """Hand over the metrics and wait until they are committed.

        Raises: ReportError where the driver refuses them; DriverLost where there is none.
        """

    def ended(self, outcome: Outcome, error: str | None = None, *, is_childless: bool = False) -> None:
        """Say how the attempt ended, as the last word: `error` is the traceback where there is one."""

    def close(self) -> None:
        """Nothing more will be said. Idempotent."""


class SocketChannel:
    """A channel over the driver's Unix socket.

    A forked child finds its parent's connection closed in itself and opens one of its own when it first reports.
    So does a call after one that an exception (Ctrl-C) interrupted: who knows what is still on its way there.
    """

    def __init__(self, path: str | os.PathLike[str], trial: int, attempt: int, token: str) -> None:
        """Connect and say hello.

        Raises: DriverLost if nobody listens there or the hello is refused.
        """
        self._path = os.fspath(path)
        self._hello = {"type": "hello", "role": "trial", "trial": trial, "attempt": attempt, "token": token}
        self._connection: socket.socket | None = None
        self._buffer = FrameBuffer()
        self._pid = os.getpid()
        self._lost: str | None = None  #: why the driver counts as gone; set once, never reset in this process
        self.welcome: dict[str, Any] = {}  #: the driver's last welcome: the facts of the session
        _channels.add(self)
        self._connected()

    def report(
        self, step: int, metrics: Mapping[str, float], *, time_total_s: float, checkpoint: str | None, is_last: bool
    ) -> Answer:
        """See Channel."""
        answer = self._exchange(
            encode_frame(
                {
                    "type": "report",
                    "step": step,
                    "metrics": encode_numbers(metrics),
                    "time_total_s": time_total_s,
                    "checkpoint": checkpoint,
                    "is_last": is_last,
                }
            )
        )
        if answer["type"] == "refused":
            raise ReportError(str(answer.get("error")))
        if answer["type"] != "answer":
            raise FrameError(f"The driver answered a report with a frame of type {answer['type']!r}.")
        is_interrupted = bool(answer.get("is_interrupted"))
        return Answer(answer["verdict"], answer.get("reason"), answer.get("step", step), is_interrupted)

    def ended(self, outcome: Outcome, error: str | None = None, *, is_childless: bool = False) -> None:
        """See Channel. Of a very long error the middle is left out."""
        if error is not None:
            error = error.encode(errors="backslashreplace").decode()
            if len(error) > _MAX_ERROR_CHARS:
                half = _MAX_ERROR_CHARS // 2
                n_left_out = len(error) - 2 * half
                error = f"{error[:half]}\n... {n_left_out:,} characters left out ...\n{error[-half:]}"
        self.send({"type": "ended", "outcome": outcome, "error": error, "is_childless": is_childless})

    def send(self, frame: Mapping[str, Any]) -> None:
        """Send a frame that is not answered.

        Raises: DriverLost if the driver is gone.
        """
        self._exchange(encode_frame(frame), is_answered=False)

    def close(self) -> None:
        """See Channel."""
        self._drop()

    def _exchange(self, frame: bytes, *, is_answered: bool = True) -> dict[str, Any]:
        connection = self._connected()
        try:
            connection.sendall(frame)
            return self._receive(connection) if is_answered else {}
        except OSError as error:
            self._lose(f"The driver is gone: {error}.")
            raise DriverLost(self._lost) from error
        except BaseException:
            self._drop()
            raise

    def _connected(self) -> socket.socket:
        if os.getpid() != self._pid:  # a fork that Python was not told of
            self._after_fork()
        if self._lost is not None:
            raise DriverLost(self._lost)
        if self._connection is not None:
            return self._connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(WELCOME_TIMEOUT_S)
            connection.connect(self._path)
            connection.sendall(encode_frame({**self._hello, "pid": os.getpid()}))
            self._buffer = FrameBuffer()
            welcome = self._receive(connection)
            connection.settimeout(None)
        except OSError as error:
            connection.close()
            self._lose(f"No driver answers at {self._path}: {error}.")
            raise DriverLost(self._lost) from error
        except BaseException:
            connection.close()
            raise
        if welcome["type"] != "welcome":
            connection.close()
            self._lose(f"The driver does not accept this process: {welcome.get('error') or welcome['type']}.")
            raise DriverLost(self._lost)
        self.welcome = welcome
        self._connection = connection
        return connection

    def _receive(self, connection: socket.socket) -> dict[str, Any]:
        while True:
            data = connection.recv(_RECV_BYTES)
            if not data:
                raise ConnectionResetError("it closed the connection")
            frames = self._buffer.feed(data)
            if frames:
                if len(frames) > 1:
                    raise FrameError(f"The driver sent {len(frames)} answers to one question.")
                return decode_frame(frames[0])

    def _lose(self, why: str) -> None:
        self._drop()
        self._lost = why

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()  # not shutdown(): a parent's connection stays open
            self._connection = None

    def _after_fork(self) -> None:
        self._pid = os.getpid()
        self._drop()


_channels: weakref.WeakSet[SocketChannel] = weakref.WeakSet()


def _forget_connections() -> None:
    """In a forked child: keep no copy of the parent's connections, whose end tells the driver that the parent ended."""
    for channel in list(_channels):
        channel._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connections)
