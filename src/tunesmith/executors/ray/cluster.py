"""The Ray cluster as tunesmith sees it: nodes, reservations and agents. Every call of Ray's that may wait is here."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import ray
from msgspec.structs import replace
from ray import PlacementGroupID
from ray.exceptions import ObjectStoreFullError, RayActorError, RayError, RayTaskError, RuntimeEnvSetupError
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.executors.ray.agent import GROUP_VARIABLE, NodeAgent, Post
from tunesmith.experiment.slots import SlotPool
from tunesmith.resources import Node, Resources, parse_resources

_log = logging.getLogger("tunesmith")
_ray: Any = ray  #: where its types are in the way
#: Of a Ray node's resources, those that are no custom ones.
_OF_RAY = ("CPU", "GPU", "node:", "object_store_memory")
_FILLED_IN_S = 10.0


class Lease(NamedTuple):
    """A part of a node that Ray holds for this experiment, whether a trial runs on it or not."""

    number: int
    node_id: str
    cpu: float
    gpu_shares: dict[str, float]  #: with several bundles by made-up names, since most are the workers'
    custom: dict[str, float]
    group_id: str = ""  #: of several bundles: the placement group's
    own: Resources = Resources()  #: of several bundles: the first one's, in which the trial itself runs
    own_gpus: tuple[str, ...] = ()


class ClusterNode(NamedTuple):
    """A living node."""

    node_id: str
    node: Node  #: all that it has


def connect(address: str | None, runtime_env: Mapping[str, Any] | None) -> bool:
    """Be a driver of the cluster; answers whether that is new, and so to be ended by `disconnect`.

    Raises: TunesmithError where there is no cluster to join, or its Python or Ray are others.
    """
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is not None and address.startswith("ray://"):
        raise ConfigError(
            f"The address {address!r} is Ray Client's, through which nodes cannot reach this driver. Run the script on "
            "the cluster instead: `ray job submit -- python script.py`, or on its head node."
        )
    try:
        ray.init(
            address=address,
            runtime_env=dict(runtime_env) if runtime_env else None,
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
        )
    except Exception as error:  # ConnectionError, RuntimeError for other versions, ValueError for an address
        raise TunesmithError(f"The Ray cluster at {address or 'its usual place'} cannot be joined: {error}") from error
    return True


def disconnect() -> None:
    """The end of what `connect` began."""
    ray.shutdown()


def has_working_dir() -> bool:
    """Whether Ray has given the job a working directory of its own on each node."""
    return bool(ray.get_runtime_context().runtime_env.get("working_dir"))


def address() -> str:
    """Of the cluster's head."""
    return str(ray.get_runtime_context().gcs_address)


def own_address() -> str:
    """This machine's, as the other nodes know it."""
    return str(_ray.util.get_node_ip_address())


def living_nodes() -> list[ClusterNode]:
    """Raises: RayError, OSError where the cluster does not answer."""
    found = []
    for facts in _ray.nodes():
        if facts["Alive"]:
            resources: dict[str, float] = facts.get("Resources", {})
            custom = {name: amount for name, amount in resources.items() if not name.startswith(_OF_RAY)}
            gpus = tuple(str(i) for i in range(int(resources.get("GPU", 0))))
            name = f"{facts['NodeManagerHostname']}-{facts['NodeID'][:6]}"
            found.append(ClusterNode(facts["NodeID"], Node(name, resources.get("CPU", 0.0), gpus, custom)))
    return found


def check_possible(request: Resources) -> None:
    """Raises: ResourceError where a trial, or a bundle of it, asks for more than any node has."""
    pool = SlotPool([node.node for node in living_nodes()])
    if not request.bundles:
        pool.check_possible(request)
    elif request.strategy == "STRICT_PACK":
        pool.check_possible(replace(request, bundles=()))
    else:
        for bundle in request.bundles:
            pool.check_possible(parse_resources({"cpu": 0.0, **bundle}))


def trial_placement_group() -> PlacementGroup | None:
    """Inside a trial with workers: the placement group for them, of which bundle 0 is the trial's own; else None.

    The trial is no Ray process: call `ray.init()` first, which joins the cluster.
    """
    number = os.environ.get(GROUP_VARIABLE)
    return None if not number else PlacementGroup(PlacementGroupID(bytes.fromhex(number)))


# ---------------------------------------------------------------- reservations


