"""What one round does, drawn from (seed, number) alone, so that a round can be run again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Target(StrEnum):
    """Who is killed, in one instant."""

    DRIVER = "driver"
    REAPER = "reaper"
    TEMPLATE = "template"
    TRIAL = "one trial"
    TRIALS = "several trials"
    DRIVER_AND_REAPER = "driver + reaper"
    ALL = "all"
    DRIVER_AT_CALL = "driver at a call"  #: at a storage system call, through strace
    TRIAL_AT_CALL = "trial at a call"  #: by itself, at a call of its checkpoint's commit

    @property
    def has_driver(self) -> bool:
        """Whether the driver dies, so that the script must be run again."""
        return self in (Target.DRIVER, Target.DRIVER_AND_REAPER, Target.ALL, Target.DRIVER_AT_CALL)

    @property
    def has_reaper_too(self) -> bool:
        """Whether nobody is left to clear up before the next start's sweep."""
        return self in (Target.DRIVER_AND_REAPER, Target.ALL)


_WEIGHTS = {
    Target.DRIVER: 26,
    Target.DRIVER_AT_CALL: 22,
    Target.DRIVER_AND_REAPER: 12,
    Target.ALL: 10,
    Target.TEMPLATE: 8,
    Target.REAPER: 8,
    Target.TRIAL: 5,
    Target.TRIALS: 3,
    Target.TRIAL_AT_CALL: 6,
}
#: Storage and answer calls of the driver's main thread, and about how many there are of each in one run.
_DRIVER_CALLS = {"pwrite64": 500, "fdatasync": 10, "ftruncate": 3, "unlink": 4, "link": 1, "fsync": 2, "sendto": 45}
_TRIAL_CALLS = ("fsync", "rename", "write")


@dataclass(frozen=True)
class Kill:
    """One kill -9: after so many acknowledgements (or, None, so long after the start), and a moment more."""

    target: Target
    after_n_acks: int | None
    delay_s: float
    choice: int = 0  #: which trials, and in which order two processes die
    call: str = ""  #: of DRIVER_AT_CALL
    when: int = 0  #: at which of these calls


@dataclass(frozen=True)
class RoundPlan:
    """One round: the experiment, and who is killed when. After the last kill the script runs to its end."""

    seed: int
    number: int
    kills: tuple[Kill, ...]
    n_trials: int
    n_steps: int
    n_parallel: int
    is_asha: bool
    checkpoint_every: int
    keep_num: int | None
    step_s: float
    has_children: bool
    max_failures: int
    looks_between: bool  #: open the store between kill and restart; not always, since looking must not be a repair
    self_kill: dict[str, Any] | None = field(default=None)

    def words(self) -> str:
        """For messages."""
        kills = ", ".join(_kill_words(kill) for kill in self.kills)
        kind = "ASHA" if self.is_asha else "FIFO"
        return f"{self.n_trials} trials x {self.n_steps} steps, {kind}, children: {self.has_children}; kills: {kills}"


def _kill_words(kill: Kill) -> str:
    if kill.call:
        return f"driver at {kill.call} {kill.when}"
    after = "the start" if kill.after_n_acks is None else f"ack {kill.after_n_acks}"
    return f"{kill.target.value} {1000 * kill.delay_s:.0f} ms after {after}"


def draw_round(seed: int, number: int) -> RoundPlan:
    """The plan of round `number` of the campaign with this seed."""
    rng = random.Random(f"kill9/{seed}/{number}")
    n_trials, n_steps = rng.randint(3, 5), rng.randint(4, 7)
    n_acks = n_trials * n_steps
    targets = rng.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()), k=2)
    n_kills = 2 if rng.random() < 0.15 else 1
    kills = tuple(_draw_kill(rng, target, n_acks // n_kills) for target in targets[:n_kills])
    has_trial_target = any(kill.target in (Target.TRIAL, Target.TRIALS, Target.TRIAL_AT_CALL) for kill in kills)
    self_kill = None
    if any(kill.target is Target.TRIAL_AT_CALL for kill in kills):
        call = rng.choice(_TRIAL_CALLS)
        self_kill = {
            "trial": rng.randrange(n_trials),
            "call": call,
            "when": rng.randint(1, 4 if call == "rename" else 20),
            "is_after": rng.random() < 0.5,
        }
    return RoundPlan(
        seed=seed,
        number=number,
        kills=kills,
        n_trials=n_trials,
        n_steps=n_steps,
        n_parallel=rng.randint(2, 3),
        is_asha=rng.random() < 0.35,
        checkpoint_every=rng.choice((1, 1, 2, 3)),
        keep_num=rng.choice((None, 1, 2)),
        step_s=rng.uniform(0.002, 0.03),
        has_children=rng.random() < 0.3,
        max_failures=rng.choice((0, 1)) if has_trial_target else 0,
        looks_between=rng.random() < 0.5,
        self_kill=self_kill,
    )


def _draw_kill(rng: random.Random, target: Target, n_acks: int) -> Kill:
    if target is Target.DRIVER_AT_CALL:
        call = rng.choices(list(_DRIVER_CALLS), weights=(10, 3, 1, 2, 1, 1, 4))[0]
        return Kill(target, None, 0.0, call=call, when=rng.randint(1, _DRIVER_CALLS[call]))
    is_at_start = rng.random() < 0.25
    return Kill(
        target,
        after_n_acks=None if is_at_start else rng.randint(0, n_acks),
        delay_s=rng.uniform(0.0, 0.6) if is_at_start else rng.uniform(0.0, 0.03),
        choice=rng.randrange(1_000_000),
    )
