"""The varying parameters of an experiment as columns: numbers, or codes of categories; NaN where one takes no part."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import ConfigError, SpaceError
from tunesmith.space import (
    Categorical,
    Continuous,
    Leaf,
    Normal,
    Path,
    SampleFrom,
    Scale,
    Space,
    Stepped,
    label,
    path_name,
    readable_space,
)
from tunesmith.space.identity import identity_key
from tunesmith.space.numeric import is_number
from tunesmith.stores import Reader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Drawn numbers whose largest is so many times the smallest are shown on a logarithmic axis.
_LOG_RATIO = 30.0


@dataclass(frozen=True)
class Parameter:
    """One varying value of the space, and what each trial had for it."""

    name: str  #: as in tables, without numbers of options, where that is unique
    path: Path  #: of the leaf; see `tunesmith.space`
    options: tuple[str, ...] | None  #: labels of the categories; None of a number
    is_log: bool  #: of a number: whether it is meant on a logarithmic scale
    is_conditional: bool  #: whether it takes no part in some configs
    values: Array  #: by trial: the number, or the place of its category; NaN where it takes no part or is unknown


@dataclass(frozen=True)
class ParameterTable:
    """All parameters of all trials."""

    trial: NDArray[np.int64]
    parameters: tuple[Parameter, ...]

    def named(self, name: str) -> Parameter:
        """The parameter of this name, or of this full name of a leaf.

        Raises: ConfigError naming those there are.
        """
        for parameter in self.parameters:
            if name in (parameter.name, path_name(parameter.path)):
                return parameter
        names = [parameter.name for parameter in self.parameters]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"No parameter {name!r} varies. Give one of {', '.join(names) or 'none'}.{hint}")


def parameter_table(reader: Reader) -> ParameterTable:
    """What varied in the experiment, in the order of the space, and each trial's values.

    Of a trial that was cloned, its last config. A value that lies outside its domain stands as it is.
    Raises: SpaceError where two options of a choice cannot be told apart by their stored labels.
    """
    space = readable_space(reader.spec.space)
    trials = reader.trials()
    active = [leaf_values(space, trial.config) for trial in trials]
    names = display_names(space.leaves)
    parameters = [
        _parameter(leaf, names[leaf.path], space.leaves, [values.get(leaf.path, _ABSENT) for values in active])
        for leaf in space.leaves
    ]
    return ParameterTable(np.array([trial.index for trial in trials], np.int64), tuple(parameters))


def leaf_values(space: Space, config: Mapping[str, Any]) -> dict[Path, Any]:
    """What each active leaf took; of a config outside the space, what stands at the places of the leaves."""
    try:
        return space.values(config)
    except SpaceError:
        return {leaf.path: value for leaf in space.leaves if (value := _at(space, config, leaf.path)) is not _ABSENT}


def display_names(leaves: Sequence[Leaf]) -> dict[Path, str]:
    """By path the name without the numbers of options, `optimizer/momentum`, where no other leaf has the same."""
    outer = {leaf.path for leaf in leaves if isinstance(leaf.domain, Categorical)}
    short = {
        leaf.path: path_name(tuple(key for i, key in enumerate(leaf.path) if leaf.path[:i] not in outer))
        for leaf in leaves
    }
    return {
        path: name if name and list(short.values()).count(name) == 1 else path_name(path)
        for path, name in short.items()
    }


def option_labels(domain: Categorical) -> list[str]:
    """A short label for each option, no two the same: of a dict with domains the words in it, or its keys."""
    found = [_option_label(option) for option in domain.options]
    return [name if found.count(name) == 1 else f"{i}: {name}" for i, name in enumerate(found)]


_ABSENT = object()


def _option_label(option: Any) -> str:
    if isinstance(option, dict):
        words = [value for value in option.values() if isinstance(value, str)]
        return " ".join(words) or " ".join(map(str, option)) or "{}"
    return label(option)


def _at(space: Space, config: Any, path: Path) -> Any:
    """What stands at the leaf's place in the config, numbers of options left out."""
    value, template = config, space.tree
    for key in path:
        if isinstance(template, Categorical):
            template = template.options[int(key)]
            continue
        try:
            value, template = value[key], template[key]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return value


def _parameter(leaf: Leaf, name: str, leaves: Sequence[Leaf], values: list[Any]) -> Parameter:
    domain = leaf.domain
    is_conditional = any(
        isinstance(outer.domain, Categorical) and outer is not leaf and leaf.path[: len(outer.path)] == outer.path
        for outer in leaves
    )
    if isinstance(domain, Categorical):
        options, codes = _coded(domain, values)
        return Parameter(name, leaf.path, options, False, is_conditional, codes)
    seen = [value for value in values if value is not _ABSENT]
    if isinstance(domain, SampleFrom) and not all(is_number(value) for value in seen):
        options, codes = _codes_of_seen(values)
        return Parameter(name, leaf.path, options, False, is_conditional, codes)
    numbers = np.array([float(value) if is_number(value) else math.nan for value in values], float)
    return Parameter(name, leaf.path, None, _is_log(domain, numbers), is_conditional, numbers)


def _is_log(domain: Any, numbers: Array) -> bool:
    if isinstance(domain, Continuous | Stepped):
        return domain.scale is Scale.LOG
    if isinstance(domain, Normal):
        return False
    known = numbers[np.isfinite(numbers)]
    return len(known) > 0 and bool(known.min() > 0.0) and bool(known.max() >= _LOG_RATIO * known.min())


def _coded(domain: Categorical, values: list[Any]) -> tuple[tuple[str, ...], Array]:
    """Options of numbers stand in ascending order, others as they were written."""
    names, order = option_labels(domain), list(range(len(domain.options)))
    if all(is_number(option) for option in domain.options):
        order.sort(key=lambda i: float(domain.options[i]))
    place = {i: float(at) for at, i in enumerate(order)}
    numbers = [None if value is _ABSENT else domain.index(value) for value in values]
    codes = np.array([math.nan if number is None else place[number] for number in numbers], float)
    return tuple(names[i] for i in order), codes


def _codes_of_seen(values: list[Any]) -> tuple[tuple[str, ...], Array]:
    """Of a `sample_from` leaf that gives no numbers: what was seen, by label."""
    found = {identity_key(value): label(value) for value in values if value is not _ABSENT}
    place = {key: i for i, key in enumerate(sorted(found, key=lambda key: found[key]))}
    codes = [math.nan if value is _ABSENT else float(place[identity_key(value)]) for value in values]
    return tuple(sorted(found.values())), np.array(codes, float)
