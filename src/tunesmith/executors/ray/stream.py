"""Messages that arrive once and in order, over as many connections as it takes: numbered, kept until acknowledged.

A frame on the wire is a length (4 bytes, big-endian) and a MessagePack array. Once two ends know each other (see
`handshake`) it is `[number, acknowledged, body]`; the number 0 carries no message, only what was acknowledged.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque

import msgspec

from tunesmith.errors import TunesmithError

MAX_FRAME_BYTES = 64 << 20
MAX_GREETING_BYTES = 4096
_HEADER_BYTES = 4
_ACK_EVERY = 64  #: messages, where none goes the other way that could carry it
_encode = msgspec.msgpack.Encoder().encode
_decode_data = msgspec.msgpack.Decoder(tuple[int, int, bytes]).decode
_decode_greeting = msgspec.msgpack.Decoder(list[str | int]).decode


class ChannelError(TunesmithError):
    """The other side does not speak this language, or is not who it says."""


def frame(body: bytes) -> bytes:
    """The body with its length."""
    return len(body).to_bytes(_HEADER_BYTES, "big") + body


def greeting(*words: str | int) -> bytes:
    """A frame of the handshake."""
    return frame(_encode(words))


def read_greeting(body: bytes) -> list[str | int]:
    """Raises: ChannelError if it is none."""
    try:
        return _decode_greeting(body)
    except msgspec.DecodeError as error:
        raise ChannelError(f"a greeting that cannot be read: {error}") from error


def proof(token: str, role: str, nonce: str) -> str:
    """That one knows the token, without saying it: each side answers the other's random number."""
    return hmac.new(token.encode(), f"{role}:{nonce}".encode(), hashlib.sha256).hexdigest()


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, data: bytes, *, limit: int = MAX_FRAME_BYTES) -> list[bytes]:
        """The bodies that are complete. Raises: ChannelError for one above the limit."""
        self._unread += data
        found, start = [], 0
        while len(self._unread) - start >= _HEADER_BYTES:
            size = int.from_bytes(self._unread[start : start + _HEADER_BYTES], "big")
            if size > limit:
                raise ChannelError(f"a frame of {size:,} bytes; the limit is {limit:,}")
            end = start + _HEADER_BYTES + size
            if len(self._unread) < end:
                break
            found.append(bytes(self._unread[start + _HEADER_BYTES : end]))
            start = end
        del self._unread[:start]
        return found


class Stream:
    """One side's books: what it sent and the other has not acknowledged, and the last it received."""

    def __init__(self) -> None:
        self._n_sent = 0
        self.n_received = 0
        self._n_told = 0  #: the last that the other side was told of as received
        self._unacknowledged: deque[tuple[int, bytes]] = deque()

    def pack(self, body: bytes) -> bytes:
        """The frame of a new message."""
        self._n_sent += 1
        self._unacknowledged.append((self._n_sent, body))
        return self._frame(self._n_sent, body)

    def take(self, data: bytes) -> bytes | None:
        """The message in a frame's body; None where it was here before, or the frame has none.

        Raises: ChannelError if it is no such frame, or one is missing before it.
        """
        try:
            number, acknowledged, body = _decode_data(data)
        except msgspec.DecodeError as error:
            raise ChannelError(f"a message that cannot be read: {error}") from error
        while self._unacknowledged and self._unacknowledged[0][0] <= acknowledged:
            self._unacknowledged.popleft()
        if number <= self.n_received:
            return None
        if number != self.n_received + 1:
            raise ChannelError(f"message {number} came after {self.n_received}")
        self.n_received = number
        return body

    def due_acknowledgement(self) -> bytes | None:
        """What tells the other side how far it was heard, once it should know."""
        return self._frame(0, b"") if self.n_received - self._n_told >= _ACK_EVERY else None

    def missed(self, n_heard: int) -> list[bytes]:
        """On a new connection: the frames of all that the other side has not heard. Args: n_heard: the last it has."""
        while self._unacknowledged and self._unacknowledged[0][0] <= n_heard:
            self._unacknowledged.popleft()
        return [self._frame(number, body) for number, body in self._unacknowledged]

    def _frame(self, number: int, body: bytes) -> bytes:
        self._n_told = self.n_received
        return frame(_encode((number, self.n_received, body)))
