"""File work that must not hold up the loop: removing checkpoints that retention no longer keeps."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from pathlib import Path

from tunesmith.events import DeleteCheckpoint

_log = logging.getLogger("tunesmith")


class Housekeeper:
    """Deletes folders of one experiment, in a thread that starts with the first of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._paths: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def delete(self, command: DeleteCheckpoint) -> None:
        """Delete the command's folder, soon. A path outside the experiment's trials is a defect and is refused."""
        path = self._folder / command.path
        if self._folder / "trials" not in path.resolve().parent.parents:  # trials/<trial>/<checkpoint>, or deeper
            _log.error("%s is no checkpoint of the experiment; it is not deleted.", path)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tunesmith-housekeeper", daemon=True)
            self._thread.start()
        self._paths.put(path)

    def close(self) -> None:
        """Finish what was asked. Idempotent."""
        if self._thread is not None:
            self._paths.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (path := self._paths.get()) is not None:
            shutil.rmtree(path, ignore_errors=True)
