"""The driver's end of the pipe to the reaper."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tunesmith.executors.processes import reaper
from tunesmith.executors.processes.isolation import ONE_THREAD_ENV
from tunesmith.executors.processes.spawned import interpreter_command
from tunesmith.protocols import Launch

_log = logging.getLogger("tunesmith")
_END_TIMEOUT_S = 8.0


class ReaperLink:
    """Starts the reaper, tells it what to do, reads what it says. Selectable for reading."""

    def __init__(self, launch: Launch, socket_path: str, token: str, *, start_method: str) -> None:
        self._launch = launch
        self._env = {
            **os.environ,
            **ONE_THREAD_ENV,
            "TUNESMITH_EXPERIMENT": launch.experiment_id,
            "TUNESMITH_SOCKET": socket_path,
            "TUNESMITH_TOKEN": token,
            "TUNESMITH_TEMPLATE": "1",
            "TUNESMITH_START_METHOD": start_method,
            "TUNESMITH_SYS_PATH": json.dumps([os.path.abspath(entry) for entry in sys.path]),
        }
        self.has_template = False
        self._unread = b""
        self._read_fd = -1
        sweep_marked(launch.experiment_id)  # of an earlier driver that was killed together with its reaper
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-S", "-E", "-s", "-P", reaper.__file__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, close_fds=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        # The number that selectors know stays the same over a restart of the reaper.
        if self._read_fd < 0:
            self._read_fd = os.dup(self._process.stdout.fileno())
        else:
            os.dup2(self._process.stdout.fileno(), self._read_fd, inheritable=False)
        self._process.stdout.close()
        os.set_blocking(self._read_fd, False)

    def fileno(self) -> int:
        """For selectors."""
        return self._read_fd

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is read as reaper_exit

    def spawn_template(self) -> None:
        """Have a template started."""
        self.has_template = True
        self._say(
            {
                "do": "spawn",
                "argv": interpreter_command("tunesmith.executors.processes.template"),
                "env": self._env,
                "cwd": str(Path.cwd()),
                "log": str(self._launch.folder / "logs" / "template.log"),
            }
        )

    def sweep(self, number: int) -> None:
        """Have escapees ended; `{"swept": number}` comes when none is left."""
        self._say({"do": "sweep", "id": number})

    def read(self) -> list[dict[str, Any]]:
        """What it has said since the last call; `{"reaper_exit": status}` when it is gone."""
        try:
            data = os.read(self._read_fd, 65536)
        except BlockingIOError:
            return []
        if not data:
            return [{"reaper_exit": self._process.wait()}]
        *lines, self._unread = (self._unread + data).split(b"\n")
        messages = [json.loads(line) for line in lines]
        if any("template_exit" in message for message in messages):
            self.has_template = False
        return messages

    def restart(self) -> None:
        """After its death: end what it left behind, found by the experiment's mark, and start another."""
        sweep_marked(self._launch.experiment_id)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.has_template, self._unread = False, b""
        self._start()

    def note_start_method(self, start_method: str, why: str | None) -> None:
        """Say once in the log when trials cannot be forked."""
        if start_method == "spawn":
            _log.warning("Trials are started as fresh interpreters, which is slower: %s.", why)

    def end(self) -> None:
        """Have everything below it killed, and wait until it has gone itself."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            sweep_marked(self._launch.experiment_id)
        os.close(self._read_fd)


def sweep_marked(experiment_id: str) -> int:
    """Kill processes that carry the experiment's mark in their environment (Linux); answers how many there were.

    These are left only where a driver and its reaper were killed in the same instant.
    """
    mark = f"TUNESMITH_EXPERIMENT={experiment_id}".encode()
    n = 0
    for entry in Path("/proc").glob("[0-9]*/environ") if sys.platform == "linux" else ():
        try:
            is_marked = mark in entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if is_marked and int(entry.parent.name) != os.getpid():
            reaper.send_signal(int(entry.parent.name), 9)
            n += 1
    return n
