"""Trials in fresh interpreters, for when forking the template is not safe or not there."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from typing import Any

_BOOTSTRAP = (
    "import json, os, sys; sys.path[:], sys.argv[:] = json.loads(os.environ.pop('TUNESMITH_PATH_AND_ARGV')); "
    "from {module} import main; main()"
)


def interpreter_command(module: str) -> list[str]:
    """The argv of a fresh interpreter, with this one's flags, that calls `main()` of a module."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-c", _BOOTSTRAP.format(module=module)]


def path_and_argv() -> str:
    """This process's `sys.path` and `sys.argv`: a worker finds the same modules, and can execute the script again."""
    return json.dumps([[os.path.abspath(entry) for entry in sys.path], sys.argv])


def spawn_command(facts: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """argv and environment of a spawned trial. It is told only where to ask: see `main`."""
    env = dict(os.environ)
    env["TUNESMITH_PATH_AND_ARGV"] = path_and_argv()
    env["TUNESMITH_FACTS"] = base64.b64encode(json.dumps(facts).encode()).decode()
    return interpreter_command("tunesmith.executors.processes.spawned"), env


def main() -> None:
    """Fetch the code from the driver and be the trial."""
    import socket

    from tunesmith.executors.processes.child import run_attempt
    from tunesmith.executors.processes.isolation import die_with_parent
    from tunesmith.trialside.wire import recv_exactly, recv_frame, send_frame

    die_with_parent(os.getppid())
    facts = json.loads(base64.b64decode(os.environ.pop("TUNESMITH_FACTS")))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.environ["TUNESMITH_SOCKET"])
        send_frame(connection, {"type": "hello", "role": "code", "token": os.environ["TUNESMITH_TOKEN"]})
        header = recv_frame(connection)
        assert header is not None
        trainable = pickle.loads(recv_exactly(connection, header["size_bytes"]))
    run_attempt(facts, trainable)
