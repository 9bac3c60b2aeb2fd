"""CMA-ES of the library `cmaes`: a normal distribution over the cube that moves, stretches and turns."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import ConfigError
from tunesmith.events import Suggestion
from tunesmith.models.cube import Cube
from tunesmith.models.threads import one_blas_thread
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.rng import derived_seed
from tunesmith.searchers.ask_tell import AskTell
from tunesmith.searchers.replay import is_same_task
from tunesmith.space import GridSearch, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_MIN_NUMBERS = 2
_FIRST_SIGMA = 0.3
_N_FEW = 50  #: columns with more values are taken as continuous
#: Draws outside the cube before one is moved to its border. Optima often lie there: in a corner of 5 dimensions the
#: best of 300 trials had a thousandth of the loss that it had with 10. In many columns nearly all draws lie outside.
_N_RESAMPLED = 1
_N_TRIES = 20  #: draws that break a constraint of the space before one is left to chance
_N_PROBES = 16  #: configs that show which columns follow from others


class CMAESSearch(AskTell):
    """Proposes draws of a normal distribution that each generation of results moves, scales and turns (CMA-ES).

    For numbers, and thousands of trials. Numbers with at most 50 values keep a least probability of another value
    (CMA-ES with margin); where there are choices too, each option has a probability that is learnt (CatCMA), and
    numbers have no such margin. A generation is as many results as the population has members, late ones among them.
    When the distribution has converged, the search begins again around the best result, with twice the population. In
    a space with fewer than two numbers that vary the configs are random, and the reason says so.

    See AskTell for what is told, and how often.

    Source: Hansen 2016 (arXiv 1604.00772); Hamano et al. 2022 (arXiv 2205.13482) and 2024 (arXiv 2405.09962); for the
        growing population Auger and Hansen 2005 (IEEE CEC).
    """

    def __init__(self) -> None:
        """Raises: ConfigError if the library is not installed; from `suggest`, without exactly one metric."""
        if find_spec("cmaes") is None:  # imported at the first suggestion, off the loop: it loads scipy.stats
            raise ConfigError(
                "CMAESSearch needs the library cmaes, which is not installed. "
                "Install it: pip install 'tunesmith[cmaes]'."
            )
        super().__init__(self._new_optimizer)
        self._task: tuple[History, _Axes] | None = None

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        if self._task is None or not is_same_task(self._task[0], history):
            self._task = (history, _axes_of(Cube(history.space, seed=history.seed)))
        n_numbers = len(self._task[1].numbers)
        if n_numbers < _MIN_NUMBERS:
            return _random_samples(history, n, n_numbers=n_numbers)
        with one_blas_thread():
            return super().suggest(history, rng, n)

    def _new_optimizer(self, space: Space, seed: int) -> CMAES:
        assert self._task is not None, "suggest has set it"
        return CMAES(self._task[1], seed=seed)


def _random_samples(history: History, n: int, *, n_numbers: int) -> list[Suggestion]:
    why = f"CMA-ES needs {_MIN_NUMBERS} numbers that vary, and the space has {n_numbers}; 'tpe' learns here"
    indices = range(len(history.trials), len(history.trials) + n)
    return [Suggestion(history.space.sample(history.seed, i), reason=f"random sample {i}: {why}") for i in indices]


# ---------------------------------------------------------------- columns


@dataclass(frozen=True)
class _Axes:
    """What the distribution is over: columns of a cube that vary freely, within no grid.

    A point is m numbers, in the order of `numbers`, and the codes of the chosen options, in the order of `choices`.
    Numbers with few values stand at the middle of cells of equal width, whatever their columns' places.
    """

    cube: Cube
    numbers: tuple[int, ...]  #: columns
    choices: tuple[int, ...]  #: columns
    places: dict[int, Array]  #: by column with few values: their places, ascending

    @property
    def widths(self) -> Array:
        """The width of a cell by number, 0 where it is continuous; shape (m,)."""
        return np.array([1.0 / len(self.places[j]) if j in self.places else 0.0 for j in self.numbers])

    @property
    def n_options(self) -> NDArray[np.int64]:
        """By choice."""
        return np.array([self.cube.columns[j].n_values for j in self.choices], dtype=np.int64)

    def fill(self, row: Array, numbers: Array, codes: Array) -> None:
        """Write a point into a row."""
        for j, x in zip(self.numbers, numbers.tolist(), strict=True):
            places = self.places.get(j)
            row[j] = x if places is None else places[min(max(int(x * len(places)), 0), len(places) - 1)]
        row[list(self.choices)] = codes

    def point(self, row: Array) -> tuple[Array, Array]:
        """The point of a row; what takes no part in it is in the middle, or the first option."""
        numbers, codes = row[list(self.numbers)], np.nan_to_num(row[list(self.choices)])
        for i, j in enumerate(self.numbers):
            if j in self.places and numbers[i] == numbers[i]:
                places = self.places[j]
                numbers[i] = (np.abs(places - numbers[i]).argmin() + 0.5) / len(places)
        return np.where(np.isnan(numbers), 0.5, numbers), np.clip(codes, 0, self.n_options - 1)


def _axes_of(cube: Cube) -> _Axes:
    follows = _follows(cube)
    numbers, choices, places = [], [], {}
    for j, column in enumerate(cube.columns):
        if column.n_values == 1 or follows[j] or isinstance(cube.leaf(j).domain, GridSearch):
            continue
        if column.is_categorical:
            choices.append(j)
            continue
        numbers.append(j)
        if column.n_values is not None and column.n_values <= _N_FEW:
            places[j] = column.all_places()
    return _Axes(cube, tuple(numbers), tuple(choices), places)


def _follows(cube: Cube) -> NDArray[np.bool_]:
    """By column: its value is not what the row says, since it follows from others."""
    if not cube.has_dependents:
        return np.zeros(cube.d, bool)
    rows = cube.sample(np.random.default_rng(0), _N_PROBES)
    settled, is_allowed = cube.settle(rows, index=0)
    is_changed = np.abs(rows - settled) > 1e-6  # False where one is NaN
    return np.asarray(is_changed[is_allowed].any(axis=0))


# ---------------------------------------------------------------- the optimizer


class CMAES:
    """One of the library's optimizers, asked for configs and told them.

    The library loses its generator when it is copied, and takes a new one from the system: it is seeded at each ask.
    """

    def __init__(self, axes: _Axes, *, seed: int) -> None:
        self._axes, self._seed = axes, seed
        self._n_asked = 0
        self._best: tuple[float, Array, Array] | None = None
        self._told: list[tuple[float, Array, Array]] = []  #: loss, numbers, codes; fewer than a population
        self._library = _library(axes, mean=np.full(len(axes.numbers), 0.5), population_size=None, codes=None)

    def __deepcopy__(self, memo: dict[int, Any]) -> CMAES:
        """A copy with what changes; the space and the points are shared."""
        twin = copy.copy(self)
        twin._library, twin._told = copy.deepcopy(self._library, memo), list(self._told)
        return twin

    def ask(self) -> Mapping[str, Any]:
        """A config drawn from the distribution; an empty one where 20 draws broke a constraint."""
        index, cube = self._n_asked, self._axes.cube
        self._n_asked += 1
        seed = derived_seed(self._seed, "draw", index)
        self._library.reseed_rng(seed)
        rng = np.random.default_rng(seed)
        for _ in range(_N_TRIES if cube.has_constraints else 1):
            row = self._drawn(rng, index)
            if not cube.has_constraints or cube.is_allowed(row, index=index):
                return cube.config(row, index=index)
        return {}

    def _drawn(self, rng: np.random.Generator, index: int) -> Array:
        cube = self._axes.cube
        row = cube.sample(rng, 1)[0]
        with np.errstate(all="ignore"):
            self._axes.fill(row, *_draw(self._library))
        for j, place in cube.grid_columns(index % cube.space.n_grid).items():
            row[j] = place
        return np.asarray(cube.complete(row[None], rng)[0])

    def tell(self, config: dict[str, Any], loss: float) -> None:
        """Take what a config was worth, whether it was asked or not.

        It is told as the values are that ran, not as they were drawn before the rounding: on spaces of whole numbers
        that came 2 to 10 times closer or more.
        """
        result = (loss, *self._axes.point(self._axes.cube.encode(config)))
        if self._best is None or loss < self._best[0]:
            self._best = result
        self._told.append(result)
        if len(self._told) == self._library.population_size:
            told, self._told = self._told, []
            if not _learn(self._library, told, n_options=self._axes.n_options):
                self._restart()

    def _restart(self) -> None:
        assert self._best is not None, "a generation was told"
        _, numbers, codes = self._best
        size = 2 * self._library.population_size
        self._library = _library(self._axes, mean=numbers, population_size=size, codes=codes)


# ---------------------------------------------------------------- the library


def _library(axes: _Axes, *, mean: Array, population_size: int | None, codes: Array | None) -> Any:
    """The optimizer of the library that suits the columns, around a point; without codes all options are likely.

    Args: mean: shape (m,), moved into the cube; codes: shape (n_choices,), half the probability is theirs.
    """
    import cmaes

    widths, n_options = axes.widths, axes.n_options
    bounds = np.stack([0.5 * widths, 1.0 - 0.5 * widths], axis=1)
    given = {
        "mean": np.clip(mean, bounds[:, 0], bounds[:, 1]),
        "sigma": _FIRST_SIGMA,
        "n_max_resampling": _N_RESAMPLED,
        "population_size": population_size,
    }
    if len(n_options):
        probabilities = np.stack([np.arange(n_options.max()) < n for n in n_options]) / n_options[:, None]
        if codes is not None:
            probabilities = 0.5 * probabilities + 0.5 * _one_hot(codes, int(n_options.max()))
        cube = np.tile([0.0, 1.0], (len(mean), 1))
        return cmaes.CatCMA(**given, cat_num=n_options, bounds=cube, cat_param=probabilities)
    if widths.any():
        return cmaes.CMAwM(**given, bounds=bounds, steps=widths)
    return cmaes.CMA(**given, bounds=bounds)


def _draw(library: Any) -> tuple[Array, Array]:
    """A point: its numbers and codes."""
    drawn = library.ask()
    if not isinstance(drawn, tuple):
        return drawn, np.zeros(0)
    numbers, second = drawn
    if second.ndim == 2:  # choices, as one row each
        return numbers, second.argmax(axis=1).astype(float)
    return numbers, np.zeros(0)  # with margin: second are the numbers before the rounding


def _learn(library: Any, told: Sequence[tuple[float, Array, Array]], *, n_options: NDArray[np.int64]) -> bool:
    """Tell a generation; False if the distribution has converged, or broke down."""
    points: list[tuple[Any, float]] = [(numbers, loss) for loss, numbers, _ in told]
    if len(n_options):
        width = int(n_options.max())
        points = [((numbers, _one_hot(codes, width)), loss) for loss, numbers, codes in told]
    with np.errstate(all="ignore"):
        try:
            library.tell(points)
            return not library.should_stop() and bool(np.isfinite(_draw(library)[0]).all())
        except np.linalg.LinAlgError:
            return False


def _one_hot(codes: Array, width: int) -> NDArray[np.bool_]:
    """Shape (n_choices, width)."""
    return np.asarray(np.arange(width) == codes[:, None])
