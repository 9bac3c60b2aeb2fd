"""The channel between driver and agents: every message once and in order, and only from who knows the token."""

from __future__ import annotations

import selectors
import socket
import threading
import time

import pytest

pytest.importorskip("ray")

from tunesmith.executors.ray.agent_channel import AgentChannel
from tunesmith.executors.ray.hub import Hub
from tunesmith.executors.ray.stream import ChannelError, Frames, Stream, frame, greeting, proof, read_greeting


def body_of(data):
    (body,) = Frames().feed(data)
    return body


# ---------------------------------------------------------------- the books


def test_what_was_not_acknowledged_is_sent_again_and_taken_once():
    here, there = Stream(), Stream()
    frames = [here.pack(b"1"), here.pack(b"2"), here.pack(b"3")]
    assert there.take(body_of(frames[0])) == b"1"
    missed = here.missed(there.n_received)
    assert [there.take(body_of(data)) for data in missed] == [b"2", b"3"]
    assert [there.take(body_of(data)) for data in frames] == [None] * 3
    assert here.take(body_of(there.pack(b"x"))) == b"x"
    assert here.missed(0) == []


def test_a_gap_is_an_error():
    here, there = Stream(), Stream()
    here.pack(b"1")
    with pytest.raises(ChannelError, match="message 2 came after 0"):
        there.take(body_of(here.pack(b"2")))


def test_who_only_listens_acknowledges_now_and_then():
    here, there = Stream(), Stream()
    for _ in range(64):
        assert there.due_acknowledgement() is None
        there.take(body_of(here.pack(b"x")))
    assert here.take(body_of(there.due_acknowledgement())) is None
    assert here.missed(0) == []


def test_frames_are_cut_wherever_they_arrive():
    data = frame(b"one") + frame(b"") + frame(b"three")
    for size in (1, 2, 5, 100):
        frames, found = Frames(), []
        for i in range(0, len(data), size):
            found += frames.feed(data[i : i + size])
        assert found == [b"one", b"", b"three"]
    with pytest.raises(ChannelError, match="the limit is 8"):
        Frames().feed(frame(b"123456789"), limit=8)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02", b"nonsense"])
def test_what_cannot_be_read_is_an_error(data):
    with pytest.raises(ChannelError):
        Stream().take(data)
    with pytest.raises(ChannelError):
        read_greeting(b"\x81\x01\x02")


# ---------------------------------------------------------------- over sockets


class Ends:
    """A hub, and agents of it."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.heard, self.changes, self.told, self.gone = [], [], [], []
        self.hub = Hub(
            self.selector,
            "127.0.0.1",
            on_message=lambda agent, body: self.heard.append((agent, body)),
            on_change=lambda agent, is_there: self.changes.append((agent, is_there)),
        )
        self.channels = []

    def agent(self, agent_id, *, token=None, window_s=5.0):
        channel = AgentChannel(
            [("127.0.0.1", self.hub.port)],
            token=token or self.hub.token,
            agent_id=agent_id,
            window_s=window_s,
            on_message=self.told.append,
            on_gone=self.gone.append,
        )
        channel.start()
        self.channels.append(channel)
        return channel

    def until(self, is_so, timeout_s=10.0):
        end = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < end, (self.heard, self.changes, self.told, self.gone)
            for key, _ in self.selector.select(0.02):
                key.data()

    def cut(self):
        for peer in list(self.hub._peers.values()):
            peer._socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.hub.close()
        for channel in self.channels:
            channel.close()
        self.selector.close()


@pytest.fixture
def ends():
    found = Ends()
    yield found
    found.close()


def test_messages_go_both_ways_and_what_is_sent_before_the_connection_waits(ends):
    ends.hub.expect("a")
    ends.hub.send("a", b"before")
    agent = ends.agent("a")
    agent.send(b"early")
    ends.until(lambda: ends.heard and ends.told)
    ends.hub.send("a", b"x" * 3_000_000)
    ends.until(lambda: len(ends.told) == 2)
    assert (ends.heard, ends.told[0], len(ends.told[1])) == ([("a", b"early")], b"before", 3_000_000)
    assert ends.hub.is_connected("a") and not ends.hub.is_connected("b")


def test_nothing_is_lost_or_heard_twice_while_connections_break(ends):
    ends.hub.expect("a")
    agent, n = ends.agent("a", window_s=30.0), 400
    stop = threading.Event()

    def talk():
        for i in range(n):
            agent.send(b"%d" % i)
            time.sleep(0.005)
        stop.set()

    thread = threading.Thread(target=talk)
    thread.start()
    last_cut = time.monotonic()
    sent = 0
    while not stop.is_set() or len(ends.heard) < n or len(ends.told) < sent:
        if time.monotonic() - last_cut > 0.3 and not stop.is_set():
            ends.cut()
            last_cut = time.monotonic()
        if sent < n:
            ends.hub.send("a", b"%d" % sent)
            sent += 1
        for key, _ in ends.selector.select(0.005):
            key.data()
    thread.join()
    assert [body for _, body in ends.heard] == [b"%d" % i for i in range(n)]
    assert ends.told == [b"%d" % i for i in range(sent)]


def test_an_agent_that_was_given_up_is_refused_and_leaves(ends):
    ends.hub.expect("a")
    ends.agent("a")
    ends.until(lambda: ends.hub.is_connected("a"))
    ends.hub.forget("a")
    ends.until(lambda: ends.gone)
    assert ends.gone == ["its trials were given to other nodes"]


def test_an_agent_without_a_driver_leaves_when_its_window_is_over(ends):
    ends.hub.expect("a")
    agent = ends.agent("a", token="wrong", window_s=0.6)
    ends.until(lambda: ends.gone)
    assert "not to be reached for 0.6 s" in ends.gone[0]
    assert ends.changes == []
    agent.send(b"unheard")
    assert ends.heard == []


@pytest.mark.parametrize(
    "words",
    [("hello",), ("good", "day"), ("hello", "a", "nonce", "more")],
)
def test_who_does_not_greet_is_hung_up_on(ends, words):
    ends.hub.expect("a")
    with socket.create_connection(("127.0.0.1", ends.hub.port)) as stranger:
        stranger.sendall(greeting(*words))
        stranger.settimeout(0.01)
        ends.until(lambda: _is_hung_up(stranger))
    assert ends.changes == []


def test_who_does_not_know_the_token_is_hung_up_on_and_learns_nothing(ends):
    ends.hub.expect("a")
    ends.hub.send("a", b"secret")
    with socket.create_connection(("127.0.0.1", ends.hub.port)) as stranger:
        stranger.sendall(greeting("hello", "a", "nonce"))
        stranger.settimeout(0.01)
        answers = []

        def has_answer():
            try:
                answers.extend(Frames().feed(stranger.recv(4096)))
            except TimeoutError:
                return False
            return True

        ends.until(has_answer)
        word, nonce, _ = read_greeting(answers[0])
        assert word == "challenge"
        stranger.sendall(greeting("proof", proof("guess", "agent", str(nonce)), 0))
        ends.until(lambda: _is_hung_up(stranger))
    assert ends.changes == []


def test_a_greeting_that_never_ends_is_hung_up_on(ends):
    with socket.create_connection(("127.0.0.1", ends.hub.port)) as stranger:
        stranger.sendall((1 << 20).to_bytes(4, "big"))
        stranger.settimeout(0.01)
        ends.until(lambda: _is_hung_up(stranger))


def _is_hung_up(connection):
    try:
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
