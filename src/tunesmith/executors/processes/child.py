"""What happens in a trial's process: isolate it, run the trainable, say how it ended, go."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from tunesmith.clock import SystemClock
from tunesmith.executors.processes.isolation import (
    THREAD_COUNT_VARIABLES,
    adopt_orphans,
    be_killed_first,
    die_with_parent,
    flush_output,
)
from tunesmith.executors.processes.seeding import seed_generators
from tunesmith.trialside.call import InvalidConfig, run_trainable
from tunesmith.trialside.channel import Answer, DriverLost, Outcome, SocketChannel
from tunesmith.trialside.current import (
    ATTEMPT_VARIABLE,
    SOCKET_VARIABLE,
    STARTED_VARIABLE,
    TOKEN_VARIABLE,
    TRIAL_VARIABLE,
    set_session,
)
from tunesmith.trialside.failure import failure_text
from tunesmith.trialside.session import Session, TrialFacts, TrialStopped

_EXIT_ORPHANED = 75
_EXIT_CODES: dict[Outcome | None, int] = {
    "returned": 0,
    "stopped": 0,
    "raised": 1,
    "exited": 1,
    "invalid": 1,
    None: _EXIT_ORPHANED,
}


def run_forked(facts: dict[str, Any], trainable: Any, parent: int) -> None:
    """Be the trial; never returns. Called in a fresh fork of the template."""
    die_with_parent(parent)
    os.setsid()
    atexit._clear()  # what the imports registered belongs to the template
    run_attempt(facts, trainable)


def run_attempt(facts: dict[str, Any], trainable: Any) -> None:
    """Set up the process, run the trainable and exit."""
    adopt_orphans()
    be_killed_first()
    _redirect_output(facts["log"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _set_environment(facts)
    _limit_threads(facts)
    seed_generators(facts["seed"])
    channel = _connect(facts)
    reporting = _ImportReporter(channel) if facts["wants_imports"] else channel
    session = Session(TrialFacts.from_welcome(facts), reporting)
    set_session(session)
    own_pid = os.getpid()
    outcome, error = _run(trainable, session, facts)
    session.outcome = outcome
    if error is not None:
        _print_error(error)
    if os.getpid() == own_pid:
        _exit(_say(channel, outcome, error))
    flush_output()  # a child that the function forked, and that came back here instead of exiting
    os._exit(_EXIT_CODES[outcome])


def _connect(facts: dict[str, Any]) -> SocketChannel:
    try:
        path, token = os.environ[SOCKET_VARIABLE], os.environ[TOKEN_VARIABLE]
        return SocketChannel(path, facts["trial_index"], facts["attempt"], token)
    except DriverLost:
        os._exit(_EXIT_ORPHANED)


def _run(trainable: Any, session: Session, facts: dict[str, Any]) -> tuple[Outcome | None, str | None]:
    """How it ended, and the error if there is one; None: without a driver."""
    try:
        run_trainable(
            trainable,
            session,
            checkpoint_freq=facts["checkpoint_freq"],
            checkpoint_at_end=facts["checkpoint_at_end"],
        )
    except TrialStopped:
        return "stopped", None
    except DriverLost:
        return None, None
    except InvalidConfig as error:
        return "invalid", failure_text(error)
    except SystemExit as error:
        return "exited", f"The function called sys.exit({error.code!r}), it did not return."
    except BaseException as error:
        return "raised", failure_text(error)
    # A function may have swallowed its stop and returned.
    return ("returned" if session.stop is None else "stopped"), None


def _say(channel: SocketChannel, outcome: Outcome | None, error: str | None) -> int:
    """Tell the driver how it ended; the exit status."""
    if outcome is not None:
        try:
            channel.ended(outcome, error, is_childless=_is_childless())
        except DriverLost:
            outcome = None
    return _EXIT_CODES[outcome]


def _print_error(error: str) -> None:
    try:
        print(error, file=sys.stderr)
    except (OSError, ValueError):
        pass  # the function has closed it


def _is_childless() -> bool:
    """Whether no process is left below this one, nor will be: orphans of its children count, since it adopts them."""
    if threading.active_count() > 1 or atexit._ncallbacks() > 0:  # these may still start some
        return False
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return sys.platform == "linux"
    return False


def _exit(code: int) -> None:
    """Leave without tearing down what is shared with the template: faster, and nothing of it is touched."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does: wait for the user's threads
        _end_multiprocessing()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    flush_output()
    os._exit(code)


def _end_multiprocessing() -> None:
    """Its exit function would wait for children without a limit. Nothing of a trial outlives it, so they are ended."""
    process = sys.modules.get("multiprocessing.process")
    for child in process.active_children() if process is not None else ():
        child.terminate()


def _redirect_output(path: str) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except (
        OSError
    ):  # no inode is left (F43), or the folder was removed: what a trial prints is less than what it trains
        log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    # Line by line, so that a killed trial's last words are in the log.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable()


def _set_environment(facts: dict[str, Any]) -> None:
    os.environ.update(facts.get("environment", {}))
    os.environ[TRIAL_VARIABLE] = str(facts["trial_index"])
    os.environ[ATTEMPT_VARIABLE] = str(facts["attempt"])
    os.environ[STARTED_VARIABLE] = repr(SystemClock().now())
    os.environ.pop("TUNESMITH_TEMPLATE", None)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(facts["gpus"])
    threads = str(_n_threads(facts))
    for name in THREAD_COUNT_VARIABLES:
        os.environ[name] = threads


def _n_threads(facts: dict[str, Any]) -> int:
    return max(1, int(facts["resources"]["cpu"]))


def _limit_threads(facts: dict[str, Any]) -> None:
    """Compute on as many CPUs as the trial has. Libraries loaded before the fork no longer read the variables."""
    n = _n_threads(facts)
    if n == 1:
        return  # the template is limited to one already, and so is every fork of it
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=n)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)


class _ImportReporter:
    """A channel that tells the driver, before the first report, what the function imported: the template may follow."""

    def __init__(self, channel: SocketChannel) -> None:
        self._channel = channel
        self._before: set[str] | None = set(sys.modules)

    def report(
        self, step: int, metrics: Mapping[str, float], *, time_total_s: float, checkpoint: str | None, is_last: bool
    ) -> Answer:
        """See Channel."""
        if self._before is not None:
            new = [name for name in list(sys.modules) if name not in self._before and _is_installed(name)]
            self._before = None
            self._channel.send({"type": "imported", "modules": new})
        return self._channel.report(step, metrics, time_total_s=time_total_s, checkpoint=checkpoint, is_last=is_last)

    def ended(self, outcome: Outcome, error: str | None = None, *, is_childless: bool = False) -> None:
        """See Channel."""
        self._channel.ended(outcome, error, is_childless=is_childless)

    def close(self) -> None:
        """See Channel."""
        self._channel.close()


_STDLIB = os.path.dirname(os.__file__) + os.sep


def _is_installed(name: str) -> bool:
    """Whether the module is of the standard library or an installed package: the user's own may have side effects."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if name == "__main__" or not file:
        return False
    return (
        f"{os.sep}site-packages{os.sep}" in file or f"{os.sep}dist-packages{os.sep}" in file or file.startswith(_STDLIB)
    )
