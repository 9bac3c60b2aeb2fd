"""A history as an Optuna study. The only file that imports Optuna."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GridSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tunesmith.errors import SpaceError
from tunesmith.searchers.replay import OPEN
from tunesmith.space import Categorical, Continuous, Domain, Leaf, Normal, Path, SampleFrom, Scale, Space, Stepped
from tunesmith.space.numeric import multiple
from tunesmith.trial import MetricConstraint, Mode, Objective, Trial, TrialStatus, metric_value

_STUDY = "tunesmith"
#: Optuna takes a float for a multiple of a step if it is within 1e-8 steps: rounding is less than that up to here.
_MAX_STEPS = 10**6


# ---------------------------------------------------------------- space


@dataclass(frozen=True)
class Parameter:
    """A leaf of a space as a parameter of Optuna's."""

    leaf: Leaf
    distribution: BaseDistribution
    #: The choices that the leaf lies within, outermost first, each with the option that it belongs to.
    within: tuple[tuple[Path, int], ...]

    @property
    def name(self) -> str:
        """The leaf's name, unique within the space."""
        return self.leaf.name

    def suggest(self, trial: optuna.Trial) -> Any:
        """The parameter's value that a running trial gives it."""
        domain = self.distribution
        if isinstance(domain, CategoricalDistribution):
            return trial.suggest_categorical(self.name, domain.choices)
        if isinstance(domain, IntDistribution):
            return trial.suggest_int(self.name, domain.low, domain.high, step=domain.step, log=domain.log)
        assert isinstance(domain, FloatDistribution)
        return trial.suggest_float(self.name, domain.low, domain.high, step=domain.step, log=domain.log)

    def to_optuna(self, value: Any) -> Any:
        """The parameter's value for a value of the leaf."""
        domain = self.leaf.domain
        if isinstance(domain, Categorical):
            assert isinstance(self.distribution, CategoricalDistribution)
            return self.distribution.choices[domain.index(value) or 0]
        if isinstance(domain, Normal):
            return domain.encode(value)
        if isinstance(domain, Stepped):
            return round(value / domain.step) if _counts_steps(domain) else domain.decode(domain.encode(value))
        return float(value)

    def from_optuna(self, value: Any) -> Any:
        """The leaf's value for a value of the parameter."""
        domain = self.leaf.domain
        if isinstance(domain, Categorical):
            return domain.options[int(self.distribution.to_internal_repr(value))]
        if isinstance(domain, Stepped) and _counts_steps(domain):
            return int(value) * domain.step if isinstance(domain.step, int) else multiple(domain.step, int(value))
        if isinstance(domain, Continuous):
            return min(max(float(value), domain.lower), domain.upper)
        return domain.decode(value) if isinstance(domain, Normal) else domain.decode(domain.encode(value))


def parameters(space: Space) -> tuple[Parameter, ...]:
    """The space's parameters, each choice before what lies within its options; `sample_from` leaves are none."""
    options = {leaf.path for leaf in space.leaves if isinstance(leaf.domain, Categorical)}
    return tuple(
        Parameter(
            leaf,
            _distribution(leaf.domain),
            tuple((leaf.path[:k], int(leaf.path[k])) for k in range(len(leaf.path)) if leaf.path[:k] in options),
        )
        for leaf in space.leaves
        if not isinstance(leaf.domain, SampleFrom)
    )


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Categorical):
        n_options = len(domain.options)
        return CategoricalDistribution(domain.options if _is_storable(domain) else range(n_options))
    if isinstance(domain, Continuous):
        return FloatDistribution(domain.lower, domain.upper, log=domain.scale is Scale.LOG)
    if isinstance(domain, Normal):
        return FloatDistribution(0.0, 1.0)
    assert isinstance(domain, Stepped)
    if _counts_steps(domain):
        return IntDistribution(domain.first, domain.last, log=domain.scale is Scale.LOG)
    if isinstance(domain.step, int):
        return IntDistribution(int(domain.lower), int(domain.upper), step=domain.step)
    return FloatDistribution(domain.lower, domain.upper, step=domain.step)


def _counts_steps(domain: Stepped) -> bool:
    """Whether the parameter is the number of steps: Optuna's log scales have no steps, its floats are not exact."""
    is_fine = not domain.is_integer and max(abs(domain.first), abs(domain.last)) > _MAX_STEPS
    return is_fine or (domain.scale is Scale.LOG and not (domain.is_integer and domain.step == 1))


