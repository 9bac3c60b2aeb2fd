import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(tmp_path):
    """Runs an example as a user does, in a process of its own, with its results in a folder of this test."""

    def run(script, *arguments):
        environment = {
            **os.environ,
            "TUNESMITH_RESULTS": str(tmp_path / "results"),
            "OMP_WAIT_POLICY": "PASSIVE",  # where others compute too, threads that spin make torch ten times slower
        }
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def load_example():
    """Imports an example as a module."""

    def load(script):
        spec = importlib.util.spec_from_file_location(Path(script).stem, EXAMPLES / script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
