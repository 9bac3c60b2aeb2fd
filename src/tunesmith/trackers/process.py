"""The tracker's own process: reads the experiment's log, calls the tracker's hooks, says how it gets on.

What it says are lines of JSON on what was its standard output: `call` twice a second, then `failed` or `done`.
What it hears are, on its standard input, its order and later the line `end`. The end of that input is the driver's.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import re
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from tunesmith.hooks import HookCaller
from tunesmith.runner.patience import Patience
from tunesmith.stores import Reader, open_reader
from tunesmith.trackers.background import Background
from tunesmith.trackers.cursor import Cursor, Told
from tunesmith.trackers.tracker import Tracker, passwords_in

_PAGE = 200  #: records between two times that the tracker makes safe what it was told
_POLL_S = 0.5
_BEAT_S = 0.5
_ORPHAN_S = 10.0  #: to finish after the driver was killed: it may be started again at once, and its tracker waits
TEMPORARY_PREFIX = "tunesmith-tracker-"
_SECRET_VARIABLES = re.compile(r"(_|^)(API_KEY|(SECRET|ACCESS)_KEY|TOKEN|PASSWORD|PASSWD|SECRET)$", re.I)
_NEVER_REFUSED = ("setup", "flush")  #: without them nothing else that is told means anything


class Order:
    """What a tracker's process is told to do, as the driver sends it: a header of JSON, then the pickled tracker."""

    def __init__(self, folder: str, name: str, *, pickled: bytes) -> None:
        self.folder, self.name, self.pickled = folder, name, pickled

    def write(self, pipe: IO[bytes]) -> None:
        """Send it."""
        header = {"folder": self.folder, "name": self.name, "size_bytes": len(self.pickled)}
        pipe.write(json.dumps(header).encode() + b"\n" + self.pickled)
        pipe.flush()

    @classmethod
    def read(cls, pipe: IO[bytes]) -> Order:
        """Receive it: from our own driver, over a pipe that nobody else can open."""
        header = json.loads(pipe.readline())
        return cls(header["folder"], header["name"], pickled=pipe.read(header["size_bytes"]))


class Voice:
    """What this process says to its driver, from any of its threads."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe, self._lock = pipe, threading.Lock()
        self.call: tuple[str, float] | None = None  #: the hook that is being called, and since when

    def say(self, **words: Any) -> None:
        """One line."""
        try:
            with self._lock:
                self._pipe.write(json.dumps(words) + "\n")
                self._pipe.flush()
        except (OSError, ValueError):
            pass  # the driver is gone; the other pipe tells that

    def beat(self) -> None:
        """Say now and then that we live, and what we are at."""
        while True:
            time.sleep(_BEAT_S)
            call = self.call
            self.say(call=call and call[0], for_s=0.0 if call is None else time.monotonic() - call[1])


class LogTeller:
    """Tells the tracker the log: what it was not told safely yet, then what is new, until the experiment ends."""

    def __init__(
        self, order: Order, tracker: Tracker, *, voice: Voice, background: Background, ended: threading.Event
    ) -> None:
        self._folder, self._order, self._tracker = Path(order.folder), order, tracker
        self._voice, self._background, self._ended = voice, background, ended
        self._patience = Patience()

    def run(self) -> None:
        """Tell all that there is, go on until the end of the experiment, and come to an end."""
        reader = self._patience.read(partial(open_reader, self._folder))
        try:
            cursor = Cursor(self._folder, self._order.name, experiment_id=reader.spec.experiment_id)
            cursor.hold()
            self._follow(reader, cursor)
        finally:
            reader.close()

    def _follow(self, reader: Reader, cursor: Cursor) -> None:
        caller = _Caller(self._tracker, self._voice)
        told = cursor.load()
        try:
            caller.setup(self._folder)
            seq, is_over = 0, False
            while not is_over:
                is_over = self._ended.is_set()  # asked before reading: what was committed until then is read
                seq = self._tell_news(reader, cursor, caller, told, after_seq=seq)
                if not is_over:
                    self._ended.wait(_POLL_S)
            caller.call("on_experiment_end", trials=caller.trials)
            caller.call("flush")
            cursor.save(seq)
        finally:
            caller.close()

    def _tell_news(self, reader: Reader, cursor: Cursor, caller: _Caller, told: Told, *, after_seq: int) -> int:
        """Everything after `after_seq`; where that ends."""
        seq = after_seq
        while page := self._patience.read(partial(reader.records, seq, _PAGE)):
            seq = page[-1][0]
            has_news = seq > told.seq
            if has_news:
                caller.begin_step()
            for at, record in page:
                caller.take(record, is_told=at > told.seq or getattr(record, "trial", None) in told.unsafe)
            if has_news:
                self._background.look()
                caller.end_step()
                cursor.save(seq, caller.call("flush"))
        return seq


class _Caller(HookCaller):
    """Notes which hook is being called, and leaves out a call that its library will never take."""

    def __init__(self, tracker: Tracker, voice: Voice) -> None:
        super().__init__(tracker)
        self._voice = voice

    def call(self, hook: str, **arguments: Any) -> Any:
        self._voice.call = (hook, time.monotonic())  # it stays so where the hook raises: `main` says which it was
        answer = None
        try:
            answer = super().call(hook, **arguments)
        except Exception as error:
            tracker = self._callback
            assert isinstance(tracker, Tracker)
            if hook in _NEVER_REFUSED or not tracker.is_refusal(error):
                raise
            traceback.print_exc()
            self._voice.say(refused=redact(f"{type(error).__name__}: {error}", known_secrets(tracker)), call=hook)
        self._voice.call = None
        return answer


class Redacting:
    """A text stream that writes secrets as `***`."""

    def __init__(self, stream: IO[str], secrets: Sequence[str]) -> None:
        self._stream, self._secrets = stream, secrets

    def write(self, text: str) -> int:
        """See `io.TextIOBase`."""
        self._stream.write(redact(text, self._secrets))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret in it replaced by `***`."""
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text


