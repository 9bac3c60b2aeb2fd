"""The searcher for whoever names none: it chooses among the others, and says why."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Searcher, Wait
from tunesmith.searchers.evolution_search import EvolutionSearch
from tunesmith.searchers.first_configs import Task
from tunesmith.searchers.gp_search import GPSearch
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.nsga import NSGASearch
from tunesmith.searchers.random_search import RandomSearch
from tunesmith.searchers.tpe_search import TPESearch
from tunesmith.space import GridSearch, Space
from tunesmith.trial import Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_FEW = 500  #: results that a Gaussian process takes in whole, 60 ms a config
_N_MANY = 2000  #: results up to which it is worth its time beside the quick ones
_N_FEW_OF_SEVERAL = 200  #: the same with several objectives: one process for each


class AutoSearch(ModelSearch):
    """A Gaussian process while results are few; beside it, then instead of it, models that stay quick with many.

    Where there is nothing to learn from or nothing to choose (no objective, a space without free leaves), configs are
    drawn at random.
    """

    @cached_property
    def _gp(self) -> GPSearch:
        return GPSearch()

    @cached_property
    def _tpe(self) -> TPESearch:
        return TPESearch()

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        if why_random(history.space, history.objective) is not None:
            return RandomSearch(self.points.to_try).suggest(history, rng, n)
        return super().suggest(history, rng, n)

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """See ModelSearch."""
        observations = knowledge.observations
        n = observations.n
        if observations.losses.shape[1] > 1 or observations.excesses.shape[1] > 0:
            return (self._gp if n <= _N_FEW_OF_SEVERAL else NSGASearch()).fit(knowledge, rng)
        if n <= _N_FEW:
            return self._gp.fit(knowledge, rng)
        other: ModelSearch = self._gp if n <= _N_MANY else EvolutionSearch()
        return _InTurn((self._tpe, other), knowledge)


class _InTurn(Proposer):
    """Asks several searchers one after the other, trial by trial: what one model misses another finds."""

    def __init__(self, searchers: Sequence[ModelSearch], knowledge: Knowledge) -> None:
        self._searchers, self._knowledge = searchers, knowledge
        self._fitted: dict[int, Proposer] = {}

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        turn = task.index % len(self._searchers)
        if turn not in self._fitted:
            self._fitted[turn] = self._searchers[turn].fit(self._knowledge, rng)
        return self._fitted[turn].propose(task, rng)


def why_random(space: Space, objective: Objective | None) -> str | None:
    """Why a model has nothing to do here, None if it has."""
    if objective is None:
        return "there is no metric to learn from"
    if all(isinstance(leaf.domain, GridSearch) for leaf in space.leaves):
        return "the space leaves nothing to choose"
    return None


def choose_searcher(space: Space, objective: Objective | None, **arguments: Any) -> Searcher:
    """`AutoSearch`, or plain random search where there is nothing to model: that can be asked well ahead."""
    points = arguments.get("points_to_evaluate")
    if why_random(space, objective) is not None and not arguments.get("evaluated_rewards"):
        return RandomSearch(points)
    return AutoSearch(**arguments)
