"""The driver's end of the connection to the template: one after another, where one dies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith.trialside.wire import encode_frame

if TYPE_CHECKING:
    from tunesmith.executors.processes.attempt import Attempt
    from tunesmith.executors.processes.connections import Connection
    from tunesmith.executors.processes.ladder import Rung

_MAX_DEATHS = 3  #: in a row, without a trial having started in between


class TemplateLink:
    """Gives a template the user's code, and says what is to be started, signalled and imported (see `template`)."""

    def __init__(self, code: bytes) -> None:
        self._code = encode_frame({"type": "code", "size_bytes": len(code)}) + code
        self._connection: Connection | None = None
        self.is_ready = False  #: it has loaded the code
        self.n_deaths = 0  #: in a row, without a trial having started in between
        self.wants_imports = True  #: nobody has said yet what the function imports

    def send_code(self, connection: Connection) -> None:
        """To a template, or to a spawned trial, which loads it itself."""
        connection.send(self._code)

    def connect(self, connection: Connection) -> None:
        """A new template said hello: it gets the code."""
        self._connection = connection
        self.send_code(connection)

    def is_at(self, connection: Connection) -> bool:
        """Whether this is the connection of the template there is now."""
        return connection is self._connection

    def start(self, attempt: Attempt) -> None:
        """Have it start an attempt's process."""
        self._say(attempt.start_frame)

    def signal(self, attempt: Attempt, rung: Rung) -> None:
        """Have it send this step of the stop ladder to an attempt's process."""
        frame: dict[str, Any] = {"type": "signal", "trial": attempt.trial, "attempt": attempt.attempt}
        self._say(encode_frame({**frame, "number": rung.signal_number, "is_group": rung.is_group}))

    def preload(self, modules: list[str]) -> None:
        """Let it consider importing what the first trial that reported has imported; later ones are not asked."""
        if self.wants_imports and self._connection is not None:
            self.wants_imports = False
            self._say(encode_frame({"type": "preload", "modules": modules}))

    def note_death(self) -> bool:
        """It is gone; whether another one is worth trying."""
        self._connection, self.is_ready = None, False
        self.n_deaths += 1
        return self.n_deaths <= _MAX_DEATHS

    def _say(self, frame: bytes) -> None:
        if self._connection is not None:
            self._connection.send(frame)
