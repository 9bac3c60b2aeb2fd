"""Two drivers to test against: one in the process, and one behind a real Unix socket."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import ReportError
from tunesmith.trialside import Answer, Session, TrialFacts, set_session
from tunesmith.trialside import functions as trial_functions
from tunesmith.trialside.wire import recv_frame, send_frame


class InProcessDriver:
    """A channel whose driver is this object: keeps what is reported, answers as it was told to."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.verdicts: dict[int, tuple[str, str | None]] = {}  #: by step; "continue" for the others
        self.refusals: dict[int, str] = {}
        self.interrupts: set[int] = set()  #: steps whose stop is no end of the trial
        self.on_report: Callable[[], None] = lambda: None

    def report(
        self, step: int, metrics: Mapping[str, float], *, time_total_s: float, checkpoint: str | None, is_last: bool
    ) -> Answer:
        self.on_report()
        if step in self.refusals:
            raise ReportError(self.refusals[step])
        self.reports.append(
            {
                "step": step,
                "metrics": dict(metrics),
                "time_total_s": time_total_s,
                "checkpoint": checkpoint,
                "is_last": is_last,
            }
        )
        return Answer(*self.verdicts.get(step, ("continue", None)), step, step in self.interrupts)

    def ended(self, outcome: str, error: str | None = None, *, is_childless: bool = False) -> None: ...
    def close(self) -> None: ...

    @property
    def steps(self) -> list[int]:
        return [report["step"] for report in self.reports]

    @property
    def metrics(self) -> list[dict[str, float]]:
        return [report["metrics"] for report in self.reports]

    @property
    def checkpoints(self) -> list[str | None]:
        return [report["checkpoint"] for report in self.reports]


class SocketDriver:
    """A driver behind a real socket: a thread for each connection; knows every frame it was sent."""

    def __init__(self, facts: TrialFacts, path: str) -> None:
        self.facts = facts
        self.path = path
        self.received: list[dict[str, Any]] = []  #: in order of arrival, over all connections
        self.answers: dict[int, dict[str, Any] | None] = {}  #: by step; None: hang up instead of answering
        self.refuses_hello: str | None = None
        self._changed = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while True:
                try:
                    frame = recv_frame(connection)
                except OSError:
                    frame = None
                with self._changed:
                    self.received.append(frame or {"type": "end"})
                    self._changed.notify_all()
                if frame is None:
                    return
                answer = self._answer(frame)
                if answer is None:
                    return
                if answer:
                    try:
                        send_frame(connection, answer)
                    except OSError:
                        return  # the trial hung up

    def _answer(self, frame: dict[str, Any]) -> dict[str, Any] | None:
        if frame["type"] == "hello":
            return {"type": "refused", "error": self.refuses_hello} if self.refuses_hello else self.facts.as_welcome()
        if frame["type"] == "report":
            step = frame["step"]
            return self.answers.get(step, {"type": "answer", "verdict": "continue", "reason": None, "step": step})
        return {}

    def wait_for(self, kind: str, n: int = 1) -> list[dict[str, Any]]:
        """The frames of this type, as soon as there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= n, timeout=30), self.received
            return self.of(kind)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.received if frame["type"] == kind]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def make_facts(folder: Path, **changes: Any) -> TrialFacts:
    facts: dict[str, Any] = {
        "experiment_id": "e1",
        "experiment_name": "demo",
        "trial_index": 17,
        "trial_id": "abcde_00017",
        "trial_name": "train_abcde_00017",
        "attempt": 1,
        "config": {"lr": 0.1},
        "folder": folder,
        "trial_dir": folder / "trials" / "00017",
        "resources": {"cpu": 2.0, "gpu": 0.5},
    }
    return TrialFacts(**{**facts, **changes})


@pytest.fixture(autouse=True)
def _no_session_left() -> Iterator[None]:
    set_session(None)
    trial_functions._warned.clear()
    yield
    set_session(None)


@pytest.fixture
def driver() -> InProcessDriver:
    return InProcessDriver()


@pytest.fixture
def start(tmp_path: Path, driver: InProcessDriver) -> Callable[..., Session]:
    """Makes a session of the in-process driver and sets it; keywords change its facts."""

    def make(clock: Any = None, **changes: Any) -> Session:
        session = Session(make_facts(tmp_path, **changes), driver, clock=clock)
        set_session(session)
        return session

    return make


@pytest.fixture
def socket_driver(tmp_path: Path) -> Iterator[SocketDriver]:
    with tempfile.TemporaryDirectory(prefix="ts") as short:  # a socket's path has at most 107 bytes
        driver = SocketDriver(make_facts(tmp_path), f"{short}/s")
        yield driver
        driver.close()
