"""The way of this process to a study: it writes itself, or asks the process that does; whoever is left takes over."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from tunesmith.errors import LeaseError, StoreError, TunesmithError
from tunesmith.runner.study_client import StudyClient, WriterGone, connect
from tunesmith.runner.study_frames import Answer, Question, Tell
from tunesmith.runner.study_server import StudyServer
from tunesmith.runner.study_writer import StudyWriter, WriterClosed
from tunesmith.stores import open_reader

#: How long a process that has the lease may take until it answers: it reads the log first.
_PATIENCE_S = 60.0
_INTERVAL_S = 0.05
_MAX_TRIES = 20  #: of one question, each at another writer


class WritingRole:
    """This process writes, and answers the others where there are Unix sockets."""

    def __init__(self, writer: StudyWriter, server: StudyServer | None) -> None:
        self._writer, self._server = writer, server
        self.answer = writer.answer
        _writing.add(self)

    def close(self) -> None:
        """Give back the lease; then end the connections, so that the others look for the next writer."""
        self._writer.close()
        if self._server is not None:
            self._server.close()
        _writing.discard(self)


class StudyLink:
    """Puts each question to whoever writes the study; becomes the writer where nobody does."""

    def __init__(
        self, folder: Path, experiment_id: str, become_writer: Callable[[], WritingRole], *, takes_over: bool = False
    ) -> None:
        """Find the writer at once, or become it.

        Args:
            become_writer: raises LeaseError while another process has the lease.
            takes_over: become it whoever else is; the first call of `become_writer` sees to that.
        """
        self._folder, self._experiment_id, self._become_writer = folder, experiment_id, become_writer
        self._pid = os.getpid()
        self._lock = threading.Lock()  #: held while a role is looked for
        self._role: WritingRole | StudyClient | None = become_writer() if takes_over else None
        self._is_closed = False
        self._current()

    @property
    def is_writer(self) -> bool:
        """Whether this process has the lease."""
        return isinstance(self._role, WritingRole) and self._pid == os.getpid()

    def answer(self, question: Question) -> Answer:
        """The answer, after what it says is committed.

        Raises: what `StudyWriter.answer` raises; LeaseError or StoreError where no writer can be had.
        """
        for n_left in reversed(range(_MAX_TRIES)):
            role = self._current()
            try:
                return role.answer(question)
            except (WriterGone, WriterClosed, LeaseError):
                self._drop(role)
                if not n_left:
                    raise
            except StoreError:  # of this process as the writer: the next question begins with the log again
                self._drop(role)
                raise
            if isinstance(question, Tell):
                question = replace(question, is_retry=True)
        raise AssertionError

    def close(self) -> None:
        """Idempotent. In a forked child it leaves its parent's part alone."""
        self._is_closed = True
        role, self._role = self._role, None
        if role is not None and self._pid == os.getpid():
            role.close()

    def _drop(self, role: WritingRole | StudyClient) -> None:
        with self._lock:
            if self._role is not role:
                return  # another thread was here before
            self._role = None
        role.close()

    def _current(self) -> WritingRole | StudyClient:
        if self._pid != os.getpid():  # a fork: connections and locks are its parent's, and none may be closed here
            _inherited.append(self._role)
            self._pid, self._lock, self._role = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._is_closed:
                raise StoreError("This study is closed. Open it again by its name.")
            if self._role is None:
                self._role = self._found()
            return self._role

    def _found(self) -> WritingRole | StudyClient:
        """The writer's connection, or the role of the writer. Raises: LeaseError after some patience."""
        end = time.monotonic() + _PATIENCE_S
        pause = threading.Event()
        while True:
            client = connect(self._folder, self._experiment_id)
            if client is not None:
                return client
            try:
                return self._become_writer()
            except LeaseError as error:
                if time.monotonic() > end or not self._is_writer_near():
                    raise LeaseError(
                        f"{error} Processes share a study on one machine (and in one container), where its writer "
                        "answers the others."
                    ) from None
            pause.wait(_INTERVAL_S)

    def _is_writer_near(self) -> bool:
        """Whether the process with the lease may still answer here, or has given it back meanwhile."""
        with suppress(TunesmithError):
            reader = open_reader(self._folder)
            try:
                lease = reader.driver()
            finally:
                reader.close()
            return lease is None or lease.owner.is_alive() is True
        return True


#: Roles of this process that were not closed: a script need not do it.
_writing: set[WritingRole] = set()
#: What came into this process by a fork; kept, as closing it could disturb its owner.
_inherited: list[WritingRole | StudyClient | None] = []


def _forget_writing() -> None:
    _inherited.extend(_writing)
    _writing.clear()


@atexit.register
def _close_all() -> None:
    for role in list(_writing):
        with suppress(Exception):
            role.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_writing)
