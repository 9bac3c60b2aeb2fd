"""A thread beside the loop that looks after the cluster: what Ray takes its time for must not hold up a report."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from tunesmith.errors import TunesmithError
from tunesmith.executors.ray.agent import Greeting, Post, own_versions
from tunesmith.executors.ray.cluster import (
    AgentDiedError,
    AgentLink,
    ClusterNode,
    Lease,
    Reservation,
    living_nodes,
    put_once,
)
from tunesmith.resources import Resources

_log = logging.getLogger("tunesmith")
_FIRST_BATCH, _LARGEST_BATCH = 4, 64
_PATIENCE_S = 1.0  #: until what is not granted counts as not to be had now
_BUSY_S, _QUIET_S = 0.02, 0.25  #: between two looks
_NODES_S = 0.5  #: between two looks at the list of nodes
_LONGEST_PAUSE_S = 30.0  #: before another agent on a node where they die
_SILENT_S = 120.0  #: of the cluster, until it counts as lost


class Granted(NamedTuple):
    """A part of a node is reserved, and an agent is there or on its way."""

    lease: Lease
    node: ClusterNode


class Dismissed(NamedTuple):
    """A node, its agent or both are gone."""

    node_id: str
    why: str


class AgentReady(NamedTuple):
    """An agent answered and serves."""

    node_id: str
    agent_id: str
    sees_folder: bool
    actor: Any


class Failed(NamedTuple):
    """Nothing can go on."""

    error: TunesmithError


Message = Granted | Dismissed | AgentReady | Failed


class ClusterWatch:
    """Args:
    request: what one slot takes.
    make_post: what a new agent on this node is made with.
    facts, trial_names, code: what agents serve with.
    is_patient: more nodes come by themselves where they are asked for (autoscaling).
    tell: called in this thread with what the loop must know.
    """

    def __init__(
        self,
        request: Resources,
        *,
        make_post: Callable[[ClusterNode], Post],
        facts: Mapping[str, Any],
        trial_names: Callable[[int], tuple[str, str]],
        code: bytes,
        runtime_env: Mapping[str, Any] | None,
        is_patient: bool,
        tell: Callable[[Message], None],
    ) -> None:
        self._request, self._make_post, self._tell = request, make_post, tell
        self._facts, self._trial_names, self._code = dict(facts), trial_names, code
        self._runtime_env, self._is_patient = runtime_env, is_patient
        self.n_wanted = 0.0  #: how many slots the loop wants; set by it at any time
        self._nodes: dict[str, ClusterNode] = {}
        self._agents: dict[str, AgentLink] = {}
        self._are_serving: set[str] = set()  #: agent ids
        self._n_deaths: dict[str, int] = {}  #: of a node's agents, one after another, none of which came to serve
        self._not_before: dict[str, float] = {}  #: when the next one may be made there
        self._granted: dict[int, tuple[Reservation, str]] = {}
        self._pending: dict[int, tuple[Reservation, float]] = {}
        self._n_reservations = 0
        self._batch = _FIRST_BATCH
        self._tasks: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._is_leaving = self._is_ending = False
        self._code_reference: Any = None
        self._thread = threading.Thread(target=self._run, name="tunesmith-ray", daemon=True)

    # ------------------------------------------------------------ called by the loop

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def look(self) -> None:
        """Something has happened: look now."""
        self._wake.set()

    def give_back(self, number: int) -> None:
        """This lease is not needed any more."""
        self._do(lambda: self._give_back(number))

    def dismiss(self, node_id: str) -> None:
        """The loop has given this node's agent up. Another one is made where it is still there, and needed."""
        self._do(lambda: self._drop_agent(node_id))

    def begin_end(self) -> None:
        """Reserve and make nothing more: agents are about to leave."""
        self._is_leaving = True

    def close(self) -> None:
        """Give everything back. Agents that still run are ended."""
        self._is_ending = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _do(self, task: Callable[[], None]) -> None:
        self._tasks.append(task)
        self._wake.set()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        heard_at, looked_at = time.monotonic(), 0.0
        try:
            while not self._is_ending:
                now = time.monotonic()
                try:
                    if now - looked_at >= _NODES_S or self._wake.is_set():
                        looked_at = now
                        self._look_at_nodes()
                    self._wake.clear()
                    self._look(now)
                    heard_at = time.monotonic()
                except TunesmithError as error:
                    self._tell(Failed(error))
                    return
                except Exception as error:  # whatever Ray raises while its head is away
                    _log.debug("The cluster did not answer: %s", error)
                    if time.monotonic() - heard_at > _SILENT_S:
                        lost = f"The Ray cluster has not answered for {_SILENT_S:g} s: {type(error).__name__}: {error}"
                        self._tell(Failed(TunesmithError(lost)))
                        return
                    time.sleep(_QUIET_S)
                is_busy = self._pending or len(self._are_serving) < len(self._agents)
                self._wake.wait(_BUSY_S if is_busy else _QUIET_S)
        finally:
            self._end()

    def _look(self, now: float) -> None:
        while self._tasks:
            self._tasks.popleft()()
        for number, (reservation, _) in list(self._pending.items()):
            lease = reservation.granted()
            if lease is not None and lease.node_id in self._nodes:
                del self._pending[number]
                self._granted[number] = (reservation, lease.node_id)
                self._ensure_agent(lease.node_id)
                self._tell(Granted(lease, self._nodes[lease.node_id]))
        if self._is_leaving:
            return
        self._reserve(now)
        for agent in list(self._agents.values()):
            self._look_at_agent(agent)
        for node_id in {where for _, where in self._granted.values()} - self._agents.keys():
            self._ensure_agent(node_id)

    def _reserve(self, now: float) -> None:
        """Ask for slots in growing batches; where no more are granted, one stays in the queue (all, with patience)."""
        oldest = min((since for _, since in self._pending.values()), default=now)
        if now - oldest > _PATIENCE_S and not self._is_patient:
            self._batch = 1
        elif not self._pending:
            self._batch = min(max(2 * self._batch, _FIRST_BATCH), _LARGEST_BATCH)
        n_missing = max(0.0, self.n_wanted - len(self._granted))
        n_pending = int(min(n_missing, self._batch))
        for number in sorted(self._pending)[n_pending:]:
            self._pending.pop(number)[0].give_back()
        while len(self._pending) < n_pending:
            self._n_reservations += 1
            self._pending[self._n_reservations] = (Reservation(self._n_reservations, self._request), now)

    def _look_at_nodes(self) -> None:
        nodes = {node.node_id: node for node in living_nodes()}
        for node_id in self._nodes.keys() - nodes.keys():
            del self._nodes[node_id]
            self._drop_agent(node_id)
            for number in [number for number, (_, where) in self._granted.items() if where == node_id]:
                self._give_back(number)
            self._tell(Dismissed(node_id, "the node is gone"))
        self._nodes = nodes

    # ------------------------------------------------------------ agents

    def _ensure_agent(self, node_id: str) -> None:
        is_too_soon = time.monotonic() < self._not_before.get(node_id, 0.0)
        if node_id not in self._agents and node_id in self._nodes and not is_too_soon:
            post = self._make_post(self._nodes[node_id])
            self._agents[node_id] = AgentLink(node_id, post, self._runtime_env)

    def _look_at_agent(self, agent: AgentLink) -> None:
        try:
            if agent.agent_id in self._are_serving:
                if agent.has_ended():
                    raise AgentDiedError("its agent has left")
                return
            answer = agent.greeting()
        except AgentDiedError as error:
            node_id, has_served = agent.node_id, agent.agent_id in self._are_serving
            self._drop_agent(node_id)
            n_deaths = self._n_deaths[node_id] = 1 if has_served else self._n_deaths.get(node_id, 0) + 1
            self._not_before[node_id] = time.monotonic() + min(2.0**n_deaths - 2.0, _LONGEST_PAUSE_S)
            self._tell(Dismissed(node_id, str(error)))
            return
        if answer is not None:
            greeting = msgspec.msgpack.decode(answer, type=Greeting)
            self._check_versions(agent, greeting)
            if self._code_reference is None:
                self._code_reference = put_once(self._code)
            agent.serve(self._facts, self._trial_names, self._code_reference)
            self._are_serving.add(agent.agent_id)
            self._tell(AgentReady(agent.node_id, agent.agent_id, greeting.sees_folder, agent.actor))

    @staticmethod
    def _check_versions(agent: AgentLink, greeting: Greeting) -> None:
        """Raises: TunesmithError where the node's are others (F94)."""
        mine, theirs = msgspec.structs.asdict(own_versions()), msgspec.structs.asdict(greeting.versions)
        names = {"protocol": "message protocol", "python": "Python", "system": "operating system"}
        differing = [
            f"{names.get(name, name)} {theirs[name]} (here {mine[name]})" for name in mine if mine[name] != theirs[name]
        ]
        if differing:
            raise TunesmithError(
                f"Node {agent.node} cannot run this experiment's trials, since it has {', '.join(differing)}. Install "
                "the same there, for instance from one image or through runtime_env."
            )

    def _drop_agent(self, node_id: str) -> None:
        agent = self._agents.pop(node_id, None)
        if agent is not None:
            self._are_serving.discard(agent.agent_id)
            agent.kill()

    # ------------------------------------------------------------ ends

    def _give_back(self, number: int) -> None:
        found = self._granted.pop(number, None)
        if found is not None:
            found[0].give_back()

    def _end(self) -> None:
        for node_id in list(self._agents):
            self._drop_agent(node_id)
        reservations = [reservation for reservation, _ in [*self._granted.values(), *self._pending.values()]]
        for reservation in reservations:
            try:
                reservation.give_back()
            except Exception as error:  # the head is away; Ray frees them when this driver has left
                _log.debug("A reservation could not be given back: %s", error)
                break
