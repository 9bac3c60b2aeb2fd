"""A process of a study that does not write: puts its questions to the writer's socket."""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from tunesmith import errors
from tunesmith.errors import StoreError, TunesmithError
from tunesmith.runner.study_frames import Answer, Question, Refused, as_frame, parse_answer
from tunesmith.runner.study_server import Address, read_address
from tunesmith.stores.lease import Owner
from tunesmith.trialside.wire import FrameBuffer, FrameError, decode_frame, encode_frame

_WELCOME_TIMEOUT_S = 10.0
_LOOK_INTERVAL_S = 1.0  #: between two looks at a writer that takes its time
#: An ask waits for the asks before it, and each may wait for a model.
_ANSWER_TIMEOUT_S = 600.0
_RECV_BYTES = 1 << 16


class WriterGone(TunesmithError):  # noqa: N818 (users never see it)
    """The connection ended; whether the last question was done is not known."""


class StudyClient:
    """Connections to the writer, one for each thread that waits for an answer: a report waits for no ask."""

    def __init__(self, address: Address) -> None:
        """Connect. Raises: WriterGone if nobody answers there."""
        self._address = address
        self._lock = threading.Lock()  #: guards the two that follow
        self._idle = [_Connection(address)]
        self._is_closed = False

    def answer(self, question: Question) -> Answer:
        """Put the question and wait for the answer; what the writer raised is raised here.

        Raises: WriterGone if the connection ended first; StoreError where no answer comes from a writer that lives.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or _Connection(self._address)
        found = connection.answer(question)
        with self._lock:
            if not self._is_closed:
                self._idle.append(connection)
                connection = None
        if connection is not None:
            connection.close()
        if isinstance(found, Refused):
            raise _raised(found)
        return found

    def close(self) -> None:
        """Put no further question; those that wait for an answer get it. Idempotent."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class _Connection:
    """One connection, used by one thread at a time."""

    def __init__(self, address: Address) -> None:
        """Connect and say hello. Raises: WriterGone if nobody answers there."""
        self._owner: Owner = address.owner
        self._frames = FrameBuffer()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _connections.add(self)
        try:
            self._socket.settimeout(_WELCOME_TIMEOUT_S)
            self._socket.connect(address.path)
            hello = {"type": "hello", "role": "study", "experiment_id": address.experiment_id, "pid": os.getpid()}
            self._socket.sendall(encode_frame(hello))
            welcome = self._received(_WELCOME_TIMEOUT_S)
            if welcome["type"] != "welcome":
                raise FrameError(f"The writer answered a hello with a frame of type {welcome['type']!r}.")
        except (OSError, FrameError) as error:
            self._socket.close()
            raise WriterGone(f"No writer answers at {address.path}: {error}.") from error
        except BaseException:
            self._socket.close()
            raise

    def answer(self, question: Question) -> Answer:
        """Put the question and wait for the answer, a refusal among them. After an exception it is closed."""
        try:
            self._socket.settimeout(_ANSWER_TIMEOUT_S)
            self._socket.sendall(encode_frame(as_frame(question)))
            return parse_answer(self._received(_ANSWER_TIMEOUT_S))
        except TimeoutError as error:
            self.close()
            raise StoreError(
                f"Process {self._owner.pid} writes this study and has not answered for {_ANSWER_TIMEOUT_S:g} s. "
                "End it, or open the study with takeover=True."
            ) from error
        except (OSError, FrameError) as error:
            self.close()
            raise WriterGone(f"The writer of the study is gone: {error}.") from error
        except BaseException:  # Ctrl-C: who knows what is still on its way here
            self.close()
            raise

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()

    def _received(self, timeout_s: float) -> dict[str, Any]:
        """The next frame. A forked child of a dead writer may hold the connection open, so the writer is looked at."""
        end = time.monotonic() + timeout_s
        self._socket.settimeout(min(_LOOK_INTERVAL_S, timeout_s))
        while True:
            try:
                data = self._socket.recv(_RECV_BYTES)
            except TimeoutError:
                if self._owner.is_alive() is False:
                    raise ConnectionResetError(f"process {self._owner.pid} has ended") from None
                if time.monotonic() >= end:
                    raise
                continue
            if not data:
                raise ConnectionResetError("it closed the connection")
            if frames := self._frames.feed(data):
                return decode_frame(frames[0])


def connect(folder: Path, experiment_id: str) -> StudyClient | None:
    """A connection to the process that writes the study in this folder; None where none answers."""
    address = read_address(folder)
    if address is None or address.experiment_id != experiment_id or address.owner.is_alive() is not True:
        return None
    try:
        return StudyClient(address)
    except WriterGone:
        return None


def _raised(refused: Refused) -> TunesmithError:
    kind = getattr(errors, refused.error, None)
    if isinstance(kind, type) and issubclass(kind, TunesmithError):
        return kind(refused.text)
    return TunesmithError(refused.text)


_connections: weakref.WeakSet[_Connection] = weakref.WeakSet()


def _forget_connections() -> None:
    """In a forked child: its copies would keep the parent's connections open."""
    for connection in list(_connections):
        connection.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connections)
