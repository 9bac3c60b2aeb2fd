"""The driver's end of the channels to its agents: one listening socket, and each agent's messages in order."""

from __future__ import annotations

import hmac
import logging
import secrets
import selectors
import socket
from collections.abc import Callable

from tunesmith.executors.ray.stream import MAX_FRAME_BYTES, MAX_GREETING_BYTES, ChannelError, Frames, Stream, greeting
from tunesmith.executors.ray.stream import proof as proof_of
from tunesmith.executors.ray.stream import read_greeting as read

_log = logging.getLogger("tunesmith")
_RECV_BYTES = 1 << 18
_MAX_STRANGERS = 1024


class Hub:
    """Args:
    on_message: called with an agent's id and its message.
    on_change: called with an agent's id and whether it is connected now.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        host: str,
        *,
        on_message: Callable[[str, bytes], None],
        on_change: Callable[[str, bool], None],
    ) -> None:
        self.token = secrets.token_hex(32)
        self._selector, self._on_message, self._on_change = selector, on_message, on_change
        self._streams: dict[str, Stream] = {}
        self._peers: dict[str, _Peer] = {}  #: of those that are connected
        self._strangers: dict[_Peer, None] = {}  #: that have not shown who they are
        self._listener = socket.create_server((host, 0), backlog=256)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self.port: int = self._listener.getsockname()[1]

    def expect(self, agent_id: str) -> None:
        """An agent of this id will come; what is sent to it waits until then."""
        self._streams[agent_id] = Stream()

    def forget(self, agent_id: str) -> None:
        """Hear nothing more of it; if it calls again it is refused, and leaves (F90)."""
        self._streams.pop(agent_id, None)
        peer = self._peers.pop(agent_id, None)
        if peer is not None:
            peer.close()

    def send(self, agent_id: str, body: bytes) -> None:
        """Send now, or when it is connected."""
        stream = self._streams.get(agent_id)
        if stream is not None:
            data = stream.pack(body)
            peer = self._peers.get(agent_id)
            if peer is not None:
                peer.write(data)

    def is_connected(self, agent_id: str) -> bool:
        """Whether it is."""
        return agent_id in self._peers

    def close(self) -> None:
        """All connections, and the socket."""
        for peer in [*self._peers.values(), *self._strangers]:
            peer.close()
        self._peers.clear()
        self._strangers.clear()
        self._selector.unregister(self._listener)
        self._listener.close()

    # ------------------------------------------------------------ connections

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if len(self._strangers) >= _MAX_STRANGERS:
            next(iter(self._strangers)).drop()
        self._strangers[_Peer(self, connection)] = None

    def greet(self, peer: _Peer, body: bytes) -> None:
        """A frame of one that has not shown who it is. Raises: ChannelError."""
        word, *rest = read(body)
        if peer.agent_id is None:
            if word != "hello" or len(rest) != 2:
                raise ChannelError("no hello")
            peer.agent_id = str(rest[0])
            peer.write(greeting("challenge", peer.nonce, proof_of(self.token, "driver", str(rest[1]))))
            return
        is_known = word == "proof" and len(rest) == 2 and isinstance(rest[1], int)
        if not is_known or not hmac.compare_digest(str(rest[0]), proof_of(self.token, "agent", peer.nonce)):
            raise ChannelError("it does not know the token")
        stream = self._streams.get(peer.agent_id)
        if stream is None:
            peer.write(greeting("refused", "its trials were given to other nodes"))
            raise ChannelError("it was given up")
        before = self._peers.get(peer.agent_id)
        if before is not None:
            before.close()
        del self._strangers[peer]
        self._peers[peer.agent_id] = peer
        peer.is_open = True
        peer.write(greeting("welcome", stream.n_received))
        for data in stream.missed(int(rest[1])):
            peer.write(data)
        self._on_change(peer.agent_id, True)

    def take(self, peer: _Peer, body: bytes) -> None:
        """A frame of a known one. Raises: ChannelError."""
        assert peer.agent_id is not None
        stream = self._streams.get(peer.agent_id)
        if stream is None:
            return
        message = stream.take(body)
        due = stream.due_acknowledgement()
        if due is not None:
            peer.write(due)
        if message is not None:
            self._on_message(peer.agent_id, message)

    def leave(self, peer: _Peer) -> None:
        """A connection has ended."""
        self._strangers.pop(peer, None)
        if peer.agent_id is not None and self._peers.get(peer.agent_id) is peer:
            del self._peers[peer.agent_id]
            self._on_change(peer.agent_id, False)

    def watch(self, peer: _Peer, *, writes: bool) -> None:
        """Have the selector look at a connection."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writes else 0)
        try:
            self._selector.modify(peer, events, peer.on_ready)
        except KeyError:
            self._selector.register(peer, events, peer.on_ready)

    def unwatch(self, peer: _Peer) -> None:
        """No longer."""
        self._selector.unregister(peer)


class _Peer:
    """One connection."""

    def __init__(self, hub: Hub, connection: socket.socket) -> None:
        self._hub, self._socket, self._frames = hub, connection, Frames()
        self._unsent = bytearray()
        self.nonce = secrets.token_hex(16)
        self.agent_id: str | None = None  #: as it says
        self.is_open = False  #: and has shown
        self._is_closed = False
        hub.watch(self, writes=False)

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def write(self, data: bytes) -> None:
        """Now what the kernel takes, the rest when it can."""
        if self._is_closed:
            return
        n = 0
        if not self._unsent:
            try:
                n = self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                return  # reading will say so
            if n == len(data):
                return
            self._hub.watch(self, writes=True)
        self._unsent += data[n:]

    def on_ready(self) -> None:
        """The connection can be read, or written."""
        if self._is_closed:
            return
        if self._unsent:
            try:
                del self._unsent[: self._socket.send(self._unsent)]
            except BlockingIOError:
                pass
            except OSError:
                self.drop()
                return
            if not self._unsent:
                self._hub.watch(self, writes=False)
        try:
            data = self._socket.recv(_RECV_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop()
            return
        try:
            for body in self._frames.feed(data, limit=MAX_FRAME_BYTES if self.is_open else MAX_GREETING_BYTES):
                if self._is_closed:
                    return
                (self._hub.take if self.is_open else self._hub.greet)(self, body)
        except ChannelError as error:
            _log.debug("A connection was closed: %s.", error)
            self.drop()

    def drop(self) -> None:
        """End it, and say so."""
        if not self._is_closed:
            self.close()
            self._hub.leave(self)

    def close(self) -> None:
        """End it."""
        if not self._is_closed:
            self._is_closed = True
            self._hub.unwatch(self)
            self._socket.close()
