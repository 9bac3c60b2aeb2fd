"""Parameters of the benchmark's own problems, in the fields that the harness has for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Config = dict[str, Any]


@dataclass(frozen=True)
class Param:
    """One parameter, in the harness's fields: kind "float", "int" or "cat", bounds inclusive."""

    name: str
    kind: str
    lo: float = 0.0
    hi: float = 1.0
    log: bool = False
    choices: tuple[Any, ...] = ()
    parent: str | None = None  #: active only where this one's value is in `when`
    when: tuple[Any, ...] = ()

    def from_unit(self, u: float) -> Any:
        """The value at u in [0, 1), evenly by the parameter's scale; each integer has an equal share of its scale."""
        if self.kind == "cat":
            return self.choices[min(int(u * len(self.choices)), len(self.choices) - 1)]
        low, high = self._ends()
        value = math.exp(low + u * (high - low)) if self.log else low + u * (high - low)
        return min(max(value if self.kind == "float" else round(value), self.lo), self.hi)

    def to_unit(self, value: Any) -> float:
        """Where the value lies in [0, 1]."""
        if self.kind == "cat":
            return (self.choices.index(value) + 0.5) / len(self.choices)
        low, high = self._ends()
        return ((math.log(value) if self.log else value) - low) / (high - low)

    def _ends(self) -> tuple[float, float]:
        half = 0.5 if self.kind == "int" else 0.0
        low, high = self.lo - half, self.hi + half
        return (math.log(low), math.log(high)) if self.log else (low, high)


def sample(params: Sequence[Param], rng: np.random.Generator) -> Config:
    """A random config; parents come before their children in `params`."""
    config: Config = {}
    for p in params:
        if p.parent is None or config.get(p.parent) in p.when:
            config[p.name] = p.from_unit(rng.random())
    return config


def float_(name: str, lo: float, hi: float, *, log: bool = False, under: tuple[str, ...] = ()) -> Param:
    """A real number; `under`: a parent and the options of it that the parameter is active for."""
    return Param(name, "float", lo, hi, log, (), *_condition(under))


def int_(name: str, lo: int, hi: int, *, log: bool = False, under: tuple[str, ...] = ()) -> Param:
    """A whole number; see `float_`."""
    return Param(name, "int", lo, hi, log, (), *_condition(under))


def cat(name: str, *choices: str, under: tuple[str, ...] = ()) -> Param:
    """One of several words; see `float_`."""
    parent, when = _condition(under)
    return Param(name, "cat", choices=choices, parent=parent, when=when)


def _condition(under: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    return (under[0], under[1:]) if under else (None, ())
