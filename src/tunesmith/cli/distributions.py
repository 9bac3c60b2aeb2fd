"""The distributions of W&B sweeps as domains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.errors import ConfigError, SpaceError
from tunesmith.space import (
    choice,
    lograndint,
    loguniform,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    uniform,
)

_MAX_GRID_VALUES = 10_000
_PARAMETER_KEYS = {"value", "values", "distribution", "min", "max", "q", "mu", "sigma", "probabilities"}


def _int_uniform(p: Mapping[str, Any]) -> Any:
    return randint(p["min"], p["max"] + 1)  # W&B's max is included


def _q_uniform(p: Mapping[str, Any]) -> Any:
    return _q_whole(p, qrandint) or quniform(p["min"], p["max"], p.get("q", 1))


def _q_log_uniform_values(p: Mapping[str, Any]) -> Any:
    if p.get("q", 1) == 1 and _is_whole(p["min"]) and _is_whole(p["max"]):
        return lograndint(p["min"], p["max"] + 1)
    return qloguniform(p["min"], p["max"], p.get("q", 1))


def _q_whole(p: Mapping[str, Any], make: Callable[..., Any]) -> Any:
    """With whole numbers throughout W&B gives whole numbers."""
    q = p.get("q", 1)
    return make(p["min"], p["max"], q) if all(map(_is_whole, (p["min"], p["max"], q))) else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


#: Distribution -> the keys it needs, and how it is made.
DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Any]]] = {
    "constant": (("value",), lambda p: p["value"]),
    "categorical": (("values",), lambda p: choice(p["values"])),
    "int_uniform": (("min", "max"), _int_uniform),
    "uniform": (("min", "max"), lambda p: uniform(p["min"], p["max"])),
    "q_uniform": (("min", "max"), _q_uniform),
    "log_uniform": (("min", "max"), lambda p: loguniform(math.exp(p["min"]), math.exp(p["max"]))),
    "log_uniform_values": (("min", "max"), lambda p: loguniform(p["min"], p["max"])),
    "q_log_uniform": (("min", "max"), lambda p: qloguniform(math.exp(p["min"]), math.exp(p["max"]), p.get("q", 1))),
    "q_log_uniform_values": (("min", "max"), _q_log_uniform_values),
    "normal": ((), lambda p: randn(p.get("mu", 0.0), p.get("sigma", 1.0))),
    "q_normal": ((), lambda p: qrandn(p.get("mu", 0.0), p.get("sigma", 1.0), p.get("q", 1))),
}


def parameter_domain(parameter: Mapping[str, Any], where: str, *, is_grid: bool) -> Any:
    """The domain, or the constant, of one parameter; for a grid all its values.

    Raises: ConfigError or SpaceError that begins with `where`.
    """
    if unknown := {str(key) for key in parameter} - _PARAMETER_KEYS:
        raise ConfigError(f"{where} has {sorted(unknown)}, which is not known. Known: {sorted(_PARAMETER_KEYS)}.")
    name = parameter.get("distribution") or _inferred(parameter, where)
    if name not in DISTRIBUTIONS:
        raise ConfigError(f"{where}: the distribution {name!r} is not known here. Known: {', '.join(DISTRIBUTIONS)}.")
    if parameter.get("probabilities") is not None:
        raise ConfigError(f"{where}: probabilities are not known here; all values are equally likely.")
    needs, make = DISTRIBUTIONS[name]
    if missing := [key for key in needs if key not in parameter]:
        raise ConfigError(f"{where}: {name} needs {' and '.join(missing)}.")
    if is_grid and name not in ("constant", "categorical"):
        return choice(_grid_values(parameter, name, where))
    try:
        return make(parameter)
    except SpaceError as error:
        raise SpaceError(f"{where}: {error}") from None
    except (TypeError, OverflowError) as error:
        raise ConfigError(f"{where}: {dict(parameter)!r}: {error}.") from None


def _inferred(parameter: Mapping[str, Any], where: str) -> str:
    """As W&B does: by the keys, and between whole bounds whole numbers."""
    if "values" in parameter:
        return "categorical"
    if "value" in parameter:
        return "constant"
    if "min" in parameter and "max" in parameter:
        return "int_uniform" if _is_whole(parameter["min"]) and _is_whole(parameter["max"]) else "uniform"
    if "mu" in parameter or "sigma" in parameter:
        return "normal"
    raise ConfigError(f"{where} is {dict(parameter)!r}. Give value, values, or min and max.")


def _grid_values(parameter: Mapping[str, Any], name: str, where: str) -> list[Any]:
    """All values of a whole or stepped distribution. Raises ConfigError for one that has no end of them."""
    if name not in ("int_uniform", "q_uniform"):
        raise ConfigError(f"{where}: a grid cannot go through {name}. Give values, int_uniform or q_uniform.")
    low, high, q = parameter["min"], parameter["max"], parameter.get("q", 1) if name == "q_uniform" else 1
    is_finite = all(isinstance(number, int | float) and math.isfinite(number) for number in (low, high, q))
    if not is_finite or q <= 0 or high < low:
        raise ConfigError(f"{where}: min {low!r}, max {high!r}, q {q!r} make no grid.")
    n_values = math.floor((high - low) / q + 1e-9) + 1
    if n_values > _MAX_GRID_VALUES:
        raise ConfigError(f"{where}: a grid of {n_values:,} values. Give a larger q, or method: random.")
    return [low + i * q if _is_whole(low) and _is_whole(q) else round(low + i * q, 12) for i in range(n_values)]
