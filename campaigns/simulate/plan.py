"""What kind of world a seed stands for: the experiment, its trials' curves, and the faults."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from campaigns.simulate.schedulers import Copying, Synchronous
from campaigns.simulate.searchers import Flaky, Patient, Perturb
from tunesmith.methods import FreezeThaw
from tunesmith.protocols import Scheduler, Searcher, Stopper
from tunesmith.resources import Node, Resources
from tunesmith.schedulers import ASHAScheduler, FIFOScheduler
from tunesmith.searchers import GridSearch, RandomSearch
from tunesmith.space import Space, choice, grid_search, randint, uniform
from tunesmith.spec import CheckpointPolicy, ExperimentSpec
from tunesmith.stoppers import DictStopper, MaximumIterationStopper, NoopStopper
from tunesmith.trial import Mode, Objective

_SPACES: dict[str, dict[str, Any]] = {
    "continuous": {"level": uniform(0.0, 1.0), "speed": uniform(0.5, 2.0)},
    "crossed": {"level": uniform(0.0, 1.0), "kind": grid_search(["a", "b", "c"])},
    "grid": {"kind": choice(["a", "b"]), "width": randint(1, 5)},
}
#: The searchers that each kind of space is searched by.
_SEARCHERS = {"continuous": ("random", "perturb", "patient", "flaky"), "crossed": ("random",), "grid": ("grid",)}
_SCHEDULERS = ("fifo", "asha", "asha", "brackets", "rank", "synchronous")
_NODES = {
    1: (Node("a", 4.0, ("0", "1"), {"license": 3.0}),),
    2: (Node("a", 2.0, ("0",), {"license": 1.0}), Node("b", 2.0, ("0",), {"license": 2.0})),
}


@dataclass(frozen=True, slots=True)
class Faults:
    """How much goes wrong."""

    n_crashes: int = 0  #: driver crashes, taken-over drivers and refused appends, at most
    p_takeover: float = 0.0  #: of a driver that is to go: it is taken over instead
    p_append: float = 0.0  #: of a driver that is to go: its disk refuses instead
    p_power_loss: float = 0.0  #: of a crash: the machine goes with the driver
    n_interrupts: int = 0
    p_second_press: float = 0.0
    n_node_losses: int = 0
    n_attempt_faults: int = 0
    p_attempt_fault: float = 0.0
    p_late: float = 0.0  #: of a message: it takes seconds
    p_twice: float = 0.0  #: of a message: it comes again
    p_stubborn: float = 0.0  #: of a stop: the trial reports once more all the same
    p_save_at_stop: float = 0.0
    p_slow_disk: float = 0.0
    p_wall_jump: float = 0.0
    slow_search_s: float = 0.0  #: up to so much more of each request to the searcher; it is no cost that is known


@dataclass(frozen=True)
class Plan:
    """One world. Everything in it is a function of the seed."""

    seed: int
    is_sqlite: bool
    space_kind: str
    searcher: str
    scheduler: str
    mode: Mode
    n_trials: int
    n_steps: int
    max_t: int
    grace_period: int
    reduction_factor: int
    stop: str
    stop_at: int
    checkpoint_every: int
    n_nodes: int
    n_ahead: int | None  #: None: as many as pay
    cost_s: float
    start_s: float
    is_coarse: bool  #: equal durations and few distinct losses, so that instants and values tie
    p_strange: float  #: of a value: it is NaN or infinite
    options: dict[str, Any]  #: of the spec
    faults: Faults

    @cached_property
    def space(self) -> Space:
        """The search space."""
        return Space(_SPACES[self.space_kind])

    @property
    def ends_hangs(self) -> bool:
        """Whether a trial that hangs is given up, and need not be waited for for ever."""
        return None not in (self.options["first_report_timeout_s"], self.options["report_timeout_s"])

    @cached_property
    def spec(self) -> ExperimentSpec:
        """What the experiment asks for."""
        return ExperimentSpec(
            experiment_id=f"{self.seed:032x}",
            name="simulated",
            trainable_name="curve",
            space=self.space.describe(),
            space_fingerprint=self.space.fingerprint,
            objective=Objective(("score",), (self.mode,)),
            seed=self.seed,
            n_trials=self.n_trials,
            **self.options,
        )

    @property
    def thaws(self) -> bool:
        """Whether the searcher says which paused trials go on."""
        return self.searcher == "freeze_thaw"

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What there is to run on."""
        return _NODES[self.n_nodes]

    def make_searcher(self) -> Searcher:
        """A new one, as each driver makes it."""
        if self.thaws:
            return self._make_freeze_thaw()
        makers = {"random": RandomSearch, "perturb": Perturb, "flaky": Flaky, "grid": GridSearch}
        return Patient(2) if self.searcher == "patient" else makers[self.searcher]()

    def make_scheduler(self) -> Scheduler:
        """A new one, as each driver makes it."""
        if self.scheduler == "fifo":
            return FIFOScheduler()
        if self.thaws:
            return self._make_freeze_thaw()
        if self.scheduler == "synchronous":
            return Synchronous(every=self.grace_period + 1, max_t=self.max_t, n_at_once=min(4, self.n_trials))
        if self.scheduler == "copying":
            return Copying(every=self.grace_period + 1, max_t=self.max_t)
        return ASHAScheduler(
            max_t=self.max_t,
            grace_period=self.grace_period,
            reduction_factor=self.reduction_factor,
            brackets=self.n_brackets,
            first_arrivals="rank" if self.scheduler == "rank" else "pass",
        )

    def _make_freeze_thaw(self) -> FreezeThaw:
        return FreezeThaw(
            max_t=self.max_t, grace_period=self.grace_period, reduction_factor=self.reduction_factor, n_initial=3
        )

    @property
    def n_brackets(self) -> int:
        """Of ASHA."""
        return 2 if self.scheduler == "brackets" else 1

    def make_stopper(self) -> Stopper:
        """A new one, as each driver makes it."""
        if self.stop == "iterations":
            return MaximumIterationStopper(self.stop_at)
        return DictStopper({"training_iteration": self.stop_at}) if self.stop == "dict" else NoopStopper()

    def value(self, config: dict[str, Any], step: int) -> float:
        """What a trial with this config reports at a step; never anything else."""
        dice = self._dice(config, step)
        if dice.random() < self.p_strange:
            return dice.choice((math.nan, math.nan, math.inf, -math.inf))
        level = config.get("level", config.get("width", 1) / 5 + len(config.get("kind", "")) / 9)
        loss = level + math.exp(-step * config.get("speed", 1.0) / 3) + 0.02 * dice.random()
        if self.is_coarse:
            loss = round(loss * 4) / 4
        return loss if self.mode is Mode.MIN else 1.0 - loss

    def duration_s(self, config: dict[str, Any], step: int) -> float:
        """How long a trial with this config trains for a step."""
        return 1.0 if self.is_coarse else 0.25 + self._dice(config, -step).random() * 2.0

    def _dice(self, config: dict[str, Any], step: int) -> Random:
        return Random(zlib.crc32(f"{self.seed} {json.dumps(config, sort_keys=True)} {step}".encode()))


