"""The stopping rule of Ray Tune's asynchronous HyperBand, written down naively and apart from ours, as a reference.

Written from a description of its behaviour. It keeps dicts of (trial -> score), looks through all rungs from the top
for each report, and lets NumPy compute the percentile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class OracleBracket:
    """Rungs from the top: (level, {trial: score})."""

    rungs: list[tuple[float, dict[int, float]]]

    def stops(self, trial: int, time: float, score: float, reduction_factor: float) -> bool:
        for level, recorded in self.rungs:
            if time < level or trial in recorded:
                continue
            is_below = False
            if recorded:
                cutoff = np.nanpercentile(list(recorded.values()), (1 - 1 / reduction_factor) * 100)
                is_below = bool(score < cutoff)
            recorded[trial] = score
            return is_below
        return False


@dataclass
class OracleASHA:
    mode: str
    max_t: float
    grace_period: float
    reduction_factor: float
    brackets: int = 1
    stop_last_trials: bool = True
    bracket_of: Callable[[int], int] = lambda trial: 0
    _brackets: list[OracleBracket] = field(init=False)

    def __post_init__(self) -> None:
        self._brackets = []
        for s in range(self.brackets):
            levels = []
            k = s
            while self.grace_period * self.reduction_factor**k <= self.max_t:
                levels.append(self.grace_period * self.reduction_factor**k)
                k += 1
            self._brackets.append(OracleBracket([(level, {}) for level in reversed(levels)]))

    def stops(self, trial: int, time: float, value: float) -> bool:
        if time >= self.max_t and self.stop_last_trials:
            return True
        score = value if self.mode == "max" else -value
        return self._brackets[self.bracket_of(trial)].stops(trial, time, score, self.reduction_factor)
