"""The suites of searchers, schedulers and stoppers on every built-in; the lists are complete, or a test fails."""

from __future__ import annotations

import random

import optuna
import pytest
from msgspec.structs import replace

from tunesmith.methods import FreezeThaw
from tunesmith.schedulers import (
    PB2,
    SCHEDULERS,
    ASHAPromotionScheduler,
    ASHAScheduler,
    FIFOScheduler,
    FoldRacing,
    HyperBandForBOHB,
    HyperBandScheduler,
    MedianStoppingRule,
    MultiObjectiveASHA,
    PASHAScheduler,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
)
from tunesmith.searchers import (
    SEARCHERS,
    AskTell,
    AutoSearch,
    CMAESSearch,
    ConcurrencyLimiter,
    EvolutionSearch,
    ForestSearch,
    GPSearch,
    GridSearch,
    NSGASearch,
    OptunaSearch,
    RandomSearch,
    Repeater,
    SobolSearch,
    TPESearch,
    TrustRegionSearch,
    TuneBOHB,
    ZoomSearch,
)
from tunesmith.space import grid_search, uniform
from tunesmith.stoppers import (
    CombinedStopper,
    DictStopper,
    ExpectedImprovementPerHour,
    ExperimentPlateauStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoImprovement,
    NoopStopper,
    TimeoutStopper,
    TrialPlateauStopper,
)
from tunesmith.testing import SchedulerContract, SearcherContract, StopperContract

SEARCHERS_HERE = {
    RandomSearch,
    GridSearch,
    AutoSearch,
    GPSearch,
    OptunaSearch,
    CMAESSearch,
    EvolutionSearch,
    ForestSearch,
    NSGASearch,
    SobolSearch,
    TPESearch,
    TrustRegionSearch,
    TuneBOHB,
    ZoomSearch,
}
SCHEDULERS_HERE = {
    FIFOScheduler,
    FoldRacing,
    HyperBandForBOHB,
    HyperBandScheduler,
    ASHAScheduler,
    ASHAPromotionScheduler,
    MedianStoppingRule,
    MultiObjectiveASHA,
    PASHAScheduler,
    PB2,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
}


def test_no_builtin_is_missing_here():
    assert set(SEARCHERS.values()) <= SEARCHERS_HERE
    assert set(SCHEDULERS.values()) <= SCHEDULERS_HERE


class TestRandomSearch(SearcherContract):
    def make(self):
        return RandomSearch()


class TestAutoSearch(SearcherContract):
    def make(self):
        return AutoSearch()


class TestTrustRegionSearch(SearcherContract):
    def make(self):
        return TrustRegionSearch()


class TestForestSearch(SearcherContract):
    def make(self):
        return ForestSearch()


class TestNSGASearch(SearcherContract):
    def make(self):
        return NSGASearch()


class TestGPSearch(SearcherContract):
    def make(self):
        return GPSearch()


class TestTPESearch(SearcherContract):
    def make(self):
        return TPESearch()


class TestTuneBOHB(SearcherContract):
    def make(self):
        return TuneBOHB()


class TestFreezeThawAsSearcher(SearcherContract):
    def make(self):
        return FreezeThaw(max_t=27)


class TestSobolSearch(SearcherContract):
    def make(self):
        return SobolSearch()


class TestZoomSearch(SearcherContract):
    def make(self):
        return ZoomSearch()


class TestCMAESSearch(SearcherContract):
    def make(self):
        return CMAESSearch()


class TestEvolutionSearch(SearcherContract):
    def make(self):
        return EvolutionSearch()


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


class TestOptunaSearch(SearcherContract):
    def make(self):
        return OptunaSearch()


class TestOptunaSearchWithASampler(SearcherContract):
    def make(self):
        return OptunaSearch(optuna.samplers.NSGAIISampler(population_size=4))


class TestOptunaSearchWithAFunction(SearcherContract):
    def make(self):
        return OptunaSearch(lambda seed: optuna.samplers.RandomSampler(seed))


class TestAskTell(SearcherContract):
    def make(self):
        return AskTell(_LearningByRandom)


class _LearningByRandom:
    """Asked and told; what it was told, and how often it was asked, shows in what it proposes."""

    def __init__(self, space, seed):
        self._rng, self._best = random.Random(seed), 4.0

    def ask(self):
        return {"drop": self._rng.random() / (2 + self._best), "n_layers": self._rng.randrange(1, 5)}

    def tell(self, config, loss):
        self._best = min(self._best, loss)


class TestConcurrencyLimiter(SearcherContract):
    def make(self):
        return ConcurrencyLimiter(GPSearch(), 64)


