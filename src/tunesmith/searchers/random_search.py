"""Independent random samples, and every point of the space's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.searchers.given_points import GivenPoints
from tunesmith.space import Space

if TYPE_CHECKING:
    import numpy as np


class RandomSearch:
    """Trial i receives sample i of the space: random leaves drawn anew, `grid_search` leaves crossed.

    Never exhausted: how many trials there are is the experiment's to say. A space with few points is drawn from with
    replacement, since trials with one config differ by their seeds.

    Args:
        points_to_evaluate: configs to begin with; see GivenPoints.
    Raises: SpaceError, from `suggest`, naming the point and the field that does not fit the space.
    Source: Bergstra and Bengio 2012 (JMLR 13).
    """

    uses_results = False

    def __init__(self, points_to_evaluate: Sequence[Mapping[str, Any]] | None = None) -> None:
        self.points = GivenPoints(points_to_evaluate)

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """The next `n` samples. Makes no use of `rng`: each sample has its own generator."""
        first = len(history.trials)
        if len(self.points) and first < len(self.points) * history.space.n_grid:
            self.points.check(history.space, seed=history.seed)
        return [self._sample(history.space, seed=history.seed, index=first + i) for i in range(n)]

    def check_points(self, space: Space, *, seed: int = 0) -> None:
        """Raise SpaceError if a point does not fit the space; also useful before anything starts."""
        self.points.check(space, seed=seed)

    def _sample(self, space: Space, *, seed: int, index: int) -> Suggestion:
        given = self.points.suggestion(space, seed=seed, index=index)
        if given is not None:
            return given
        cell = index % space.n_grid
        place = f", grid point {cell + 1} of {space.n_grid}" if space.n_grid > 1 else ""
        return Suggestion(space.sample(seed, index), reason=f"random sample {index}{place}")


#: Ray Tune's name for it.
BasicVariantGenerator = RandomSearch
