"""What new agents are made with, and the file by which they see whether the experiment's folder is the driver's."""

from __future__ import annotations

import secrets
import sys
import uuid
from pathlib import Path

from tunesmith.executors.ray import cluster
from tunesmith.executors.ray.agent import Post

_PREFIX = ".seen-"


class Posts:
    """Args:
    folder: of the experiment; address, token: of the driver's hub; window_s: how long the driver may be away.
    """

    def __init__(self, folder: Path, *, address: tuple[str, int], token: str, window_s: float) -> None:
        self._folder, self._address, self._token, self._window_s = folder, address, token, window_s
        self._probe = (f"{_PREFIX}{uuid.uuid4().hex}", secrets.token_hex(16))
        self._cluster = cluster.address()
        self._cwd = None if cluster.has_working_dir() else str(Path.cwd())
        self._sys_path = tuple(str(Path(entry or ".").absolute()) for entry in sys.path)

    def leave_probe(self) -> None:
        """Without it, all nodes are taken to see no common storage."""
        self.remove_probes()  # of a driver that was killed
        name, text = self._probe
        (self._folder / name).write_text(text)

    def remove_probes(self) -> None:
        """All that are there: an experiment has one driver at a time."""
        for path in self._folder.glob(f"{_PREFIX}*"):
            path.unlink(missing_ok=True)

    def make(self, node: cluster.ClusterNode) -> Post:
        """For an agent on this node."""
        return Post(
            node=node.node.name,
            agent_id=uuid.uuid4().hex,
            addresses=(self._address,),
            token=self._token,
            window_s=self._window_s,
            folder=str(self._folder),
            probe=self._probe,
            sys_path=self._sys_path,
            argv=tuple(sys.argv),
            cluster=self._cluster,
            cwd=self._cwd,
        )
