"""Schedulers: they judge each report, and say what a free slot is used for.

A new one is a file here, its import and its line in `SCHEDULERS`; `MetricScheduler` reads times and metrics for it.
"""

from __future__ import annotations

from typing import Any

from tunesmith.protocols import Scheduler
from tunesmith.registry import made_by_name
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
    return made_by_name("scheduler", name, SCHEDULERS, kwargs)
