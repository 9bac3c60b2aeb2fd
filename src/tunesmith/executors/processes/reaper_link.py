"""The driver's end of the pipe to the reaper."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from tunesmith.executors.attempts import template_log_path
from tunesmith.executors.processes import reaper
from tunesmith.executors.processes.isolation import ONE_THREAD_ENV
from tunesmith.executors.processes.marks import MARK_VARIABLE, mark_of, sweep_marked
from tunesmith.executors.processes.spawned import interpreter_command, path_and_argv
from tunesmith.protocols import Launch

_log = logging.getLogger("tunesmith")
_END_TIMEOUT_S = 8.0
#: An experiment may run inside a trial of another; and a W&B process of the driver would keep the run of a trial open
#: that was killed, and refuse it to the next attempt.
_NOT_INHERITED = ("TUNESMITH_TRIAL", "TUNESMITH_ATTEMPT", "WANDB_SERVICE")


class ReaperLink:
    """Starts the reaper, tells it what to do, reads what it says. Selectable for reading."""

    def __init__(self, launch: Launch, socket_path: str, token: str, *, start_method: str) -> None:
        self._launch, self._mark = launch, mark_of(launch)
        self._env = {
            **{name: value for name, value in os.environ.items() if name not in _NOT_INHERITED},
            **ONE_THREAD_ENV,
            MARK_VARIABLE: self._mark,
            "TUNESMITH_SOCKET": socket_path,
            "TUNESMITH_TOKEN": token,
            "TUNESMITH_TEMPLATE": "1",
            "TUNESMITH_START_METHOD": start_method,
            "TUNESMITH_PATH_AND_ARGV": path_and_argv(),
        }
        self.has_template = False
        self._unread = b""
        sweep_marked(self._mark)  # of an earlier driver that was killed together with its reaper
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-S", "-E", "-s", "-P", reaper.__file__, self._env["TUNESMITH_SOCKET"]]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, close_fds=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def fileno(self) -> int:
        """For selectors; another one after `restart`."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

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
                "log": str(template_log_path(self._launch)),
            }
        )

    def sweep(self, number: int) -> None:
        """Have escapees ended; `{"swept": number}` comes when none is left."""
        self._say({"do": "sweep", "id": number})

    def read(self) -> list[dict[str, Any]]:
        """What it has said since the last call; `{"reaper_exit": status}` when it is gone."""
        try:
            data = os.read(self.fileno(), 65536)
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
        sweep_marked(self._mark)
        self._close_pipes()
        self.has_template, self._unread = False, b""
        self._start()

    def note_start_method(self, start_method: str, why: str | None) -> None:
        """Say once in the log when trials cannot be forked."""
        if start_method == "spawn":
            _log.warning("Trials are started as fresh interpreters, which is slower: %s.", why)

    def end(self) -> None:
        """Have everything below it killed, and wait until it has gone itself."""
        assert self._process.stdin is not None
        self._close(self._process.stdin)
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            sweep_marked(self._mark)
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                self._close(pipe)

    @staticmethod
    def _close(pipe: IO[bytes]) -> None:
        try:
            pipe.close()
        except BrokenPipeError:  # what it was told in its last moment is still unsent
            pass
