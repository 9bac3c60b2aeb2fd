"""The template process: loads the user's code once, then forks itself for every trial (or spawns, where it must).

Frames on its socket, all JSON but the code. From the driver: {"type": "code", "size_bytes": n} followed by n bytes of
pickle, {"type": "start", "facts": {...}}, {"type": "signal", "trial": 3, "attempt": 1, "number": 15, "is_group": true},
{"type": "preload", "modules": [...]}. To the driver: {"type": "hello", "role": "template"}, {"type": "ready",
"start_method": "fork", "why": null}, {"type": "broken", "error": "..."}, {"type": "exited", "trial": 3, "attempt": 1,
"status": 0, "cpu_s": 0.1, "max_rss_bytes": 1}, {"type": "start_failed", "trial": 3, "attempt": 1, "error": "..."}.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Any

from tunesmith.executors.processes.child import run_forked
from tunesmith.executors.processes.isolation import die_with_parent, flush_output, why_not_fork
from tunesmith.executors.processes.logs import LogCap
from tunesmith.executors.processes.spawned import spawn_command
from tunesmith.trialside.wire import FrameBuffer, decode_frame, recv_exactly, send_frame

_WORTH_PRELOADING_CPU_S = 0.02
_LOG_CHECK_S = 0.5


class _Child:
    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.log_cap = LogCap(facts["log"], facts["log_cap_bytes"])


class Template:
    """The loop that starts and reaps trials. Single-threaded; it never runs user code after loading it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.trainable: Any = None
        self.children: dict[int, _Child] = {}  #: by pid; all and only the trials not yet reaped
        self.scout: tuple[int, list[str]] | None = None
        self.to_import: deque[str] = deque()  #: what the scout found worth it and safe; no scout is out meanwhile
        self.why_spawn: str | None = None
        self.frames = FrameBuffer()
        self.wake_r, self.wake_w = os.pipe()

    def load(self) -> None:
        """Receive and unpickle the user's code: this is where the user's imports happen."""
        header = self._next_frame()
        data = recv_exactly(self.connection, header["size_bytes"])
        self.trainable = pickle.loads(data)
        self.settle()
        start_method = "spawn" if self.why_spawn else "fork"
        send_frame(self.connection, {"type": "ready", "start_method": start_method, "why": self.why_spawn})

    def settle(self) -> None:
        """After imports: is forking safe, and keep the collector away from what all trials share."""
        is_spawn_asked = os.environ["TUNESMITH_START_METHOD"] == "spawn"
        self.why_spawn = "it was asked for" if is_spawn_asked else why_not_fork()
        flush_output()  # or every fork would write once more what the imports printed
        gc.collect()
        gc.freeze()

    def _next_frame(self) -> dict[str, Any]:
        while True:
            header = recv_exactly(self.connection, 4)
            for body in self.frames.feed(header + recv_exactly(self.connection, int.from_bytes(header, "big"))):
                return decode_frame(body)

    def run(self) -> None:
        """Serve until the driver closes the connection."""
        os.set_blocking(self.wake_r, False)
        os.set_blocking(self.wake_w, False)
        signal.set_wakeup_fd(self.wake_w)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self.connection.fileno(), self.wake_r], [], [], self._patience_s)
            if self.wake_r in ready:
                self._drain_wakeups()
            self._reap()
            if self.connection.fileno() in ready:
                data = self.connection.recv(1 << 16)
                if not data:
                    return
                for body in self.frames.feed(data):
                    self._carry_out(decode_frame(body))
            for child in self.children.values():
                child.log_cap.check(time.monotonic())
            self._import_next()

    @property
    def _patience_s(self) -> float | None:
        if self.to_import:
            return 0.0
        return _LOG_CHECK_S if self.children else None

    def _drain_wakeups(self) -> None:
        try:
            while os.read(self.wake_r, 4096):
                pass
        except BlockingIOError:
            pass

    def _carry_out(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "start":
            self._start(frame["facts"])
        elif frame["type"] == "signal":
            self._signal(frame)
        elif frame["type"] == "preload":
            self._send_scout(frame["modules"])

    # ------------------------------------------------------------ trials

    def _start(self, facts: dict[str, Any]) -> None:
        try:
            pid = self._spawn(facts) if self.why_spawn else self._fork(facts)
        except OSError as error:
            text = f"No process could be started: {error}. Check `ulimit -u` and the memory that is free."
            frame = {"type": "start_failed", "trial": facts["trial_index"], "attempt": facts["attempt"], "error": text}
            send_frame(self.connection, frame)
            return
        self.children[pid] = _Child(facts)

    def _fork(self, facts: dict[str, Any]) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid != 0:
            return pid
        # In the trial. Nothing may return from here into the template's loop.
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.connection.close()
            os.close(self.wake_r)
            os.close(self.wake_w)
            run_forked(facts, self.trainable, parent)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)

    def _spawn(self, facts: dict[str, Any]) -> int:
        argv, env = spawn_command(facts)
        return subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, start_new_session=True).pid

    def _signal(self, frame: dict[str, Any]) -> None:
        """Signal a trial that has not been reaped: its pid cannot belong to anybody else."""
        wanted = (frame["trial"], frame["attempt"])
        for pid, child in self.children.items():
            if (child.facts["trial_index"], child.facts["attempt"]) == wanted:
                _send_signal(pid, frame["number"], is_group=frame["is_group"])

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.scout is not None and pid == self.scout[0]:
                self._preload(self.scout[1], status)
                continue
            child = self.children.pop(pid, None)
            if child is not None:
                child.log_cap.check(time.monotonic(), is_last=True)
                send_frame(
                    self.connection,
                    {
                        "type": "exited",
                        "trial": child.facts["trial_index"],
                        "attempt": child.facts["attempt"],
                        "status": status,
                        "cpu_s": usage.ru_utime + usage.ru_stime,
                        "max_rss_bytes": usage.ru_maxrss * 1024,
                    },
                )

    # ------------------------------------------------------------ what the trials import

    def _send_scout(self, modules: list[str]) -> None:
        """Try the imports in a fork first: is it worth it, and can this process still be forked afterwards?"""
        if self.why_spawn or self.scout is not None or self.to_import:
            return
        missing = [name for name in modules if name not in sys.modules]
        if not missing:
            return
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                die_with_parent(parent)
                begin = time.process_time()
                for name in missing:
                    _try_import(name)
                is_worth_it = time.process_time() - begin > _WORTH_PRELOADING_CPU_S
                os._exit(0 if is_worth_it and why_not_fork() is None else 1)
            finally:
                os._exit(1)
        self.scout = (pid, missing)

    def _preload(self, modules: list[str], status: int) -> None:
        self.scout = None
        if status == 0:
            self.to_import.extend(dependencies_first(modules))

    def _import_next(self) -> None:
        """One module in each turn of the loop: between them trials are started, and their ends are told."""
        if not self.to_import:
            return
        while self.to_import:
            name = self.to_import.popleft()
            if name not in sys.modules:
                _try_import(name)
                flush_output()  # a trial may be forked before the others are imported
                break
        if not self.to_import:
            self.settle()


def _send_signal(pid: int, number: int, *, is_group: bool) -> None:
    try:
        (os.killpg if is_group else os.kill)(pid, number)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(pid, number)
    except PermissionError:
        pass  # a set-uid program


def dependencies_first(modules: Sequence[str]) -> list[str]:
    """An order in which few modules import many others.

    Importing a module imports its packages first, so it comes after what they had imported.

    Args: modules: in the order in which their first import ended, as `sys.modules` has them.
    """
    place = {name: i for i, name in enumerate(modules)}

    def place_of_package(name: str) -> int:
        packages = [name[:i] for i, character in enumerate(name) if character == "."]
        return max(place.get(one, -1) for one in (*packages, name))

    return sorted(modules, key=place_of_package)


def _try_import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception:  # a module that only works inside the trial is imported there
        return


def main() -> None:
    """Connect to the driver, load the user's code, serve."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(os.environ["TUNESMITH_SOCKET"])
    send_frame(connection, {"type": "hello", "role": "template", "token": os.environ["TUNESMITH_TOKEN"]})
    template = Template(connection)
    try:
        template.load()
    except BaseException:
        send_frame(connection, {"type": "broken", "error": traceback.format_exc()})
        return
    template.run()
