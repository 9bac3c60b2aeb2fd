"""Makes the helpers of these tests importable, here and in the processes of trackers: test folders are no packages."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Nothing leaves the machine, and what libraries write beside the results lies with the test's files."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name, folder in (("WANDB_CACHE_DIR", "cache"), ("WANDB_CONFIG_DIR", "config"), ("WANDB_DATA_DIR", "data")):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home" / folder))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def quick_rests(monkeypatch):
    """A tracker that failed is tried again soon."""
    from tunesmith.trackers import supervisor

    monkeypatch.setattr(supervisor, "_FIRST_REST_S", 0.05)
