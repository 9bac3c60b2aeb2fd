"""HyperBand under BOHB's name, alone and together with TuneBOHB, in whole experiments on a virtual clock."""

from __future__ import annotations

import numpy as np

from tunesmith.events import AnswerReport, ConcludeAttempt, StartAttempt, TrialReported
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.schedulers import HyperBandForBOHB, HyperBandScheduler
from tunesmith.searchers import RandomSearch, TuneBOHB
from tunesmith.space import choice, uniform
from tunesmith.testing import simulate
from tunesmith.trial import TrialStatus

SPACE = {"x": uniform(-5, 5), "y": uniform(-5, 5), "kind": choice(["good", "poor"])}


def loss_at(config, step):
    return (config["x"] - 2) ** 2 + (config["y"] + 1) ** 2 + 3 * (config["kind"] == "poor") + 5 / step


def steps(config, first_step):
    for step in range(first_step, 28):
        yield SimulatedStep(1.0, {"loss": loss_at(config, step)}, saves_checkpoint=True)


def run(*, scheduler=None, searcher=None, **more):
    facts = {"space": SPACE, "max_total_steps": 400, "n_trials": None, "n_workers": 1, **more}
    return simulate(steps, scheduler=scheduler or HyperBandForBOHB(max_t=27), searcher=searcher, **facts)


def decided(found):
    return [r for r in found.log if isinstance(r, StartAttempt | TrialReported | AnswerReport | ConcludeAttempt)]


def test_it_decides_as_hyperband_does():
    ours, other = run(n_workers=4), run(n_workers=4, scheduler=HyperBandScheduler(max_t=27))
    assert len(decided(ours)) > 800
    assert decided(ours) == decided(other)


def test_it_describes_itself_by_its_name():
    assert next(iter(run().scheduler.describe())).startswith("Using BOHB: num_stopped=")


def test_the_model_learns_from_trials_that_are_only_paused():
    """27 trials pause at the first rung; the next bracket begins before any of them is over with 4 workers."""
    found = run(searcher=TuneBOHB(), n_trials=40, max_total_steps=None)
    by_model = [t for t in found.trials if t.proposed_by.startswith("BOHB")]
    assert min(t.index for t in by_model) < 27
    assert "at 1," in by_model[0].proposed_by
    assert all(t.status.is_over for t in found.trials)


def test_the_model_moves_on_to_longer_trainings_when_enough_trials_have_had_them():
    found = run(searcher=TuneBOHB(), max_total_steps=1500)
    times = [float(t.proposed_by.split(" at ")[1].split(",")[0]) for t in found.trials if "BOHB" in t.proposed_by]
    assert times == sorted(times)
    assert set(times) == {1.0, 3.0, 9.0, 27.0}


def test_its_proposals_are_better_than_random_ones():
    """5 fixed seeds; the median loss of a random config is about 21, of one that the model proposed 3 to 6."""
    for seed in range(5):
        found = run(searcher=TuneBOHB(), seed=seed)
        late = [t for t in found.trials if t.index >= 40]
        ours = np.median([loss_at(t.config, 27) for t in late if t.proposed_by.startswith("BOHB")])
        random = np.median([loss_at(t.config, 27) for t in run(searcher=RandomSearch(), seed=seed).trials])
        assert ours < 0.5 * random


def test_a_run_is_the_same_when_it_is_repeated():
    first, second = (run(searcher=TuneBOHB(), n_workers=3) for _ in range(2))
    assert [t.config for t in first.trials] == [t.config for t in second.trials]
    assert TrialStatus.STOPPED in {t.status for t in first.trials}
