"""The command line as a user has it: in a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Shell:
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")}
        mine.pop("RAY_ADDRESS", None)
        path = f"{self.folder / 'bin'}{os.pathsep}{mine['PATH']}"
        return {**mine, "PATH": path, "TUNESMITH_RESULTS": str(self.folder / "results"), "COLUMNS": "120", **more}

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        argv = [sys.executable, "-m", "tunesmith", *arguments]
        return subprocess.Popen(argv, cwd=self.folder, env=self.environment(), **{**pipes, **more})

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What was printed; the exit status must be this one."""
        process = self.start(*arguments)
        try:
            output, errors = process.communicate(timeout=100)
        finally:
            process.kill()
        self.errors = errors
        assert process.returncode == code, f"{process.returncode}\n{output}\n{errors}"
        return output

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code), parse_constant=_refuse)

    def write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def make_shell(folder: Path) -> Shell:
    (folder / "bin").mkdir()
    shell = Shell(folder)
    shell.write("bin/tunesmith", f'#!/bin/sh\nexec "{sys.executable}" -m tunesmith "$@"\n', mode=0o755)
    shell.write("bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', mode=0o755)
    return shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return make_shell(tmp_path)
