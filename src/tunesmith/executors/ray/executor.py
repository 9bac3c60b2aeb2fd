"""The Ray executor, driver side: reserves slots on the cluster's nodes, and has an agent on each run attempts there."""

from __future__ import annotations

import logging
import math
import selectors
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from tunesmith.clock import SystemClock
from tunesmith.errors import TunesmithError
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    Command,
    DeleteCheckpoint,
    Event,
    NodeLost,
    NodeOffered,
    QuarantineNode,
    StartAttempt,
    StopAttempt,
    TrialReported,
)
from tunesmith.executors.attempts import log_path, make_log_folder
from tunesmith.executors.mailbox import Mailbox
from tunesmith.executors.processes.code import check_config, pack_trainable, why_not_sent
from tunesmith.executors.ray import cluster, watch
from tunesmith.executors.ray.agent import Post
from tunesmith.executors.ray.folders import MAX_TRAVEL_BYTES
from tunesmith.executors.ray.host import Host
from tunesmith.executors.ray.hub import Hub
from tunesmith.executors.ray.messages import (
    AttemptCommand,
    Broken,
    CarryOut,
    Close,
    Closed,
    decode_from_agent,
    encode,
    travelling,
)
from tunesmith.executors.ray.posts import Posts
from tunesmith.executors.ray.transfers import Transfers
from tunesmith.executors.remote_folders import check_url, write_pointer
from tunesmith.protocols import Launch
from tunesmith.resources import Node, Resources
from tunesmith.space import Space
from tunesmith.trial import AttemptOutcome

_log = logging.getLogger("tunesmith")
_CLOSE_S = 15.0  #: for the agents to end what runs
_LEAST_WAIT_S = 1.0  #: between two looks at what is idle or away