class Reservation:
    """What is asked of Ray for one slot: it is granted at once, later, or never.

    A placement group and not an actor with resources: it needs no process (docs/adr/0013-ray.md has the figures).
    """

    def __init__(self, number: int, request: Resources) -> None:
        self.number, self._request = number, request
        whole = {"CPU": request.cpu, "GPU": request.gpu, **request.custom}
        bundles = [{k: v for k, v in bundle.items() if v > 0} for bundle in request.bundles or (whole,)]
        self._own = parse_resources({"cpu": 0.0, **bundles[0]})
        self._group: PlacementGroup = placement_group(bundles, strategy=request.strategy)
        self._probe: Any = None  #: where it has GPUs: the task that says which

    def granted(self) -> Lease | None:
        """The part of a node, once it is granted."""
        request = self._request
        table: dict[str, Any] = placement_group_table(self._group)
        if table.get("state") != "CREATED":
            return None
        node_id = table["bundles_to_node_id"][0]
        gpus: list[str] = []
        if self._own.gpu > 0:
            if self._probe is None:
                strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=0)
                self._probe = _gpu_ids.options(num_gpus=self._own.gpu, scheduling_strategy=strategy).remote()
            ready, _ = ray.wait([self._probe], timeout=0)
            if not ready:
                return None
            gpus = ray.get(self._probe)
        share = request.gpu if request.gpu < 1 else 1.0
        if not request.bundles:
            return Lease(self.number, node_id, request.cpu, dict.fromkeys(gpus, share), dict(request.custom))
        names = [f"{self.number}/{i}" for i in range(math.ceil(request.gpu))]
        shares = dict.fromkeys(names, share)
        group_id = self._group.id.hex()
        return Lease(self.number, node_id, request.cpu, shares, dict(request.custom), group_id, self._own, tuple(gpus))

    def give_back(self) -> None:
        """To Ray; whoever runs on it must be gone."""
        remove_placement_group(self._group)


@_ray.remote(num_cpus=0, max_retries=2)  # type: ignore[untyped-decorator]
def _gpu_ids() -> list[str]:
    return [str(gpu) for gpu in ray.get_runtime_context().get_accelerator_ids()["GPU"]]


# ---------------------------------------------------------------- agents


class AgentLink:
    """An agent's actor, from its making to its end."""

    def __init__(self, node_id: str, post: Post, runtime_env: Mapping[str, Any] | None) -> None:
        self.node_id, self.agent_id, self.node = node_id, post.agent_id, post.node
        options: dict[str, Any] = {"runtime_env": dict(runtime_env)} if runtime_env else {}
        actor = _ray.remote(NodeAgent).options(
            num_cpus=0,
            max_restarts=0,
            max_concurrency=4,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            **options,
        )
        self.actor: Any = actor.remote(post)
        self._greeting = self.actor.greet.remote()
        self._serving: Any = None

    def greeting(self) -> bytes | None:
        """What it says of itself, once it does. Raises: AgentDiedError; TunesmithError where it cannot be there."""
        answer: bytes | None = self._answer(self._greeting)
        return answer

    def serve(self, facts: dict[str, Any], trial_names: Any, code: Any) -> None:
        """Let it begin. Args: code: a reference of the packed trainable, fetched once per node."""
        self._serving = self.actor.serve.remote(facts, trial_names, code)

    def has_ended(self) -> bool:
        """Whether it serves no more. Raises: AgentDiedError where it was ended."""
        if self._serving is None:
            return False
        ready, _ = ray.wait([self._serving], timeout=0)
        if ready:
            self._answer(self._serving)
        return bool(ready)

    def kill(self) -> None:
        """End its process, and with that all below it. One that is still being made ends when no handle is left."""
        try:
            ray.kill(self.actor)
        except (RayError, ValueError):  # it is gone
            pass
        self.actor = self._greeting = self._serving = None

    def _answer(self, reference: Any) -> Any:
        ready, _ = ray.wait([reference], timeout=0)
        if not ready:
            return None
        try:
            return ray.get(reference, timeout=_FILLED_IN_S)
        except RuntimeEnvSetupError as error:
            raise TunesmithError(f"The runtime_env cannot be set up on node {self.node}: {error}") from error
        except RayActorError as error:
            text = str(error)
            if "No module named 'tunesmith'" in text:
                raise TunesmithError(
                    f"tunesmith is not installed on node {self.node}. Install the driver's version there, or name it "
                    "in the runtime_env."
                ) from error
            if "Error" in text and "creation task" in text:  # it raised at its making
                raise TunesmithError(f"The agent of node {self.node} cannot start: {text}") from error
            raise AgentDiedError(text) from error
        except RayTaskError as error:
            raise TunesmithError(f"The agent of node {self.node} failed: {error}") from error
        except RayError as error:  # such as that its node went before it was made
            raise AgentDiedError(str(error)) from error


class AgentDiedError(Exception):
    """The agent's process, or its node, is gone."""


def put_once(code: bytes) -> Any:
    """A reference of the bytes, which each node fetches once.

    Raises: TunesmithError where the object store is full (F91).
    """
    try:
        return ray.put(code)
    except ObjectStoreFullError as error:
        raise TunesmithError(
            f"The trainable with what it captures ({len(code) / 2**20:,.0f} MiB) does not fit Ray's object store on "
            f"this node: {error}. Give Ray more (`ray start --object-store-memory`), or load the data in the function."
        ) from error
