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
_BOUNDS = ("min", "max")


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


#: Distribution -> the keys it needs, those it also takes, and how it is made.
DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Mapping[str, Any]], Any]]] = {
    "constant": (("value",), (), lambda p: p["value"]),
    "categorical": (("values",), ("probabilities",), lambda p: choice(p["values"])),
    "int_uniform": (_BOUNDS, (), _int_uniform),
    "uniform": (_BOUNDS, (), lambda p: uniform(p["min"], p["max"])),
    "q_uniform": (_BOUNDS, ("q",), _q_uniform),
    "log_uniform": (_BOUNDS, (), lambda p: loguniform(math.exp(p["min"]), math.exp(p["max"]))),
    "log_uniform_values": (_BOUNDS, (), lambda p: loguniform(p["min"], p["max"])),
    "q_log_uniform": (_BOUNDS, ("q",), lambda p: qloguniform(math.exp(p["min"]), math.exp(p["max"]), p.get("q", 1))),
    "q_log_uniform_values": (_BOUNDS, ("q",), _q_log_uniform_values),
    "normal": ((), ("mu", "sigma"), lambda p: randn(p.get("mu", 0.0), p.get("sigma", 1.0))),
    "q_normal": ((), ("mu", "sigma", "q"), lambda p: qrandn(p.get("mu", 0.0), p.get("sigma", 1.0), p.get("q", 1))),
}
_WITH_STEPS = {"int_uniform": "q_uniform", **{name[2:]: name for name in DISTRIBUTIONS if name.startswith("q_")}}


def parameter_domain(parameter: Mapping[str, Any], where: str, *, is_grid: bool) -> Any:
    """The domain, or the constant, of one parameter; for a grid all its values.

    Raises: ConfigError or SpaceError that begins with `where`.
    """
    name = parameter.get("distribution") or _inferred(parameter, where)
    if name not in DISTRIBUTIONS:
        raise ConfigError(f"{where}: the distribution {name!r} is not known here. Known: {', '.join(DISTRIBUTIONS)}.")
    _check_keys(parameter, name, where)
    if is_grid and name not in ("constant", "categorical"):
        return choice(_grid_values(parameter, name, where))
    make = DISTRIBUTIONS[name][2]
    try:
        return make(parameter)
    except SpaceError as error:
        raise SpaceError(f"{where}: {error}") from None
    except (TypeError, OverflowError) as error:
        raise ConfigError(f"{where}: {dict(parameter)!r}: {error}.") from None


def _check_keys(parameter: Mapping[str, Any], name: str, where: str) -> None:
    """Raise for a key that is missing, or would be ignored: the space would be another than the one written down."""
    needs, takes, _ = DISTRIBUTIONS[name]
    if missing := [key for key in needs if key not in parameter]:
        raise ConfigError(f"{where}: {name} needs {' and '.join(missing)}.")
    if extra := sorted(map(str, set(parameter) - {*needs, *takes, "distribution"})):
        is_stepped = extra == ["q"] and name in _WITH_STEPS
        advice = f"Give {_WITH_STEPS[name]}" if is_stepped else f"It takes {', '.join((*needs, *takes))}"
        raise ConfigError(f"{where}: {name} does not take {', '.join(extra)}. {advice}.")
    if parameter.get("probabilities") is not None:
        raise ConfigError(f"{where}: probabilities are not known here; all values are equally likely.")


def _inferred(parameter: Mapping[str, Any], where: str) -> str:
    """As W&B does: by the keys, and between whole bounds whole numbers. A q makes steps."""
    if "values" in parameter:
        return "categorical"
    if "value" in parameter:
        return "constant"
    if "min" in parameter and "max" in parameter:
        if "q" in parameter:
            return "q_uniform"
        return "int_uniform" if _is_whole(parameter["min"]) and _is_whole(parameter["max"]) else "uniform"
    if "mu" in parameter or "sigma" in parameter:
        return "q_normal" if "q" in parameter else "normal"
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