class RayExecutor:
    """Runs each attempt in a process of its own on some node of a Ray cluster. See docs/cluster.md.

    Args:
        address: of the cluster; None: RAY_ADDRESS, else the one on this machine, else a new one here.
        runtime_env: Ray's, for the agents and the trials below them.
        autoscaling: nodes come where they are asked for, so that even a request that no node can hold now may wait.
        reattach_s: how long a node may be out of reach before its trials start again elsewhere.
        shares_folder: False: the nodes are taken to see no common storage. None: it is found out for each.
        max_travel_bytes: of a checkpoint, where they do not: a larger one is not kept.
        checkpoint_url: where nodes put checkpoints and find them, for instance "s3://bucket/folder" (fsspec).
    """

    is_inline = False
    is_elastic = True

    def __init__(
        self,
        address: str | None = None,
        *,
        runtime_env: Mapping[str, Any] | None = None,
        autoscaling: bool = False,
        reattach_s: float = 30.0,
        shares_folder: bool | None = None,
        max_travel_bytes: int = MAX_TRAVEL_BYTES,
        checkpoint_url: str | None = None,
    ) -> None:
        if not 0 < reattach_s < math.inf:
            raise TunesmithError(f"reattach_s is {reattach_s!r}. Give seconds above 0.")
        self.clock = SystemClock()
        self._address, self._runtime_env, self._autoscaling = address, runtime_env, autoscaling
        self._reattach_s, self._shares_folder = reattach_s, shares_folder
        self._max_travel_bytes = max_travel_bytes
        self._checkpoint_url = None if checkpoint_url is None else check_url(checkpoint_url)
        if checkpoint_url is not None:
            self._shares_folder = False
        self._is_ours: bool | None = None  #: whether the connection to Ray is; None before there is one
        self._mailbox = Mailbox()
        self._selector = selectors.DefaultSelector()
        self._events: list[Event] = []
        self._told: deque[watch.Message | Callable[[], None]] = deque()  #: by other threads, for the loop
        self._hosts: dict[str, Host] = {}  #: by name
        self._host_by_agent: dict[str, Host] = {}
        self._host_by_trial: dict[int, Host] = {}  #: of the attempts between StartAttempt and AttemptEnded
        self._to_release: list[int] = []
        self._fatal: TunesmithError | None = None
        self._launch: Launch | None = None
        self._n_closed = 0
        self._looked_at = 0.0
        self._is_closed = False

    # ------------------------------------------------------------ the protocol

    def nodes(self) -> tuple[Node, ...]:
        """Before the start, what there is in the cluster; from then on, what is reserved."""
        if self._launch is not None:
            return tuple(host.offer() for host in self._hosts.values())
        self._connect()
        return tuple(node.node for node in cluster.living_nodes())

    def check(self, space: Space, request: Resources) -> None:
        """See Executor.check. With autoscaling, a request may wait for a node that is to come."""
        try:
            if not self._autoscaling:
                self._connect()
                cluster.check_possible(request)
            check_config(space.tree)
        except BaseException:
            self.close()
            raise

    def start(self, launch: Launch) -> None:
        """Pack the code, listen for agents, and begin to reserve slots."""
        self._connect()
        code = pack_trainable(launch.trainable)
        make_log_folder(launch)
        self._mailbox.open()
        self._selector.register(self._mailbox, selectors.EVENT_READ, self._mailbox.clear)
        host = cluster.own_address()
        self._hub = Hub(self._selector, host, on_message=self._on_message, on_change=self._on_change)
        self._transfers = Transfers(launch.folder, max_bytes=self._max_travel_bytes, url=self._url_of(launch))
        self._launch = launch
        self._posts = Posts(
            launch.folder, address=(host, self._hub.port), token=self._hub.token, window_s=self._reattach_s
        )
        if self._shares_folder is not False:
            self._posts.leave_probe()
        self._watch = watch.ClusterWatch(
            launch.resources,
            make_post=self._make_post,
            facts={name: getattr(launch, name) for name in _FACTS},
            trial_names=launch.trial_names,
            code=code,
            runtime_env=self._runtime_env,
            is_patient=self._autoscaling,
            tell=self._tell,
        )
        self._watch.n_wanted = launch.n_wanted()
        self._watch.start()

    def carry_out(self, commands: Sequence[Command]) -> None:
        """Send each command to the agent of its node."""
        batches: dict[str, list[AttemptCommand]] = {}
        for command in commands:
            if isinstance(command, StartAttempt):
                self._start_attempt(command, batches)
            elif isinstance(command, AnswerReport | StopAttempt):
                host = self._host_of(command.trial, command.attempt)
                if host is not None:
                    later = host.arriving.get(command.trial)
                    (batches.setdefault(host.name, []) if later is None else later).append(travelling(command))
            elif isinstance(command, DeleteCheckpoint):
                self._delete(command)
            elif isinstance(command, QuarantineNode) and command.node in self._hosts:
                self._hosts[command.node].is_quarantined = True
                _log.warning("Node %s is put aside: %s.", command.node, command.reason)
        for name, batch in batches.items():
            self._send(self._hosts[name], batch)

    def wait(self, timeout_s: float | None) -> list[Event]:
        """See Executor.wait."""
        for number in self._to_release:  # the loop knows by now that they are not there any more
            self._watch.give_back(number)
        self._to_release.clear()
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._events += self._mailbox.take()
            while self._told:
                self._hear(self._told.popleft())
            now = time.monotonic()
            if now - self._looked_at >= _LEAST_WAIT_S:
                self._looked_at = now
                self._look(now)
            if self._fatal is not None:
                raise self._fatal
            if self._events or now >= end:
                events, self._events = self._events, []
                return events
            until = min(end, self._looked_at + _LEAST_WAIT_S, self._mailbox.next_at())
            for key, _ in self._selector.select(max(0.0, until - now)):
                key.data()

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """See Executor.post."""
        self._mailbox.post(event, delay_s)

    def close(self, *, is_immediate: bool = False) -> None:
        """Have the agents end what runs, give back what is reserved, leave the cluster if it was joined for this."""
        if self._is_closed:
            return
        self._is_closed = True
        if hasattr(self, "_watch"):
            self._end_agents()
            self._transfers.close()
            self._watch.close()
            self._hosts.clear()
            self._hub.close()
            self._posts.remove_probes()
        self._selector.close()
        self._mailbox.close()
        if self._is_ours:
            cluster.disconnect()

    # ------------------------------------------------------------ the cluster

    def _connect(self) -> None:
        if self._is_ours is None:
            self._is_ours = cluster.connect(self._address, self._runtime_env)

    def _make_post(self, node: cluster.ClusterNode) -> Post:
        """Called in the watch's thread: what the loop must know of it is told before."""
        post = self._posts.make(node)
        self._tell(lambda: self._expect(node, post.agent_id))
        return post

    def _expect(self, node: cluster.ClusterNode, agent_id: str) -> None:
        host = self._host(node)
        host.agent_id, host.actor, host.away_since, host.has_connected = agent_id, None, None, False
        self._host_by_agent[agent_id] = host
        self._hub.expect(agent_id)
        if host.backlog:
            self._send(host, host.backlog)
            host.backlog = []

    def _host(self, node: cluster.ClusterNode) -> Host:
        return self._hosts.setdefault(node.node.name, Host(node.node_id, node.node.name))

    def _tell(self, message: watch.Message | Callable[[], None]) -> None:
        """From any thread."""
        self._told.append(message)
        self._mailbox.wake()

    def _hear(self, message: watch.Message | Callable[[], None]) -> None:
        if isinstance(message, watch.Granted):
            host = self._host(message.node)
            host.leases[message.lease.number] = message.lease
            if not host.is_withdrawn:
                self._events.append(NodeOffered(host.offer()))
        elif isinstance(message, watch.Dismissed):
            gone = next((host for host in self._hosts.values() if host.node_id == message.node_id), None)
            if gone is not None:
                self._lose(gone, message.why, is_node=message.why == "the node is gone")
        elif isinstance(message, watch.AgentReady):
            ready = self._host_by_agent.get(message.agent_id)
            if ready is not None:
                ready.actor, ready.sees_folder = message.actor, message.sees_folder
                if ready.is_withdrawn:
                    ready.is_withdrawn = False
                    self._events.append(NodeOffered(ready.offer()))
        elif isinstance(message, watch.Failed):
            self._fatal = message.error
        else:
            message()

    def _look(self, now: float) -> None:
        """At what is wanted, what is idle, and who is away for too long."""
        assert self._launch is not None
        n_wanted = self._launch.n_wanted()
        aside = sum(len(host.leases) for host in self._hosts.values() if host.is_quarantined)
        self._watch.n_wanted = n_wanted + aside
        for host in list(self._hosts.values()):
            if host.away_since is not None and now - host.away_since > self._reattach_s:
                self._watch.dismiss(host.node_id)
                self._lose(host, f"it was out of reach for {self._reattach_s:g} s", is_node=False)
        n_spare = sum(len(host.leases) for host in self._hosts.values()) - self._watch.n_wanted
        for host in self._hosts.values():
            while n_spare > 0 and (lease := host.idle_lease()) is not None:
                del host.leases[lease.number]
                self._to_release.append(lease.number)
                if not host.is_withdrawn:
                    self._events.append(NodeOffered(host.offer()))
                n_spare -= 1

    def _lose(self, host: Host, why: str, *, is_node: bool) -> None:
        """All that ran there is lost. What is reserved stays, to be offered again when another agent has answered.

        Args: is_node: the node itself is gone.
        """
        if host.attempts:
            _log.warning("Node %s: %s; %d trials go on elsewhere.", host.name, why, len(host.attempts))
        if host.agent_id is not None:
            self._hub.forget(host.agent_id)
            del self._host_by_agent[host.agent_id]
        for trial in host.attempts:
            del self._host_by_trial[trial]
        host.attempts.clear()
        host.backlog.clear()
        host.arriving.clear()
        host.agent_id = host.actor = host.away_since = None
        if not host.is_withdrawn:
            self._events.append(NodeLost(host.name))
        if is_node:
            del self._hosts[host.name]
        elif host.leases:
            host.is_withdrawn = True

    # ------------------------------------------------------------ commands

    def _start_attempt(self, command: StartAttempt, batches: dict[str, list[AttemptCommand]]) -> None:
        host = self._hosts.get(command.placement.node)
        if host is None:  # it went while this was decided: the loop is about to hear of it
            return
        try:
            packed = travelling(command)
        except Exception as error:  # whatever the pickling of the user's objects raises
            text = why_not_sent(command.config, error)
            self._events.append(AttemptEnded(command.trial, command.attempt, AttemptOutcome.RAISED, time.time(), text))
            return
        assert isinstance(packed, StartAttempt)
        packed = host.with_own_bundle(packed)
        host.attempts[command.trial] = command
        self._host_by_trial[command.trial] = host
        if command.checkpoint is None or host.sees_folder or host.actor is None:
            batches.setdefault(host.name, []).append(packed)
        else:
            host.arriving[command.trial] = []
            self._transfers.send(host.actor, command.checkpoint, lambda: self._tell(lambda: self._begin(host, packed)))

    def _begin(self, host: Host, command: AttemptCommand) -> None:
        """Its checkpoint is there; what it was told meanwhile comes after it."""
        if self._host_of(command.trial, command.attempt) is host:
            self._send(host, [command, *host.arriving.pop(command.trial)])

    def _send(self, host: Host, commands: list[AttemptCommand]) -> None:
        if host.agent_id is None:  # it is being made
            host.backlog += commands
            return
        self._hub.send(host.agent_id, encode(CarryOut(commands)))

    def _host_of(self, trial: int, attempt: int) -> Host | None:
        host = self._host_by_trial.get(trial)
        return host if host is not None and host.attempts[trial].attempt == attempt else None

    def _url_of(self, launch: Launch) -> str | None:
        """Where the experiment's checkpoints lie; said in its folder, for whoever looks at its results."""
        if self._checkpoint_url is None:
            return None
        url = f"{self._checkpoint_url}/{launch.folder.name}"
        write_pointer(launch.folder, url)
        return url

    def _delete(self, command: DeleteCheckpoint) -> None:
        self._transfers.remove(command.path)
        for host in self._hosts.values():
            if not host.sees_folder and host.actor is not None:
                host.actor.remove_folders.remote([command.path])

    # ------------------------------------------------------------ messages

    def _on_change(self, agent_id: str, is_connected: bool) -> None:
        host = self._host_by_agent.get(agent_id)
        if host is not None:
            host.has_connected |= is_connected
            host.away_since = None if is_connected else time.monotonic()
            if not is_connected:
                self._watch.look()

    def _on_message(self, agent_id: str, body: bytes) -> None:
        host, message = self._host_by_agent.get(agent_id), decode_from_agent(body)
        if isinstance(message, Broken):
            self._fatal = self._fatal or message.as_error()
        elif isinstance(message, Closed):
            self._n_closed += 1
        elif host is not None:
            for event in message.events:
                self._take(host, event)

    def _take(self, host: Host, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            if self._host_of(event.trial, event.attempt) is host:
                del host.attempts[event.trial], self._host_by_trial[event.trial]
            if not host.sees_folder:
                assert self._launch is not None
                self._transfers.fetch_log(host.actor, event.trial, log_path(self._launch, event.trial))
        has_checkpoint = isinstance(event, TrialReported) and event.checkpoint is not None
        if has_checkpoint and not host.sees_folder:
            self._fetch(host, event)
        else:
            self._events.append(event)

    def _fetch(self, host: Host, event: Any) -> None:
        """The report becomes an event when its checkpoint is here; its trial waits for the answer meanwhile."""

        def then(has_come: bool) -> None:
            self._tell(lambda: self._events.append(event if has_come else replace(event, checkpoint=None)))

        self._transfers.fetch(host.actor, event.checkpoint, then)

    # ------------------------------------------------------------ the end

    def _end_agents(self) -> None:
        """Have them end their trials, and wait for their word; those that do not come are killed with their node's."""
        self._watch.begin_end()
        asked = [host.agent_id for host in self._hosts.values() if host.agent_id is not None and host.has_connected]
        for agent_id in asked:
            self._hub.send(agent_id, encode(Close()))
        end = time.monotonic() + _CLOSE_S
        while self._n_closed < len(asked) and time.monotonic() < end:
            if not any(self._hub.is_connected(agent_id) for agent_id in asked):
                break
            for key, _ in self._selector.select(0.1):
                key.data()


#: The fields of Launch that agents have as they are.
_FACTS = (
    "experiment_id",
    "experiment_name",
    "seed",
    "grace_s",
    "checkpoint_freq",
    "checkpoint_at_end",
    "log_cap_bytes",
)
