"""The folder in which experiments lie, one folder each."""

from __future__ import annotations

import os
from pathlib import Path

RESULTS_FOLDER = "~/tunesmith_results"


def results_folder(local_dir: str | Path | None) -> Path:
    """Where experiments lie: the argument, else the variable TUNESMITH_RESULTS, else a folder in the user's home."""
    return Path(local_dir or os.environ.get("TUNESMITH_RESULTS") or RESULTS_FOLDER).expanduser().resolve()
