"""Who holds which CPUs, GPUs and custom resources of which node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunesmith.errors import ResourceError
from tunesmith.resources import Node, Placement, Resources

_ROUNDING = 1e-9  #: shares such as 3 x 1/3 must fit one GPU


class SlotPool:
    """The free part of every node. Every placement taken is given back exactly once."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        self._cpu = {node.name: node.cpu for node in nodes}
        self._gpus = {node.name: node.shares() for node in nodes}
        self._custom = {node.name: dict(node.custom) for node in nodes}
        self.quarantined: set[str] = set()  #: names of nodes that nothing is placed on, whether they are there or not
        #: The last answer of `n_fitting`, until something is taken or released: most passes change nothing here.
        self._fitting: tuple[Resources, int] | None = None

    def check_possible(self, request: Resources) -> None:
        """Raise ResourceError if no node could hold the request even when empty, saying what was asked and what is."""
        if any(place_on(node, request) is not None for node in map(_Empty, self.nodes)):
            return
        largest = max(self.nodes, key=lambda node: (len(node.gpus), node.cpu), default=None)
        have = "nothing" if largest is None else largest.words()
        raise ResourceError(
            f"A trial asks for {request.words()}; the largest node ({largest.name if largest else 'none'}) has {have}. "
            f"Ask for less in resources_per_trial, or run where there is more."
        )

    def place(self, request: Resources) -> Placement | None:
        """Where the request fits now, without taking it; None if nowhere."""
        if self.n_fitting(request) == 0:
            return None
        for node in self._open_nodes():
            placement = place_on(_Free(node, self._cpu, self._gpus, self._custom), request)
            if placement is not None:
                return placement
        return None

    def n_fitting(self, request: Resources) -> int:
        """How many such requests would fit at the same time, beside what is taken."""
        if self._fitting is None or self._fitting[0] is not request:
            free = (_Free(node, self._cpu, self._gpus, self._custom) for node in self._open_nodes())
            self._fitting = (request, sum(_n_fitting_on(node, request) for node in free))
        return self._fitting[1]

    def has_other(self, name: str, request: Resources) -> bool:
        """Whether a node but this one could hold the request when empty."""
        others = (node for node in self._open_nodes() if node.name != name)
        return any(place_on(_Empty(node), request) is not None for node in others)

    def offer(self, node: Node) -> None:
        """Add the node, or change what it has; what is taken of it stays taken."""
        before = next((known for known in self.nodes if known.name == node.name), None)
        self._fitting = None
        if before is None:
            self.nodes = (*self.nodes, node)
            self._cpu[node.name], self._gpus[node.name] = node.cpu, node.shares()
            self._custom[node.name] = dict(node.custom)
            return
        self.nodes = tuple(node if known is before else known for known in self.nodes)
        self._cpu[node.name] += node.cpu - before.cpu
        self._gpus[node.name] = _moved(self._gpus[node.name], before.shares(), node.shares())
        self._custom[node.name] = _moved(self._custom[node.name], before.custom, node.custom)

    def quarantine(self, name: str) -> None:
        """Place nothing more on the node; what is taken of it stays taken."""
        self.quarantined.add(name)
        self._fitting = None

    def drop(self, name: str) -> None:
        """Take the node out; what was taken of it is gone with it."""
        self.nodes = tuple(node for node in self.nodes if node.name != name)
        self._fitting = None
        for free in (self._cpu, self._gpus, self._custom):
            free.pop(name, None)

    def take(self, placement: Placement) -> None:
        """Book the placement. It must fit: giving a slot twice is a defect."""
        self._book(placement, -1.0)

    def release(self, placement: Placement) -> None:
        """Give the placement back."""
        self._book(placement, +1.0)

    def _open_nodes(self) -> Sequence[Node]:
        return [node for node in self.nodes if node.name not in self.quarantined] if self.quarantined else self.nodes

    def _book(self, placement: Placement, sign: float) -> None:
        name = placement.node
        self._fitting = None
        if name not in self._cpu:
            return  # the node has left; what it held left with it
        self._cpu[name] += sign * placement.resources.cpu
        for gpu, share in placement.gpus.items():
            self._gpus[name][gpu] += sign * share
        for resource, amount in placement.resources.custom.items():
            self._custom[name][resource] += sign * amount

    def used(self) -> Resources:
        """What is taken, over all nodes."""
        cpu = sum(node.cpu - self._cpu[node.name] for node in self.nodes)
        gpu = sum(share - self._gpus[node.name][name] for node in self.nodes for name, share in node.shares().items())
        custom: dict[str, float] = {}
        for node in self.nodes:
            for resource, amount in node.custom.items():
                custom[resource] = custom.get(resource, 0.0) + amount - self._custom[node.name][resource]
        return Resources(cpu=cpu, gpu=gpu, custom=custom)

    def check_invariants(self, held: Sequence[Placement]) -> None:
        """What is taken is the sum of what is held, and nothing is taken twice."""
        for node in self.nodes:
            mine = [placement for placement in held if placement.node == node.name]
            free = node.cpu - sum(placement.resources.cpu for placement in mine)
            assert abs(free - self._cpu[node.name]) < 1e-6, (node.name, free, self._cpu[node.name])
            assert free > -1e-6, f"CPUs of {node.name} were given twice"
            for gpu, share in node.shares().items():
                left = share - sum(placement.gpus.get(gpu, 0.0) for placement in mine)
                assert abs(left - self._gpus[node.name][gpu]) < 1e-6 and left > -1e-6, (gpu, left)
            for name, there_is in node.custom.items():
                left = there_is - sum(placement.resources.custom.get(name, 0.0) for placement in mine)
                assert abs(left - self._custom[node.name][name]) < 1e-6 and left > -1e-6, (name, left)


