"""The language between a trial and its driver: any program that speaks it can be a trial.

A trial connects to the Unix stream socket named in `TUNESMITH_SOCKET`. A frame is a length (4 bytes, big-endian,
unsigned, at most 2 MiB) and so many bytes of UTF-8 JSON: one object with a `type`. Numbers that JSON lacks stand in
`metrics` as the strings "NaN", "Infinity" and "-Infinity".

Trial to driver:
    {"type": "hello", "role": "trial", "trial": 17, "attempt": 1, "pid": 4242, "token": "..."}
        First, once a connection; `trial`, `attempt` and `token` are TUNESMITH_TRIAL, _ATTEMPT and _TOKEN. Answered
        by `welcome`, or by `refused` where the attempt is over or unknown. Each process of a trial has a connection
        of its own, and may close it and open another at any time: the end of a connection is not the end of a trial.
    {"type": "report", "step": 3, "metrics": {"loss": 0.5, "acc": "NaN"}, "time_total_s": 1.5,
     "checkpoint": "trials/00017/checkpoint_000003" or null, "is_last": false}
        Answered, after the result is committed, by `answer` or `refused`. `checkpoint` is relative to the
        experiment's folder, complete and synced. Steps grow within an attempt; a repeat with equal metrics is
        harmless, and one that brings a checkpoint and `is_last` adds the checkpoint of a trial told to stop.
    {"type": "ended", "outcome": "returned" | "stopped" | "raised" | "invalid" | "exited", "error": "Traceback ..." or
     null, "is_childless": false}
        The function returned, ended because it was told to, raised, refused its config, or called exit. The last word
        of the trial's main process; not answered. `is_childless`: no process is left below it.
    {"type": "imported", "modules": ["numpy", ...]}
        Optional: what the function imported by its first report. Not answered.

Driver to trial:
    {"type": "welcome", "experiment_id": ..., "experiment_name": ..., "trial_index": 17, "trial_id": ...,
     "trial_name": ..., "attempt": 1, "config": {...}, "folder": "/abs", "trial_dir": "/abs", "resources":
     {"cpu": 2.0, "gpu": 0.5}, "start_step": 0, "start_time_s": 0.0, "start_checkpoint": "/abs" or null, "seed": 7}
        `config_pickle` (base64, for Python only) stands beside a null `config` that JSON cannot hold whole.
        In `config` a number that JSON lacks is {"$number": "NaN"}, and an object that only Python can hold
        is {"$object": "its label"}.
    {"type": "answer", "verdict": "continue" | "stop" | "complete" | "pause" | "clone", "reason": "..." or null,
     "step": 3, "is_interrupted": false}
        All but "continue" end the attempt: clean up and exit. `is_interrupted` (missing: false): the trial is not over,
        it goes on from its newest checkpoint when its experiment does; a checkpoint saved now saves the steps since.
    {"type": "refused", "error": "..."}
        The report contradicts an earlier one and was not stored; or the hello was not accepted.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Mapping
from typing import Any

from tunesmith.errors import TunesmithError

MAX_FRAME_BYTES = 2 << 20

_HEADER_BYTES = 4
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().decode


class FrameError(TunesmithError, ValueError):
    """The other side of a connection does not speak this language; the connection is of no use any more."""


def encode_frame(frame: Mapping[str, Any]) -> bytes:
    """The frame as bytes, length first.

    Raises: FrameError if it exceeds 2 MiB; ValueError if it holds a number that JSON lacks.
    """
    body = _encode(frame).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(
            f"A frame of type {frame.get('type')!r} has {len(body):,} bytes; the limit is {MAX_FRAME_BYTES:,}."
        )
    return len(body).to_bytes(_HEADER_BYTES, "big") + body


def decode_frame(body: bytes) -> dict[str, Any]:
    """The frame in the bytes after the length.

    Raises: FrameError if they are not a JSON object with a `type`.
    """
    try:
        frame = _decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise FrameError(f"A frame is not JSON: {error}. It begins with {body[:40]!r}.") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise FrameError(f"A frame is not an object with a type. It begins with {body[:40]!r}.")
    return frame


def continue_frame(step: int) -> bytes:
    """The `answer` that most reports get, as `encode_frame` would make it: it is sent once a report."""
    body = b'{"type":"answer","verdict":"continue","reason":null,"step":%d}' % step
    return len(body).to_bytes(_HEADER_BYTES, "big") + body


def send_frame(connection: socket.socket, frame: Mapping[str, Any]) -> None:
    """Send one frame, all of it."""
    connection.sendall(encode_frame(frame))


def recv_frame(connection: socket.socket) -> dict[str, Any] | None:
    """Wait for the next frame; None where the other side closed the connection between two frames.

    Raises: FrameError at nonsense, or at an end in the middle of a frame.
    """
    header = recv_exactly(connection, _HEADER_BYTES)
    if not header:
        return None
    body = recv_exactly(connection, _body_length(header))
    if not body:
        raise FrameError("The connection ended inside a frame.")
    return decode_frame(body)


class FrameBuffer:
    """Cuts a stream of bytes into frames, for a reader that must not block."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the frames now complete, without their lengths, for `decode_frame`.

        Raises: FrameError at a length that no frame may have; the buffer is then of no use.
        """
        self._bytes += data
        frames = []
        start = 0
        while len(self._bytes) - start >= _HEADER_BYTES:
            end = start + _HEADER_BYTES + _body_length(self._bytes[start : start + _HEADER_BYTES])
            if len(self._bytes) < end:
                break
            frames.append(bytes(self._bytes[start + _HEADER_BYTES : end]))
            start = end
        del self._bytes[:start]
        return frames


def encode_numbers(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Metrics as JSON can hold them."""
    return {name: value if math.isfinite(value) else _number_word(value) for name, value in metrics.items()}


