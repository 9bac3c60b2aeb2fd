"""Evolution by rank and crowding: for several objectives and thousands of trials on any number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.pareto import crowding_distances, non_dominated_ranks
from tunesmith.searchers.first_configs import Task
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.ranked_rows import first_new, in_grid, is_next_to_failure, violations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_POPULATION = 50
_CROSSOVER_RATE = 0.9
_SIGMA = 0.1  #: of a mutated number, in widths of the cube
_N_CHILDREN = 16  #: one is proposed; the others are there in case it was tried before, or is forbidden


class NSGASearch(ModelSearch):
    """Crosses and mutates the 50 best configs: by non-dominated rank, within a rank by how lonely they are.

    There are no generations to wait for: whoever asks gets a child of the best configs of the moment. Constraints come
    first: a result that keeps them beats all that do not.

    Source: Deb et al. 2002 (IEEE Trans. Evol. Comput. 6), NSGA-II; its steady state: Durillo et al. 2009 (EMO).
    """

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """See ModelSearch."""
        return NSGAProposer(knowledge)


class NSGAProposer(Proposer):
    """The population of one history."""

    def __init__(self, knowledge: Knowledge) -> None:
        observations = knowledge.observations
        ranks = non_dominated_ranks(observations.losses, violations(observations), n_enough=_N_POPULATION)
        lonely = np.zeros(observations.n)
        for rank in np.unique(ranks[np.isfinite(ranks)]):
            which = ranks == rank
            lonely[which] = crowding_distances(observations.losses[which])
        # Sorted from good to bad, so that of two the one that stands first wins the tournament.
        order = np.lexsort((-lonely, ranks))[:_N_POPULATION]
        self._population, self._trials = observations.rows[order], observations.indices[order]

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        n = len(self._population)
        if n < 2:
            return None
        mother, father = int(rng.integers(0, n, 2).min()), int(rng.integers(0, n - 1, 2).min())
        father += father >= mother  # somebody else
        first, second = self._population[mother], self._population[father]
        is_taken = rng.random((_N_CHILDREN, task.cube.d)) < 0.5
        is_taken[rng.random(_N_CHILDREN) >= _CROSSOVER_RATE] = False
        children = np.where(is_taken, second, first)
        # A leaf that became active brings the value that it has in the other parent.
        children = np.where(np.isnan(children), np.where(is_taken, first, second), children)
        children = task.cube.complete(children, rng)
        children = task.cube.mutate(children, rng, sigma=_SIGMA, rate=1.0 / task.cube.d)
        children = in_grid(task, children, rng)
        is_risky = is_next_to_failure(task.observations, children, cube=task.cube)
        row = first_new(task, children[np.argsort(is_risky, kind="stable")], rng)
        return None if row is None else (row, f"NSGA-II: a child of {self._name(mother)} and {self._name(father)}")

    def _name(self, place: int) -> str:
        trial = self._trials[place]
        return f"trial {trial}" if trial >= 0 else "a point with a known reward"
