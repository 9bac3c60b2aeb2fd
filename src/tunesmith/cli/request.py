"""What a `tunesmith run` was asked for, from its arguments to `tune.run`; kept with the experiment for `resume`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tunesmith.cli.output import warn
from tunesmith.errors import ConfigError

_log = logging.getLogger("tunesmith")
RECORD_NAME = "command.json"
_MAX_RECORD_BYTES = 4 << 20
#: Options of the command line -> arguments of `tune.run`, where nothing else is to be done.
_ARGUMENTS = {
    "num_samples": "num_samples",
    "name": "name",
    "max_concurrent": "max_concurrent_trials",
    "time_budget": "time_budget_s",
    "max_failures": "max_failures",
    "fail_fast": "fail_fast",
    "grace": "grace_s",
    "report_timeout": "report_timeout_s",
    "seed": "seed",
    "executor": "executor",
}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call of `tunesmith run`, as plain facts."""

    target: str | None = None
    words: tuple[str, ...] = ()  #: the command after `--`
    options: dict[str, Any] = {}  #: by the names of `run`'s parameters
    cwd: str = ""

    @property
    def is_sweep(self) -> bool:
        """Whether the target is a sweep file."""
        return self.target is not None and self.target.endswith((".yaml", ".yml", ".json"))

    @property
    def is_program(self) -> bool:
        """Whether its trials are programs, not a Python function."""
        return bool(self.words) or self.is_sweep


class _Parts(msgspec.Struct, frozen=True):
    """What `tune.run` is given first."""

    trainable: Any
    arguments: dict[str, Any]
    trackers: list[Any]


def run_request(
    request: Request, *, storage: str | None, takeover: bool, allowed: Iterable[str] = (), verbose: int, **more: Any
) -> Any:
    """Run it to its end; what it was is kept in the experiment's folder.

    Args: allowed: what may differ from an experiment of that name; more: further arguments of `tune.run`.
    """
    from tunesmith.api import run

    parts = _parts(request)
    arguments = {**parts.arguments, **more}
    return run(
        parts.trainable,
        **arguments,
        storage_path=storage,
        takeover=takeover,
        on_change=dict.fromkeys(allowed, "allow"),
        verbose=verbose,
        raise_on_failed_trial=False,
        callbacks=[_recorder(request), *parts.trackers],
    )


def recorded_request(folder: Path) -> Request:
    """The request that the experiment was made by. Raises ConfigError where it was not made by `tunesmith run`."""
    request = read_record(folder)
    if request is None:
        raise ConfigError(
            f"{folder.name} was not started by `tunesmith run`, and code is not stored. Start its script again with "
            f"name={folder.name!r}, or give the function after the name: {folder.name} module:function"
        )
    return request


def enter_directory(folder: str) -> str:
    """Go where an experiment was run, and say so. Returns: its absolute path. Raises: ConfigError if it is gone."""
    path = str(Path(folder).absolute())
    if path != str(Path.cwd()):
        try:
            os.chdir(path)
        except OSError as error:
            raise ConfigError(
                f"It was run in {path}, which is not there ({error.strerror}). Give --cwd FOLDER if it was moved."
            ) from None
        warn(f"tunesmith: in {path}")
    return path


def trainable_and_space(request: Request) -> tuple[Any, dict[str, Any]]:
    """What is run, and the space, as `tune.run` is given them."""
    parts = _parts(request)
    return parts.trainable, parts.arguments["config"]


def _parts(request: Request) -> _Parts:
    from tunesmith.cli.target import load_target, program_trainable
    from tunesmith.cli.tracker_options import make_trackers

    options = request.options
    if request.target is not None and request.words and not request.is_sweep:
        raise ConfigError(f"Both {request.target!r} and a command after -- are given. Give one of them.")
    sweep = None
    if request.is_sweep:
        from tunesmith.cli.sweep import load_sweep

        sweep = load_sweep(Path(str(request.target)), has_command=not request.words)
    tree = _tree(options, {} if sweep is None else sweep.tree)
    arguments = _arguments(options, {} if sweep is None else sweep.arguments)
    metrics = [arguments["metric"]] if isinstance(arguments.get("metric"), str) else arguments.get("metric", [])
    if request.is_program and options.get("executor") == "inline":
        raise ConfigError("A program is run by worker processes. Leave out --executor inline.")
    if request.words:
        trainable = program_trainable(request.words, tree, has_braces=True, metrics=metrics)
    elif sweep is not None:
        trainable = program_trainable(sweep.words, tree, has_braces=False, metrics=metrics)
    else:
        trainable = load_target(str(request.target))
    trackers = make_trackers(options.get("trackers", ()), of_sweep={} if sweep is None else sweep.wandb)
    return _Parts(trainable, {**arguments, "config": tree}, trackers)


def _tree(options: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The space: that of a sweep, of --space, and the parameters given one by one, which win."""
    from tunesmith.cli.params import parse_params

    tree = dict(before)
    if "space" in options:
        from tunesmith.cli.sweep import load_space

        tree = _merged(tree, load_space(options["space"]))
    return _merged(tree, parse_params(options.get("params", ())))


def _merged(before: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees; where both have an entry that is not nested in both, the second's."""
    tree = dict(before)
    for key, value in over.items():
        inner = tree.get(key)
        tree[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return tree


def _arguments(options: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `tune.run`; what stands on the command line wins over a sweep's."""
    from tunesmith.cli.method_options import method_arguments

    found = dict(before)
    found |= {argument: options[name] for name, argument in _ARGUMENTS.items() if name in options}
    if "metric" in options:
        found["metric"] = _one_or_all(options["metric"])
    if "mode" in options:
        found["mode"] = _one_or_all(options["mode"])
    if ("metric" in found) != ("mode" in found):
        raise ConfigError("--metric and --mode belong together: --metric loss --mode min.")
    resources = {word: options[f"{word}s"] for word in ("cpu", "gpu") if f"{word}s" in options}
    if resources:
        found["resources_per_trial"] = resources
    given = method_arguments(options)
    if given.get("stop") and "stop" in before:  # a sweep's target stays beside limits
        given["stop"] = [before["stop"], given["stop"]]
    return found | given


def _one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


# ------------------------------------------------------------ the record


def _recorder(request: Request) -> Any:
    """A callback that keeps the request with the experiment, once that has its folder and its driver."""
    from tunesmith.hooks import Callback

    class Recorder(Callback):
        def setup(
            self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any
        ) -> None:
            """Write it."""
            write_record(Path(info["folder"]), request)

    return Recorder()


def write_record(folder: Path, request: Request) -> None:
    """Keep the request in the folder, whole or not at all, for its owner's eyes only."""
    text = json.dumps(msgspec.to_builtins(request), indent=2)  # as ASCII: words of a command may be no UTF-8
    draft = folder / f".{RECORD_NAME}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(folder / RECORD_NAME)
    finally:
        draft.unlink(missing_ok=True)


def read_record(folder: Path) -> Request | None:
    """The request that the experiment was made by; None where it was not made by `tunesmith run`.

    Raises: ConfigError for a file that is none.
    """
    path = folder / RECORD_NAME
    try:
        with path.open("rb") as file:
            return msgspec.convert(json.loads(file.read(_MAX_RECORD_BYTES)), Request)
    except FileNotFoundError:
        return None
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path} does not hold what `tunesmith run` wrote: {error}") from None
