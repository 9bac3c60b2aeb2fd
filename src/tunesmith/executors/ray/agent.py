"""One agent per node: runs the processes executor there, for the driver that made it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec

from tunesmith.errors import TrainableError, TunesmithError
from tunesmith.events import AttemptStarted, Event
from tunesmith.executors.attempts import log_path
from tunesmith.executors.processes import ProcessExecutor
from tunesmith.executors.processes.code import PackedTrainable
from tunesmith.executors.ray.agent_channel import AgentChannel
from tunesmith.executors.ray.folders import pack_folder, remove_folder, unpack_folder
from tunesmith.executors.ray.messages import (
    PROTOCOL,
    AttemptEvent,
    Broken,
    CarryOut,
    Closed,
    FromAgent,
    Happened,
    decode_to_agent,
    encode,
)
from tunesmith.executors.remote_folders import download, upload
from tunesmith.protocols import Launch

GROUP_VARIABLE = "TUNESMITH_PLACEMENT_GROUP"  #: in a trial with workers: the placement group's id
_WAIT_S = 60.0
_MAX_LOG_BYTES = 4 << 20


class Versions(msgspec.Struct, frozen=True):
    """What must be the same at both ends, since code and messages travel between them."""

    protocol: int
    python: str
    tunesmith: str
    cloudpickle: str
    system: str


def own_versions() -> Versions:
    """Of this process."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        tunesmith = version("tunesmith")
    except PackageNotFoundError:
        tunesmith = "0+unknown"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Versions(PROTOCOL, python, tunesmith, cloudpickle.__version__, platform.system())


class Greeting(msgspec.Struct, frozen=True):
    """What an agent says of itself and its node."""

    versions: Versions
    sees_folder: bool  #: the experiment's folder is the driver's


class Post(msgspec.Struct, frozen=True):
    """What an agent is made with."""

    node: str  #: the node's name
    agent_id: str
    addresses: tuple[tuple[str, int], ...]  #: of the driver
    token: str
    window_s: float  #: how long the driver may be away
    folder: str  #: of the experiment, as the driver sees it
    probe: tuple[str, str]  #: a file in it, and what stands there
    sys_path: tuple[str, ...]
    argv: tuple[str, ...]
    cluster: str  #: Ray's address
    cwd: str | None  #: None where Ray has given the job a working directory


class _Wake(Event, frozen=True):
    """Ends the executor's wait; goes nowhere."""


class NodeAgent:
    """The actor. `serve` goes on until the driver closes it; the other methods are called beside it."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._inbox: deque[bytes] = deque()
        self._gone: str | None = None
        self._executor = ProcessExecutor({"cpu": 1})
        self._folder = Path(post.folder) if self._sees_folder() else self._own_folder()

    def greet(self) -> bytes:
        """A `Greeting`, as MessagePack."""
        return encode(Greeting(own_versions(), self._sees_folder()))

    def _sees_folder(self) -> bool:
        name, text = self._post.probe
        try:
            return (Path(self._post.folder) / name).read_text() == text
        except OSError:
            return False

    def _own_folder(self) -> Path:
        parent = Path(tempfile.gettempdir()) / f"tunesmith-{os.getuid()}"
        parent.mkdir(mode=0o700, exist_ok=True)
        if parent.is_symlink() or parent.stat().st_uid != os.getuid():
            raise TunesmithError(f"{parent} belongs to somebody else. Set TMPDIR on the nodes to a folder of your own.")
        folder = parent / f"{Path(self._post.folder).name}-{self._post.agent_id}"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    # ------------------------------------------------------------ serving

    def serve(self, facts: dict[str, Any], trial_names: Callable[[int], tuple[str, str]], code: bytes) -> None:
        """Run attempts as the driver says; answers when nothing of them is left.

        Args: facts: fields of `Launch`; code: the packed trainable.
        """
        self._find_modules()
        post, executor = self._post, self._executor
        launch = Launch(
            **facts,
            folder=self._folder,
            trainable=PackedTrainable(code),
            trial_names=trial_names,
            handle=_nobody,
            place=post.node,
        )
        self._launch = launch
        channel = AgentChannel(
            post.addresses,
            token=post.token,
            agent_id=post.agent_id,
            window_s=post.window_s,
            on_message=self._on_message,
            on_gone=self._on_gone,
        )
        last: FromAgent = Closed()
        try:
            executor.start(launch)
            channel.start()
            self._loop(channel)
        except TunesmithError as error:
            last = Broken(str(error), isinstance(error, TrainableError))
        finally:
            executor.close()
            if self._gone is None:
                channel.send(encode(last))
            channel.close()
            if self._folder != Path(post.folder):
                remove_folder(self._folder)

    def _loop(self, channel: AgentChannel) -> None:
        while self._gone is None:
            events = [event for event in self._executor.wait(_WAIT_S) if isinstance(event, AttemptEvent)]
            if events:
                channel.send(encode(Happened([self._named(event) for event in events])))
            while self._inbox:
                message = decode_to_agent(self._inbox.popleft())
                if not isinstance(message, CarryOut):
                    return
                self._executor.carry_out(message.commands)

    def _named(self, event: AttemptEvent) -> AttemptEvent:
        return msgspec.structs.replace(event, node=self._post.node) if isinstance(event, AttemptStarted) else event

    def _on_message(self, body: bytes) -> None:
        self._inbox.append(body)
        self._executor.post(_Wake())

    def _on_gone(self, why: str) -> None:
        print(f"tunesmith: the agent of {self._post.node} leaves: {why}", file=sys.stderr, flush=True)
        self._gone = why
        self._executor.post(_Wake())

    def _find_modules(self) -> None:
        """What the driver can import is importable here where it is there too, and the trial may see its argv."""
        post = self._post
        sys.argv[:] = post.argv
        known = set(sys.path)
        sys.path += [entry for entry in post.sys_path if entry not in known and Path(entry).exists()]
        os.environ["RAY_ADDRESS"] = post.cluster  # a trial that starts workers of its own joins it by `ray.init()`
        if post.cwd is not None and Path(post.cwd).is_dir():
            os.chdir(post.cwd)

    # ------------------------------------------------------------ folders that travel, where the nodes share none

    def read_folder(self, path: str, max_bytes: int) -> bytes:
        """A checkpoint, packed. Args: path: relative to the experiment's folder. Raises: FolderTooLargeError."""
        return pack_folder(self._folder / path, max_bytes=max_bytes)

    def has_folder(self, path: str) -> bool:
        """Whether the checkpoint is here."""
        return (self._folder / path).is_dir()

    def write_folder(self, path: str, packed: bytes) -> None:
        """Put a checkpoint here."""
        unpack_folder(packed, self._folder / path)

    def upload_folder(self, path: str, url: str) -> None:
        """Copy a checkpoint to storage that all nodes reach."""
        upload(self._folder / path, url)

    def download_folder(self, path: str, url: str) -> None:
        """Bring a checkpoint from there, if it is not here."""
        download(url, self._folder / path)

    def remove_folders(self, paths: Sequence[str]) -> None:
        """Of checkpoints that nobody needs any more."""
        for path in paths:
            remove_folder(self._folder / path)

    def read_log(self, trial: int) -> bytes:
        """The end of a trial's log."""
        path = log_path(self._launch, trial)
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _MAX_LOG_BYTES))
                return file.read()
        except OSError:
            return b""


def _nobody(events: Sequence[Event]) -> None:
    raise AssertionError("trials of a processes executor do not run in the loop's thread")
