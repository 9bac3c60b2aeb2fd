"""The first configs of every searcher that learns: given points, the best of earlier runs, an even spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import ConfigError
from tunesmith.events import Suggestion
from tunesmith.models.beliefs import Beliefs, parse_priors
from tunesmith.models.candidates import RowSet
from tunesmith.models.cube import Cube
from tunesmith.models.observations import ObservationReader, Observations
from tunesmith.models.sobol import sobol_points
from tunesmith.models.success import SuccessModel
from tunesmith.protocols import Exhausted, History
from tunesmith.rng import generator
from tunesmith.searchers.earlier_runs import EarlierRuns, portfolio
from tunesmith.searchers.given_points import GivenPoints, completed_config

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: A row, shape (d,), and the reason for it.
Found = tuple["Array", str]
_N_TRIED = 64  #: quasi-random rows that are looked at for one that is allowed and new
_N_LAST_TRIES = 10_000  #: drawn at random before a space is taken to be exhausted


@dataclass(frozen=True)
class Task:
    """What is to be proposed for: one trial."""

    cube: Cube
    observations: Observations
    proposed: Array  #: rows proposed in the same answer, before this one; shape (k, d)
    index: int  #: the trial's number
    fixed: dict[int, float]  #: columns that its place in the grid gives

    @property
    def taken(self) -> Array:
        """Every row that was proposed before."""
        return np.concatenate([self.observations.all_rows, self.proposed])


class FirstConfigs:
    """What is tried before a model is asked, and what models need to know of the space."""

    def __init__(
        self,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        priors: Mapping[str, Any] | None = None,
        warm_start: EarlierRuns | None = None,
        n_initial: int | None = None,
    ) -> None:
        """Args:
            points_to_evaluate: configs to begin with, such as the defaults; see GivenPoints.
            evaluated_rewards: the metric's value of each of the first points, known from elsewhere.
            priors: values believed to be good, `{"lr": 3e-4, "opt": ("adam", "high")}`; confidence "low", "medium"
                (default) or "high".
            warm_start: earlier runs, each a sequence of (config, value of the metric); their spaces may differ.
            n_initial: configs to begin with before the model is asked; None: by the number of leaves.
        Raises: ConfigError, SpaceError.
        """
        if n_initial is not None and (isinstance(n_initial, bool) or not isinstance(n_initial, int) or n_initial < 1):
            raise ConfigError(f"n_initial is {n_initial!r}. Give a whole number of 1 or more.")
        self.points = GivenPoints(points_to_evaluate, evaluated_rewards)
        self._priors = parse_priors(priors)
        self._warm_start = tuple(tuple(run) for run in warm_start or ())
        self._n_initial = n_initial
        self._cache: Prepared | None = None

    @property
    def n_initial(self) -> int | None:
        """Configs to begin with before the model is asked; None: by the number of leaves."""
        return self._n_initial

    def configs(
        self, history: History, rng: np.random.Generator, n: int, *, model: Callable[[Task], Found | None], seed: int
    ) -> Sequence[Suggestion] | Exhausted:
        """What is given, else what the model finds, else an even spread, for the next `n` trials.

        Args:
            model: a row and the reason for a task; None where it is not to be asked yet, or finds nothing new.
            seed: of the even spread.
        """
        cache = self.prepared(history)
        cube, observations = cache.cube, cache.read(history)
        proposed = np.empty((0, cube.d))
        found: list[Suggestion] = []
        for index in range(len(history.trials), len(history.trials) + n):
            suggestion = self.given(history, cache, index)
            if suggestion is None:
                fixed = cube.grid_columns(index % history.space.n_grid) if history.space.n_grid > 1 else {}
                task = Task(cube, observations, proposed, index, fixed)
                answer = model(task) or self.spread(task, cache.beliefs, seed) or anything_new(task, rng)
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

    def prepared(self, history: History) -> Prepared:
        """Cube and reader for the history's space; what was encoded before stays."""
        if self._cache is None or not self._cache.serves(history):
            self._cache = Prepared(history, self.points, Beliefs, self._priors, self._warm_start)
        return self._cache

    def given(self, history: History, cache: Prepared, index: int) -> Suggestion | None:
        """What the user or an earlier run wants tried in this place."""
        given = self.points.suggestion(history.space, seed=history.seed, index=index)
        if given is not None or history.space.n_grid > 1:
            return given
        place = index - len(self.points)
        if 0 <= place < len(cache.portfolio):
            config = completed_config(history.space, cache.portfolio[place], seed=history.seed, index=index)
            return Suggestion(config, reason="among the best of an earlier run")
        return None

    def spread(self, task: Task, beliefs: Beliefs, seed: int) -> tuple[Array, str] | None:
        """The next new point of a quasi-random sequence; where trials failed, one unlike those."""
        stream = generator(seed, "spread")
        units = sobol_points(_N_TRIED, task.cube.d, stream, first=task.index)
        rows = beliefs.draw(units, stream) if beliefs else task.cube.from_units(units)
        rows = new_rows(task, rows, stream)
        if len(rows) == 0:
            return None
        failed, reason = task.observations.failed, "spread evenly over the space"
        if len(failed) < 3:
            return rows[0], reason
        success = SuccessModel(task.cube, task.observations.rows, failed)
        best = int(np.argmax(success.log_probability(rows)))
        return rows[best], f"{reason}, unlike the {len(failed)} that failed"


