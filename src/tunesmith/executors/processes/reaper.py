"""The reaper: a small process above all trials that holds no user code and outlives whatever they do.

It is the subreaper of everything below it (Linux), starts the template, and on the driver's end clears the whole tree.
Trials are subreapers of their own descendants, so a direct child of the reaper other than the template can only be
what an ended trial left behind: an escapee, and is ended.

It is run as a script by path (`python -S -E -s -P reaper.py the-drivers-socket`), imports the standard library only,
and speaks JSON lines: on stdin {"do": "spawn", "argv": [...], "env": {...}, "cwd": "...", "log": "..."}, {"do":
"sweep", "id": 3}; on stdout {"spawned": pid}, {"template_exit": status}, {"swept": 3, "n_killed": 0}. End of file on
stdin is the driver's end.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_TERM_S = 1.0  #: what an escapee gets between SIGTERM and SIGKILL
_IS_LINUX = sys.platform == "linux"


def children_of(pid: int) -> list[int]:
    """Direct children of a process, zombies included; empty if it is gone."""
    if not _IS_LINUX:
        lines = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True).stdout.splitlines()
        return [int(line.split()[0]) for line in lines if int(line.split()[1]) == pid]
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        pass
    return found


def tree_of(pid: int) -> list[int]:
    """All descendants of a process, nearest first."""
    found = children_of(pid)
    for child in found:
        found += tree_of(child)
    return found


def send_signal(pid: int, number: int) -> None:
    """Send a signal; a process that is gone already is what was wanted."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


class Reaper:
    """The loop. `template` is the one child that belongs here."""

    def __init__(self) -> None:
        self.template: int | None = None
        self.sweeps: list[int] = []  #: ids waiting until no escapee is left
        self.told_at: dict[int, float] = {}  #: escapee -> when it got SIGTERM
        self.n_killed = 0
        self.unread = b""
        self.wake_r, wake_w = os.pipe()
        os.set_blocking(self.wake_r, False)
        os.set_blocking(wake_w, False)
        signal.set_wakeup_fd(wake_w)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.driver = os.getppid()
        signal.signal(signal.SIGUSR1, lambda *_: None)  # wakes the loop: the driver, or its thread, has ended
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)  # only the driver's end ends the reaper

    def _say(self, **message: object) -> None:
        try:
            os.write(1, json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # the driver is gone; end of file on stdin follows

    def run(self) -> None:
        """Serve until the driver ends, then clear the tree."""
        while True:
            timeout_s = 0.05 if self.sweeps else None
            ready, _, _ = select.select([0, self.wake_r], [], [], timeout_s)
            if self.wake_r in ready:
                self._drain()
            self._reap()
            # A child that the driver forked may hold the pipe open: then only the changed parent tells.
            if os.getppid() != self.driver or (0 in ready and not self._read_commands()):
                self.kill_everything()
                return
            if self.sweeps:
                self._sweep()

    def _drain(self) -> None:
        try:
            while os.read(self.wake_r, 4096):
                pass
        except BlockingIOError:
            pass

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.told_at.pop(pid, None)
            if pid == self.template:
                self.template = None
                self._say(template_exit=status)

    def _read_commands(self) -> bool:
        """False at the driver's end."""
        data = os.read(0, 65536)
        if not data:
            return False
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command["do"] == "sweep":
                self.sweeps.append(command["id"])
            else:
                self._spawn(command)
        return True

    def _spawn(self, command: dict[str, Any]) -> None:
        try:
            log = os.open(str(command["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:  # no inode is left, or the folder was removed
            log = os.open(os.devnull, os.O_WRONLY)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1):
                    signal.signal(number, signal.SIG_DFL)
                null = os.open(os.devnull, os.O_RDWR)
                for target, source in ((0, null), (1, log), (2, log)):
                    os.dup2(source, target)
                os.chdir(str(command["cwd"]))
                _die_with_parent(parent)
                os.execve(command["argv"][0], command["argv"], command["env"])
            except BaseException as error:
                os.write(2, f"The template could not be started: {error!r}\n".encode())
            finally:
                os._exit(127)
        os.close(log)
        self.template = pid
        self._say(spawned=pid)

    def _sweep(self) -> None:
        """End what is not the template's; answer the sweeps once nothing is left."""
        now = time.monotonic()
        escapees = [pid for pid in children_of(os.getpid()) if pid != self.template]
        for pid in escapees:
            for member in (pid, *tree_of(pid)):
                told_at = self.told_at.setdefault(member, now)
                if told_at == now:
                    self.n_killed += 1
                    send_signal(member, signal.SIGTERM)
                    send_signal(member, signal.SIGCONT)
                elif now - told_at > _TERM_S:
                    send_signal(member, signal.SIGKILL)
        self._reap()
        if not escapees or all(pid not in children_of(os.getpid()) for pid in escapees):
            for sweep in self.sweeps:
                self._say(swept=sweep, n_killed=self.n_killed)
            self.sweeps, self.n_killed = [], 0
            self.told_at.clear()

    def kill_everything(self) -> None:
        """SIGKILL to all descendants until none is left; gives up after 5 s (a process in state D cannot be killed)."""
        give_up = time.monotonic() + 5.0
        while time.monotonic() < give_up:
            for pid in tree_of(os.getpid()):
                send_signal(pid, signal.SIGKILL)
            self._reap()
            if not children_of(os.getpid()):
                return
            time.sleep(0.01)


def remove_socket(path: str) -> None:
    """Remove the driver's socket and its folder, where the driver has not done so itself."""
    for remove, name in ((os.unlink, path), (os.rmdir, os.path.dirname(path))):
        try:
            remove(name)
        except OSError:
            continue


def _die_with_parent(parent: int) -> None:
    if _IS_LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    """Run until the driver ends."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the driver's thread blocks is not for those below
    reaper = Reaper()
    if _IS_LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    reaper.run()
    remove_socket(sys.argv[1])


if __name__ == "__main__":
    main()
