"""Where the user believes that good values lie: a density over the cube that fades as results come in."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import ConfigError
from tunesmith.models.cube import Cube

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class Confidence(Enum):
    """How sure the user is, as the standard deviation of the believed place in widths of the domain."""

    LOW = 0.5
    MEDIUM = 0.25
    HIGH = 0.125


_CONFIDENCES = {confidence.name.lower(): confidence for confidence in Confidence}


def parse_priors(priors: Mapping[str, Any] | None) -> dict[str, tuple[Any, Confidence]]:
    """Leaf name -> believed value and confidence, from `{"lr": 3e-4, "opt": ("adam", "high")}`.

    Raises: ConfigError for a confidence that is none.
    """
    found = {}
    for name, given in (priors or {}).items():
        value, word = given if isinstance(given, tuple) and len(given) == 2 else (given, "medium")
        if word not in _CONFIDENCES:
            raise ConfigError(
                f"The prior of {name!r} is {given!r}. Give the value you believe in, or (value, confidence) with the "
                f"confidence {', '.join(map(repr, _CONFIDENCES))}."
            )
        found[name] = (value, _CONFIDENCES[word])
    return found


class Beliefs:
    """The density: normal around each believed number; for options, the believed one more likely than the others.

    Source: Hvarfner et al. 2022 (arXiv 2204.11051), equation 6.
    """

    def __init__(self, cube: Cube, priors: Mapping[str, tuple[Any, Confidence]]) -> None:
        """Raises: ConfigError for a name that is no leaf, or a value outside its domain."""
        self._cube = cube
        self._places: dict[int, tuple[float, float]] = {}
        names = {name: j for j, name in enumerate(cube.names)}
        for name, (value, confidence) in priors.items():
            if name not in names:
                raise ConfigError(f"There is a prior for {name!r}, which is no leaf. Leaves are {', '.join(names)}.")
            j = names[name]
            if not cube.leaf(j).domain.contains(value):
                raise ConfigError(f"The prior of {name!r} is {value!r}, which is not in {cube.leaf(j).domain}.")
            self._places[j] = (cube.columns[j].encode(value), confidence.value)

    def __bool__(self) -> bool:
        return bool(self._places)

    def log_density(self, rows: Array) -> Array:
        """Log of the density at each row, up to a constant; shape (n,). Leaves that take no part say nothing."""
        found = np.zeros(len(rows))
        for j, (place, sd) in self._places.items():
            x = rows[:, j]
            if self._cube.is_categorical[j]:
                # An option that is not the believed one lies one width away.
                found -= np.where(np.isnan(x) | (x == place), 0.0, 0.5 / sd**2 * 0.25)
            else:
                found -= np.where(np.isnan(x), 0.0, 0.5 * ((x - place) / sd) ** 2)
        return found

    def draw(self, units: Array, rng: np.random.Generator) -> Array:
        """Uniform numbers (n, d) turned into rows that follow the beliefs where there are any."""
        from scipy.special import ndtr, ndtri

        rows = self._cube.from_units(units)
        for j, (place, sd) in self._places.items():
            if self._cube.is_categorical[j]:
                n_others = max((self._cube.columns[j].n_values or 2) - 1, 1)
                p = 1.0 / (1.0 + n_others * float(np.exp(-0.125 / sd**2)))
                rows[:, j] = np.where(units[:, j] < p, place, rows[:, j])
            else:
                low, high = ndtr((0.0 - place) / sd), ndtr((1.0 - place) / sd)
                rows[:, j] = place + sd * ndtri(low + units[:, j] * (high - low))
        return self._cube.complete(rows, rng)
