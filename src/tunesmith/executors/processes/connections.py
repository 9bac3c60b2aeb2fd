"""The driver's private Unix socket: who is connected, and frames in and out without ever blocking the loop."""

from __future__ import annotations

import logging
import os
import selectors
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import msgspec

from tunesmith.trialside.wire import FrameBuffer, FrameError

_MAX_FOLDER_CHARS = 90  #: the kernel takes 107 bytes (macOS: 103) for a socket's whole path
_RECV_BYTES = 1 << 16
_log = logging.getLogger("tunesmith")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Connection:
    """One connected process. `owner` is the attempt it belongs to, once it has said so."""

    def __init__(self, server: Server, channel: socket.socket) -> None:
        self.owner: object | None = None
        self.is_trusted = False  #: it has shown the token
        self._server, self._socket = server, channel
        self._frames = FrameBuffer()
        self._unsent: list[memoryview] = []
        self.is_closed = False

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send now what the kernel takes, the rest when it can."""
        if self.is_closed:
            return
        if not self._unsent:
            try:
                n = self._socket.send(data)
            except BlockingIOError:
                n = 0
            except OSError:
                return  # the other side is gone; reading will say so
            if n == len(data):
                return
            self._server.selector.modify(self, selectors.EVENT_READ | selectors.EVENT_WRITE, self.on_ready)
            self._unsent.append(memoryview(data)[n:])
        else:
            self._unsent.append(memoryview(data))

    def on_ready(self) -> None:
        """Called by the loop when the socket is readable, or writable while something is unsent."""
        if self._unsent:
            self._flush()
        self.read()

    def _flush(self) -> None:
        while self._unsent:
            try:
                n = self._socket.send(self._unsent[0])
            except BlockingIOError:
                return
            except OSError:
                self._unsent.clear()
                break
            self._unsent[0] = self._unsent[0][n:]
            if not self._unsent[0]:
                self._unsent.pop(0)
        self._server.selector.modify(self, selectors.EVENT_READ, self.on_ready)

    def read(self, *, to_the_end: bool = False) -> None:
        """Take in what has arrived; with `to_the_end`, until the kernel has no more."""
        while not self.is_closed:
            try:
                data = self._socket.recv(_RECV_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            try:
                for body in self._frames.feed(data):
                    self._server.dispatch(self, _decode(body))
            except (FrameError, msgspec.DecodeError, KeyError, TypeError, ValueError):
                self.close()  # it does not speak our language: it cannot be understood any further
                return
            if not to_the_end:
                return

    def close(self) -> None:
        """Stop talking. Idempotent."""
        if not self.is_closed:
            self.is_closed = True
            self._server.selector.unregister(self)
            self._socket.close()
            self._server.on_closed(self)


class Server:
    """Listens in a folder that only this user can enter; takes connections of this user's processes only."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        token: str,
        on_frame: Callable[[Connection, dict[str, Any]], None],
        on_closed: Callable[[Connection], None],
    ) -> None:
        self.selector, self._token = selector, token
        self._on_frame, self._on_closed = on_frame, on_closed
        self._connections: set[Connection] = set()
        self._owned: dict[object, set[Connection]] = {}
        self._folder = tempfile.mkdtemp(prefix="tunesmith-")
        if len(self._folder) > _MAX_FOLDER_CHARS:
            os.rmdir(self._folder)
            self._folder = tempfile.mkdtemp(prefix="tunesmith-", dir="/tmp")
        self.path = os.path.join(self._folder, "driver.sock")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(1024)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._is_listening = True
        self._has_warned = False

    def _accept(self) -> None:
        while True:
            try:
                channel, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors: the client waits in the backlog until one is free
                self._stop_listening(error)
                return
            if _peer_uid(channel) not in (os.getuid(), None):
                channel.close()
                continue
            channel.setblocking(False)
            connection = Connection(self, channel)
            self._connections.add(connection)
            self.selector.register(connection, selectors.EVENT_READ, connection.on_ready)
            connection.read()  # a hello is often there already

    def _stop_listening(self, why: OSError) -> None:
        """Until a connection is closed: the listener would be ready all the time. Said once (F45)."""
        if self._is_listening:
            self._is_listening = False
            self.selector.unregister(self._listener)
        if not self._has_warned:
            import resource  # there is none on Windows

            self._has_warned = True
            _log.warning(
                "The driver cannot take in another trial: %s. Its limit is %d open files (`ulimit -n`). "
                "Fewer trials run at a time until there is room.",
                why.strerror,
                resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )

    def dispatch(self, connection: Connection, frame: dict[str, Any]) -> None:
        """Hand over a frame, if its sender has shown the token in its hello."""
        if not connection.is_trusted:
            if frame.get("type") != "hello" or frame.get("token") != self._token:
                connection.close()
                return
            connection.is_trusted = True
        owner = connection.owner
        self._on_frame(connection, frame)
        if connection.owner is not owner:
            self._owned.setdefault(connection.owner, set()).add(connection)

    def on_closed(self, connection: Connection) -> None:
        """A connection ended."""
        self._connections.discard(connection)
        if not self._is_listening:
            self._is_listening = True
            self.selector.register(self._listener, selectors.EVENT_READ, self._accept)
        if connection.owner in self._owned:
            self._owned[connection.owner].discard(connection)
        self._on_closed(connection)

    def drain(self, owner: object) -> None:
        """Read all that the owner's processes have sent so far."""
        for connection in list(self._owned.get(owner, ())):
            connection.read(to_the_end=True)

    def forget(self, owner: object) -> None:
        """Close the owner's connections."""
        for connection in list(self._owned.get(owner, ())):
            connection.close()
        self._owned.pop(owner, None)

    def close(self) -> None:
        """Close all connections and remove the socket."""
        for connection in list(self._connections):
            connection.close()
        if self._is_listening:
            self.selector.unregister(self._listener)
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _peer_uid(channel: socket.socket) -> int | None:
    if sys.platform != "linux":
        return None
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)