def draw_plan(seed: int) -> Plan:
    """The world of this seed."""
    rng = Random(f"world {seed}")
    space_kind = rng.choice(("continuous", "continuous", "continuous", "crossed", "grid"))
    scheduler = rng.choice(_SCHEDULERS)
    if scheduler == "synchronous" and space_kind == "grid":
        scheduler = "asha"  # it waits for so many trials, and a grid may have fewer
    if space_kind == "continuous" and Random(f"clones {seed}").random() < 0.2:
        scheduler = "copying"
    searcher = rng.choice(_SEARCHERS[space_kind])
    if space_kind != "grid" and Random(f"thaws {seed}").random() < 0.05:
        scheduler = searcher = "freeze_thaw"
    n_steps = rng.randint(3, 9)
    return Plan(
        seed=seed,
        is_sqlite=seed % 25 == 7,
        space_kind=space_kind,
        searcher=searcher,
        scheduler=scheduler,
        mode=rng.choice((Mode.MIN, Mode.MAX)),
        n_trials=rng.randint(3, 12),
        n_steps=n_steps,
        max_t=rng.randint(3, n_steps + 1),
        grace_period=rng.choice((1, 1, 2)),
        reduction_factor=rng.choice((2, 2, 3)),
        stop=rng.choice(("none", "none", "iterations", "dict")),
        stop_at=rng.randint(2, n_steps),
        checkpoint_every=rng.choice((0, 1, 1, 2, 3)) if scheduler != "synchronous" else 1,
        n_nodes=rng.choice((1, 1, 2)),
        n_ahead=None if searcher not in ("random", "grid") else rng.choice((0, 4)),
        cost_s=rng.choice((0.0, 0.125, 1.5, 6.0)),
        start_s=rng.choice((0.0, 0.25, 1.0)),
        is_coarse=rng.random() < 0.3,
        p_strange=rng.choice((0.0, 0.0, 0.1, 0.3)),
        options=_draw_options(rng),
        faults=_draw_faults(rng, is_sqlite=seed % 25 == 7, slowest_s=4.0 if searcher in ("random", "grid") else 200.0),
    )