class TestConcurrencyLimiterWithBatches(SearcherContract):
    def make(self):
        return ConcurrencyLimiter(RandomSearch(), 64, batch=True)


class TestRepeater(SearcherContract):
    def make(self):
        return Repeater(GPSearch(), 3)


class TestRepeaterOfOneThatUsesNoResults(SearcherContract):
    def make(self):
        return Repeater(RandomSearch(), 2)


@pytest.mark.parametrize("time_attr", ["training_iteration", "time_total_s"])
class TestFreezeThawAsScheduler(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _arguments(self, time_attr):
        self._time_attr = time_attr

    def make(self):
        return FreezeThaw(self._time_attr, max_t=27)


class TestFIFOScheduler(SchedulerContract):
    def make(self):
        return FIFOScheduler()


class _RacingOverSteps(FoldRacing):
    """Takes the steps of the suite's reports for folds."""

    def _fold(self, report):
        return super()._fold(replace(report, metrics={**report.metrics, "fold": report.step - 1}))


@pytest.mark.parametrize("test", ["wilcoxon", "t"])
@pytest.mark.parametrize("made", [FoldRacing, _RacingOverSteps])
class TestFoldRacing(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _arguments(self, made, test):
        self._made, self._test = made, test

    def make(self):
        return self._made(min_folds=3, test=self._test)


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


@pytest.mark.parametrize("synch", [False, True])
class TestPopulationBasedTraining(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _arguments(self, synch):
        self._synch = synch

    def make(self):
        return PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=3,
            hyperparam_mutations={"level": uniform(0.0, 1.0)},
            synch=self._synch,
        )


class TestPopulationBasedTrainingAtTwoFrequencies(SchedulerContract):
    def make(self):
        mutations = {"level": [0.1, 0.3, 0.9]}
        return PopulationBasedTraining(
            perturbation_interval=4.0, hyperparam_mutations=mutations, evolution_frequencies=(1, 4)
        )


@pytest.mark.parametrize("synch", [False, True])
class TestPB2(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _arguments(self, synch):
        self._synch = synch

    def make(self):
        bounds = {"level": [0.0, 1.0]}
        return PB2("training_iteration", perturbation_interval=3, hyperparam_bounds=bounds, synch=self._synch)


class TestPopulationBasedTrainingReplay(SchedulerContract):
    def make(self):
        return PopulationBasedTrainingReplay([(0, {"level": 0.5}), (6, {"level": 0.2}), (20, {"level": 0.1})])


class TestResourceChangingScheduler(SchedulerContract):
    def make(self):
        return ResourceChangingScheduler()


class TestResourceChangingSchedulerOverAnother(SchedulerContract):
    def make(self):
        return ResourceChangingScheduler(
            PopulationBasedTraining(
                "training_iteration", perturbation_interval=3, hyperparam_mutations={"level": uniform(0.0, 1.0)}
            )
        )


@pytest.mark.parametrize("brackets", [1, 3])
class TestASHAPromotionScheduler(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _arguments(self, brackets):
        self._brackets = brackets

    def make(self):
        return ASHAPromotionScheduler(max_t=27, grace_period=1, reduction_factor=3, brackets=self._brackets)


class TestPASHAScheduler(SchedulerContract):
    def make(self):
        return PASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)


@pytest.mark.parametrize("hard_stop", [True, False])
class TestMedianStoppingRule(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _arguments(self, hard_stop):
        self._hard_stop = hard_stop

    def make(self):
        return MedianStoppingRule(grace_period=5.0, hard_stop=self._hard_stop)


class TestMultiObjectiveASHA(SchedulerContract):
    def make(self):
        return MultiObjectiveASHA(max_t=27, grace_period=1, reduction_factor=3)


@pytest.mark.parametrize("reduction_factor", [2, 3])
@pytest.mark.parametrize("made", [HyperBandScheduler, HyperBandForBOHB])
class TestHyperBandScheduler(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _arguments(self, made, reduction_factor):
        self._made, self._factor = made, reduction_factor

    def make(self):
        return self._made(max_t=27, reduction_factor=self._factor)


class TestHyperBandOnTimeWithoutAnEnd(SchedulerContract):
    def make(self):
        return HyperBandScheduler(time_attr="time_total_s", max_t=20, reduction_factor=2, stop_last_trials=False)


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


class TestNoImprovement(StopperContract):
    def make(self):
        return NoImprovement(2, metric="loss", mode="min")


class TestExpectedImprovementPerHour(StopperContract):
    def make(self):
        return ExpectedImprovementPerHour(1e6, min_trials=3, metric="loss", mode="min")


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
