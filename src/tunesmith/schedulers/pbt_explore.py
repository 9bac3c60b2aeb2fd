"""How population based training makes a config for a clone out of its donor's: drawn anew, or moved a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ConfigError
from tunesmith.schedulers.arguments import number
from tunesmith.space import Categorical, Continuous, Domain, SampleFrom, Stepped, label

if TYPE_CHECKING:
    import numpy as np

#: What may stand for a hyperparameter: options in their order, a domain, a function that draws, or a dict of these.
Mutation = Sequence[Any] | Domain | Callable[[], Any] | Mapping[str, Any]


class Explorer:
    """Draws configs near a given one. Its only state is what it was made with.

    Args:
        mutations: name -> Mutation; nested as the config is.
        resample_probability: that a value is drawn anew instead of moved.
        factors: a number is moved by one of these, all equally likely.
    Raises: ConfigError, with what is allowed.
    """

    def __init__(self, mutations: Mapping[str, Any] | None, *, resample_probability: object, factors: object) -> None:
        self._mutations = _checked(mutations or {}, "hyperparam_mutations")
        self._resample_probability = number("resample_probability", resample_probability, "from 0 to 1")
        if not 0 <= self._resample_probability <= 1:
            raise ConfigError(f"resample_probability is {resample_probability!r}. Give a number from 0 to 1.")
        if not isinstance(factors, Sequence) or isinstance(factors, str) or not factors:
            raise ConfigError(f"perturbation_factors is {factors!r}. Give factors above 0 such as (1.2, 0.8).")
        self._factors = tuple(number("perturbation_factors", factor, "above 0") for factor in factors)
        if min(self._factors) <= 0:
            raise ConfigError(f"perturbation_factors is {factors!r}. Give factors above 0 such as (1.2, 0.8).")

    def explore(self, config: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """A new config near this one, which stays as it is. Calls the user's functions where there are any."""
        return self._explored(config, self._mutations, rng)

    def _explored(
        self, config: Mapping[str, Any], mutations: Mapping[str, Any], rng: np.random.Generator
    ) -> dict[str, Any]:
        new = dict(config)
        for name, mutation in mutations.items():
            if isinstance(mutation, Mapping):
                inner = new.get(name)
                new[name] = self._explored(inner if isinstance(inner, Mapping) else {}, mutation, rng)
            else:
                is_redrawn = rng.random() < self._resample_probability or name not in new
                new[name] = _drawn(mutation, rng, new) if is_redrawn else self._moved(new[name], mutation, rng, new)
        return new

    def _moved(self, value: Any, mutation: Any, rng: np.random.Generator, config: Mapping[str, Any]) -> Any:
        """The value a step away; drawn anew where steps have no meaning."""
        if isinstance(mutation, Categorical):
            mutation = list(mutation.options)
        if isinstance(mutation, list | tuple):
            return _neighbour(value, mutation, rng)
        factor = self._factors[int(rng.integers(len(self._factors)))]
        if not _is_number(value) or value == 0 or isinstance(mutation, SampleFrom):
            return _drawn(mutation, rng, config)
        if isinstance(mutation, Stepped):
            return _stepped(value, mutation, factor)
        if isinstance(mutation, Continuous):
            return min(max(value * factor, mutation.lower), mutation.upper)
        return _whole_step(value, factor) if isinstance(value, int) else value * factor


def changes_in_words(old: Mapping[str, Any], new: Mapping[str, Any], *, prefix: str = "") -> str:
    """What differs, for people: "lr=0.012, net/width=64"; "nothing" where nothing does."""
    return ", ".join(_changes(old, new, prefix)) or "nothing"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> list[str]:
    found = []
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            found += _changes(before, value, f"{prefix}{name}/")
        elif name not in old or type(before) is not type(value) or before != value:
            found.append(f"{prefix}{name}={f'{value:.6g}' if isinstance(value, float) else label(value)}")
    return found


def _checked(mutations: Any, name: str) -> dict[str, Any]:
    if not isinstance(mutations, Mapping):
        raise ConfigError(f'{name} is {mutations!r}. Give a dict such as {{"lr": tune.loguniform(1e-4, 1e-1)}}.')
    checked: dict[str, Any] = {}
    for key, mutation in mutations.items():
        if isinstance(mutation, Mapping):
            checked[key] = _checked(mutation, f"{name}[{key!r}]")
        elif isinstance(mutation, list | tuple) and mutation:
            checked[key] = list(mutation)
        elif isinstance(mutation, Domain) or callable(mutation):
            checked[key] = mutation
        else:
            raise ConfigError(
                f"{name}[{key!r}] is {mutation!r}. Give a list of values, a domain such as tune.uniform(0, 1), "
                "a function that returns a value, or a dict of these."
            )
    return checked


def _drawn(mutation: Any, rng: np.random.Generator, config: Mapping[str, Any]) -> Any:
    if isinstance(mutation, list):
        return mutation[int(rng.integers(len(mutation)))]
    if isinstance(mutation, SampleFrom):
        return mutation.fn(config) if mutation.takes_config else mutation.fn()
    return mutation.sample(rng) if isinstance(mutation, Domain) else mutation()


def _neighbour(value: Any, options: Sequence[Any], rng: np.random.Generator) -> Any:
    """One of the options beside this one; any where it is none of them."""
    places = [i for i, option in enumerate(options) if type(option) is type(value) and option == value]
    if not places:
        return options[int(rng.integers(len(options)))]
    beside = [i for i in (places[0] - 1, places[0] + 1) if 0 <= i < len(options)]
    return options[beside[int(rng.integers(len(beside)))]] if beside else value


def _stepped(value: float, domain: Stepped, factor: float) -> float:
    """The multiple nearest to value times factor, at least one step away where the domain goes on there."""
    moved = domain.decode(domain.encode(value * factor))
    if moved != value:
        return moved
    towards = 1 if (value * factor > value) else -1
    return domain.decode(domain.encode(value + towards * domain.step))


def _whole_step(value: int, factor: float) -> int:
    """An integer times the factor, at least 1 away."""
    moved = round(value * factor)
    return moved if moved != value or factor == 1 else value + (1 if value * factor > value else -1)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
