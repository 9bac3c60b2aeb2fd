"""The searcher of a call: by name, as it was made, or chosen; with what earlier runs are worth to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.errors import ConfigError
from tunesmith.protocols import Searcher
from tunesmith.searchers import create_searcher
from tunesmith.space import Space
from tunesmith.stores import open_reader
from tunesmith.trial import Objective


def make_searcher(
    search_alg: str | Searcher | None,
    space: Space,
    objective: Objective | None,
    *,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
    warm_start: Any = None,
) -> Searcher:
    """The searcher that a call asks for; `None` and "auto" choose one.

    Raises: ConfigError, SpaceError.
    """
    arguments: dict[str, Any] = {}
    if points_to_evaluate is not None:
        arguments["points_to_evaluate"] = points_to_evaluate
    if warm_start is not None:
        arguments["warm_start"] = earlier_runs(warm_start, objective)
    if search_alg is not None and not isinstance(search_alg, str):
        if arguments:
            raise ConfigError(
                f"{' and '.join(arguments)} cannot be given beside a searcher that is made already. "
                f"Give them to {type(search_alg).__name__}, or its name as search_alg."
            )
        return search_alg
    if search_alg in (None, "auto"):
        from tunesmith.searchers.auto_search import choose_searcher

        return choose_searcher(space, objective, **arguments)
    return create_searcher(str(search_alg), **arguments)


def earlier_runs(given: Any, objective: Objective | None) -> list[list[tuple[Mapping[str, Any], float]]]:
    """For each earlier run its configs with the metric's value.

    Args: given: an experiment's results, its folder, a sequence of (config, value), or a list of any of these.
    Raises: ConfigError if one is none of these, or never reported the metric.
    """
    if objective is None:
        raise ConfigError("warm_start needs to know what is optimised. Give metric and mode too.")
    if isinstance(given, ExperimentAnalysis | str | Path) or _is_run(given):
        given = [given]
    return [_run(one, objective) for one in given]


def _run(given: Any, objective: Objective) -> list[tuple[Mapping[str, Any], float]]:
    if isinstance(given, str | Path):
        reader = open_reader(Path(given).expanduser())
        try:
            return _run(ExperimentAnalysis(reader), objective)
        finally:
            reader.close()
    if isinstance(given, ExperimentAnalysis):
        found = given.observations(objective.metric, objective.mode.value)
        if not found:
            raise ConfigError(f"warm_start: no trial in {given.folder} has a finite {objective.metric!r}.")
        return list(found)
    if _is_run(given):
        return [(config, float(value)) for config, value in given]
    raise ConfigError(
        f"warm_start has {given!r}. Give an experiment's results, its folder, or a list of (config, value)."
    )


def _is_run(given: Any) -> bool:
    return (
        isinstance(given, list | tuple)
        and bool(given)
        and all(isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], Mapping) for pair in given)
    )
