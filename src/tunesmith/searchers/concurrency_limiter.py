"""A bound on how many trials of a searcher are open at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tunesmith.errors import ConfigError
from tunesmith.protocols import Curve, Exhausted, History, Proposal, Searcher, Wait
from tunesmith.trial import Trial, TrialStatus

if TYPE_CHECKING:
    import numpy as np


class ConcurrencyLimiter:
    """Asks another searcher only while fewer than `max_concurrent` trials are open: fewer at once, better informed.

    Open are trials that are pending, running or paused. `tune.run(max_concurrent_trials=)` bounds the running ones
    instead, whatever the searcher.

    Args:
        searcher: the one that is asked.
        max_concurrent: how many trials may be open; 1 or more.
        batch: whether to propose in batches of `max_concurrent` trials, the next one when all of the last are over.
            Until then the searcher is shown no results of the batch, so that it could have been proposed whole.
    Raises: ConfigError.
    """

    def __init__(self, searcher: Searcher, max_concurrent: int, batch: bool = False) -> None:
        if not callable(getattr(searcher, "suggest", None)):
            raise ConfigError(f"searcher is {searcher!r}. Give a searcher, such as GPSearch().")
        if isinstance(max_concurrent, bool) or not isinstance(max_concurrent, int) or max_concurrent < 1:
            raise ConfigError(f"max_concurrent is {max_concurrent!r}. Give a whole number of 1 or more.")
        if getattr(searcher, "thaws", False):
            raise ConfigError(
                f"{type(searcher).__name__} says itself which trials go on. "
                "Give it as scheduler=, and max_concurrent_trials= to the run."
            )
        self._searcher, self._max, self._is_batch = searcher, max_concurrent, bool(batch)

    @property
    def uses_results(self) -> bool:
        """Whether the wrapped searcher does."""
        return self._searcher.uses_results

    @property
    def curves_by(self) -> str | None:
        """What the wrapped searcher asks for."""
        return getattr(self._searcher, "curves_by", None)

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Proposal] | Exhausted | Wait:
        """See Searcher."""
        trials = history.trials
        n_open = sum(not trial.status.is_over for trial in trials)
        if not self._is_batch:
            if n_open >= self._max:
                return Wait(f"{n_open} trials are open, and {self._max} may be")
            return self._searcher.suggest(history, rng, min(n, self._max - n_open))
        n_begun = len(trials) % self._max  # trials of the batch in the making
        if n_begun == 0 and n_open > 0:
            return Wait(f"{n_open} trials are open; the next batch of {self._max} begins when all are over")
        if n_begun:
            closed = len(trials) - n_begun
            none = Curve([], [], [], 0)
            history = replace(
                history,
                trials=trials[:closed] + tuple(map(_without_result, trials[closed:])),
                curves=tuple(curve if i < closed else none for i, curve in enumerate(history.curves)),
            )
        return self._searcher.suggest(history, rng, min(n, self._max - n_begun))


def _without_result(trial: Trial) -> Trial:
    """The trial as if it had only been proposed."""
    return Trial(
        index=trial.index,
        trial_id=trial.trial_id,
        config=trial.config,
        status=TrialStatus.PENDING,
        proposed_by=trial.proposed_by,
        max_t=trial.max_t,
    )
