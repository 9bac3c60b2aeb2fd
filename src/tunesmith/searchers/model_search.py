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
from tunesmith.searchers.first_configs import FirstConfigs, Task, anything_new, exhausted_words, initial_size

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
        cube, observations = cache.cube, cache.read(history)
        proposed = np.empty((0, cube.d))
        proposer: Proposer | None = None
        found: list[Suggestion] = []
        for index in range(len(history.trials), len(history.trials) + n):
            suggestion = self.given(history, cache, index)
            if suggestion is None:
                fixed = cube.grid_columns(index % history.space.n_grid) if history.space.n_grid > 1 else {}
                task = Task(cube, observations, proposed, index, fixed)
                answer = None
                if self._is_modelled(task):
                    if proposer is None:
                        proposer = self.fit(Knowledge(cube, observations, cache.beliefs, cache.earlier), rng)
                    answer = proposer.propose(task, rng)
                answer = answer or self.spread(task, cache.beliefs, history.seed) or anything_new(task, rng)
                if answer is not None:
                    suggestion = Suggestion(cube.config(answer[0], index=index), reason=answer[1])
                elif fixed or cube.n_points is None:  # a grid asks for one; of `sample_from` only some draws are known
                    config = history.space.sample(history.seed, index)
                    suggestion = Suggestion(config, reason="drawn at random: nothing new was found")
                else:
                    break
            proposed = np.concatenate([proposed, cube.encode(suggestion.config)[None]])
            found.append(suggestion)
        return found or Exhausted(exhausted_words(history))

    def _is_modelled(self, task: Task) -> bool:
        """Whether there are results enough for a model."""
        n_initial = initial_size(task.cube.d) if self.n_initial is None else self.n_initial
        return len(task.taken) >= n_initial and task.observations.n >= min(3, n_initial)