def _draw_options(rng: Random) -> dict[str, Any]:
    max_failures = rng.choice((0, 1, 2, 3, -1))
    # Shorter than some steps take: with endless retries such a trial would never end.
    shortest_s = 2.0 if max_failures >= 0 else 7.0
    return {
        "resources": rng.choice(
            (
                Resources(cpu=1.0),
                Resources(cpu=2.0),
                Resources(cpu=0.5, gpu=0.5),
                Resources(cpu=1.0, gpu=1.0),
                Resources(cpu=1.0, gpu=1 / 3),
                Resources(cpu=1.0, custom={"license": 1.0}),
            )
        ),
        "max_concurrent_trials": rng.choice((None, None, 1, 2, 3)),
        "time_budget_s": rng.choice((None, None, None, rng.uniform(5.0, 60.0))),
        "max_total_steps": rng.choice((None, None, None, rng.randint(5, 60))),
        "max_failures": max_failures,
        "fail_fast": rng.random() < 0.05,
        "n_alike_failures": rng.choice((3, 100, 100)),
        "grace_s": rng.choice((0.5, 10.0)),
        "first_report_timeout_s": rng.choice((None, None, shortest_s, 60.0)),
        "report_timeout_s": rng.choice((None, None, shortest_s, 30.0)),
        "checkpoint_policy": rng.choice(
            (
                CheckpointPolicy(),
                CheckpointPolicy(keep_num=0),
                CheckpointPolicy(keep_num=2),
                CheckpointPolicy(keep_all=True),
                CheckpointPolicy(keep_num=1, score_metric="training_iteration"),
            )
        ),
    }


def _draw_faults(rng: Random, *, is_sqlite: bool, slowest_s: float) -> Faults:
    if rng.random() < 0.05:
        return Faults()
    return Faults(
        n_crashes=rng.choice((1, 2, 4)) if is_sqlite else rng.choice((0, 1, 1, 2, 3, 5)),
        p_takeover=0.5 if is_sqlite else 0.2,
        p_append=0.0 if is_sqlite else 0.2,
        p_power_loss=0.0 if is_sqlite else rng.choice((0.0, 0.4, 0.8)),
        n_interrupts=rng.choice((0, 0, 1, 2)),
        p_second_press=0.4,
        n_node_losses=rng.choice((0, 0, 0, 1)),
        n_attempt_faults=rng.choice((0, 3, 8, 15)),
        p_attempt_fault=rng.choice((0.1, 0.3, 0.7)),
        p_late=rng.choice((0.0, 0.0, 0.1, 0.3)),
        p_twice=rng.choice((0.0, 0.0, 0.1, 0.3)),
        p_stubborn=rng.choice((0.0, 0.3)),
        p_save_at_stop=rng.choice((0.0, 0.5)),
        p_slow_disk=rng.choice((0.0, 0.0, 0.1)),
        p_wall_jump=rng.choice((0.0, 0.1)),
        slow_search_s=rng.choice((0.0, 0.0, 4.0, slowest_s)),
    )
