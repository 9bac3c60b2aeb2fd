"""The agent's end of the channel: connects to the driver, again where it breaks, until it was gone for too long."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence

from tunesmith.executors.ray.stream import MAX_GREETING_BYTES, ChannelError, Frames, Stream, greeting, proof
from tunesmith.executors.ray.stream import read_greeting as read

_CONNECT_S, _RETRY_S = 5.0, 0.5
_STUCK_S = 20.0  #: a driver that takes nothing for so long counts as gone
_RECV_BYTES = 1 << 16


class AgentChannel:
    """Args:
    addresses: of the driver, tried in their order.
    agent_id: this agent's, of which there may be one after another on a node.
    window_s: how long the driver may be away.
    on_message: called with each message in a thread of the channel.
    on_gone: called once, with the reason, when the driver was away for longer or has given this agent up.
    """

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        *,
        token: str,
        agent_id: str,
        window_s: float,
        on_message: Callable[[bytes], None],
        on_gone: Callable[[str], None],
    ) -> None:
        self._addresses, self._token, self._agent_id = addresses, token, agent_id
        self._window_s, self._on_message, self._on_gone = window_s, on_message, on_gone
        self._stream = Stream()
        self._lock = threading.Lock()  #: of the stream and of writing
        self._socket: socket.socket | None = None  #: while it is connected
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="tunesmith-agent-channel", daemon=True)

    def start(self) -> None:
        """Connect, and read from then on."""
        self._thread.start()

    def send(self, body: bytes) -> None:
        """Send now, or when the driver is back."""
        with self._lock:
            self._write(self._stream.pack(body))

    def close(self) -> None:
        """No more; what was sent is on its way."""
        self._is_closed = True
        with self._lock:
            if self._socket is not None:
                self._shut(self._socket)
        self._thread.join(_CONNECT_S)

    def _write(self, data: bytes) -> None:
        """With the lock held. What cannot be written now is kept by the stream."""
        if self._socket is not None:
            try:
                self._socket.sendall(data)
            except OSError:
                self._shut(self._socket)
                self._socket = None

    def _run(self) -> None:
        last_seen = time.monotonic()
        while not self._is_closed:
            try:
                self._read(*self._connect())
            except _GivenUpError as error:
                self._on_gone(str(error))
                return
            except (OSError, ChannelError):
                pass
            else:
                last_seen = time.monotonic()
            if not self._is_closed and time.monotonic() - last_seen > self._window_s:
                self._on_gone(f"the driver was not to be reached for {self._window_s:g} s")
                return
            time.sleep(0.0 if self._is_closed else _RETRY_S)

    def _connect(self) -> tuple[socket.socket, Frames, list[bytes]]:
        """A connection on which both have shown that they know the token, and messages that came with the last word."""
        connection = self._dial()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            frames, waiting, nonce = Frames(), list[bytes](), secrets.token_hex(16)

            def next_words() -> list[str | int]:
                while not waiting:
                    data = connection.recv(_RECV_BYTES)
                    if not data:
                        raise ChannelError("the driver hung up")
                    waiting.extend(frames.feed(data))
                if len(waiting[0]) > MAX_GREETING_BYTES:
                    raise ChannelError("a greeting that is too long")
                return read(waiting.pop(0))

            connection.sendall(greeting("hello", self._agent_id, nonce))
            word, *rest = next_words()
            if word != "challenge" or len(rest) != 2 or rest[1] != proof(self._token, "driver", nonce):
                raise ChannelError("who answers is not the driver")
            with self._lock:
                n_received = self._stream.n_received
            connection.sendall(greeting("proof", proof(self._token, "agent", str(rest[0])), n_received))
            word, *rest = next_words()
            if word == "refused":
                raise _GivenUpError(str(rest[0]))
            if word != "welcome" or not isinstance(rest[0], int):
                raise ChannelError(f"the driver answered {word!r}")
            connection.settimeout(_STUCK_S)
            with self._lock:
                self._socket = connection
                for missed in self._stream.missed(rest[0]):
                    self._write(missed)
        except BaseException:
            connection.close()
            raise
        return connection, frames, waiting

    def _dial(self) -> socket.socket:
        for address in self._addresses[:-1]:
            try:
                return socket.create_connection(address, _CONNECT_S)
            except OSError:
                continue
        return socket.create_connection(self._addresses[-1], _CONNECT_S)

    def _read(self, connection: socket.socket, frames: Frames, waiting: list[bytes]) -> None:
        """Until the connection ends."""
        try:
            self._take(waiting)
            while True:
                try:
                    data = connection.recv(_RECV_BYTES)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                self._take(frames.feed(data))
        finally:
            with self._lock:
                self._socket = None
            connection.close()

    def _take(self, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            with self._lock:
                message = self._stream.take(body)
                due = self._stream.due_acknowledgement()
                if due is not None:
                    self._write(due)
            if message is not None:
                self._on_message(message)

    @staticmethod
    def _shut(connection: socket.socket) -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class _GivenUpError(Exception):
    """The driver wants nothing more to do with this agent."""
