"""A node as the executor sees it: what of it is reserved, who runs there, and whether its agent is within reach."""

from __future__ import annotations

from typing import Any

from tunesmith.events import StartAttempt
from tunesmith.executors.ray.cluster import Lease
from tunesmith.executors.ray.messages import AttemptCommand
from tunesmith.resources import Node

_EPS = 1e-9


class Host:
    """One node, from the first thing that is reserved there until it is gone."""

    def __init__(self, node_id: str, name: str) -> None:
        self.node_id, self.name = node_id, name
        self.leases: dict[int, Lease] = {}
        self.attempts: dict[int, StartAttempt] = {}  #: by trial: those between StartAttempt and AttemptEnded
        self.backlog: list[AttemptCommand] = []  #: for the agent that is being made
        self.agent_id: str | None = None  #: of the agent that there is, or will be
        self.actor: Any = None  #: the same, once it has answered
        self.sees_folder = True
        self.away_since: float | None = None  #: since when a connected agent is not connected any more
        self.has_connected = False
        self.is_quarantined = False
        self.is_withdrawn = False  #: its agent died, and the next has not answered: nothing is to start here

    def offer(self) -> Node:
        """What is reserved."""
        shares: dict[str, float] = {}
        custom: dict[str, float] = {}
        for lease in self.leases.values():
            for gpu, share in lease.gpu_shares.items():
                shares[gpu] = shares.get(gpu, 0.0) + share
            for name, amount in lease.custom.items():
                custom[name] = custom.get(name, 0.0) + amount
        cpu = sum(lease.cpu for lease in self.leases.values())
        partly = {gpu: share for gpu, share in shares.items() if share < 1.0 - _EPS}
        return Node(self.name, cpu, tuple(sorted(shares)), custom, partly)

    def idle_lease(self) -> Lease | None:
        """One without which all that runs here still fits; None if there is none."""
        offered, placements = self.offer(), [start.placement for start in self.attempts.values()]
        free_cpu = offered.cpu - sum(placement.resources.cpu for placement in placements)
        free_gpus = {
            gpu: share - sum(placement.gpus.get(gpu, 0.0) for placement in placements)
            for gpu, share in offered.shares().items()
        }
        free_custom = {
            name: amount - sum(placement.resources.custom.get(name, 0.0) for placement in placements)
            for name, amount in offered.custom.items()
        }
        for lease in self.leases.values():
            has_cpu = lease.cpu <= free_cpu + _EPS
            has_gpus = all(share <= free_gpus[gpu] + _EPS for gpu, share in lease.gpu_shares.items())
            has_custom = all(amount <= free_custom[name] + _EPS for name, amount in lease.custom.items())
            if has_cpu and has_gpus and has_custom:
                return lease
        return None
