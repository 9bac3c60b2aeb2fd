"""Checkpoints and logs between nodes that share no storage: through Ray, in threads beside the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from tunesmith.errors import TunesmithError
from tunesmith.executors.ray.folders import FolderTooLargeError, pack_folder, unpack_folder
from tunesmith.executors.remote_folders import remove

_log = logging.getLogger("tunesmith")
_N_THREADS = 4
_TIMEOUT_S = 300.0


class Transfers:
    """Args:
    folder: of the experiment, here; max_bytes: of a checkpoint that travels.
    url: where checkpoints lie, relative to which they have the paths that they have in the folder; None: here.
    """

    def __init__(self, folder: Path, *, max_bytes: int, url: str | None) -> None:
        self._folder, self._max_bytes, self._url = folder, max_bytes, url
        self._pool = ThreadPoolExecutor(_N_THREADS, thread_name_prefix="tunesmith-transfer")
        self._has_warned = False

    def fetch(self, actor: Any, path: str, then: Callable[[bool], None]) -> None:
        """Bring a checkpoint here, or to its URL. Args: then: called in a thread, with whether it came."""
        self._pool.submit(self._fetch, actor, path, then)

    def send(self, actor: Any, path: str, then: Callable[[], None]) -> None:
        """Bring a checkpoint there, if it is not there. Args: then: called in a thread, also where it failed."""
        self._pool.submit(self._send, actor, path, then)

    def remove(self, path: str) -> None:
        """Delete a checkpoint at its URL, if there is one."""
        if self._url is not None:
            self._pool.submit(self._remove, f"{self._url}/{path}")

    def fetch_log(self, actor: Any, trial: int, to: Path) -> None:
        """Bring the log of a trial here."""
        self._pool.submit(self._fetch_log, actor, trial, to)

    def close(self) -> None:
        """When all that was asked for has been done."""
        self._pool.shutdown(wait=True)

    def _fetch(self, actor: Any, path: str, then: Callable[[bool], None]) -> None:
        try:
            if self._url is not None:
                ray.get(actor.upload_folder.remote(path, f"{self._url}/{path}"), timeout=_TIMEOUT_S)
                then(True)
                return
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
            if self._url is not None:
                ray.get(actor.download_folder.remote(path, f"{self._url}/{path}"), timeout=_TIMEOUT_S)
            elif not ray.get(actor.has_folder.remote(path), timeout=_TIMEOUT_S):
                packed = ray.put(pack_folder(self._folder / path, max_bytes=self._max_bytes))
                ray.get(actor.write_folder.remote(path, packed), timeout=_TIMEOUT_S)
        except Exception as error:  # the attempt says that it has no checkpoint
            _log.warning("The checkpoint %s did not reach the node that needs it: %s", path, error)
        then()

    @staticmethod
    def _remove(url: str) -> None:
        try:
            remove(url)
        except TunesmithError as error:
            _log.warning("%s", error)

    @staticmethod
    def _fetch_log(actor: Any, trial: int, to: Path) -> None:
        try:
            text: bytes = ray.get(actor.read_log.remote(trial), timeout=_TIMEOUT_S)
            if text:
                to.write_bytes(text)
        except Exception as error:
            _log.debug("The log of trial %d did not come from its node: %s", trial, error)
