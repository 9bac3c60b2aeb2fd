"""Schedulers: they judge each report, and say what a free slot is used for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.protocols import Scheduler
from tunesmith.schedulers.asha import ASHAScheduler, AsyncHyperBandScheduler
from tunesmith.schedulers.asha_promotion import ASHAPromotionScheduler
from tunesmith.schedulers.bohb import HyperBandForBOHB
from tunesmith.schedulers.fifo import FIFOScheduler
from tunesmith.schedulers.fold_racing import FoldRacing
from tunesmith.schedulers.hyperband import HyperBandScheduler
from tunesmith.schedulers.median_stopping import MedianStoppingRule
from tunesmith.schedulers.multi_objective_asha import MultiObjectiveASHA
from tunesmith.schedulers.pasha import PASHAScheduler
from tunesmith.schedulers.pb2 import PB2
from tunesmith.schedulers.pbt import PopulationBasedTraining
from tunesmith.schedulers.pbt_replay import PopulationBasedTrainingReplay
from tunesmith.schedulers.resource_changing import ResourceChangingScheduler
from tunesmith.schedulers.resource_sharing import DistributeResources, DistributeResourcesToTopJob

__all__ = [
    "PB2",
    "SCHEDULERS",
    "ASHAPromotionScheduler",
    "ASHAScheduler",
    "AsyncHyperBandScheduler",
    "DistributeResources",
    "DistributeResourcesToTopJob",
    "FIFOScheduler",
    "FoldRacing",
    "HyperBandForBOHB",
    "HyperBandScheduler",
    "MedianStoppingRule",
    "MultiObjectiveASHA",
    "PASHAScheduler",
    "PopulationBasedTraining",
    "PopulationBasedTrainingReplay",
    "ResourceChangingScheduler",
    "create_scheduler",
    "made_by_name",
]

#: What `scheduler="..."` may say, in Ray Tune's words.
SCHEDULERS: dict[str, type[Scheduler]] = {
    "fifo": FIFOScheduler,
    "fold_racing": FoldRacing,
    "async_hyperband": AsyncHyperBandScheduler,
    "asynchyperband": AsyncHyperBandScheduler,
    "asha": AsyncHyperBandScheduler,
    "asha_promotion": ASHAPromotionScheduler,
    "pasha": PASHAScheduler,
    "median_stopping": MedianStoppingRule,
    "median_stopping_rule": MedianStoppingRule,
    "medianstopping": MedianStoppingRule,
    "mo_asha": MultiObjectiveASHA,
    "hyperband": HyperBandScheduler,
    "hb_bohb": HyperBandForBOHB,
    "pbt": PopulationBasedTraining,
    "pbt_replay": PopulationBasedTrainingReplay,
    "pb2": PB2,
    "resource_changing": ResourceChangingScheduler,
}


def create_scheduler(name: str, **kwargs: Any) -> Scheduler:
    """The scheduler of this name, made with these keywords.

    Raises: ConfigError for an unknown name or keyword (Ray Tune drops unknown keywords without a word).
    """
    made: Scheduler = made_by_name(name, SCHEDULERS, kwargs)
    return made


def made_by_name(name: str, makers: Mapping[str, Callable[..., Any]], kwargs: Mapping[str, Any]) -> Any:
    """What the maker of this name makes of these keywords. Raises: ConfigError for an unknown name or keyword."""
    if name not in makers:
        close = get_close_matches(str(name), makers, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"There is no scheduler {name!r}. Give one of {', '.join(sorted(makers))}.{hint}")
    made = makers[name]
    known = list(inspect.signature(made).parameters)
    unknown = sorted(set(kwargs) - set(known))
    if unknown:
        raise ConfigError(
            f"The scheduler {name!r} does not know {', '.join(unknown)}. It takes {', '.join(known) or 'no arguments'}."
        )
    return made(**kwargs)
