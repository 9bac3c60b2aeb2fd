"""Whatever trainings do, an experiment comes to its end, and only what was wanted goes on."""

from __future__ import annotations

import math
import random
import zlib

import numpy as np
import pytest

from tunesmith.events import EndReason
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.methods import FreezeThaw
from tunesmith.space import choice, sample_from, uniform
from tunesmith.trial import Mode, Objective, TrialStatus

from .curve_world import ending, never, played, script, simulation, valley

COMPLETED, STOPPED, PAUSED = TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.PAUSED


def dice(config, step=0):
    """A generator for this config and step."""
    return random.Random(zlib.crc32(repr((sorted(config.items(), key=str), step)).encode()))


def early(config, first_step):
    """Returns when it likes."""
    for step in range(first_step, dice(config).randint(1, 12) + 1):
        yield SimulatedStep(1.0, {"loss": valley(config, step)}, saves_checkpoint=True)


def crashing(config, first_step):
    """Breaks now and then; differently in another attempt."""
    for step in range(first_step, 40):
        if dice(config, step * 100 + first_step).random() < 0.1:
            raise RuntimeError("broken")
        yield SimulatedStep(1.0, {"loss": valley(config, step)}, saves_checkpoint=True)


def best_only(config, first_step):
    """Saves a checkpoint where the loss is lower than ever."""
    lowest = math.inf
    for step in range(first_step, 40):
        loss = valley(config, step) + 0.3 * dice(config, step).random()
        yield SimulatedStep(1.0, {"loss": loss}, saves_checkpoint=loss < lowest)
        lowest = min(lowest, loss)


def counting(config, first_step):
    for step in range(first_step, 40):
        yield SimulatedStep(1.0, {"loss": valley(config, step), "epoch": step - 1.0}, saves_checkpoint=True)


def odd_times(config, first_step):
    for step in range(first_step, 12):
        times = {"epoch": [0.0, -1.0, math.nan, 3.0, math.inf][step % 5]}
        yield SimulatedStep(1.0, {"loss": valley(config, step), **times}, saves_checkpoint=True)


def strange(config, step):
    """Some end in NaN, some in infinity, some improve without end."""
    kind = dice(config).random()
    if step <= 2 or kind > 0.6:
        return valley(config, step)
    return math.nan if kind < 0.2 else math.inf if kind < 0.4 else -math.inf


WORLDS = {
    "crashes": (crashing, {"max_failures": 2}),
    "crashes for good": (crashing, {}),
    "no checkpoints": (script(saves=never), {}),
    "every fifth step is saved": (script(saves=lambda step: step % 5 == 0), {}),
    "only the end is saved": (script(saves=lambda step: step == 9), {}),
    "only the best is saved": (best_only, {}),
    "returns early": (early, {}),
    "returns before max_t": (script(n_steps=5), {}),
    "strange values": (script(strange), {}),
    "strange values, no checkpoints": (script(strange, saves=never), {}),
    "NaN only": (script(lambda config, step: math.nan), {}),
    "NaN only, no checkpoints": (script(lambda config, step: math.nan, saves=never), {}),
    "never the metric": (script(lambda config, step: None), {}),
    "seldom the metric": (script(lambda config, step: valley(config, step) if step % 4 == 0 else None), {}),
    "late the metric": (script(lambda config, step: valley(config, step) if step > 7 else None, saves=never), {}),
    "constant": (script(lambda config, step: 1.0), {}),
    "all 0": (script(lambda config, step: 0.0, saves=never), {}),
    "huge": (script(lambda config, step: 1e308 * (0.5 - config["x"]) / step), {}),
    "one trial": (script(), {"n_trials": 1}),
    "fewer than to begin with": (script(), {"n_trials": 3}),
    "three configs": (script(), {"space": {"x": choice([0.1, 0.3, 0.9])}}),
    "three configs, no checkpoints": (script(saves=never), {"space": {"x": choice([0.1, 0.3, 0.9])}}),
    "conditional": (
        script(lambda config, step: valley(config["a"], step)),
        {"space": {"a": choice([{"x": uniform(0, 1)}, {"y": uniform(0, 1), "z": choice(["p", "q"])}])}},
    ),
    "opaque": (script(), {"space": {"x": sample_from(lambda spec: np.random.uniform()), "y": uniform(0, 1)}}),
    "one at a time": (script(), {"max_concurrent_trials": 1}),
    "64 workers": (script(), {"n_workers": 64, "n_trials": 80}),
    "64 workers, no checkpoints": (script(saves=never), {"n_workers": 64, "n_trials": 70}),
    "max": (script(lambda config, step: -valley(config, step)), {"objective": Objective(("loss",), (Mode.MAX,))}),
    "in seconds": (script(duration_s=0.7), {"make": lambda: FreezeThaw("time_total_s", max_t=6)}),
    "one report is all": (script(duration_s=9.0), {"make": lambda: FreezeThaw("time_total_s", max_t=6)}),
    "by a reported value": (counting, {"make": lambda: FreezeThaw("epoch", max_t=8)}),
    "by odd values": (odd_times, {"make": lambda: FreezeThaw("epoch", max_t=8)}),
    "by nothing": (script(n_steps=12), {"make": lambda: FreezeThaw("epoch", max_t=8)}),
    "max_t is 1": (script(), {"make": lambda: FreezeThaw(max_t=1)}),
    "answers take their time": (script(), {"cost_s": 2.5, "n_ahead": None}),
    "answers take their time, no checkpoints": (script(saves=never), {"cost_s": 2.5, "n_ahead": None}),
}


@pytest.mark.parametrize("name", WORLDS)
def test_every_experiment_comes_to_its_end(name):
    steps, facts = WORLDS[name]
    run = played(steps, **{"n_trials": 9, **facts})
    assert all(trial.status.is_over for trial in run.trials)
    assert ending(run).why in (EndReason.FINISHED, EndReason.EXHAUSTED)
    assert ending(run).why is EndReason.EXHAUSTED or len(run.trials) == run.spec.n_trials


def test_a_searcher_that_is_far_too_slow_leaves_no_trial_paused_for_ever():
    run = simulation(script(), cost_s=1000.0, n_ahead=None, watched=False, n_trials=5).run()
    assert {trial.status for trial in run.trials} == {COMPLETED}
    assert max(trial.attempt for trial in run.trials) <= 3, "each thaw goes to the next stop at least"


def test_paused_trials_stay_paused_where_a_budget_ends_the_experiment():
    run = played(script(), n_trials=None, max_total_steps=40)
    assert ending(run).why is EndReason.STEP_BUDGET
    assert {trial.status for trial in run.trials} - {COMPLETED} == {PAUSED, TrialStatus.INTERRUPTED}
    assert {trial.reason for trial in run.trials if trial.status is PAUSED} <= {
        "trained to 1 of 9",
        "trained to 3 of 9",
    }
