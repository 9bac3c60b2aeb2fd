"""The searcher for whoever names none: it chooses among the others, and says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Searcher, Wait
from tunesmith.searchers.gp_search import GPSearch
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.random_search import RandomSearch
from tunesmith.space import GridSearch, Space
from tunesmith.trial import Objective

if TYPE_CHECKING:
    import numpy as np


class AutoSearch(ModelSearch):
    """A Gaussian process while results are few, models that stay quick when they are many.

    Where there is nothing to learn from or nothing to choose (no objective, a space without free leaves), configs are
    drawn at random.
    """

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        if why_random(history.space, history.objective) is not None:
            return RandomSearch(self.points.to_try).suggest(history, rng, n)
        return super().suggest(history, rng, n)

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        return GPSearch().fit(knowledge, rng)


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