def _is_storable(domain: Categorical) -> bool:
    """Whether Optuna keeps the options apart as they are: it compares with ==, so 1, 1.0 and True are one."""
    plain = all(option is None or type(option) in (bool, int, float, str) for option in domain.options)
    return plain and len(set(domain.options)) == len(domain.options) and not any(o != o for o in domain.options)


# ---------------------------------------------------------------- outcomes


class Outcome(NamedTuple):
    """How a trial ended, in Optuna's words."""

    state: TrialState
    values: list[float] | None = None
    intermediate: tuple[int, float] | None = None  #: step and value of the last report, of a pruned trial
    excesses: list[float] | None = None  #: by how much each constraint of the objective is broken, 0 or less if kept


def outcome(trial: Trial, objective: Objective | None) -> Outcome:
    """What Optuna is told of the trial.

    Of one metric it is the best value over the steps, or the last one where the trial was stopped; of several, those of
    the last report, since they must belong together. Optuna has no pruning of several. A trial without a finite number
    in each place, constraints included, has failed.
    """
    if trial.status in OPEN:
        return Outcome(TrialState.RUNNING)
    if objective is None or trial.status not in (TrialStatus.COMPLETED, TrialStatus.STOPPED):
        return Outcome(TrialState.FAIL)
    excesses = _all_finite([_excess(trial, constraint) for constraint in objective.constraints])
    last = [_last(trial, name) for name in objective.metrics]
    if excesses is None:
        return Outcome(TrialState.FAIL)
    if len(last) == 1 and trial.status is TrialStatus.STOPPED:
        pruned_at = _all_finite(last)
        intermediate = None if pruned_at is None else (trial.step, pruned_at[0])
        return Outcome(TrialState.PRUNED, None, intermediate, excesses)
    values = _all_finite(last if len(last) > 1 else [trial.best_value])
    return Outcome(TrialState.FAIL) if values is None else Outcome(TrialState.COMPLETE, values, None, excesses)


def _last(trial: Trial, name: str) -> float | None:
    return metric_value(trial.metrics or {}, trial.step, trial.time_total_s, name)


def _excess(trial: Trial, constraint: MetricConstraint) -> float | None:
    value = _last(trial, constraint.metric)
    return None if value is None else constraint.excess(value)


def _all_finite(values: Sequence[float | None]) -> list[float] | None:
    """The values, None if one of them is no finite number."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return finite if len(finite) == len(values) else None


# ---------------------------------------------------------------- study


class _Study(optuna.Study):
    """A study that no sampler ends: how many trials there are is the experiment's to say."""

    def stop(self) -> None:
        """See optuna.Study."""


