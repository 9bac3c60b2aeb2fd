"""The suites of searchers, schedulers and stoppers on every built-in; the lists are complete, or a test fails."""

from __future__ import annotations

import pytest

from tunesmith.schedulers import SCHEDULERS, ASHAScheduler, FIFOScheduler
from tunesmith.searchers import SEARCHERS, AutoSearch, GPSearch, GridSearch, RandomSearch, searcher_class
from tunesmith.space import grid_search, uniform
from tunesmith.stoppers import (
    CombinedStopper,
    DictStopper,
    ExperimentPlateauStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoopStopper,
    TimeoutStopper,
    TrialPlateauStopper,
)
from tunesmith.testing import SchedulerContract, SearcherContract, StopperContract

SEARCHERS_HERE = {RandomSearch, GridSearch, AutoSearch, GPSearch}
SCHEDULERS_HERE = {FIFOScheduler, ASHAScheduler}


def test_no_builtin_is_missing_here():
    assert {searcher_class(name) for name in SEARCHERS} <= SEARCHERS_HERE
    assert set(SCHEDULERS.values()) <= SCHEDULERS_HERE


class TestRandomSearch(SearcherContract):
    def make(self):
        return RandomSearch()


class TestAutoSearch(SearcherContract):
    def make(self):
        return AutoSearch()


class TestGPSearch(SearcherContract):
    def make(self):
        return GPSearch()


class TestRandomSearchOverAGrid(SearcherContract):
    def make(self):
        return RandomSearch()

    def space(self):
        return {"width": grid_search([8, 16, 32]), "lr": uniform(0.0, 1.0)}


class TestRandomSearchWithPoints(SearcherContract):
    def make(self):
        return RandomSearch([{"lr": 0.01}, {"n_layers": 2}])


class TestGridSearch(SearcherContract):
    def make(self):
        return GridSearch(4)


class TestFIFOScheduler(SchedulerContract):
    def make(self):
        return FIFOScheduler()


@pytest.mark.parametrize("first_arrivals", ["pass", "rank"])
@pytest.mark.parametrize("brackets", [1, 3])
class TestASHAScheduler(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _arguments(self, brackets, first_arrivals):
        self._made_with = {"brackets": brackets, "first_arrivals": first_arrivals}

    def make(self):
        return ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3, **self._made_with)


class TestASHAOnTime(SchedulerContract):
    def make(self):
        return ASHAScheduler(time_attr="time_total_s", max_t=20, grace_period=2, reduction_factor=2)


class TestNoopStopper(StopperContract):
    def make(self):
        return NoopStopper()


class TestMaximumIterationStopper(StopperContract):
    def make(self):
        return MaximumIterationStopper(5)


class TestTrialPlateauStopper(StopperContract):
    def make(self):
        return TrialPlateauStopper("loss", std=0.3)


class TestExperimentPlateauStopper(StopperContract):
    def make(self):
        return ExperimentPlateauStopper("loss", std=0.2, top=3)


class TestDictStopper(StopperContract):
    def make(self):
        return DictStopper({"training_iteration": 6})


class TestTimeoutStopper(StopperContract):
    def make(self):
        return TimeoutStopper(1e6)


class TestFunctionStopper(StopperContract):
    def make(self):
        return FunctionStopper(lambda trial_id, result: result["training_iteration"] >= 4)


class TestCombinedStopper(StopperContract):
    def make(self):
        return CombinedStopper({"training_iteration": 9}, TrialPlateauStopper("loss", std=0.3))
