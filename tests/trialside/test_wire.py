from __future__ import annotations

import json
import math
import socket
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.trialside.wire import (
    MAX_FRAME_BYTES,
    FrameBuffer,
    FrameError,
    continue_frame,
    decode_config,
    decode_frame,
    decode_numbers,
    encode_config,
    encode_frame,
    encode_numbers,
    recv_frame,
    send_frame,
)


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text())), st.lists(st.integers(1, 50)))
def test_frames_survive_any_cutting_of_the_stream(contents: list[dict[str, Any]], cuts: list[int]) -> None:
    frames = [{**content, "type": "x"} for content in contents]
    stream = b"".join(encode_frame(frame) for frame in frames)
    buffer, received = FrameBuffer(), []
    for size in [*cuts, len(stream) + 1]:
        received += buffer.feed(stream[:size])
        stream = stream[size:]
    assert [decode_frame(body) for body in received] == frames


def test_a_frame_is_a_big_endian_length_and_json() -> None:
    assert encode_frame({"type": "returned", "note": None}) == b'\x00\x00\x00\x1f{"type":"returned","note":null}'


def test_frames_cross_a_socket_and_its_end_is_none() -> None:
    left, right = socket.socketpair()
    with left, right:
        send_frame(left, {"type": "a", "text": "ü\ud800"})
        send_frame(left, {"type": "b"})
        left.close()
        assert recv_frame(right) == {"type": "a", "text": "ü\ud800"}
        assert recv_frame(right) == {"type": "b"}
        assert recv_frame(right) is None


@pytest.mark.parametrize("n_bytes", [2, 4, 6])
def test_an_end_inside_a_frame_is_an_error(n_bytes: int) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(encode_frame({"type": "a"})[:n_bytes])
        left.close()
        with pytest.raises(FrameError, match="ended inside a frame"):
            recv_frame(right)


@pytest.mark.parametrize("header", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"GET "])
def test_a_length_that_no_frame_may_have_is_refused_at_once(header: bytes) -> None:
    with pytest.raises(FrameError, match=r"claims to have"):
        FrameBuffer().feed(header)


@pytest.mark.parametrize("body", [b"\xff", b"[]", b"{}", b'{"type": 3}', b"{", b"[" * 100_000])
def test_a_body_that_is_no_typed_object_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(body)


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match="limit"):
        encode_frame({"type": "failed", "error": "x" * MAX_FRAME_BYTES})


@given(st.dictionaries(st.text(), st.floats() | st.integers(-(2**63), 2**63 - 1)))
def test_numbers_survive_json_exactly(metrics: dict[str, float]) -> None:
    decoded = decode_numbers(json.loads(json.dumps(encode_numbers(metrics), allow_nan=False)))
    assert repr(decoded) == repr(metrics)


@pytest.mark.parametrize("value", ["nan", "1.0", None, [], True, {"a": 1}])
def test_what_is_no_number_is_not_decoded(value: Any) -> None:
    with pytest.raises(FrameError, match="Metric 'm' is"):
        decode_numbers({"m": value})


def test_a_config_survives_json_but_for_its_objects() -> None:
    config = {"C": math.inf, "n": np.int64(3), "layers": [1, {"act": dict}], "name": "NaN", "on": True, "x": None}
    encoded = json.loads(json.dumps(encode_config(config), allow_nan=False))
    expected = {"C": math.inf, "n": 3, "layers": [1, {"act": "dict"}], "name": "NaN", "on": True, "x": None}
    assert decode_config(encoded) == expected


@pytest.mark.parametrize("step", [1, 27, 10**9])
def test_the_continue_frame_is_what_encode_frame_makes(step: int) -> None:
    frame = {"type": "answer", "verdict": "continue", "reason": None, "step": step}
    assert continue_frame(step) == encode_frame(frame)
