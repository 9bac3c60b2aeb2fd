"""Search beside a scheduler that stops trials early: by the model of learning curves, without a say in what goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tunesmith.events import Suggestion
from tunesmith.methods.freeze_thaw import FreezeThaw
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.searchers.earlier_runs import EarlierRuns
from tunesmith.trial import TrialStatus

if TYPE_CHECKING:
    import numpy as np


class CurveSearch:
    """Proposes the config that promises most at the end of a full training, by the model of `FreezeThaw`.

    A search by results alone takes the last value of a stopped trial for what its config is worth; where trials end
    after different times that misleads: the poorest early value of a long training beats none of a short one.
    """

    uses_results = True

    def __init__(
        self,
        time_attr: str = "training_iteration",
        max_t: float = 100,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        warm_start: EarlierRuns | None = None,
    ) -> None:
        """Args: time_attr, max_t: of the scheduler; the others: see FirstConfigs. Raises: ConfigError."""
        self._method = FreezeThaw(time_attr, max_t=max_t, points_to_evaluate=points_to_evaluate, warm_start=warm_start)
        self.points = self._method.points
        self.curves_by = time_attr

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        # What is paused goes on when the scheduler says so: here it is no choice.
        trials = tuple(
            replace(trial, status=TrialStatus.STOPPED) if trial.status is TrialStatus.PAUSED else trial
            for trial in history.trials
        )
        found = self._method.suggest(replace(history, trials=trials), rng, n)
        if isinstance(found, Exhausted | Wait):
            return found
        configs = [replace(one, max_t=None) for one in found if isinstance(one, Suggestion)]
        return configs or Wait("no new config promises anything")
