"""An interrupted experiment beside the same one left alone: with a checkpoint at every report, both come to the same.

Ten times, at random points, the driver is killed, the power goes, or somebody presses Ctrl-C twice; the next driver
begins in the same virtual instant, and what a trial was about to report is reported when it would have been. Trials,
decisions, their reasons and the best config must be those of the experiment that nobody interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from campaigns.simulate.campaign import Campaign, quiet
from campaigns.simulate.disk import mounted
from campaigns.simulate.executor import Attempt, WorldExecutor
from campaigns.simulate.faults import DriverCrash, Violation, require
from campaigns.simulate.plan import Faults, Plan, draw_plan
from campaigns.simulate.stores import MemoryBackend
from campaigns.simulate.world import World
from tunesmith.events import AnswerReport, Event, InterruptRequested, Verdict
from tunesmith.resources import Resources
from tunesmith.spec import CheckpointPolicy
from tunesmith.stores.codec import parse_record

N_INTERRUPTIONS = 10
_ENDS = ("kill", "power", "keys")


@dataclass
class Compared:
    """What became of a pair."""

    seed: int
    n_interruptions: int = 0
    n_trials: int = 0
    n_decisions: int = 0
    difference: str | None = None


class _SteadyWorld(World):
    """Its drivers end at given points, counted over all of them, and time does not know that they did."""

    def __init__(self, plan: Plan, ends: Sequence[tuple[int, str]] = ()) -> None:
        super().__init__(plan)
        self.n_points = self.n_interruptions = 0
        self.due: dict[tuple[int, int], float] = {}  #: trial, step -> when it is reached
        self.is_pressed = False
        self._ends = list(ends)

    def point(self, where: str) -> None:
        self.n_points += 1
        if not self._ends or self.n_points < self._ends[0][0]:
            return
        _, how = self._ends.pop(0)
        self.n_interruptions += 1
        if how != "keys":
            raise DriverCrash(where, is_power_loss=how == "power")
        self.is_pressed = True


class _SteadyExecutor(WorldExecutor):
    """Nothing takes its own time but training."""

    _world: _SteadyWorld

    def wait(self, timeout_s: float | None) -> list[Event]:
        if self._world.is_pressed:
            self._world.is_pressed = False
            self.post(InterruptRequested(2, "SIGINT"))
        return super().wait(timeout_s)

    def _due_in(self, attempt: Attempt, seconds: float) -> float:
        now = self.clock.now()
        return max(0.0, self._world.due.setdefault((attempt.trial, attempt.step + 1), now + seconds) - now)

    def _some_seconds(self) -> float:
        return 0.0


class _SteadyCampaign(Campaign):
    """The world alone says when a driver ends."""

    executor_type = _SteadyExecutor

    def _aim(self, driver: Any) -> None:
        pass


def _steady_plan(seed: int) -> Plan:
    """A world of this seed in which nothing fails, and nothing depends on how long a session lasts."""
    rng = Random(f"continuity {seed}")
    drawn = draw_plan(seed)
    options = {
        **drawn.options,
        "resources": Resources(cpu=1.0),
        "max_concurrent_trials": None,
        "time_budget_s": None,
        "max_total_steps": None,
        "first_report_timeout_s": None,
        "report_timeout_s": None,
        "checkpoint_policy": CheckpointPolicy(keep_num=rng.choice((None, 0, 2))),
    }
    return replace(
        drawn,
        is_sqlite=False,
        # Who is to be copied depends on who has reported when two trials report in one instant, after an interruption.
        scheduler="fifo" if drawn.scheduler == "copying" else drawn.scheduler,
        is_coarse=False,  # where reports fall on one instant, their order is nobody's promise
        n_trials=8 if drawn.space_kind == "grid" else rng.randint(6, 24),
        checkpoint_every=1,
        cost_s=0.0,
        start_s=0.0,
        options=options,
        faults=Faults(),
    )


def _run(plan: Plan, ends: Sequence[tuple[int, str]] = ()) -> tuple[_SteadyWorld, dict[str, Any]]:
    """Play it; answers what it came to."""
    world, backend = _SteadyWorld(plan, ends), MemoryBackend()
    with mounted(world.disk), quiet():
        campaign = _SteadyCampaign(plan, backend, world)
        campaign.play()
    assert campaign.witness.ending is not None
    trials = backend.trials()
    usable = [t for t in trials if t.best_value is not None and math.isfinite(t.best_value)]
    best = min(usable, key=lambda t: (plan.mode.as_loss(t.best_value or 0.0), t.index), default=None)
    facts = ("index", "config", "status", "reason", "step", "metrics", "best_value", "best_step", "n_reports")
    return world, {
        "trials": [{name: repr(getattr(trial, name)) for name in facts} for trial in trials],
        "decisions": _decisions(backend),
        "best": None if best is None else (best.index, best.config, best.best_value, best.best_step),
        "end": campaign.witness.ending.why.value,
    }


def _decisions(backend: MemoryBackend) -> dict[tuple[int, int], tuple[str, str]]:
    """Trial, step -> verdict and reason. What was ended by the interrupt alone would have gone on."""
    found = {}
    for record in map(parse_record, backend.lines()):
        if isinstance(record, AnswerReport):
            decision = record.decision
            is_interrupt = decision.verdict is Verdict.STOP and decision.words() in ("interrupted", "SIGINT")
            verdict = Verdict.CONTINUE if is_interrupt else decision.verdict
            key = (record.trial, record.step)
            require(key not in found, "a step is answered twice", f"{record}")
            found[key] = (verdict.value, "" if verdict is Verdict.CONTINUE else decision.words())
    return found


def compare_seed(seed: int) -> Compared:
    """Play the experiment of this seed twice, once interrupted, and compare."""
    plan = _steady_plan(seed)
    compared = Compared(seed)
    try:
        world, expected = _run(plan)
        rng = Random(f"interruptions {seed}")
        places = sorted(rng.sample(range(1, world.n_points + 1), min(N_INTERRUPTIONS, world.n_points)))
        world, found = _run(plan, [(place, rng.choice(_ENDS)) for place in places])
    except Violation as violation:
        compared.difference = f"{violation}"
        return compared
    compared.n_interruptions = world.n_interruptions
    compared.n_trials, compared.n_decisions = len(expected["trials"]), len(expected["decisions"])
    different = [
        f"{name}: {expected[name]}\n  interrupted: {found[name]}" for name in expected if expected[name] != found[name]
    ]
    compared.difference = "\n".join(different) or None
    return compared
