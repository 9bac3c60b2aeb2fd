"""`sweep.yaml` in the shape that W&B sweeps have: method, metric, parameters, early_terminate, run_cap, command."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.cli.distributions import parameter_domain
from tunesmith.cli.output import warn
from tunesmith.cli.yaml_input import load_yaml
from tunesmith.errors import ConfigError
from tunesmith.trial import Mode

_DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_KEYS = {"method", "metric", "parameters", "early_terminate", "run_cap", "command", "program"}
_OF_WANDB = ("project", "entity")  #: arguments of the tracker, where there is one
_WITHOUT_EFFECT = {
    "description": "",
    "name": ": --name names the experiment, which a second run then goes on with",
    "controller": "",
}
_METRIC_WITHOUT_EFFECT = ("impute", "impute_while_running")
_ENVIRONMENT = re.compile(r"\$\{envvar:([A-Za-z0-9_]+)\}")
_METHODS = {"grid": "grid", "random": "random", "bayes": "auto"}
_MODES = {"minimize": "min", "maximize": "max"}
_ENDLESS = 10**9  #: steps: W&B's min_iter says nothing about an end


class Sweep(NamedTuple):
    """What a sweep file means."""

    tree: dict[str, Any]  #: the space
    arguments: dict[str, Any]  #: of `tune.run`
    words: tuple[str, ...]  #: the command; words such as ${args} are filled in for each trial
    wandb: dict[str, str]  #: where W&B's tracker logs to


def load_sweep(path: Path, *, has_command: bool = True) -> Sweep:
    """The sweep in the file.

    Args: has_command: whether its command is to be run; else it may lack a program, and `words` is empty.
    Raises: ConfigError that names the file, the key and what was expected; SpaceError from a domain.
    """
    found = load_yaml(path)
    try:
        return parse_sweep(found, has_command=has_command)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_sweep(found: Any, *, has_command: bool = True) -> Sweep:
    """The same from what was read."""
    sweep = _mapping(found, "a sweep")
    unknown = set(sweep) - _KEYS - set(_WITHOUT_EFFECT) - set(_OF_WANDB)
    if unknown:
        raise ConfigError(
            f"{', '.join(sorted(map(repr, unknown)))} is not known. Known are {', '.join(sorted(_KEYS))}."
        )
    for key, advice in _WITHOUT_EFFECT.items():
        if key in sweep:
            warn(f"tunesmith: {key} in the sweep has no effect{advice}.")
    method = sweep.get("method", "bayes")
    if method not in _METHODS:
        raise ConfigError(f"method is {method!r}. Give one of {', '.join(_METHODS)}.")
    is_grid = method == "grid"
    tree = parse_parameters(sweep.get("parameters"), is_grid=is_grid)
    arguments: dict[str, Any] = {"search_alg": _METHODS[method], **_objective(sweep), **_scheduler(sweep)}
    if method == "bayes" and "metric" not in arguments:
        raise ConfigError("method: bayes needs metric: {name: loss, goal: minimize}.")
    arguments["num_samples"] = _n_samples(sweep, tree, is_grid=is_grid)
    wandb = {key: str(sweep[key]) for key in _OF_WANDB if sweep.get(key) is not None}
    return Sweep(tree, arguments, _command(sweep) if has_command else (), wandb)


def load_space(text: str) -> dict[str, Any]:
    """The space of `--space`: a YAML file with parameters as a sweep has them, or a dict by `module:name`.

    Raises: ConfigError.
    """
    if text.endswith((".yaml", ".yml", ".json")):
        found = _mapping(load_yaml(Path(text)), text)
        return parse_parameters(found.get("parameters", found), is_grid=False)
    from tunesmith.cli.target import load_target

    space = load_target(text)
    if not isinstance(space, Mapping):
        raise ConfigError(f"--space {text!r} is a {type(space).__name__}. Give a dict of parameters.")
    return dict(space)


def parse_parameters(found: Any, *, is_grid: bool, path: str = "parameters") -> dict[str, Any]:
    """The space in a mapping of parameters. Raises ConfigError that names the parameter."""
    tree: dict[str, Any] = {}
    for name, given in _mapping(found, path).items():
        where = f"{path}.{name}"
        parameter = _mapping(given, where)
        if "parameters" in parameter and isinstance(parameter["parameters"], Mapping):
            if set(parameter) != {"parameters"}:
                raise ConfigError(f"{where} has parameters within, and {sorted(set(parameter) - {'parameters'})} too.")
            tree[str(name)] = parse_parameters(parameter["parameters"], is_grid=is_grid, path=where)
        else:
            tree[str(name)] = parameter_domain(parameter, where, is_grid=is_grid)
    return tree


def _objective(sweep: Mapping[str, Any]) -> dict[str, Any]:
    if "metric" not in sweep:
        return {}
    metric = _mapping(sweep["metric"], "metric")
    if unknown := set(metric) - {"name", "goal", "target", *_METRIC_WITHOUT_EFFECT}:
        raise ConfigError(f"metric has {sorted(unknown)}, which is not known. Give name, goal and target.")
    for key in _METRIC_WITHOUT_EFFECT:
        if key in metric:
            warn(f"tunesmith: metric.{key} in the sweep has no effect.")
    name, goal, target = metric.get("name"), metric.get("goal", "minimize"), metric.get("target")
    if goal not in _MODES or not isinstance(name, str):
        raise ConfigError(f"metric is {dict(metric)!r}. Give {{name: loss, goal: minimize}}, or maximize.")
    found: dict[str, Any] = {"metric": name, "mode": _MODES[goal]}
    if target is not None:
        from tunesmith.cli.sweep_target import TargetStopper

        found["stop"] = TargetStopper(name, _number(target, "metric.target"), Mode(_MODES[goal]))
    return found


def _scheduler(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Early termination as W&B has it: from bracket to bracket the best 1/eta go on; max_iter goes before min_iter."""
    if "early_terminate" not in sweep:
        return {}
    given = _mapping(sweep["early_terminate"], "early_terminate")
    if given.get("type") != "hyperband":
        raise ConfigError(f"early_terminate.type is {given.get('type')!r}. Give hyperband.")
    if unknown := set(given) - {"type", "min_iter", "max_iter", "eta", "s", "strict"}:
        raise ConfigError(
            f"early_terminate has {sorted(unknown)}, which is not known. Known: min_iter, max_iter, eta, s, strict."
        )
    if given.get("strict"):
        warn("tunesmith: early_terminate.strict in the sweep has no effect: a trial is judged as it reaches a bracket.")
    if "metric" not in sweep:
        raise ConfigError("early_terminate needs a metric to compare runs by.")
    eta = _number(given.get("eta", 3), "early_terminate.eta")
    if not 1 < eta < math.inf:
        raise ConfigError(f"early_terminate.eta is {given['eta']!r}. Give a number above 1: one in so many goes on.")
    if "max_iter" in given:
        last = _positive(given["max_iter"], "early_terminate.max_iter")
        first = max(1, int(last / eta ** int(_at_least_1(given.get("s", 1), "early_terminate.s"))))
    elif "min_iter" in given:
        first, last = _positive(given["min_iter"], "early_terminate.min_iter"), _ENDLESS
    else:
        raise ConfigError("early_terminate needs min_iter, or max_iter with s.")
    from tunesmith.methods import create_scheduler

    return {"scheduler": create_scheduler("asha", grace_period=first, max_t=last, reduction_factor=eta)}


