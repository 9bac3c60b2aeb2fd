"""Optuna's samplers, and OptunaHub's, as searchers."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import ConfigError
from tunesmith.events import Suggestion
from tunesmith.models.threads import one_blas_thread
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.rng import derived_seed, seeded_globals
from tunesmith.searchers.replay import Replay, is_same_task
from tunesmith.trial import Trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from tunesmith.searchers.optuna_study import HistoryStudy

#: Of `optuna.samplers`: those for which the study is all there is to know, so that they need not be asked again.
_STATELESS = ("TPESampler", "RandomSampler", "GPSampler", "GridSampler", "BruteForceSampler")
#: Those that go through all configs; they begin anew when they are through.
_EXHAUSTIVE = ("GridSampler", "BruteForceSampler")
_N_TRIES = 100  #: proposals that break a constraint of the space before one is drawn at random


class OptunaSearch:
    """Proposes what a sampler of Optuna proposes for the study that the history makes.

    Every leaf is a parameter with the leaf's name (`model/layers/0`): numbers and plain options as they are, options
    that Optuna cannot store (dicts, objects, 1 beside True) by their index, a normal leaf by its place in (0, 1), a
    step on a log scale by its number. Leaves in options that were not chosen are not suggested; `sample_from` leaves
    and the cells of a `grid_search` are not the sampler's to choose. Trials are complete with their best value,
    pruned with their last where a scheduler stopped them, failed or running; several metrics make a multi-objective
    study, bounds on metrics its constraints (which samplers heed since Optuna 5). What a trial reported last are its
    user attributes.

    Samplers that write notes into the study (CMA-ES, NSGA-II, quasi-Monte Carlo), and those not of Optuna itself,
    need to be asked for each trial in turn; they are asked again for those that others finished before, and after a
    resume for all.
    """

    uses_results = True

    def __init__(
        self, sampler: BaseSampler | Callable[..., BaseSampler] | None = None, *, seed: int | None = None
    ) -> None:
        """Args:
            sampler: None for TPESampler; or a function of `seed` that makes one, such as `TPESampler` or
                `lambda seed: CmaEsSampler(seed=seed)`: equal histories give equal configs, in any process; or a
                sampler, or a function without arguments: a copy is used, and its generators of random numbers are
                seeded where they are found. What its constructor drew from the system (QMCSampler without a seed)
                differs from process to process.
            seed: of the sampler, in place of the experiment's.
        Raises: ConfigError if Optuna is not installed, or the sampler is none; from `suggest`, if GridSampler meets a
            space with `grid_search`.
        """
        try:
            import optuna
        except ImportError as error:
            raise ConfigError(
                "OptunaSearch needs Optuna, which is not installed. Install it: pip install 'tunesmith[optuna]'."
            ) from error
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ConfigError(f"seed is {seed!r}. Give a whole number, or None for the experiment's.")
        if isinstance(sampler, str) or not (isinstance(sampler, optuna.samplers.BaseSampler) or _is_maker(sampler)):
            raise ConfigError(
                f"sampler is {sampler!r}. Give a sampler of Optuna, or a function of seed that makes one."
            )
        self._given = optuna.samplers.TPESampler if sampler is None else sampler
        self._seed = seed
        self._sampler(0)  # what is wrong with it is said now rather than at the first trial
        self._replay: tuple[History, Replay[HistoryStudy]] | None = None

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        seed = int(rng.integers(2**32)) if self._seed is None else derived_seed(self._seed, "asks", len(history.trials))
        if self._replay is None or not is_same_task(self._replay[0], history):
            self._replay = (history, self._new_replay(history))
        with one_blas_thread():
            study = self._replay[1].after(history.trials)
            sampler = study.study.sampler
            if _is_one_of(_STATELESS, sampler) and not _is_one_of(("GridSampler",), sampler):
                study.study.sampler = self._sampler(seed)
            return _answer(study, history, n, seed=derived_seed(self._first_seed(history), "sampler"))

    def _first_seed(self, history: History) -> int:
        return history.seed if self._seed is None else self._seed

    def _new_replay(self, history: History) -> Replay[HistoryStudy]:
        from tunesmith.searchers.optuna_study import HistoryStudy

        seed = derived_seed(self._first_seed(history), "sampler")

        def start() -> HistoryStudy:
            with seeded_globals(seed):
                return HistoryStudy(history.space, history.objective, self._sampler(seed))

        def apply(study: HistoryStudy, trial: Trial) -> None:
            if _is_one_of(_STATELESS, study.study.sampler):
                study.add(trial)
                return
            with seeded_globals(derived_seed(seed, "ask", trial.index)):
                study.ask_again(trial)

        return Replay(start, apply)

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import BaseSampler

        if isinstance(self._given, BaseSampler):
            return _seeded(copy.deepcopy(self._given), seed)
        made = _made(self._given, seed)
        if not isinstance(made, BaseSampler):
            raise ConfigError(f"The function given as sampler returned {made!r}. Let it return a sampler of Optuna.")
        return made


def _answer(study: HistoryStudy, history: History, n: int, *, seed: int) -> Sequence[Suggestion] | Exhausted:
    """Up to `n` proposals, each a running trial of the study before the next is asked for."""
    name = type(study.study.sampler).__name__
    found: list[Suggestion] = []
    for index in range(len(history.trials), len(history.trials) + n):
        with seeded_globals(derived_seed(seed, "ask", index)):
            suggestion = _proposed(study, history, index)
        if suggestion is None:
            break
        found.append(suggestion)
    return found or Exhausted(f"{name} has been through all its configs")


def _proposed(study: HistoryStudy, history: History, index: int) -> Suggestion | None:
    """What the sampler proposes for this trial, None if it is through all its configs."""
    space, sampler = history.space, study.study.sampler
    name = type(sampler).__name__
    fixed = space.grid_point(index % space.n_grid) if space.n_grid > 1 else {}
    if fixed and _is_one_of(("GridSampler",), sampler):
        raise ConfigError("GridSampler and grid_search are two grids. Write choice() in the space, or leave it out.")
    is_exhaustive = _is_one_of(_EXHAUSTIVE, sampler)
    n_tried = 0
    while is_exhaustive or n_tried < _N_TRIES:
        values = study.ask(fixed)
        if is_exhaustive and study.is_repeated():
            return None
        if not space.has_constraints or space.allows(values, seed=history.seed, index=index):
            return Suggestion(space.assemble(values, seed=history.seed, index=index), reason=f"Optuna's {name}")
        study.reject()
        n_tried += 1
    reason = f"drawn at random: {n_tried} proposals of Optuna's {name} broke a constraint"
    return Suggestion(space.sample(history.seed, index), reason=reason)


# ---------------------------------------------------------------- samplers


def _is_one_of(names: Sequence[str], sampler: BaseSampler) -> bool:
    """Whether the sampler is of one of these classes of Optuna itself, and of none derived from it."""
    kind = type(sampler)
    return kind.__name__ in names and kind.__module__.partition(".")[0] == "optuna"


def _is_maker(given: Any) -> bool:
    return given is None or callable(given)


def _made(make: Callable[..., Any], seed: int) -> Any:
    """What the function returns: called with the seed by name, else as its only argument, else without and seeded."""
    kinds = inspect.signature(make).parameters.values()
    if any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in kinds):
        return make(seed=seed)
    if any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in kinds):
        return make(seed)
    made = make()
    return _seeded(made, seed) if hasattr(made, "sample_relative") else made


def _seeded(sampler: BaseSampler, seed: int) -> BaseSampler:
    """The sampler itself, with every generator that it or a sampler within it holds seeded."""
    for k, generator in enumerate(_generators(sampler, set())):
        own = derived_seed(seed, "generator", k)
        if isinstance(generator, np.random.Generator):
            bits = generator.bit_generator
            bits.state = type(bits)(own).state
        else:
            generator.seed(own)
    return sampler


def _generators(holder: Any, seen: set[int]) -> Iterator[Any]:
    """The generators among an object's attributes and those of the samplers there, each once."""
    from optuna.samplers import BaseSampler

    for value in vars(holder).values():
        found = getattr(value, "rng", value)  # Optuna holds them in objects that make them when they are first used
        if id(found) in seen:
            continue
        if isinstance(found, np.random.RandomState | np.random.Generator | random.Random):
            seen.add(id(found))
            yield found
        elif isinstance(value, BaseSampler):
            seen.add(id(found))
            yield from _generators(value, seen)
