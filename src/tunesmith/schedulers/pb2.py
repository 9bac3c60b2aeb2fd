"""Population based bandits: population based training whose new configs are chosen by a model, not at random."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.events import Record, StartAttempt, TrialReported
from tunesmith.schedulers.pbt import PopulationBasedTraining

if TYPE_CHECKING:
    import numpy as np

_MAX_ROWS = 100  #: the newest; the model must cost less than a start does
_MIN_ROWS = 4  #: below, configs are drawn at random
_LOG_RATIO = 100.0  #: bounds that are so far apart are searched on a log scale
_DONOR_RANK = 0.9  #: where in the population a clone begins
_N_UNIFORM, _N_NEAR, _SPREAD = 512, 64, 0.1  #: candidates, and how far from the donor's config the near ones are


class _Bound(NamedTuple):
    """One hyperparameter: where in the config it is, and between which values."""

    path: tuple[str, ...]
    lower: float
    upper: float

    @property
    def is_log(self) -> bool:
        return self.lower > 0 and self.upper / self.lower >= _LOG_RATIO

    def place(self, value: Any) -> float:
        """Of the value in the unit interval."""
        number = min(max(float(value), self.lower), self.upper)
        if self.is_log:
            return math.log(number / self.lower) / math.log(self.upper / self.lower)
        return (number - self.lower) / (self.upper - self.lower)

    def value(self, place: float, like: Any) -> Any:
        """At the place; a whole number where `like` is one."""
        is_log = self.is_log
        found = self.lower * (self.upper / self.lower) ** place if is_log else self._linear(place)
        found = min(max(found, self.lower), self.upper)
        return round(found) if isinstance(like, int) and not isinstance(like, bool) else found

    def _linear(self, place: float) -> float:
        return self.lower + place * (self.upper - self.lower)


class _Row(NamedTuple):
    """An interval of a trial: what it trained with, and its scores before and after; larger is better."""

    time: float  #: at its end
    places: tuple[float, ...]
    before: float
    after: float


class PB2(PopulationBasedTraining):
    """As PopulationBasedTraining; a clone's new values maximise the upper confidence bound of a model of progress.

    The model is a Gaussian process over the values, and the rank that a trial begins with; its memory fades with time.
    It is fitted on the last 100 intervals of all trials, to how far each rose in the population; what other trials try
    at the moment counts as known. That takes some tens of ms per clone, within the decision. Before 4 intervals are
    known, values are drawn at random.

    Args:
        hyperparam_bounds: name -> [lower, upper], nested as the config is. A value that is an integer in the donor's
            config stays one. Bounds that are 100 times apart, and above 0, are searched on a log scale.
        The others as in PopulationBasedTraining.

    On purpose unlike Ray Tune: the log scale; progress is a change of rank, not of the metric, which falls for all as
    they train and which one diverging trial would dominate; a clone's interval begins at the donor's score; the bound
    is half as wide, since most of a short run was spent at the edges; draws are seeded; see PopulationBasedTraining.

    Raises: ConfigError, with what is allowed.
    Source: Parker-Holder et al. 2020 (arXiv 2002.02518).
    """

    _purpose = "pb2"

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        hyperparam_bounds: Mapping[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        *,
        evolution_frequencies: Sequence[float] = (1,),
        seed: int = 0,
    ) -> None:
        self._bounds = tuple(_bounds(hyperparam_bounds, ()))
        if not self._bounds:
            raise ConfigError('PB2 has no hyperparam_bounds. Give the range of each: {"lr": [1e-4, 1e-1]}.')
        super().__init__(
            time_attr,
            metric,
            mode,
            perturbation_interval,
            custom_explore_fn=custom_explore_fn,
            quantile_fraction=quantile_fraction,
            log_config=log_config,
            require_attrs=require_attrs,
            synch=synch,
            evolution_frequencies=evolution_frequencies,
            seed=seed,
        )
        self._rows: list[_Row] = []  #: oldest first, at most _MAX_ROWS
        #: Trial -> time and score at which its present interval began.
        self._began: dict[int, tuple[float, float]] = {}

    def _check_source_of_change(self, mutations: object, custom_explore_fn: object) -> None:
        super()._check_source_of_change(True, custom_explore_fn)

    def observe(self, record: Record) -> None:
        """As in PopulationBasedTraining; and what each interval taught."""
        if isinstance(record, TrialReported):
            n_before = self._population.of(record.trial).n_intervals
            super().observe(record)
            if self._population.of(record.trial).n_intervals > n_before:
                self._learn(record.trial)
            return
        if isinstance(record, StartAttempt) and record.donor is not None:
            donor_score = self._population.of(record.donor).score
            super().observe(record)
            if donor_score is not None and math.isfinite(donor_score):
                self._began[record.trial] = (self._population.of(record.trial).marked_at, donor_score)
            return
        super().observe(record)

    def _learn(self, trial: int) -> None:
        member = self._population.of(trial)
        time, score, began = member.marked_at, member.score, self._began.pop(trial, None)
        if score is None or not math.isfinite(score):
            return
        self._began[trial] = (time, score)
        places = self._places(member.config)
        if began is not None and time > began[0] and places is not None:
            self._rows = [*self._rows, _Row(time, places, began[1], score)]
            self._rows = self._rows[-_MAX_ROWS:]

    def _places(self, config: Mapping[str, Any]) -> tuple[float, ...] | None:
        """The config in the unit cube; None where a value is missing or no number."""
        try:
            return tuple(bound.place(_at(config, bound.path)) for bound in self._bounds)
        except (KeyError, TypeError, ValueError):
            return None

    def _propose(self, config: Mapping[str, Any], index: int, rng: np.random.Generator) -> dict[str, Any]:
        """The donor's config with the values that promise to rise most."""
        places = self._chosen(self._places(config), index, rng)
        new: dict[str, Any] = dict(config)
        for bound, place in zip(self._bounds, places, strict=True):
            new = _with(new, bound.path, bound.value(float(place), _at_or_none(config, bound.path)))
        return new

    def _chosen(self, donor: tuple[float, ...] | None, index: int, rng: np.random.Generator) -> Sequence[float]:
        import numpy as np

        d = len(self._bounds)
        if len(self._rows) < _MIN_ROWS or donor is None:
            return tuple(float(place) for place in rng.random(d))
        from tunesmith.models.threads import one_blas_thread
        from tunesmith.models.time_varying import Observations, choose_next

        near = np.clip(np.array(donor) + rng.normal(0.0, _SPREAD, size=(_N_NEAR, d)), 0.0, 1.0)
        candidates = np.concatenate([rng.random((_N_UNIFORM, d)), near])
        interval = self._population.interval
        ranks = _ranks(self._rows, interval)
        seen = Observations(
            x=np.array([[before, *row.places] for row, (before, _) in zip(self._rows, ranks, strict=True)]),
            t=np.array([row.time / interval for row in self._rows]),
            y=np.array([after - before for before, after in ranks]),
        )
        starts = np.concatenate([np.full((len(candidates), 1), _DONOR_RANK), candidates], axis=1)
        pending = np.array(self._pending(index)).reshape(-1, 1 + d)
        with one_blas_thread():
            best = choose_next(seen, starts, self._rows[-1].time / interval, pending=pending, rng=rng)
        return tuple(float(place) for place in candidates[best])

    def _pending(self, index: int) -> list[tuple[float, ...]]:
        """Where the other open trials stand, and what they are trying."""
        scores = self._population.scores()
        ordered = sorted(scores.values())
        found = []
        for other, score in sorted(scores.items()):
            places = self._places(self._population.of(other).config)
            if other != index and places is not None:
                found.append((_rank(score, ordered), *places))
        return found


