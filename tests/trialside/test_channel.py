from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import ReportError
from tunesmith.trialside import (
    Answer,
    DriverLost,
    ReportDecision,
    Session,
    SocketChannel,
    TrialFacts,
    TrialStopped,
    attach_from_environment,
    get_session,
    report,
    session_environment,
    set_session,
)
from tunesmith.trialside.wire import encode_config


@pytest.fixture
def channel(socket_driver: Any) -> Iterator[SocketChannel]:
    channel = SocketChannel(socket_driver.path, 17, 1, "secret")
    yield channel
    channel.close()


def send(channel: SocketChannel, step: int, **metrics: float) -> Answer:
    return channel.report(step, metrics, time_total_s=1.5, checkpoint=None, is_last=False)


def test_hello_says_who_calls_and_welcome_says_what_the_trial_is(socket_driver: Any, channel: SocketChannel) -> None:
    hello = {"type": "hello", "role": "trial", "trial": 17, "attempt": 1, "token": "secret", "pid": os.getpid()}
    assert socket_driver.received == [hello]
    assert TrialFacts.from_welcome(channel.welcome) == socket_driver.facts


def test_a_report_travels_whole_and_its_answer_comes_back(socket_driver: Any, channel: SocketChannel) -> None:
    socket_driver.answers[3] = {"type": "answer", "verdict": "stop", "reason": "rank 7 of 9", "step": 3}
    metrics = {"loss": 0.5, "acc": math.nan, "n": 2**62}
    answer = channel.report(3, metrics, time_total_s=1.5, checkpoint="trials/00017/checkpoint_000003", is_last=True)
    assert answer == Answer("stop", "rank 7 of 9", 3)
    assert socket_driver.of("report") == [
        {
            "type": "report",
            "step": 3,
            "metrics": {"loss": 0.5, "acc": "NaN", "n": 2**62},
            "time_total_s": 1.5,
            "checkpoint": "trials/00017/checkpoint_000003",
            "is_last": True,
        }
    ]


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_a_stop_says_whether_the_trial_goes_on_some_other_time(
    socket_driver: Any, channel: SocketChannel, is_interrupted: bool
) -> None:
    answer = {"type": "answer", "verdict": "stop", "reason": "interrupted", "step": 1, "is_interrupted": is_interrupted}
    socket_driver.answers[1] = answer
    decision = Session(socket_driver.facts, channel).report({"loss": 1.0}, on_stop="return")
    assert decision == ReportDecision(True, "interrupted", "stop", is_interrupted)


def test_a_refused_report_raises_and_the_next_is_answered(socket_driver: Any, channel: SocketChannel) -> None:
    socket_driver.answers[1] = {"type": "refused", "error": "Step 1 was reported before."}
    with pytest.raises(ReportError, match=r"Step 1 was reported before\."):
        send(channel, 1, loss=1.0)
    assert send(channel, 2, loss=1.0).verdict == "continue"


def test_a_driver_that_hangs_up_is_lost_for_good_and_except_exception_does_not_hide_it(
    socket_driver: Any, channel: SocketChannel
) -> None:
    socket_driver.answers[1] = None
    assert not issubclass(DriverLost, Exception)
    with pytest.raises(DriverLost, match="closed the connection"):
        send(channel, 1)
    with pytest.raises(DriverLost):
        send(channel, 2)
    assert len(socket_driver.of("hello")) == 1


def test_no_driver_and_a_refused_hello_are_said(socket_driver: Any, tmp_path: Path) -> None:
    socket_driver.refuses_hello = "Attempt 1 of trial 17 is over."
    with pytest.raises(DriverLost, match="Attempt 1 of trial 17 is over"):
        SocketChannel(socket_driver.path, 17, 1, "secret")
    with pytest.raises(DriverLost, match="No driver answers at /nowhere"):
        SocketChannel("/nowhere", 17, 1, "secret")


def test_the_end_is_told(socket_driver: Any, channel: SocketChannel) -> None:
    channel.ended("invalid", "x" * 500_000 + "\udc80 the end", is_childless=True)
    (failed,) = socket_driver.wait_for("ended")
    assert failed["outcome"] == "invalid" and failed["is_childless"] is True
    assert failed["error"].endswith(r"\udc80 the end") and "characters left out" in failed["error"]
    assert len(failed["error"]) < 201_000


