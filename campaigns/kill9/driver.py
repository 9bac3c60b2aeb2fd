"""One run of the script in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from campaigns.kill9.processes import MARK_VARIABLE, children_of, kill
from campaigns.kill9.script import SETTINGS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ("-m", "campaigns.kill9.script")


class Driver:
    """A started script; `pid` is the driver's own, also where strace stands above it."""

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        mark: str,
        folder: Path,
        script: Sequence[str] = SCRIPT,
        call: tuple[str, int] | None = None,
    ) -> None:
        """Args: folder: for output and temporary files; call: kill it at the n-th call of this name."""
        n_runs = len(list(folder.glob("run-*.txt")))
        self.output = folder / f"run-{n_runs + 1}.txt"
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            SETTINGS_VARIABLE: json.dumps(settings),
            MARK_VARIABLE: mark,
            "TMPDIR": str(temporary),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        prefix: list[str] = []
        if call is not None:
            name, when = call
            prefix = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={name}"]
            prefix += ["-e", f"inject={name}:signal=KILL:when={when}"]
        self.is_traced = call is not None
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, *script],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
            )
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int:
        """The driver's process."""
        if self.is_traced:
            return next(iter(children_of(self._process.pid)), self._process.pid)
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit status; None while it runs. strace passes on how the driver ended."""
        return self._process.poll()

    @property
    def was_killed(self) -> bool:
        """Whether it ended by SIGKILL."""
        return self.code in (-9, 137)

    def wait(self) -> None:
        """After its end, or a kill."""
        self._process.wait(30)

    def kill(self) -> None:
        """Whatever it does."""
        kill([self._process.pid])
        self._process.wait(30)

    def text(self) -> str:
        """What it printed."""
        return self.output.read_text(errors="replace")

    def said(self) -> dict[str, Any]:
        """Its last line, the outcome in JSON; empty where there is none."""
        lines = self.text().strip().splitlines()
        try:
            return json.loads(lines[-1]) if lines else {}
        except ValueError:
            return {}


def can_trace() -> bool:
    """Whether strace is installed and may inject signals here."""
    strace = shutil.which("strace")
    if strace is None:
        return False
    command = [strace, "-qq", "-o", os.devnull, "-e", "trace=fsync", "-e", "inject=fsync:signal=KILL:when=1", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