def _ranks(rows: Sequence[_Row], interval: float) -> list[tuple[float, float]]:
    """Where in the population each row's trial stood before and after its interval, from 0 (last) to 1.

    Compared are the intervals that ended at the same time, each as it began and as it ended.
    """
    groups: dict[int, list[_Row]] = {}
    for row in rows:
        groups.setdefault(round(row.time / interval), []).append(row)
    before = {at: sorted(row.before for row in group) for at, group in groups.items()}
    after = {at: sorted(row.after for row in group) for at, group in groups.items()}
    ats = [round(row.time / interval) for row in rows]
    return [(_rank(row.before, before[at]), _rank(row.after, after[at])) for at, row in zip(ats, rows, strict=True)]


def _rank(value: float, ordered: Sequence[float]) -> float:
    """The share of the values below it, equals counted half."""
    return (bisect_left(ordered, value) + bisect_right(ordered, value)) / (2 * len(ordered))


def _bounds(given: Any, path: tuple[str, ...]) -> list[_Bound]:
    name = "/".join(path)
    if given is None or isinstance(given, Mapping):
        return [bound for key, inner in (given or {}).items() for bound in _bounds(inner, (*path, key))]
    advice = "Give [lower, upper], two numbers of which the second is larger."
    if not path or not isinstance(given, list | tuple) or len(given) != 2:
        raise ConfigError(f"hyperparam_bounds has {given!r} for {name!r}. {advice}")
    is_number = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in given)
    if not is_number or not given[0] < given[1]:
        raise ConfigError(f"hyperparam_bounds has {given!r} for {name!r}. {advice}")
    return [_Bound(path, float(given[0]), float(given[1]))]


def _at(config: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = config
    for key in path:
        found = found[key]
    return found


def _at_or_none(config: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    try:
        return _at(config, path)
    except (KeyError, TypeError):
        return None


def _with(config: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    inner = config.get(path[0])
    nested = inner if isinstance(inner, Mapping) else {}
    return {**config, path[0]: value if len(path) == 1 else _with(nested, path[1:], value)}
