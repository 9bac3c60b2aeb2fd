"""What every searcher that learns from results has in common: the first configs, and that none is proposed twice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.events import Suggestion
from tunesmith.models.beliefs import Beliefs
from tunesmith.models.cube import Cube
from tunesmith.models.observations import Observations
from tunesmith.models.threads import one_blas_thread
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.searchers.first_configs import FirstConfigs, Found, Task, initial_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Knowledge:
    """What a model may be fitted to."""

    cube: Cube
    observations: Observations
    beliefs: Beliefs
    earlier: tuple[tuple[Array, Array], ...]  #: rows and losses of each earlier run that was given


class Proposer(ABC):
    """A model fitted to one history."""

    @abstractmethod
    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """A row, shape (d,), and the reason; None if it found none that is new."""


class ModelSearch(FirstConfigs, ABC):
    """Begins with given points, the best of earlier runs and an even spread over the space; then asks a model.

    On a space with finitely many configs none is proposed twice, and when all were it is exhausted.
    """

    uses_results = True

    @abstractmethod
    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """The model for what is known."""

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        with one_blas_thread():
            return self._suggest(history, rng, n)

    def _suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        cache = self.prepared(history)
        proposer: Proposer | None = None

        def model(task: Task) -> Found | None:
            nonlocal proposer
            if not self._is_modelled(task):
                return None
            if proposer is None:
                proposer = self.fit(Knowledge(cache.cube, task.observations, cache.beliefs, cache.earlier), rng)
            return proposer.propose(task, rng)

        return self.configs(history, rng, n, model=model, seed=history.seed)

    def _is_modelled(self, task: Task) -> bool:
        """Whether there are results enough for a model."""
        n_initial = initial_size(task.cube.d) if self.n_initial is None else self.n_initial
        return len(task.taken) >= n_initial and task.observations.n >= min(3, n_initial)