class _Free:
    """What one node has left."""

    def __init__(
        self,
        node: Node,
        cpu: dict[str, float],
        gpus: dict[str, dict[str, float]],
        custom: dict[str, dict[str, float]],
    ) -> None:
        self.name, self.cpu, self.gpus, self.custom = node.name, cpu[node.name], gpus[node.name], custom[node.name]


class _Empty(_Free):
    """A node with nothing taken."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, {node.name: node.cpu}, {node.name: node.shares()}, {node.name: dict(node.custom)})


def _moved(free: dict[str, float], before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What is free of each, when there is no longer `before` of it but `after`."""
    return {name: free.get(name, 0.0) + amount - before.get(name, 0.0) for name, amount in after.items()}


def place_on(free: _Free, request: Resources) -> Placement | None:
    """The placement of the request on what a node has left, or None. A fraction goes to the fullest GPU it fits."""
    if request.cpu > free.cpu + _ROUNDING:
        return None
    if any(amount > free.custom.get(name, 0.0) + _ROUNDING for name, amount in request.custom.items()):
        return None
    gpus: dict[str, float] = {}
    if request.gpu >= 1.0:
        whole = [gpu for gpu, share in free.gpus.items() if share >= 1.0 - _ROUNDING]
        if len(whole) < round(request.gpu):
            return None
        gpus = dict.fromkeys(whole[: round(request.gpu)], 1.0)
    elif request.gpu > 0.0:
        fitting = [(share, gpu) for gpu, share in free.gpus.items() if share >= request.gpu - _ROUNDING]
        if not fitting:
            return None
        gpus = {min(fitting)[1]: request.gpu}
    return Placement(node=free.name, resources=request, gpus=gpus)


def _n_fitting_on(free: _Free, request: Resources) -> int:
    """At least 1 exactly where `place_on` finds a place: the same slack, so that neither rounds alone."""
    amounts = [(free.custom.get(name, 0.0), amount) for name, amount in request.custom.items()]
    counts = [int((left + _ROUNDING) / amount) for left, amount in [(free.cpu, request.cpu), *amounts] if amount > 0]
    if request.gpu >= 1.0:
        counts.append(sum(share >= 1.0 - _ROUNDING for share in free.gpus.values()) // round(request.gpu))
    elif request.gpu > 0.0:
        counts.append(sum(int((share + _ROUNDING) / request.gpu) for share in free.gpus.values()))
    return max(0, min(counts))
