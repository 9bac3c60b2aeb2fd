"""Who should hold how much: what an allocation function is told, and the two that come with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.events import TrialReported
from tunesmith.resources import Resources, parse_resources
from tunesmith.schedulers.arguments import value_of
from tunesmith.trial import Objective, Trial, parse_objective

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Situation:
    """What there is, and who needs it, as the log says at the moment of a report."""

    base: Resources  #: what the experiment gives each trial
    held: Resources  #: what the reporting trial holds
    total: Resources  #: of all nodes together
    within_reach: Resources  #: what the trial could hold now: what is free on one node, and what it holds itself
    n_open: int  #: trials that run, wait or are about to be proposed, this one included
    objective: Objective | None
    reports: Mapping[int, TrialReported]  #: by trial: the last report of each that is not over

    def can_hold(self, wanted: Resources) -> bool:
        """Whether so much is within the trial's reach."""
        reach = self.within_reach
        # A share of a GPU that others share too is not within reach as a whole, but the trial may keep what it has.
        has_gpus = wanted.gpu <= max(reach.gpu, self.held.gpu) + _ROUNDING
        has_custom = all(amount <= reach.custom.get(name, 0.0) + _ROUNDING for name, amount in wanted.custom.items())
        return wanted.cpu <= reach.cpu + _ROUNDING and has_gpus and has_custom


class DistributeResources:
    """All open trials hold equally much: what each is given at least, and its share of the rest.

    Args:
        add_bundles: accepted as False only: a trial is one process.
        increase_by: grow in steps of so much, e.g. {"cpu": 2, "gpu": 1}; None: by whole CPUs and GPUs, of what each
            trial is given some of.
        increase_by_times: at most so many steps; -1: any number.
        reserve_resources: so much of the whole stays free.

    Raises: ConfigError, with what is allowed.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: Mapping[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: Mapping[str, float] | None = None,
    ) -> None:
        if add_bundles:
            raise ConfigError("add_bundles is True. A trial is one process and has no bundles; leave it out.")
        if isinstance(increase_by_times, bool) or not isinstance(increase_by_times, int) or increase_by_times < -1:
            raise ConfigError(f"increase_by_times is {increase_by_times!r}. Give a whole number, or -1 for any number.")
        self._step = None if increase_by is None else _amounts("increase_by", increase_by)
        if self._step is not None and not any(self._step.values()):
            raise ConfigError(f'increase_by is {increase_by!r}. Give amounts above 0 such as {{"cpu": 1}}.')
        self._max_steps = math.inf if increase_by_times == -1 else increase_by_times
        self._reserved = _amounts("reserve_resources", reserve_resources or {})

    def __call__(self, trial: Trial, report: TrialReported, situation: Situation) -> Resources | None:
        """What the trial should hold."""
        return self._grown(situation, n_sharing=situation.n_open)

    def _grown(self, situation: Situation, *, n_sharing: int) -> Resources:
        base, step = _as_dict(situation.base), self._step
        total = {
            name: max(0.0, there - self._reserved.get(name, 0.0)) for name, there in _as_dict(situation.total).items()
        }
        share = {name: there / n_sharing for name, there in total.items()}
        reach = _as_dict(situation.within_reach)
        if step is None:
            step = {name: 1.0 for name in ("cpu", "gpu") if base.get(name, 0.0) > 0}
            found = {name: self._by_whole(base[name], min(share[name], reach[name])) for name in step}
            return _resources({**base, **found})
        limits = [
            (min(share.get(n, 0.0), reach.get(n, 0.0)) - base.get(n, 0.0)) / by for n, by in step.items() if by > 0
        ]
        n_steps = max(0, int(min(math.floor(min(limits) + _ROUNDING), self._max_steps)))
        return _resources({**base, **{name: base.get(name, 0.0) + n_steps * by for name, by in step.items()}})

    def _by_whole(self, base: float, there: float) -> float:
        """The base and as many whole ones more as there are; a fraction of one grows to whole ones."""
        least = base if base >= 1.0 else 0.0
        n_more = min(math.floor(there - least + _ROUNDING), self._max_steps)
        return least + n_more if n_more >= 1 else base


class DistributeResourcesToTopJob(DistributeResources):
    """What is free goes to the trial that is best at the moment; the others hold what each is given.

    Args:
        metric, mode: which is best; where left out, the experiment's. The others as in DistributeResources.
    Raises: ConfigError, with what is allowed.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: Mapping[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: Mapping[str, float] | None = None,
        metric: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(add_bundles, increase_by, increase_by_times, reserve_resources)
        self._objective = parse_objective(metric, mode)

    def __call__(self, trial: Trial, report: TrialReported, situation: Situation) -> Resources | None:
        """All that is within reach for the best trial, the base for the others.

        Raises: ConfigError where neither this function nor the experiment has a metric.
        """
        objective = self._objective or situation.objective
        if objective is None:
            raise ConfigError("DistributeResourcesToTopJob has no metric to tell the best trial by. Give metric, mode.")
        losses = {}
        for index, last in situation.reports.items():
            value = value_of(last, objective)
            if value is not None and not math.isnan(value):
                losses[index] = objective.mode.as_loss(value)
        top = min(losses, key=lambda index: (losses[index], index), default=None)
        return self._grown(situation, n_sharing=1) if top == trial.index else situation.base


def _amounts(name: str, given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise ConfigError(f'{name} is {given!r}. Give a dict such as {{"cpu": 1, "gpu": 1}}.')
    if not any(given.values()):
        return {}
    has_cpu = any(str(key).lower() == "cpu" for key in given)
    asked = parse_resources(given if has_cpu else {"cpu": 0, **given})
    return {name: amount for name, amount in _as_dict(asked).items() if amount > 0}


def _as_dict(resources: Resources) -> dict[str, float]:
    return {"cpu": resources.cpu, "gpu": resources.gpu, **resources.custom}


def _resources(amounts: Mapping[str, float]) -> Resources:
    rest = {name: amount for name, amount in amounts.items() if name not in ("cpu", "gpu")}
    return Resources(cpu=amounts["cpu"], gpu=amounts["gpu"], custom=rest)