def known_secrets(tracker: Tracker | None = None) -> list[str]:
    """The tracker's own, and what the environment holds under such names."""
    found = [value for name, value in os.environ.items() if _SECRET_VARIABLES.search(name) and len(value) >= 6]
    in_urls = passwords_in(*(value for value in os.environ.values() if "://" in value))
    return [*(tracker.secrets() if tracker is not None else ()), *found, *in_urls]


def _listen(pipe: IO[bytes], ended: threading.Event) -> None:
    """Wait for the word `end`; without it the driver was killed, and there is not much time."""
    has_end = pipe.readline() != b""
    ended.set()
    if has_end:  # while the driver waits for us it bounds our time, and it may still be killed
        pipe.readline()
    time.sleep(_ORPHAN_S)
    _leave(3)


def _leave(code: int) -> None:
    _clear_temporary_files()
    os._exit(code)


def _clear_temporary_files() -> None:
    """The folder is this process's own; the driver, which made it, may be gone."""
    folder = Path(os.environ.get("TMPDIR", ""))
    if folder.name.startswith(TEMPORARY_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Be the tracker's process."""
    atexit.register(_clear_temporary_files)  # the first to register is the last to be called
    hears = os.fdopen(os.dup(0), "rb")
    voice = Voice(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # whatever a library prints
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    background = Background()
    threading.Thread(target=voice.beat, daemon=True).start()
    voice.call = ("setup", time.monotonic())
    secrets = known_secrets()
    try:
        order = Order.read(hears)
        ended = threading.Event()
        threading.Thread(target=_listen, args=(hears, ended), daemon=True).start()
        tracker: Tracker = pickle.loads(order.pickled)
        secrets = known_secrets(tracker)
        sys.stdout = sys.stderr = Redacting(sys.stderr, secrets)
        sys.argv[:] = [redact(argument, secrets) for argument in sys.argv]  # W&B keeps a copy
        os.environ.update(tracker.environment())
        LogTeller(order, tracker, voice=voice, background=background, ended=ended).run()
    except BaseException:
        voice.say(failed=redact(traceback.format_exc(), secrets), call=voice.call and voice.call[0])
        _leave(1)  # whatever the library still has running
    voice.say(done=True)
