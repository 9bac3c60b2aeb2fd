"""A node as the executor sees it: what of it is reserved, who runs there, and whether its agent is within reach."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tunesmith.events import StartAttempt
from tunesmith.executors.ray.agent import GROUP_VARIABLE
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
        #: By trial: what an attempt was told while its checkpoint is on its way here; it starts when that has come.
        self.arriving: dict[int, list[AttemptCommand]] = {}
        self.lease_of: dict[int, int] = {}  #: by trial that holds several bundles: the number of its lease
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

    def with_own_bundle(self, start: StartAttempt) -> StartAttempt:
        """Of a trial with workers: what its own process has, and the placement group for them in its environment.

        Args: start: with its config packed.
        """
        if not start.placement.resources.bundles:
            return start
        taken = {number for trial, number in self.lease_of.items() if trial in self.attempts and trial != start.trial}
        lease = next(lease for lease in self.leases.values() if lease.number not in taken)
        self.lease_of[start.trial] = lease.number
        share = lease.own.gpu if lease.own.gpu < 1 else 1.0
        placement = replace(start.placement, resources=lease.own, gpus=dict.fromkeys(lease.own_gpus, share))
        fields = {**start.config, "environment": {GROUP_VARIABLE: lease.group_id}}
        return replace(start, placement=placement, config=fields)

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
        held = {number for trial, number in self.lease_of.items() if trial in self.attempts}
        for lease in self.leases.values():
            if lease.number in held:
                continue
            has_cpu = lease.cpu <= free_cpu + _EPS
            has_gpus = all(share <= free_gpus[gpu] + _EPS for gpu, share in lease.gpu_shares.items())
            has_custom = all(amount <= free_custom[name] + _EPS for name, amount in lease.custom.items())
            if has_cpu and has_gpus and has_custom:
                return lease
        return None
