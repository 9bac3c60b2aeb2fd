"""What one round of the race does, drawn from (seed, number) alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class Scenario(StrEnum):
    """Who comes when, and with takeover=True or without."""

    CREATE = "both create, same instant"
    CREATE_TAKEOVER = "both create, both take over"
    KILLED = "both go on after a kill -9, same instant"
    FINISHED = "both ask a finished one for more, same instant"
    RUNNING = "second comes while the first runs"
    TAKEOVER = "second takes over"
    TAKEOVER_BOTH = "both take over after a kill -9, same instant"
    TAKEOVER_TWICE = "second takes over, third takes over"
    FROZEN = "second takes over from a frozen one, which wakes"

    @property
    def takes_over(self) -> bool:
        """Whether a driver may be fenced; else the second is refused."""
        return self in (
            Scenario.CREATE_TAKEOVER,
            Scenario.TAKEOVER,
            Scenario.TAKEOVER_BOTH,
            Scenario.TAKEOVER_TWICE,
            Scenario.FROZEN,
        )

    @property
    def is_race(self) -> bool:
        """Whether two drivers begin at the same instant."""
        return self in (
            Scenario.CREATE,
            Scenario.CREATE_TAKEOVER,
            Scenario.KILLED,
            Scenario.FINISHED,
            Scenario.TAKEOVER_BOTH,
        )


@dataclass(frozen=True)
class RacePlan:
    """One round."""

    seed: int
    number: int
    scenario: Scenario
    n_trials: int
    n_steps: int
    n_parallel: int
    step_s: float
    has_children: bool
    after_n_acks: int  #: when the next driver comes, where they do not come at once
    lead_s: float  #: how much earlier the first of a race goes; 0 in most


def draw_race(seed: int, number: int) -> RacePlan:
    """The plan of round `number` of the campaign with this seed. Scenarios take turns."""
    rng = random.Random(f"two-drivers/{seed}/{number}")
    scenario = list(Scenario)[number % len(Scenario)]
    # Where one comes while another runs, that one must run long enough, also on a busy machine.
    n_trials, n_steps = rng.randint(3, 5), rng.randint(5, 8) if scenario.is_race else rng.randint(25, 35)
    return RacePlan(
        seed=seed,
        number=number,
        scenario=scenario,
        n_trials=n_trials,
        n_steps=n_steps,
        n_parallel=rng.randint(2, 3),
        step_s=rng.uniform(0.02, 0.06),
        has_children=rng.random() < 0.2,
        after_n_acks=rng.randint(1, 15),
        lead_s=rng.choice((0.0, 0.0, rng.uniform(0.0, 0.05))),
    )