class HistoryStudy:
    """An in-memory study that trials of a history are added to. `copy.deepcopy` gives an independent one, quickly."""

    def __init__(self, space: Space, objective: Objective | None, sampler: BaseSampler) -> None:
        self.parameters = parameters(space)
        self._space, self._objective = space, objective
        modes = (Mode.MIN,) if objective is None else objective.modes
        directions = [StudyDirection.MINIMIZE if mode is Mode.MIN else StudyDirection.MAXIMIZE for mode in modes]
        self._storage = InMemoryStorage()
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))  # one line less for each experiment
        try:
            self._study_id = self._storage.create_new_study(directions, _STUDY)
        finally:
            optuna.logging.set_verbosity(verbosity)
        pruner = optuna.pruners.NopPruner()
        self.study = _Study(_STUDY, self._storage, sampler=sampler, pruner=pruner)

    def __deepcopy__(self, memo: dict[int, Any]) -> HistoryStudy:
        # A storage replaces a trial that changes, so the trials themselves can be shared.
        memo |= {id(trial): trial for trial in self.trials}
        memo |= {id(shared): shared for shared in (self._space, self._objective, self.parameters)}
        made = object.__new__(HistoryStudy)
        made.__dict__ = copy.deepcopy(self.__dict__, memo)
        return made

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials; not to be changed."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def add(self, trial: Trial) -> None:
        """Add a trial as it stands. The sampler sees its end, but is not asked for it."""
        params = self._params(trial)
        if params is None:
            return
        attributes: dict[str, Any] = {}
        if isinstance(self.study.sampler, GridSampler):
            point = self._grid_point(self.study.sampler, params)
            if point is None:
                return
            attributes = {"search_space": self.study.sampler._search_space, "grid_id": point}
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions={p.name: p.distribution for p in self.parameters if p.name in params},
                user_attrs=dict(trial.metrics or {}),
                system_attrs=attributes,
            )
        )
        self._finish(len(self.trials) - 1, outcome(trial, self._objective))

    def ask_again(self, trial: Trial) -> None:
        """Ask the sampler, then give the new trial the config and the end of this one."""
        params = self._params(trial)
        if params is None:
            return
        asked = self.study.ask()
        number, trial_id = asked.number, self._id(asked.number)
        for p in self.parameters:
            if p.name in params:
                p.suggest(asked)  # draws from the sampler's generators what it drew when it was asked first
                internal = p.distribution.to_internal_repr(params[p.name])
                self._storage.set_trial_param(trial_id, p.name, internal, p.distribution)
        for name, value in (trial.metrics or {}).items():
            self._storage.set_trial_user_attr(trial_id, name, value)
        self._finish(number, outcome(trial, self._objective))

    def ask(self, fixed: Mapping[Path, Any]) -> dict[Path, Any]:
        """A new running trial: what its active leaves take, in the order of the space; `fixed` ones as given."""
        known = {p.name: p.to_optuna(fixed[p.leaf.path]) for p in self.parameters if p.leaf.path in fixed}
        if known:
            self.study.enqueue_trial(known)
        trial = self.study.ask()
        values: dict[Path, Any] = {}
        chosen: dict[Path, int] = {}
        for p in self.parameters:
            if any(chosen.get(path) != option for path, option in p.within):
                continue
            value = values[p.leaf.path] = p.from_optuna(p.suggest(trial))
            if isinstance(p.leaf.domain, Categorical):
                chosen[p.leaf.path] = p.leaf.domain.index(value) or 0
        return values

    def reject(self) -> None:
        """Let the trial asked last have failed."""
        self.study.tell(len(self.trials) - 1, state=TrialState.FAIL)

    def is_repeated(self) -> bool:
        """Whether the trial asked last has the point of the grid, or else the parameters, of an earlier one."""
        *earlier, last = self.trials
        if isinstance(self.study.sampler, GridSampler):
            return any(trial.system_attrs["grid_id"] == last.system_attrs["grid_id"] for trial in earlier)
        return any(trial.params == last.params for trial in earlier)

    def _params(self, trial: Trial) -> dict[str, Any] | None:
        """Parameters of the trial's config, None where it lies outside the space, which was narrowed since."""
        try:
            values = self._space.values(trial.config)
        except SpaceError:
            return None
        return {p.name: p.to_optuna(values[p.leaf.path]) for p in self.parameters if p.leaf.path in values}

    def _finish(self, number: int, end: Outcome) -> None:
        if end.state is TrialState.RUNNING:
            return
        trial_id = self._id(number)
        if end.intermediate is not None:
            self._storage.set_trial_intermediate_value(trial_id, *end.intermediate)
        if end.excesses:  # the key is Optuna's, in all versions; its samplers look there by themselves since 5.0
            self._storage.set_trial_system_attr(trial_id, "constraints", end.excesses)
        self.study.tell(number, end.values, state=end.state)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _grid_point(self, sampler: GridSampler, params: Mapping[str, Any]) -> int | None:
        """The first point of the sampler's grid with these parameters that no trial has; None if there is none.

        Optuna tells by a number on each trial which points are done; a config says nothing of leaves that are inactive.
        """
        taken = {trial.system_attrs["grid_id"] for trial in self.trials}
        names = sampler._param_names
        free = (i for i in _indices_of(sampler._all_grids, names, params) if i not in taken)
        return next(free, None)


def _indices_of(points: list[Any], names: list[str], params: Mapping[str, Any]) -> Iterator[int]:
    places = [(k, params[name]) for k, name in enumerate(names) if name in params]
    for i, point in enumerate(points):
        if all(_is_equal(point[k], value) for k, value in places):
            yield i


def _is_equal(given: Any, value: Any) -> bool:
    """Whether a value of a grid is that of a parameter, which may have been rounded to a step."""
    if type(given) is float and isinstance(value, int | float):
        return math.isclose(given, value, rel_tol=1e-9)
    return bool(given == value)
