"""Files get their name when they are complete. Until then they are drafts: hidden, with a number of their own."""

from __future__ import annotations

import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

_N_BYTES = 4
_SUFFIX = rf"\.[0-9a-f]{{{2 * _N_BYTES}}}(-journal|-wal|-shm)?"  # SQLite's own files beside a draft are left with it
#: Far longer than a draft is worked at; a younger one may be that of a process that is at work right now.
LEFT_AFTER_S = 3600.0


def draft_path(path: Path) -> Path:
    """A new name for a file that will become `path`, in the same folder."""
    return path.with_name(f".{path.name}.{secrets.token_hex(_N_BYTES)}")


def remove_left_drafts(path: Path, *, older_than_s: float = LEFT_AFTER_S) -> None:
    """Remove what was to become `path`, or its backup before a migration, when the process that made it was killed."""
    is_draft = re.compile(rf"\.{re.escape(path.name)}(\.v\d+)?{_SUFFIX}").fullmatch
    with suppress(OSError):  # it costs only room
        for file in path.parent.iterdir():
            if is_draft(file.name) and time.time() - file.lstat().st_mtime >= older_than_s:
                file.unlink()
