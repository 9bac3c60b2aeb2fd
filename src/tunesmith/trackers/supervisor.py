"""The driver's side of a tracker: starts its process, watches it, lets it rest where it fails, bounds its end."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from tunesmith.errors import TunesmithError
from tunesmith.executors.pickling import dumps
from tunesmith.executors.processes.spawned import interpreter_command, path_and_argv
from tunesmith.stores import Reader, open_reader
from tunesmith.stores.connection import database_path
from tunesmith.trackers.cursor import FOLDER, Cursor
from tunesmith.trackers.process import TEMPORARY_PREFIX, Order, known_secrets, redact
from tunesmith.trackers.tracker import Tracker, output_name

_log = logging.getLogger("tunesmith")
_POLL_S = 0.1
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 300.0
#: A process that ran so long before it failed, and told something, is no repeated failure: the rest is short again.
_SOUND_S = 120.0
#: After so many failures in a row nothing more is hoped for: the end of the experiment then waits for one more try.
_HOPELESS = 5
_EXIT_S = 5.0  #: for what a library does at exit, once everything is told
_SILENCE_S = 60.0  #: without a word of its process, which speaks twice a second: it holds the interpreter's lock
_LOG_CAP_BYTES = 4 * 2**20
#: A W&B process that the driver has would keep the runs of a tracker open that was killed, and refuse them to the next.
_NOT_INHERITED = ("WANDB_SERVICE",)


class TrackerProcess:
    """Follows the log with a tracker in a process of its own (a `Following` of the runner).

    Nothing that happens there, be it an exception, a hang or the process's death, comes nearer to the experiment than
    the one warning that is logged. The log is the queue: whatever was not told is read from it again.
    """

    def __init__(self, folder: Path, tracker: Tracker, *, output: str) -> None:
        """Args: output: names the files in `trackers/`. Raises what pickling the tracker raises."""
        self._folder, self._tracker, self._output = folder, tracker, output
        self._pickled = dumps(tracker)
        self._grace_s: float | None = tracker.grace_s
        self._is_patient = True  #: whether it is tried again after a failure
        self._ended, self._ended_at = threading.Event(), 0.0
        self._cursor = Cursor(folder, output, experiment_id="")  #: only to see whether it moves
        self._n_refused = 0
        self._thread = threading.Thread(target=self._follow, name=f"tunesmith-{self.name}", daemon=True)
        self._has_warned = False
        self.failure: str | None = None  #: what went wrong last, and was not made good since

    @property
    def name(self) -> str:
        """The tracker's, for messages."""
        return type(self._tracker).__name__

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def look_after(self) -> None:
        """Nothing: it has a thread of its own for that."""

    def end(self) -> None:
        """Tell what is left, then stop; it has `grace_s` from now on."""
        self._ended_at = time.monotonic()
        self._ended.set()

    @property
    def patience_s(self) -> float:
        """How long its end may take. What was not told by then has been said in a warning."""
        return self._tracker.grace_s + 4 * _EXIT_S

    def join(self, timeout_s: float) -> bool:
        """Wait for its end."""
        self._thread.join(min(timeout_s, threading.TIMEOUT_MAX))
        return not self._thread.is_alive()

    def leave(self) -> None:
        """End its process now; what it was not told can be told at another time."""
        self._grace_s = 0.0

    def is_behind(self, reader: Reader) -> bool:
        """Whether the experiment has something that was not told; asked before `start`."""
        told = Cursor(self._folder, self._output, experiment_id=reader.spec.experiment_id).load()
        return told.seq < reader.last_seq() or bool(told.unsafe)

    def tell_all(self, timeout_s: float | None) -> None:
        """Tell what is left of an experiment that nobody drives.

        Raises: TunesmithError if the tracker fails, or is not through in time.
        """
        self._grace_s, self._is_patient = timeout_s, False
        self._ended_at = time.monotonic()
        self._ended.set()
        self._run()
        if self.failure is not None:
            raise TunesmithError(f"{self.name} did not come to the end of {self._folder}:\n{self.failure}")

    # ------------------------------------------------------------ in its thread

    def _follow(self) -> None:
        try:
            self._run()
        except Exception:
            _log.warning("%s is not told any more; the experiment goes on.", self.name, exc_info=True)

    def _run(self) -> None:
        rest_s, n_failures = _FIRST_REST_S, 0
        while self._left_s() > 0:
            began_at, mark = time.monotonic(), self._cursor.mark()
            self.failure = self._attempt()
            if self.failure is None or not self._is_patient:
                return
            if time.monotonic() - began_at > _SOUND_S and self._cursor.mark() != mark:
                rest_s, n_failures = _FIRST_REST_S, 0
            n_failures += 1
            if self._ended.is_set() and n_failures >= _HOPELESS:
                break
            if self._left_s() > 0:
                self._warn(rest_s)
                self._rest(rest_s)
            rest_s = min(2 * rest_s, _LONGEST_REST_S)
        _log.warning(
            "The experiment is over, and %s is not through; it was left behind: %s\nNo result is lost. To send the "
            "rest at another time: tunesmith.trackers.sync(%r, <your %s>), or the same tune.run again.",
            self.name, _last_line(self.failure), str(self._folder), self.name,
        )  # fmt: skip

    def _left_s(self) -> float:
        if not self._ended.is_set() or self._grace_s is None:
            return float("inf")
        return self._ended_at + self._grace_s - time.monotonic()

    def _rest(self, rest_s: float) -> None:
        """Wait; the end of the experiment cuts it short, since then there is not much time."""
        if self._ended.is_set():
            time.sleep(max(0.0, min(rest_s, self._tracker.grace_s / _HOPELESS, self._left_s())))
        else:
            self._ended.wait(rest_s)

    def _warn(self, rest_s: float) -> None:
        """Once; later failures are for the debug log."""
        level, self._has_warned = (logging.DEBUG if self._has_warned else logging.WARNING), True
        _log.log(
            level,
            "%s failed; it is tried again in %g s, then less and less often, and catches up when it works. The "
            "experiment goes on and loses nothing.\n%s",
            self.name, rest_s, self.failure,
        )  # fmt: skip

    def _warn_of_refusal(self, words: str) -> None:
        """Once: a library that takes no names with brackets in them refuses each of them."""
        self._n_refused += 1
        if self._n_refused == 1:
            log = self._folder / FOLDER / f"{self._output}.log"
            _log.warning(
                "%s: a call was refused and is left out, what else is refused is only in %s: %s", self.name, log, words
            )

    def _attempt(self) -> str | None:
        """Run a process until it is through (None) or has failed (why)."""
        try:
            child = _Child(self._folder, self._output, self._pickled, on_refusal=self._warn_of_refusal)
        except OSError as error:
            return f"Its process could not be started: {error}."
        try:
            return self._watch(child)
        finally:
            child.close()

    def _watch(self, child: _Child) -> str | None:
        was_told_of_end = False
        while True:
            if child.is_done:
                child.wait(_EXIT_S)
                return None
            if child.has_ended:
                return redact(child.last_words(), known_secrets(self._tracker))
            if self._ended.is_set() and not was_told_of_end:
                was_told_of_end = True
                child.say_end()
            if self._left_s() <= 0:
                return self.failure or child.what_it_does()
            if (why := child.hangs(self._tracker)) is not None:
                return why
            child.wait(_POLL_S)