def decode_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as they were before `encode_numbers`.

    Raises: FrameError if a value is not a number or one of the three words.
    """
    return {name: _decoded_number(name, value) for name, value in metrics.items()}


def encode_config(value: Any) -> Any:
    """A config as JSON can hold it. Objects lose all but a label: they travel with the code."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$number": _number_word(value)}
    if isinstance(value, Mapping):
        return {str(key): encode_config(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encode_config(inner) for inner in value]
    if type(value).__module__ == "numpy" and getattr(value, "size", None) == 1:
        return encode_config(value.item())
    return {"$object": getattr(value, "__qualname__", None) or repr(value)[:200]}


def decode_config(value: Any) -> Any:
    """What `encode_config` was given, where JSON could hold it; the label of an object as a string."""
    if isinstance(value, list):
        return [decode_config(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$number"}:
        return _decoded_number("config", value["$number"])
    if value.keys() == {"$object"}:
        return value["$object"]
    return {key: decode_config(inner) for key, inner in value.items()}


def _number_word(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _decoded_number(name: str, value: Any) -> float:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return value
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    raise FrameError(f'Metric {name!r} is {value!r:.200}. Send a number, "NaN", "Infinity" or "-Infinity".')


def _body_length(header: bytes | bytearray) -> int:
    length = int.from_bytes(header, "big")
    if not 0 < length <= MAX_FRAME_BYTES:
        raise FrameError(f"A frame claims to have {length:,} bytes. Frames have 1 to {MAX_FRAME_BYTES:,}.")
    return length


def recv_exactly(connection: socket.socket, n_bytes: int) -> bytes:
    """So many bytes, or none at all where the stream ends before the first."""
    data = bytearray()
    while len(data) < n_bytes:
        chunk = connection.recv(n_bytes - len(data))
        if not chunk:
            if data:
                raise FrameError("The connection ended inside a frame.")
            return b""
        data += chunk
    return bytes(data)