def test_after_an_interrupted_wait_no_stale_answer_is_taken(socket_driver: Any, channel: SocketChannel) -> None:
    arrived = threading.Event()

    class SlowAnswers(dict):  # type: ignore[type-arg]
        def get(self, step: int, default: Any = None) -> Any:
            if step == 1:
                arrived.set()
                release.wait(30)
            return super().get(step, default)

    release = threading.Event()
    socket_driver.answers = SlowAnswers({2: {"type": "answer", "verdict": "stop", "reason": "two", "step": 2}})

    def interrupt() -> None:
        arrived.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        send(channel, 1)
    thread.join()
    answer = send(channel, 2)
    release.set()
    assert answer == Answer("stop", "two", 2)
    assert len(socket_driver.of("hello")) == 2


def in_child(body: Any) -> int:
    """The exit status of `body()` in a forked child: 0 if it returned True."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if body() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.processes
def test_a_forked_child_reports_over_a_connection_of_its_own(socket_driver: Any, channel: SocketChannel) -> None:
    session = Session(socket_driver.facts, channel)
    set_session(session)
    report(loss=1.0)
    assert in_child(lambda: not report(loss=0.5).should_stop) == 0
    first, second = socket_driver.wait_for("hello", 2)
    assert first["pid"] == os.getpid() != second["pid"]
    assert [frame["step"] for frame in socket_driver.of("report")] == [1, 2]
    report(loss=0.4, step=3)
    assert [frame["step"] for frame in socket_driver.of("report")] == [1, 2, 3]


@pytest.mark.processes
def test_a_child_forked_while_a_thread_reports_does_not_wait_for_its_lock(
    socket_driver: Any, channel: SocketChannel
) -> None:
    session = Session(socket_driver.facts, channel)
    set_session(session)
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with session._lock:
            is_held.set()
            is_over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(30)
    status = in_child(lambda: signal.alarm(10) == 0 and not report(loss=0.5).should_stop)
    is_over.set()
    thread.join()
    assert status == 0


@pytest.mark.processes
def test_the_parents_end_is_seen_although_a_forked_child_lives(socket_driver: Any) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(write)
            channel = SocketChannel(socket_driver.path, 17, 1, "secret")
            if os.fork() == 0:
                os.read(read, 1)  # until the test closes its end
                channel.close()
        finally:
            os._exit(0)
    os.close(read)
    os.waitpid(pid, 0)
    assert socket_driver.wait_for("end") == [{"type": "end"}]
    os.close(write)


@pytest.mark.processes
def test_a_process_started_anew_finds_the_session_in_its_environment(socket_driver: Any) -> None:
    script = (
        "import tunesmith.trialside as t\n"
        "assert t.is_session_enabled() and t.get_trial_index() == 17\n"
        "assert t.get_session().facts.config == {'lr': 0.1}\n"
        "assert not t.report(loss=0.5).should_stop\n"
    )
    environment = {**os.environ, **session_environment(socket_driver.path, 17, 1, "secret")}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)
    assert socket_driver.of("report")[0]["metrics"] == {"loss": 0.5}


def test_attaching_twice_gives_one_session(socket_driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in session_environment(socket_driver.path, 17, 1, "secret").items():
        monkeypatch.setenv(name, value)
    session = get_session()
    assert session is not None and attach_from_environment() is session is get_session()
    assert session.facts == socket_driver.facts
    assert len(socket_driver.of("hello")) == 1


def test_a_stop_over_the_socket_ends_the_trial(socket_driver: Any, channel: SocketChannel) -> None:
    socket_driver.answers[1] = {"type": "answer", "verdict": "pause", "reason": None, "step": 1}
    set_session(Session(socket_driver.facts, channel))
    with pytest.raises(TrialStopped) as caught:
        report(loss=1.0)
    assert (caught.value.verdict, caught.value.reason) == ("pause", "paused")


def test_facts_survive_the_welcome(tmp_path: Path, socket_driver: Any) -> None:
    facts = TrialFacts(
        **{
            **{name: getattr(socket_driver.facts, name) for name in TrialFacts.__dataclass_fields__},
            "config": {"C": math.inf},
            "start_checkpoint": tmp_path / "c",
            "start_step": 4,
            "start_time_s": 2.5,
        }
    )
    welcome = facts.as_welcome()
    assert welcome["config"] == encode_config({"C": math.inf})
    assert TrialFacts.from_welcome({**welcome, "news": 1}) == facts
