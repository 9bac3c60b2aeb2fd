"""File work that must not hold up the loop: removing checkpoints that retention no longer keeps, and leftovers."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from tunesmith.events import DeleteCheckpoint
from tunesmith.stores import Reader
from tunesmith.trialside.checkpoint import PARTIAL_SUFFIX

_log = logging.getLogger("tunesmith")
_CLOSE_TIMEOUT_S = 30.0


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
        self._enqueue(path)

    def tidy(self, reader: Reader) -> None:
        """Delete what earlier drivers left behind; to be called while no trial runs.

        That is what trials that were killed had begun to save (F32), and checkpoints whose deletion was committed and
        not carried out. A finished checkpoint that no report carried stays: its trial may have meant it as a last word.
        """
        found = list(_folders(self._folder / "trials"))
        doomed = {path for path in found if path.name[0] == "." and path.name.endswith(PARTIAL_SUFFIX)}
        if len(found) > len(doomed):
            deleted = reader.deleted_checkpoints()
            doomed |= {path for path in found if path.relative_to(self._folder).as_posix() in deleted}
        for path in sorted(doomed):
            self._enqueue(path)

    def _enqueue(self, path: Path) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tunesmith-housekeeper", daemon=True)
            self._thread.start()
        self._paths.put(path)

    def close(self, *, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Finish what was asked, within bounds: the next driver's `tidy` sees to the rest. Idempotent."""
        if self._thread is None:
            return
        self._paths.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            _log.warning("Old checkpoints in %s are still being deleted; the next run goes on with it.", self._folder)
        self._thread = None

    def _run(self) -> None:
        while (path := self._paths.get()) is not None:
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                _log.warning("%s could not be deleted: %s", path, error)


def _folders(trials: Path) -> Iterator[Path]:
    """The folders in the trials' folders."""
    try:
        trial_dirs = list(trials.iterdir())
    except OSError:
        return
    for trial_dir in trial_dirs:
        try:
            with os.scandir(trial_dir) as entries:
                yield from (Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
