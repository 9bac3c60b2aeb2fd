"""Checkpoints and logs between nodes that share no storage: through Ray, in threads beside the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from tunesmith.executors.ray.folders import FolderTooLargeError, pack_folder, unpack_folder

_log = logging.getLogger("tunesmith")
_N_THREADS = 4
_TIMEOUT_S = 300.0


class Transfers:
    """Args: folder: of the experiment, here; max_bytes: of a checkpoint that travels."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._pool = ThreadPoolExecutor(_N_THREADS, thread_name_prefix="tunesmith-transfer")
        self._has_warned = False

    def fetch(self, actor: Any, path: str, then: Callable[[bool], None]) -> None:
        """Bring a checkpoint here. Args: then: called in a thread, with whether it came."""
        self._pool.submit(self._fetch, actor, path, then)

    def send(self, actor: Any, path: str, then: Callable[[], None]) -> None:
        """Bring a checkpoint there, if it is not there. Args: then: called in a thread, also where it failed."""
        self._pool.submit(self._send, actor, path, then)

    def fetch_log(self, actor: Any, trial: int, to: Path) -> None:
        """Bring the log of a trial here."""
        self._pool.submit(self._fetch_log, actor, trial, to)

    def close(self) -> None:
        """When all that was asked for has been done."""
        self._pool.shutdown(wait=True)

    def _fetch(self, actor: Any, path: str, then: Callable[[bool], None]) -> None:
        try:
            packed = ray.get(actor.read_folder.remote(path, self._max_bytes), timeout=_TIMEOUT_S)
            unpack_folder(packed, self._folder / path)
        except Exception as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, FolderTooLargeError):
                if not self._has_warned:
                    self._has_warned = True
                    _log.warning("%s The results are kept, such checkpoints are not.", cause)
            else:
                _log.warning("The checkpoint %s did not come from its node: %s", path, error)
            then(False)
        else:
            then(True)

    def _send(self, actor: Any, path: str, then: Callable[[], None]) -> None:
        try:
            if not ray.get(actor.has_folder.remote(path), timeout=_TIMEOUT_S):
                packed = ray.put(pack_folder(self._folder / path, max_bytes=self._max_bytes))
                ray.get(actor.write_folder.remote(path, packed), timeout=_TIMEOUT_S)
        except Exception as error:  # the attempt says that it has no checkpoint
            _log.warning("The checkpoint %s did not reach the node that needs it: %s", path, error)
        then()

    @staticmethod
    def _fetch_log(actor: Any, trial: int, to: Path) -> None:
        try:
            text: bytes = ray.get(actor.read_log.remote(trial), timeout=_TIMEOUT_S)
            if text:
                to.write_bytes(text)
        except Exception as error:
            _log.debug("The log of trial %d did not come from its node: %s", trial, error)
