"""Population based training: trials that fall behind go on from a better one's checkpoint, with a config near its."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, Clone, Decision, Record, StopPaused, Thaw, TrialReported, Verdict
from tunesmith.protocols import Hold, NextAction, StartNew
from tunesmith.rng import derived_seed, generator, seeded_globals
from tunesmith.schedulers.arguments import number, positive
from tunesmith.schedulers.metric_scheduler import MetricScheduler
from tunesmith.schedulers.pbt_explore import Explorer, changes_in_words
from tunesmith.schedulers.pbt_population import Population, score_of
from tunesmith.trial import Trial

if TYPE_CHECKING:
    import numpy as np

_CLONE = "rank {rank} of {n} ({metric} {value}): goes on from trial {donor} ({donor_value}) with {changes}"
_TURN = "after {time:g} it is the turn of a trial that has trained for less"
_WAITS = "waits for the others at the end of interval {interval}"


class PopulationBasedTraining(MetricScheduler):
    """Every `perturbation_interval`, a trial at the bottom of the population becomes a clone of one at the top.

    A clone goes on from the donor's newest checkpoint with a config that is explored from the donor's: each
    hyperparameter is drawn anew or moved a step. Trials must save checkpoints and start from them. The schedule of
    each trial (from which step it trained with which config) is `trial.schedule` of the results.

    Where the population is larger than the number of slots, trials take turns: at the end of an interval a trial
    pauses if one that has trained for less waits. It is compared when it comes back.

    Args:
        time_attr: what intervals are counted in: "time_total_s", "training_iteration", or a reported value that grows.
        metric, mode: what is compared; here or in the call that runs the experiment, not in both.
        perturbation_interval, burn_in_period: in units of `time_attr`; nobody is cloned before the second.
        hyperparam_mutations: name -> how it may change: a list (its neighbours in order), a domain (times one of the
            factors, within its bounds; integers stay integers; `choice` as a list), or a function that draws a value;
            nested as the config is.
        quantile_fraction: the share of the population at the top, and at the bottom.
        resample_probability: that a hyperparameter is drawn anew rather than moved.
        perturbation_factors: by which numbers are moved, all equally likely.
        custom_explore_fn: config -> config, called last. What it or a function above raises fails the trial.
        log_config, require_attrs: accepted. The schedule is always on record, and a report without metric or time is
            counted, shown and otherwise ignored, as everywhere.
        synch: all wait at the end of each interval until every trial is there; then the bottom is cloned.
        evolution_frequencies: (1, 4) makes two sub-populations, by the trial's index in turn; the second's interval is
            4 times longer, so that what pays only later has time to show. The bottom of each copies from the top of
            its own and all slower sub-populations; a slower one never copies a faster one.
        seed: of all draws, which are functions of (seed, trial, number of the interval).

    On purpose unlike Ray Tune: (1) donors are strictly better, so equals leave each other alone; NaN is worst and
    never a donor. (2) A donor's newest checkpoint is used, whenever it was saved; one that lost it is no donor, and a
    clone whose donor's checkpoint vanished copies somebody else at its next report. (3) Hyperparameters that the
    config lacks are not filled in at the start: give them in the space. (4) `choice` moves to a neighbour and is not
    multiplied, steps respect a domain's bounds and multiples, an integer moves by at least 1, and 0 is drawn anew.
    (5) Nothing waits or pauses without a checkpoint. (6) Draws are seeded, user functions included.

    Raises: ConfigError, with what is allowed.
    Sources: Jaderberg et al. 2017 (arXiv 1711.09846); several frequencies after arXiv 2506.03225.
    """

    _purpose = "pbt"

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        burn_in_period: float = 0.0,
        hyperparam_mutations: Mapping[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: Sequence[float] = (1.2, 0.8),
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        *,
        evolution_frequencies: Sequence[float] = (1,),
        seed: int = 0,
    ) -> None:
        super().__init__(time_attr=time_attr, metric=metric, mode=mode)
        self._explorer = Explorer(
            hyperparam_mutations, resample_probability=resample_probability, factors=perturbation_factors
        )
        self._check_source_of_change(hyperparam_mutations, custom_explore_fn)
        self._custom_explore_fn, self._is_synchronous, self._seed = custom_explore_fn, bool(synch), seed
        self._population = Population(
            time_attr=time_attr,
            interval=positive("perturbation_interval", perturbation_interval),
            burn_in=number("burn_in_period", burn_in_period, "of 0 or more"),
            quantile_fraction=_fraction(quantile_fraction),
            frequencies=_frequencies(evolution_frequencies),
            is_synchronous=bool(synch),
        )

    def _check_source_of_change(self, mutations: object, custom_explore_fn: object) -> None:
        if custom_explore_fn is not None and not callable(custom_explore_fn):
            raise ConfigError(f"custom_explore_fn is {custom_explore_fn!r}. Give a function of a config, or None.")
        if not mutations and custom_explore_fn is None:
            raise ConfigError(
                f"{type(self).__name__} has nothing to change. Give hyperparam_mutations= or custom_explore_fn=."
            )

    def observe(self, record: Record) -> None:
        """Keep each trial's config, newest checkpoint, and score at the end of its intervals."""
        self._population.observe(record, self._bound)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """CLONE at the bottom of the population at the end of an interval, PAUSE where others wait, else CONTINUE."""
        population, index = self._population, trial.index
        time, score = population.time(report), score_of(report, self._bound)
        if time is None or score is None:
            return CONTINUE
        ends = population.ends_interval(report)
        if self._is_synchronous:
            n = population.of(index).n_intervals + 1
            is_alone = not population.others_are_open(index)
            return Decision(Verdict.PAUSE, _WAITS, {"interval": n}) if ends and not is_alone else CONTINUE
        owes_turn = ends or population.of(index).owes_turn
        if owes_turn and report.checkpoint is not None and population.others_wait(index, time):
            return Decision(Verdict.PAUSE, _TURN, {"time": time})
        return (self._exploit(index, score) if ends else None) or CONTINUE

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """A new trial while any is ready; then the paused trial that has trained least, or a clone of a round."""
        population = self._population
        if population.n_suggested > population.n_begun or not paused:
            return StartNew()
        if self._is_synchronous:
            return self._next_of_round(paused)
        first = min((population.of(trial.index).time, trial.index) for trial in paused)[1]
        return self._copied(first) or Thaw(first, "it has trained least of those that wait")

    def describe(self) -> Sequence[str]:
        """How many clones there were, of how many trials."""
        population = self._population
        n_open = sum(not member.is_over for member in population.members.values())
        name = type(self).__name__
        lines = [f"{name}: {population.n_clones} clones, {n_open} of {len(population.members)} trials go on"]
        if population.n_ignored and self._objective is not None:
            metric, time_attr = self._objective.metric, self._time_attr
            lines.append(f"{population.n_ignored} reports without {metric!r} or {time_attr!r} ignored")
        return lines

    # ------------------------------------------------------------ exploit and explore

    def _exploit(self, index: int, score: float) -> Decision | None:
        """The decision to clone, where the trial is at the bottom and somebody can lend; REFUSE where that fails."""
        interval = self._population.of(index).n_intervals + 1
        try:
            return self._clone(index, {**self._population.scores(), index: score}, interval)
        except _ExploreError as error:
            return Decision(Verdict.REFUSE, "{why}", {"why": str(error)})

    def _copied(self, index: int, scores: Mapping[int, float] | None = None) -> Thaw | StopPaused | None:
        """A paused trial as a clone, if it was at the bottom when it paused; ended where the user's functions raise.

        Args: scores: of those that it is compared with; None: of all that are not over.
        """
        interval = self._population.of(index).n_intervals
        scores = self._population.scores() if scores is None else scores
        if index not in scores:
            return None
        try:
            decision = self._clone(index, scores, interval)
        except _ExploreError as error:
            return StopPaused(index, str(error))
        return None if decision is None else Thaw(index, decision.words() or "", clone=decision.clone)

    def _clone(self, index: int, scores: Mapping[int, float], interval: int) -> Decision | None:
        """Raises: _ExploreError where the user's functions raise."""
        ranked = self._population.ranked(index, scores)
        if not ranked.donors:
            return None
        rng = generator(self._seed, f"{self._purpose}/{index}", interval)
        donor = ranked.donors[int(rng.integers(len(ranked.donors)))]
        lender = self._population.of(donor)
        assert lender.saved is not None
        config = self._explored(index, donor, interval, rng)
        sign = self._bound.mode.as_loss(-1.0)
        numbers: dict[str, float | int | str] = {
            "rank": ranked.rank,
            "n": ranked.n,
            "metric": self._bound.metric,
            "value": f"{sign * scores[index]:.6g}" if scores[index] > -math.inf else "without a usable value",
            "donor": donor,
            "donor_value": f"{sign * scores[donor]:.6g}",
            "changes": changes_in_words(lender.config, config),
        }
        return Decision(Verdict.CLONE, _CLONE, numbers, Clone(donor, lender.saved.path, config))

    def _explored(self, index: int, donor: int, interval: int, rng: np.random.Generator) -> dict[str, Any]:
        """The clone's config. Raises: _ExploreError where the user's functions raise, or return no config."""
        with seeded_globals(derived_seed(self._seed, f"{self._purpose}/explore/{index}", interval)):
            try:
                config = self._propose(self._population.of(donor).config, index, rng)
            except Exception as error:
                raise _ExploreError(f"{type(error).__name__} in hyperparam_mutations: {error}") from error
            if self._custom_explore_fn is None:
                return config
            try:
                config = self._custom_explore_fn(config)
            except Exception as error:
                raise _ExploreError(f"{type(error).__name__} in custom_explore_fn: {error}") from error
        if not isinstance(config, Mapping):
            raise _ExploreError(f"custom_explore_fn returned {config!r:.100}. Return the config, a dict.")
        return dict(config)

    def _propose(self, config: Mapping[str, Any], index: int, rng: np.random.Generator) -> dict[str, Any]:
        return self._explorer.explore(config, rng)

    # ------------------------------------------------------------ synchronous rounds

    def _next_of_round(self, paused: Sequence[Trial]) -> NextAction:
        """Clones first, so that the donors still stand where they are copied; nobody before all are as far."""
        members, of = self._population.members, self._population.of
        n_lowest = min((m.n_intervals for m in members.values() if not m.is_over), default=0)
        number_of_round = min(n_lowest, *(of(trial.index).n_intervals for trial in paused))
        ready = [trial.index for trial in paused if of(trial.index).n_intervals == number_of_round]
        if not ready:
            return Hold()
        scores = {i: m.marks[number_of_round] for i, m in members.items() if number_of_round in m.marks}
        for index in ready:
            is_due = number_of_round % self._population.frequency(index) == 0
            action = self._copied(index, scores) if is_due else None
            if action is not None:
                return action
        return Thaw(min(ready), f"all have ended interval {number_of_round}")


class _ExploreError(Exception):
    """What makes a new config failed: for the trial, not for the loop."""


def _fraction(value: object) -> float:
    found = number("quantile_fraction", value, "above 0, up to 0.5")
    if not 0 < found <= 0.5:
        raise ConfigError(f"quantile_fraction is {value!r}. Give a number above 0, up to 0.5.")
    return found


def _frequencies(given: object) -> tuple[float, ...]:
    allowed = "Give whole numbers of 1 or more such as (1, 4)."
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ConfigError(f"evolution_frequencies is {given!r}. {allowed}")
    if any(isinstance(each, bool) or not isinstance(each, int) or each < 1 for each in given):
        raise ConfigError(f"evolution_frequencies is {given!r}. {allowed}")
    return tuple(given)