def _n_samples(sweep: Mapping[str, Any], tree: Mapping[str, Any], *, is_grid: bool) -> int:
    """Trials in all: run_cap, of a grid no more than it has points; endless where nothing limits them."""
    cap = _positive(sweep["run_cap"], "run_cap") if "run_cap" in sweep else None
    if not is_grid:
        return -1 if cap is None else cap
    from tunesmith.searchers import GridSearch
    from tunesmith.space import Space

    n_points = GridSearch().count(Space(dict(tree)))
    return n_points if cap is None else min(cap, n_points)


def _command(sweep: Mapping[str, Any]) -> tuple[str, ...]:
    """The command with what is the same for all trials filled in."""
    words = sweep.get("command", list(_DEFAULT_COMMAND))
    if not isinstance(words, list) or not words:
        raise ConfigError(f"command is {words!r}. Give a list of words; there is no shell to split a text.")
    program = sweep.get("program")
    if "${program}" in words and not isinstance(program, str):
        raise ConfigError("program is missing. Give the script, such as program: train.py")
    fixed = {"${env}": "/usr/bin/env", "${interpreter}": "python", "${program}": program}
    return tuple(_with_environment(str(fixed.get(str(word), word))) for word in words)


def _with_environment(word: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match.group(1) not in os.environ:
            raise ConfigError(f"command: the variable {match.group(1)} is not set.")
        return os.environ[match.group(1)]

    return _ENVIRONMENT.sub(value, word)


def _mapping(found: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping) or not found:
        raise ConfigError(f"{where} is {found!r:.80}. Give a mapping of names.")
    return found


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ConfigError(f"{where} is {value!r}. Give a number.")
    return value


def _at_least_1(value: Any, where: str) -> float:
    if not 1 <= _number(value, where) < _ENDLESS:
        raise ConfigError(f"{where} is {value!r}. Give a number of 1 or more.")
    return float(value)


def _positive(value: Any, where: str) -> int:
    number = _number(value, where)
    if number < 1 or number != number // 1:  # 27.0 is one
        raise ConfigError(f"{where} is {value!r}. Give a whole number of 1 or more.")
    return int(number)
