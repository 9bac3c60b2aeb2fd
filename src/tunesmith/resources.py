"""What a trial asks for, what a machine has, and which part of it a trial was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real

import msgspec

from tunesmith.errors import ResourceError

_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_SOME = 0.001  #: of a resource of which each node that has it has 1, and which is not used up


class Resources(msgspec.Struct, frozen=True):
    """What one trial asks for. Fractions are allowed; fractions of one GPU share it."""

    cpu: float = 1.0
    gpu: float = 0.0
    custom: dict[str, float] = {}
    #: Of a trial with workers of its own: the parts of the above that must lie on one node each, in Ray's words
    #: ({"CPU": 1, "GPU": 1}); the first is the trial's own. On one machine they are no different from their sum.
    bundles: tuple[dict[str, float], ...] = ()
    strategy: str = "PACK"  #: how these are spread over nodes

    def words(self) -> str:
        """For messages: '2 CPUs, 0.5 GPUs, 1 license'."""
        parts = [f"{self.cpu:g} CPU{'s' if self.cpu != 1 else ''}"]
        if self.gpu:
            parts.append(f"{self.gpu:g} GPU{'s' if self.gpu != 1 else ''}")
        return ", ".join(parts + [_in_words(name, amount) for name, amount in sorted(self.custom.items())])


class PlacementGroupFactory:
    """Ray Tune's: what a trial with workers of its own takes, as bundles that each lie on one node.

    Args:
        bundles: such as [{"CPU": 1}, {"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}]; the first is the trial's own.
        strategy: Ray's "PACK", "SPREAD", "STRICT_PACK" or "STRICT_SPREAD".
    Raises: ResourceError for a bundle that is empty, or another strategy.
    """

    def __init__(self, bundles: Sequence[Mapping[str, float]], strategy: str = "PACK") -> None:
        self.bundles = tuple({name: _amount(name, value) for name, value in bundle.items()} for bundle in bundles)
        self.strategy = strategy
        if not self.bundles or not all(any(bundle.values()) for bundle in self.bundles):
            raise ResourceError(f"The bundles {list(bundles)!r} are empty in part. Give each a share of something.")
        if strategy not in _STRATEGIES:
            raise ResourceError(f"The strategy is {strategy!r}. Give {', '.join(map(repr, _STRATEGIES))}.")


class Node(msgspec.Struct, frozen=True):
    """What the processes of one machine may use: not what the machine has."""

    name: str
    cpu: float
    gpus: tuple[str, ...] = ()  #: what CUDA_VISIBLE_DEVICES would say for each
    custom: dict[str, float] = {}
    gpu_shares: dict[str, float] = {}  #: of those GPUs that are not whole

    def shares(self) -> dict[str, float]:
        """How much of each GPU there is."""
        return {gpu: self.gpu_shares.get(gpu, 1.0) for gpu in self.gpus}

    def words(self) -> str:
        """For messages, in the words of a request."""
        return Resources(cpu=self.cpu, gpu=sum(self.shares().values()), custom=self.custom).words()


class Placement(msgspec.Struct, frozen=True):
    """The part of a node that one attempt holds."""

    node: str
    resources: Resources
    gpus: dict[str, float] = {}  #: device -> share of it


def parse_resources(request: Mapping[str, object] | PlacementGroupFactory | Resources | None) -> Resources:
    """The request in `resources_per_trial`'s words: {"cpu": 2, "gpu": 0.5, "license": 1, "custom_resources": {...}}.

    "accelerator_type": "A100" asks for a node with such a GPU, as Ray names them.

    Raises: ResourceError for a negative, non-finite or non-numeric amount, or a fraction of a GPU above 1.
    """
    if request is None:
        return Resources()
    if isinstance(request, Resources):
        return request
    if isinstance(request, PlacementGroupFactory):
        return _of_bundles(request)
    if not isinstance(request, Mapping):
        raise ResourceError(f'resources_per_trial is {request!r}. Give a dict such as {{"cpu": 2, "gpu": 0.5}}.')
    nested = request.get("custom_resources") or {}
    if not isinstance(nested, Mapping):
        raise ResourceError(f"custom_resources is {nested!r}. Give a dict of names and amounts.")
    amounts = {
        str(key).lower() if str(key).lower() in ("cpu", "gpu") else str(key): value
        for key, value in {**request, **nested}.items()
        if key != "custom_resources"
    }
    kind = amounts.pop("accelerator_type", None)
    if kind is not None:
        amounts[f"accelerator_type:{kind}"] = _SOME
    checked = {name: _amount(name, value) for name, value in amounts.items()}
    gpu = checked.pop("gpu", 0.0)
    if gpu > 1 and gpu != int(gpu):
        raise ResourceError(f"A trial asks for {gpu:g} GPUs. Ask for a whole number, or for a fraction below 1.")
    cpu = checked.pop("cpu", 1.0)
    custom = {name: amount for name, amount in checked.items() if amount > 0}
    if not (cpu or gpu or custom):
        raise ResourceError(
            "A trial asks for nothing, so any number would start at once. Give it a share of something."
        )
    return Resources(cpu=cpu, gpu=gpu, custom=custom)


def _in_words(name: str, amount: float) -> str:
    return f"{amount / 2**30:.3g} GiB of memory" if name == "memory" else f"{amount:g} {name}"


def _of_bundles(factory: PlacementGroupFactory) -> Resources:
    """The sum, and the bundles where there are several."""
    total: dict[str, float] = {}
    for bundle in factory.bundles:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0.0) + amount
    found = parse_resources({"cpu": 0.0, **total})
    if len(factory.bundles) == 1:
        return found
    return msgspec.structs.replace(found, bundles=factory.bundles, strategy=factory.strategy)


def _amount(name: str, value: object) -> float:
    amount = float(value) if isinstance(value, Real) and not isinstance(value, bool) else -1.0  # NumPy's numbers too
    if not 0 <= amount < float("inf"):
        raise ResourceError(f"The amount of {name!r} is {value!r}. Give a number of 0 or more.")
    return amount
