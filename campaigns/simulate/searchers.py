"""Searchers that learn, wait and fail, for spaces of floats: what the built-in ones do not do yet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.trial import Trial

_NEAR = 1e-3
_BOUNDS = {"level": (0.0, 1.0), "speed": (0.5, 2.0)}


class Perturb:
    """Moves a little away from the best seen, and keeps away from what is being tried."""

    uses_results = True

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        best = _best(history)
        taken = [trial.config for trial in history.trials]
        found: list[Suggestion] = []
        while len(found) < n:
            config = {name: _draw(name, best, rng) for name in _BOUNDS}
            if all(max(abs(config[name] - other[name]) for name in _BOUNDS) > _NEAR for other in taken):
                taken.append(config)
                found.append(Suggestion(config, "near the best" if best else "at random", best.index if best else None))
        return found


class Patient(Perturb):
    """Wants so many results of what is open before it proposes more."""

    def __init__(self, n_wanted: int) -> None:
        self._n_wanted = n_wanted

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        open_trials = [trial for trial in history.trials if not trial.status.is_over]
        n_young = sum(trial.n_reports < self._n_wanted for trial in open_trials)
        if n_young >= 2:
            return Wait(f"{n_young} trials have hardly begun")
        return super().suggest(history, rng, 1)


class Flaky(Perturb):
    """Raises now and then: random search answers in its place."""

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        if rng.random() < 0.3:
            raise ArithmeticError("the model could not be fitted")
        return super().suggest(history, rng, n)


def _best(history: History) -> Trial | None:
    assert history.objective is not None
    loss = history.objective.mode.as_loss
    usable = [
        (loss(trial.best_value), trial.index)
        for trial in history.trials
        if trial.best_value is not None and math.isfinite(trial.best_value)
    ]
    return history.trials[min(usable)[1]] if usable else None


def _draw(name: str, best: Trial | None, rng: np.random.Generator) -> float:
    low, high = _BOUNDS[name]
    if best is None or rng.random() < 0.2:
        return float(rng.uniform(low, high))
    return float(min(high, max(low, best.config[name] + rng.normal() * 0.1 * (high - low))))