class _Child:
    """One process of a tracker, and what was heard of it."""

    def __init__(self, folder: Path, output: str, pickled: bytes, *, on_refusal: Callable[[str], None]) -> None:
        """Args: on_refusal: called in a thread of its own. Raises: OSError if it cannot be started."""
        self._on_refusal = on_refusal
        self._temporary = tempfile.mkdtemp(prefix=TEMPORARY_PREFIX)
        try:
            self._process = _spawn(folder / FOLDER / f"{output}.log", self._temporary)
        except OSError:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise
        self.is_done, self._failed = False, ""
        self._call: tuple[str, float] | None = None  #: what is being called, and since when, by our clock
        self._heard_at = time.monotonic()
        self._gone = threading.Event()  #: nothing more is heard of it
        self._ear = threading.Thread(target=self._listen, name=f"tunesmith-{output}-ear", daemon=True)
        self._ear.start()
        assert self._process.stdin is not None
        with suppress(OSError):  # it has died already; `last_words` says so
            Order(str(folder), output, pickled=pickled).write(self._process.stdin)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone, and all it said was heard."""
        return self._gone.is_set() and self._process.poll() is not None

    def wait(self, timeout_s: float) -> None:
        """Until it ends, or for so long."""
        if self._gone.wait(timeout_s):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)

    def say_end(self) -> None:
        """The experiment is over."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(b"end\n")
            self._process.stdin.flush()

    def hangs(self, tracker: Tracker) -> str | None:
        """Why it is taken to hang, or None."""
        now, call = time.monotonic(), self._call
        limit_s = tracker.call_timeout_s if call is None else tracker.time_limit_s(call[0])
        if call is not None and now - call[1] > limit_s:
            return f"{call[0]}() did not return within {limit_s:g} s; the process was killed."
        if now - self._heard_at > max(_SILENCE_S, limit_s):
            return f"Its process was silent for {max(_SILENCE_S, limit_s):g} s and was killed."
        return None

    def what_it_does(self) -> str:
        """In words, for one that is not waited for any more."""
        if self._call is None:
            return "It was slow."
        return f"{self._call[0]}() had not returned for {time.monotonic() - self._call[1]:.0f} s."

    def last_words(self) -> str:
        """Why it ended before it was through."""
        code = self._process.returncode
        return self._failed or (f"Its process was ended by signal {-code}." if code < 0 else f"It exited with {code}.")

    def close(self) -> None:
        """Kill it, with what it has started in its group, where it has not ended yet; free what it held."""
        if self._process.poll() is None:
            with suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # a process in a dead file system cannot be killed
                self._process.wait(_EXIT_S)
        self._ear.join(_EXIT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        shutil.rmtree(self._temporary, ignore_errors=True)  # the process does so itself, where it can

    def _listen(self) -> None:
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None
        for line in pipe:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # cut off by its death
            self._heard_at = now = time.monotonic()
            self._call = (said["call"], now - said["for_s"]) if said.get("call") and "for_s" in said else None
            self.is_done = self.is_done or said.get("done", False)
            if "refused" in said:
                self._on_refusal(f"{said['call']}() raised {said['refused']}")
            if "failed" in said:
                where = f"{said['call']}() raised:\n" if said.get("call") else ""
                self._failed = where + said["failed"]
        self._gone.set()


def _spawn(log: Path, temporary: str) -> subprocess.Popen[bytes]:
    """A fresh interpreter (never a fork of the driver) in a session of its own: Ctrl-C is the driver's affair."""
    log.parent.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    output = os.open(log, flags, 0o600)
    try:
        if os.fstat(output).st_size > _LOG_CAP_BYTES:
            os.ftruncate(output, 0)
        return subprocess.Popen(
            interpreter_command("tunesmith.trackers.process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            env={
                "OMP_NUM_THREADS": "1",
                **{name: value for name, value in os.environ.items() if name not in _NOT_INHERITED},
                "TMPDIR": temporary,  # for what libraries leave there when they are killed
                "TUNESMITH_PATH_AND_ARGV": path_and_argv(),
            },
        )
    finally:
        os.close(output)


def _last_line(text: str | None) -> str:
    lines = [line for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else "it did not fail."


def make_tracker_processes(folder: Path, trackers: Iterable[Tracker]) -> list[TrackerProcess]:
    """One for each, in order. Two that write the same are told apart by their order.

    Raises: what pickling a tracker raises.
    """
    taken: dict[str, int] = {}
    made = []
    for tracker in trackers:
        name = output_name(tracker)
        taken[name] = n = taken.get(name, 0) + 1
        made.append(TrackerProcess(folder, tracker, output=name if n == 1 else f"{name}-{n}"))
    return made


def sync(folder: str | os.PathLike[str], *trackers: Tracker, timeout_s: float | None = None) -> None:
    """Tell trackers what they were not told of an experiment: after one was down, or of one that had none.

    Args:
        folder: of the experiment.
        trackers: made with the same arguments as those that are behind, to go on where they stood; with others it is a
            new output, from the first record on.
        timeout_s: for each of them; None: no limit.
    Raises: StoreError if there is no experiment; TunesmithError while a driver runs it, which tells its own trackers,
        or with the tracker's traceback if one fails.
    """
    path = database_path(folder).parent
    reader = open_reader(path)
    try:
        if (lease := reader.driver()) is not None:
            raise TunesmithError(f"{path} is run by process {lease.owner.pid}. Wait for its end, then sync.")
    finally:
        reader.close()
    for process in make_tracker_processes(path, trackers):
        process.tell_all(timeout_s)
