"""Where the rungs of each bracket lie, and which of them a trial has reached."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.rng import generator
from tunesmith.schedulers.arguments import number
from tunesmith.schedulers.rung import MAX_RUNGS, rung_levels


class Place(NamedTuple):
    """A rung of a bracket."""

    bracket: int
    rung: int  #: place among the bracket's rungs, lowest first


@dataclass
class Ladder:
    """Levels of the rungs that are decided at, and how far up each trial was seen."""

    levels: tuple[tuple[float, ...], ...]  #: of each bracket, ascending
    shares: tuple[float, ...]  #: cumulative probabilities of the brackets
    #: Trial -> the highest rung it was seen at; all lower ones are passed.
    highest: dict[int, int] = field(default_factory=dict)

    def bracket_of(self, trial: int) -> int:
        """The trial's bracket, a function of its index alone, so that nothing about it must be remembered."""
        if len(self.levels) == 1:
            return 0
        draw = float(generator(0, "asha-bracket", trial).random())
        return sum(draw >= share for share in self.shares[:-1])

    def arrival(self, trial: int, time: float) -> Place | None:
        """The highest rung that `time` crosses, if the trial was not seen there or above; else None."""
        bracket = self.bracket_of(trial)
        rung = sum(level <= time for level in self.levels[bracket]) - 1
        return None if rung <= self.highest.get(trial, -1) else Place(bracket, rung)


def make_ladder(
    *,
    grace_period: object,
    max_t: object,
    reduction_factor: object,
    brackets: object = 1,
    is_max_t_a_rung: bool = False,
) -> Ladder:
    """Rungs at grace_period * reduction_factor**k below `max_t`; bracket s lacks the s lowest.

    A trial belongs to a bracket with probability proportional to exp(number of rungs).

    Raises: ConfigError for numbers that make no ladder.
    """
    if isinstance(brackets, bool) or not isinstance(brackets, int) or brackets < 1:
        raise ConfigError(f"brackets is {brackets!r}. Give a whole number of 1 or more.")
    grace = number("grace_period", grace_period, "above 0")
    top = number("max_t", max_t, f"of grace_period ({grace:g}) or more")
    factor = number("reduction_factor", reduction_factor, "above 1")
    if grace <= 0:
        raise ConfigError(f"grace_period is {grace:g}. Give a number above 0.")
    if top < grace:
        raise ConfigError(f"max_t is {top:g}. Give a number of grace_period ({grace:g}) or more.")
    if factor <= 1:
        raise ConfigError(f"reduction_factor is {factor:g}. Give a number above 1.")
    levels = rung_levels(whole(grace), top, whole(factor))
    if len(levels) > MAX_RUNGS:
        raise ConfigError(f"reduction_factor {factor!r} makes more than {MAX_RUNGS} rungs up to {top:g}. Give more.")
    decided = tuple(level for level in levels if level < top or is_max_t_a_rung)
    return Ladder(tuple(decided[s:] for s in range(brackets)), _bracket_shares(len(levels), brackets))


def whole(value: float) -> float:
    """The same number as an int where it is one, for exact arithmetic."""
    return int(value) if value == int(value) else value


def _bracket_shares(n_rungs: int, n_brackets: int) -> tuple[float, ...]:
    """Cumulative probabilities of the brackets: the softmax of their numbers of rungs."""
    weights = [math.exp(max(n_rungs - s, 0) - n_rungs) for s in range(n_brackets)]
    return tuple(sum(weights[: s + 1]) / sum(weights) for s in range(n_brackets))
