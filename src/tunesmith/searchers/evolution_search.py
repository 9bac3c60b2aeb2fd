"""Differential evolution without generations: for thousands of trials on any number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunesmith.models.cube import Cube
from tunesmith.searchers.first_configs import Task
from tunesmith.searchers.model_search import Knowledge, ModelSearch, Proposer
from tunesmith.searchers.ranked_rows import first_new, in_grid, is_next_to_failure, violations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_POPULATION = 20  #: Awad et al. 2021 (arXiv 2105.09821), as the next
_CROSSOVER_RATE = 0.5
_SCALES = (0.5, 1.0)  #: the scale of differences is drawn between; the dither that SciPy has by default
_TOP_SHARE = (
    0.2  #: of the population, to draw one from that the child moves towards; Zhang and Sanderson 2009: 5 to 20 %
)
_LEAST = 4  #: configs that it takes to make a child of
_N_CHILDREN = 16  #: one is proposed; the others are there in case it was tried before, or is forbidden
_MUTATED_SHARE = 0.1  #: of the children: brings back options and values that the population has lost
_MUTATION_SIGMA = 0.1  #: in widths of the cube


class EvolutionSearch(ModelSearch):
    """Changes one of the 20 best configs towards a better one and along the difference of two others.

    What a suggestion costs grows only with the number of results, so thousands of trials are no burden. There are no
    generations to wait for: whoever asks gets a child of the best configs of the moment.

    Sources: Storn and Price 1997 (J. Global Optimization 11); current-to-pbest mutation with recent configs as donors:
    Zhang and Sanderson 2009 (IEEE Trans. Evol. Comput. 13), JADE.
    """

    def fit(self, knowledge: Knowledge, rng: np.random.Generator) -> Proposer:
        """See ModelSearch."""
        return EvolutionProposer(knowledge)


class EvolutionProposer(Proposer):
    """The population of one history."""

    def __init__(self, knowledge: Knowledge) -> None:
        observations = knowledge.observations
        newest_first = -np.arange(observations.n)  # of equal ones, so that the population drifts over plateaus
        order = np.lexsort((newest_first, observations.loss, violations(observations)))[:_N_POPULATION]
        self._population, self._trials = observations.rows[order], observations.indices[order]
        self._recent = observations.rows[-2 * _N_POPULATION :]

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """See Proposer."""
        n = len(self._population)
        if n < _LEAST:
            return None
        parent = int(rng.integers(n))
        top = int(rng.integers(max(1, round(_TOP_SHARE * n))))
        donors = self._population[rng.integers(0, n, _N_CHILDREN)]
        others = self._recent[rng.integers(0, len(self._recent), _N_CHILDREN)]
        scales = rng.uniform(*_SCALES, (_N_CHILDREN, 1))
        mutants = differences_added(
            self._population[parent], self._population[top], donors, others, scales=scales, cube=task.cube
        )
        children = crossed(self._population[parent], mutants, rng, rate=_CROSSOVER_RATE)
        # An option that became the child's brings the values that belong to it, from the better config or the donor.
        children = np.where(np.isnan(children), self._population[top], children)
        children = task.cube.complete(np.where(np.isnan(children), donors, children), rng)
        is_mutated = rng.random(_N_CHILDREN) < _MUTATED_SHARE
        is_mutated[_N_CHILDREN // 2 :] = True  # where differences vanish, only these are new
        children[is_mutated] = task.cube.mutate(
            children[is_mutated], rng, sigma=_MUTATION_SIGMA, rate=1.0 / task.cube.d
        )
        children = in_grid(task, children, rng)
        is_risky = is_next_to_failure(task.observations, children, cube=task.cube)
        row = first_new(task, children[np.argsort(is_risky, kind="stable")], rng)
        return None if row is None else (row, self._words(parent, top))

    def _words(self, parent: int, top: int) -> str:
        names = [
            f"trial {self._trials[i]}" if self._trials[i] >= 0 else "a point with a known reward" for i in (parent, top)
        ]
        towards = f", towards {names[1]}" if parent != top else ""
        return f"differential evolution: a child of {names[0]}{towards}"


def differences_added(parent: Array, top: Array, donors: Array, others: Array, *, scales: Array, cube: Cube) -> Array:
    """parent + scale (top - parent) + scale (donor - other) in each column of numbers; of codes the donor's.

    A number beyond the border goes half of the parent's way to it. NaN where one of the four takes no part.

    Args: parent, top: shape (d,). donors, others: (k, d). scales: (k, 1).
    Source: Zhang and Sanderson 2009, equations 7 and 14.
    """
    mutants = parent + scales * (top - parent) + scales * (donors - others)
    mutants = np.where(mutants < 0.0, 0.5 * parent, mutants)
    mutants = np.where(mutants > 1.0, 0.5 * (parent + 1.0), mutants)
    return np.where(cube.is_categorical, donors, mutants)


def crossed(parent: Array, mutants: Array, rng: np.random.Generator, *, rate: float) -> Array:
    """The parent with each column of a mutant's at this rate, one at least; shape (k, d). NaN is not taken over."""
    k, d = mutants.shape
    is_taken = rng.random((k, d)) < rate
    is_taken[np.arange(k), rng.integers(0, d, k)] = True
    return np.where(is_taken & ~np.isnan(mutants), mutants, parent)
