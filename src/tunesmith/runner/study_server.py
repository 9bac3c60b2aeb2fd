"""The private Unix socket of a study's writer, and the address that says to the other processes where it is."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tunesmith.errors import TunesmithError
from tunesmith.runner.study_frames import Refused, as_frame, parse_question
from tunesmith.runner.study_writer import StudyWriter, is_to_be_asked_elsewhere
from tunesmith.stores.lease import Owner, this_process
from tunesmith.trialside.wire import FrameError, recv_frame, send_frame

_log = logging.getLogger("tunesmith")
ADDRESS_NAME = "study.json"
_MAX_FOLDER_CHARS = 90  #: the kernel takes 107 bytes (macOS: 103) for a socket's whole path
_HELLO_TIMEOUT_S = 10.0
_JOIN_TIMEOUT_S = 5.0
_LOOK_INTERVAL_S = 1.0  #: between two looks whether the server was closed
_PREFIX = "tunesmith-study-"


class Address(msgspec.Struct, frozen=True):
    """Where the writer of a study listens. It may be gone: the lease says who may write, this is only a hint."""

    experiment_id: str
    path: str
    owner: Owner


def read_address(folder: Path) -> Address | None:
    """The address that the last writer left in the experiment's folder; None where there is none."""
    try:
        return msgspec.json.decode((folder / ADDRESS_NAME).read_bytes(), type=Address)
    except (OSError, msgspec.MsgspecError):
        return None


class StudyServer:
    """Answers the other processes of a study, each in a thread of its own, until it is closed or the writer is."""

    def __init__(self, writer: StudyWriter, *, folder: Path, experiment_id: str) -> None:
        """Listen, and leave the address in the experiment's folder."""
        self._writer, self._file, self._experiment_id = writer, folder / ADDRESS_NAME, experiment_id
        self._pid = os.getpid()
        _remove_left(read_address(folder))
        self._folder = tempfile.mkdtemp(prefix=_PREFIX)  # nobody else may enter it
        if len(self._folder) > _MAX_FOLDER_CHARS:
            Path(self._folder).rmdir()
            self._folder = tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp")
        path = f"{self._folder}/study.sock"
        self._lock = threading.Lock()  #: guards the two that follow
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._is_closed = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _servers.add(self)
        try:
            self._listener.bind(path)
            self._listener.listen(128)
            self._listener.settimeout(_LOOK_INTERVAL_S)
            self.address = Address(experiment_id, path, this_process())
            _write_private(self._file, msgspec.json.encode(self.address))
            self._thread = threading.Thread(target=self._accept, name="tunesmith-study", daemon=True)
            self._thread.start()
        except BaseException:
            self._listener.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def close(self) -> None:
        """End all connections and threads; what is being answered is answered first, within bounds. Idempotent."""
        with self._lock:
            if self._is_closed or os.getpid() != self._pid:
                return
            self._is_closed = True
            connections = dict(self._connections)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept` where the system is Linux
        self._join(self._thread)
        self._listener.close()
        for thread, connection in connections.items():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # the answer may still go out
            self._join(thread)
        if read_address(self._file.parent) == self.address:
            self._file.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _join(self, thread: threading.Thread) -> None:
        if thread is not threading.current_thread():
            thread.join(_JOIN_TIMEOUT_S)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                if self._is_closed:
                    return
                continue
            except OSError as error:  # out of descriptors: who asks waits until there is one
                if self._is_closed:
                    return
                _log.warning("The study cannot take in another process: %s.", error.strerror)
                threading.Event().wait(1.0)
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), name="tunesmith-study", daemon=True)
            with self._lock:
                if self._is_closed:
                    connection.close()
                    return
                self._connections[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """All questions of one connection. Closed without an answer, it sends its process to the next writer."""
        try:
            with connection:
                connection.settimeout(_HELLO_TIMEOUT_S)
                if not self._is_welcome(recv_frame(connection)):
                    return
                connection.settimeout(None)
                send_frame(connection, {"type": "welcome"})
                while (frame := recv_frame(connection)) is not None:
                    reply = self._reply(frame)
                    if reply is None:
                        return
                    send_frame(connection, reply)
        except (OSError, FrameError):
            pass  # it is gone, or speaks another language
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread(), None)

    def _is_welcome(self, hello: dict[str, Any] | None) -> bool:
        if hello is None or hello["type"] != "hello" or hello.get("experiment_id") != self._experiment_id:
            return False
        return not self._writer.is_closed

    def _reply(self, frame: dict[str, Any]) -> dict[str, Any] | None:
        """The frame to send; None where another process is to be asked."""
        try:
            return as_frame(self._writer.answer(parse_question(frame)))
        except TunesmithError as error:
            if is_to_be_asked_elsewhere(error):
                return None
            return as_frame(Refused(type(error).__name__, str(error)))
        except Exception as error:
            _log.exception("The study could not answer another process.")
            return as_frame(Refused("TunesmithError", f"{type(error).__name__} in the study's writer: {error}"))

    def _after_fork(self) -> None:
        """In a forked child: its copies would keep the others waiting for a writer that is gone."""
        self._is_closed = True
        self._listener.close()
        for connection in self._connections.values():
            connection.close()


def _write_private(path: Path, data: bytes) -> None:
    """The whole file at once, readable by this user only."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _remove_left(address: Address | None) -> None:
    """The socket of a writer that was killed; its folder holds nothing else."""
    is_left = address is not None and address.owner.is_alive() is False
    if address is not None and is_left and Path(address.path).parent.name.startswith(_PREFIX):
        with suppress(OSError):
            Path(address.path).unlink(missing_ok=True)
            Path(address.path).parent.rmdir()


_servers: weakref.WeakSet[StudyServer] = weakref.WeakSet()


def _forget_sockets() -> None:
    for server in list(_servers):
        server._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_sockets)