class Prepared:
    """What is made once for a space and a seed."""

    def __init__(self, history: History, points: GivenPoints, make_beliefs: Any, priors: Any, earlier: Any) -> None:
        self._space, self._seed, self._objective = history.space, history.seed, history.objective
        self.cube = Cube(history.space, seed=history.seed)
        self.beliefs: Beliefs = make_beliefs(self.cube, priors)
        self._reader = ObservationReader(self.cube)
        self.portfolio, self.earlier = portfolio(self.cube, earlier, history.objective, seed=history.seed)
        self._rewarded = _rewarded_rows(self.cube, points, history)

    def serves(self, history: History) -> bool:
        """Whether it was made for this space, seed and objective."""
        same = history.space is self._space or history.space.fingerprint == self._space.fingerprint
        return same and history.seed == self._seed and history.objective == self._objective

    def read(self, history: History) -> Observations:
        """The history's observations, and the points whose rewards were given."""
        observations = self._reader.read(history)
        rows, losses = self._rewarded
        if len(rows) == 0:
            return observations
        return replace(
            observations,
            rows=np.concatenate([rows, observations.rows]),
            losses=np.concatenate([losses, observations.losses]),
            excesses=np.concatenate([np.zeros((len(rows), observations.excesses.shape[1])), observations.excesses]),
            steps=np.concatenate([np.zeros(len(rows), np.int64), observations.steps]),
            indices=np.concatenate([np.full(len(rows), -1), observations.indices]),
        )


def _rewarded_rows(cube: Cube, points: GivenPoints, history: History) -> tuple[Array, Array]:
    """Rows and losses of the points with known rewards; shapes (k, d) and (k, 1)."""
    objective = history.objective
    if objective is None or not points.rewarded:
        return np.empty((0, cube.d)), np.empty((0, 1))
    if len(objective.metrics) > 1:
        raise ConfigError("evaluated_rewards are single numbers, and there are several metrics. Leave them out.")
    rows = [
        cube.encode(completed_config(history.space, point, seed=history.seed, index=0)) for point, _ in points.rewarded
    ]
    losses = [[objective.mode.as_loss(reward)] for _, reward in points.rewarded]
    return np.array(rows), np.array(losses)


def new_rows(task: Task, rows: Array, rng: np.random.Generator) -> Array:
    """Those of the rows that may be proposed for the task: in its place of the grid, allowed, not proposed before."""
    if task.fixed:
        rows = rows.copy()
        for j, place in task.fixed.items():
            rows[:, j] = place
        rows = task.cube.complete(rows, rng)
    taken = RowSet(task.taken)
    rows = rows[~taken.contains(rows)]
    rows, is_allowed = task.cube.settle(rows, index=task.index)
    return rows[is_allowed & ~taken.contains(rows)]


def anything_new(task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A random row that was not proposed yet, None where there is none."""
    n_points = task.cube.n_points
    if n_points is not None and n_points <= _N_LAST_TRIES:
        rows = new_rows(task, task.cube.enumerate(), rng)
    else:
        rows = new_rows(task, task.cube.sample(rng, _N_LAST_TRIES), rng)
    if len(rows):
        return rows[int(rng.integers(len(rows)))], "drawn at random: the model found nothing new"
    return None


def exhausted_words(history: History) -> str:
    """That every config was proposed, as an answer to a person."""
    n_points = history.space.cardinality
    if n_points is not None:
        return f"all configs of the space were proposed ({n_points:,} at most)"
    return f"no config was found that was not proposed before, in {_N_LAST_TRIES:,} draws"


def initial_size(d: int) -> int:
    """How many configs are spread over the space before a model is asked."""
    return min(max(d + 1, 6), 10)
