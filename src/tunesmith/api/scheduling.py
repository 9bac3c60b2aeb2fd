"""The scheduler of a call: by name, as it was made, or chosen. A method that is the searcher too counts as both."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.api.searching import earlier_runs, make_searcher
from tunesmith.errors import ConfigError
from tunesmith.methods import AutoScheduler, CurveSearch, FreezeThaw, create_scheduler
from tunesmith.protocols import Scheduler, Searcher
from tunesmith.schedulers import FIFOScheduler
from tunesmith.searchers.auto_search import why_random
from tunesmith.space import Space
from tunesmith.trial import Objective, parse_objective

_log = logging.getLogger("tunesmith")


class Deciders(NamedTuple):
    """What proposes configs and what judges reports, with the objective that they agreed on."""

    searcher: Searcher
    scheduler: Scheduler
    objective: Objective | None


def make_deciders(
    space: Space,
    *,
    metric: str | Sequence[str] | None,
    mode: str | Sequence[str] | None,
    constraints: Mapping[str, str] | None,
    search_alg: str | Searcher | None,
    scheduler: str | Scheduler | AutoScheduler | None,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None,
    warm_start: Any,
) -> Deciders:
    """Searcher and scheduler in the words of `tune.run`. Raises ConfigError or SpaceError."""
    judge: Any = create_scheduler(scheduler) if isinstance(scheduler, str) else scheduler or FIFOScheduler()
    given = {"points_to_evaluate": points_to_evaluate, "warm_start": warm_start}
    if isinstance(judge, AutoScheduler):
        own = parse_objective(metric, mode, constraints) if metric is not None and mode is not None else None
        search_arguments = {name: value for name, value in given.items() if value is not None}
        if warm_start is not None:
            search_arguments["warm_start"] = earlier_runs(warm_start, own)
        chosen = judge.choose(space, own, has_searcher=search_alg not in (None, "auto"), **search_arguments)
        _log.info("scheduler='auto' is %s: %s.", type(chosen.scheduler).__name__, chosen.reason)
        judge = chosen.scheduler
        if isinstance(judge, FreezeThaw):
            search_alg, given = judge, {}
    objective = _objective(metric, mode, scheduler=judge, constraints=constraints)
    if getattr(judge, "thaws", False):
        if search_alg not in (None, "auto", judge):
            raise ConfigError(
                f"{type(judge).__name__} chooses the configs too. Leave out search_alg, or take another scheduler."
            )
        if any(value is not None for value in given.values()):
            name = type(judge).__name__
            raise ConfigError(
                f"{name} chooses the configs too. Give points_to_evaluate and warm_start to it: {name}(...)."
            )
        search_alg = judge
    elif getattr(search_alg, "thaws", False):
        raise ConfigError(f"{type(search_alg).__name__} is a scheduler too. Give it as scheduler=.")
    full_training = getattr(judge, "full_training", None)
    if full_training is not None and _is_searched_by_curves(search_alg, space, objective):
        time_attr, max_t = full_training
        runs = None if warm_start is None else earlier_runs(warm_start, objective)
        searcher = CurveSearch(time_attr, max_t, points_to_evaluate=points_to_evaluate, warm_start=runs)
        return Deciders(searcher, judge, objective)
    return Deciders(make_searcher(search_alg, space, objective, **given), judge, objective)


def _is_searched_by_curves(search_alg: str | Searcher | None, space: Space, objective: Objective | None) -> bool:
    """Whether the search is ours to choose, and curves of one metric are what there is to learn from."""
    is_one_metric = objective is not None and len(objective.metrics) == 1 and not objective.constraints
    return search_alg in (None, "auto") and is_one_metric and why_random(space, objective) is None


def _objective(
    metric: str | Sequence[str] | None,
    mode: str | Sequence[str] | None,
    *,
    scheduler: Scheduler,
    constraints: Mapping[str, str] | None,
) -> Objective | None:
    """The call's objective or the scheduler's, with the call's constraints; a half here, a half there is refused."""
    if constraints is not None and not isinstance(constraints, Mapping):
        raise ConfigError(f'constraints is {constraints!r}. Give bounds by metric: {{"latency": "<= 20"}}.')
    if (metric is None) != (mode is None):
        raise ConfigError(
            f"metric is {metric!r} and mode is {mode!r}. Give both here, or both to the {type(scheduler).__name__}."
        )
    own = parse_objective(metric, mode, constraints) if metric is not None else None
    objective = scheduler.bind(own)
    if not constraints or own is not None:
        return objective
    if objective is None:
        raise ConfigError("constraints bound the results of an objective. Give metric and mode too.")
    return parse_objective(objective.metrics, objective.modes, constraints)
