"""The early stopping for whoever names none: it is chosen by what there is to compare, and says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.methods.freeze_thaw import FreezeThaw
from tunesmith.protocols import Scheduler
from tunesmith.registry import made_by_name
from tunesmith.schedulers import (
    SCHEDULERS,
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MultiObjectiveASHA,
)
from tunesmith.searchers.auto_search import why_random
from tunesmith.space import Space
from tunesmith.trial import Objective


@dataclass(frozen=True)
class Chosen:
    """A scheduler, and why it was chosen."""

    scheduler: Scheduler
    reason: str


@dataclass(frozen=True)
class AutoScheduler:
    """What `scheduler="auto"` stands for: the choice is made when space and objective are known.

    Args:
        max_t: the end of training, in units of `time_attr`.
        grace_period, reduction_factor: of the chosen scheduler; None: its own default.
        can_pause: whether trials are run by the experiment, which can end and start them; not in a study.
    """

    max_t: float
    time_attr: str = "training_iteration"
    grace_period: float | None = None
    reduction_factor: float | None = None
    can_pause: bool = True

    def choose(
        self, space: Space, objective: Objective | None, *, has_searcher: bool, **search_arguments: Any
    ) -> Chosen:
        """The scheduler for this experiment.

        Args:
            has_searcher: whether configs come from a searcher that was named.
            search_arguments: of a method that is the searcher too.
        Raises: ConfigError.
        """
        arguments: dict[str, Any] = {"time_attr": self.time_attr, "max_t": self.max_t}
        if self.reduction_factor is not None:
            arguments["reduction_factor"] = self.reduction_factor
        if self.grace_period is not None:
            arguments["grace_period"] = self.grace_period
        if objective is None:
            return Chosen(FIFOScheduler(), "there is no metric to compare trials by")
        if len(objective.metrics) > 1:
            return Chosen(MultiObjectiveASHA(**arguments), "of several metrics no single end can be predicted")
        if objective.constraints:
            return Chosen(AsyncHyperBandScheduler(**arguments), "a bound on a metric is no part of the curves' model")
        if has_searcher:
            return Chosen(AsyncHyperBandScheduler(**arguments), "the configs come from the searcher that you named")
        if not self.can_pause:
            return Chosen(AsyncHyperBandScheduler(**arguments), "whoever trains these trials pauses none")
        if (why := why_random(space, objective)) is not None:
            return Chosen(AsyncHyperBandScheduler(**arguments), why)
        reason = "one model of configs and learning curves decides on both; it pauses trials that save checkpoints"
        return Chosen(FreezeThaw(**arguments, **search_arguments), reason)


#: The methods by the names that are given as `scheduler`.
METHODS: dict[str, type[AutoScheduler | FreezeThaw]] = {"auto": AutoScheduler, "freeze_thaw": FreezeThaw}


def create_scheduler(name: str, **kwargs: Any) -> Any:
    """The scheduler or method of this name, made with these keywords.

    Raises: ConfigError for an unknown name or keyword (Ray Tune drops unknown keywords without a word), or for a
        method without `max_t`.
    """
    if name in METHODS and "max_t" not in kwargs:
        raise ConfigError(
            f"scheduler={name!r} needs to know how far a full training goes. "
            f"Give scheduler=tune.create_scheduler({name!r}, max_t=50)."
        )
    return made_by_name("scheduler", name, {**SCHEDULERS, **METHODS}, kwargs)
