"""Fixed configs, each of them several times: no search, but a second look at what one has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History
from tunesmith.space.tree import copy_containers

if TYPE_CHECKING:
    import numpy as np


class RepeatedConfigs:
    """Proposes the same configs in turn, so that an experiment that is cut short has about equally many of each.

    Trial i receives config i % len(configs); after `repeats` rounds there is no further one.
    """

    uses_results = False

    def __init__(self, configs: Sequence[Suggestion], repeats: int) -> None:
        self._configs, self._repeats = tuple(configs), repeats

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted:
        """See Searcher."""
        begun = len(history.trials)
        end = min(begun + n, self._repeats * len(self._configs))
        if begun >= end:
            return Exhausted(f"each config has been proposed {self._repeats} times")
        return [self._suggestion(i) for i in range(begun, end)]

    def _suggestion(self, i: int) -> Suggestion:
        repeat, place = divmod(i, len(self._configs))
        given = self._configs[place]
        reason = f"repeat {repeat + 1} of {self._repeats} of config {place + 1} of {len(self._configs)}"
        # A copy of its own: a trial may change its config.
        return replace(given, config=copy_containers(given.config), reason=reason)
