"""Every config several times, so that a searcher learns from means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tunesmith.errors import ConfigError
from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Searcher, Wait
from tunesmith.searchers.replay import OPEN
from tunesmith.space.tree import copy_containers
from tunesmith.trial import Trial, TrialStatus

if TYPE_CHECKING:
    import numpy as np


class Repeater:
    """Evaluates each config of another searcher in `repeat` trials; the searcher sees one trial with their mean.

    Trials i * repeat to (i + 1) * repeat - 1 are one group, so `num_samples` counts repetitions too. The searcher
    learns of a group when all its trials are over: the mean over those with a finite objective, failed only if none
    has one. Stopped early, repetitions are compared at unequal steps: use it without a scheduler that stops trials.

    `sample_from` values are drawn once a group. Ray Tune adds the key `__trial_index__` to the config; here a config
    holds what the space says and no more, so `set_index` changes nothing: `tune.get_trial_index() % repeat` is that
    number inside a trial.

    Args:
        searcher: the one that is asked.
        repeat: trials for each config; 1 or more.
        set_index: taken so that calls written for Ray Tune run.
    Raises: ConfigError.
    """

    def __init__(self, searcher: Searcher, repeat: int = 3, set_index: bool = True) -> None:
        if not callable(getattr(searcher, "suggest", None)):
            raise ConfigError(f"searcher is {searcher!r}. Give a searcher, such as GPSearch().")
        if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
            raise ConfigError(f"repeat is {repeat!r}. Give a whole number of 1 or more.")
        if getattr(searcher, "thaws", False):
            raise ConfigError(f"{type(searcher).__name__} says itself which trials go on, and cannot be repeated.")
        self._searcher, self._repeat = searcher, repeat

    @property
    def uses_results(self) -> bool:
        """Whether the wrapped searcher does."""
        return self._searcher.uses_results

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        n_begun = len(history.trials) % self._repeat
        found = self._rest_of_group(history, n_begun)[:n] if n_begun else []
        if len(found) == n:
            return found
        n_groups = math.ceil((n - len(found)) / self._repeat)
        answer = self._searcher.suggest(replace(history, trials=self.groups(history)), rng, n_groups)
        if isinstance(answer, Exhausted | Wait):
            return found or answer
        configs = [one for one in answer if isinstance(one, Suggestion)]
        found += [self._repetition(suggestion, k) for suggestion in configs for k in range(self._repeat)]
        return found[:n]

    def groups(self, history: History) -> tuple[Trial, ...]:
        """The history as the wrapped searcher sees it: one trial for each config."""
        trials, repeat = history.trials, self._repeat
        if repeat == 1:
            return trials
        starts = range(0, len(trials), repeat)
        return tuple(_merged(i, trials[at : at + repeat], repeat) for i, at in enumerate(starts))

    def _rest_of_group(self, history: History, n_begun: int) -> list[Suggestion]:
        first = history.trials[-n_begun]
        reason = None if first.proposed_by is None else first.proposed_by.rsplit(" (repetition ", 1)[0]
        suggestion = Suggestion(first.config, reason=reason, max_t=first.max_t)
        return [self._repetition(suggestion, k) for k in range(n_begun, self._repeat)]

    def _repetition(self, suggestion: Suggestion, k: int) -> Suggestion:
        words = f"{suggestion.reason or ''} (repetition {k + 1} of {self._repeat})".strip()
        parent = None if suggestion.parent is None else suggestion.parent * self._repeat
        # A copy of its own: a trial may change its config.
        return replace(suggestion, config=copy_containers(suggestion.config), reason=words, parent=parent)


def _merged(index: int, group: Sequence[Trial], repeat: int) -> Trial:
    """One trial that stands for the group."""
    first = group[0]
    is_over = len(group) == repeat and not any(trial.status in OPEN for trial in group)
    facts = Trial(
        index=index,
        trial_id=first.trial_id,
        config=first.config,
        proposed_by=first.proposed_by,
        max_t=first.max_t,
        attempt=max(trial.attempt for trial in group),
        n_failures=sum(trial.n_failures for trial in group),
    )
    if not is_over:
        return facts
    usable = [t for t in group if t.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED) and _is_finite(t.best_value)]
    if not usable:
        return replace(facts, status=_status_without_result(group), step=max(trial.step for trial in group))
    all_stopped = all(trial.status is TrialStatus.STOPPED for trial in usable)
    return replace(
        facts,
        status=TrialStatus.STOPPED if all_stopped else TrialStatus.COMPLETED,
        step=min(trial.step for trial in usable),
        n_reports=sum(trial.n_reports for trial in usable),
        time_total_s=sum(trial.time_total_s for trial in usable) / len(usable),
        metrics=_mean_metrics(usable),
        best_value=_mean([trial.best_value for trial in usable if trial.best_value is not None]),
        best_step=min(trial.best_step or 0 for trial in usable) or None,
    )


def _status_without_result(group: Sequence[Trial]) -> TrialStatus:
    """What became of a group without any finite objective: the first of these that one of its trials met with."""
    found = {trial.status for trial in group}
    order = (TrialStatus.FAILED, TrialStatus.INVALID, TrialStatus.STOPPED)
    return next((status for status in order if status in found), TrialStatus.COMPLETED)


def _mean_metrics(group: Sequence[Trial]) -> dict[str, float]:
    """The mean of each metric that all of them reported last."""
    several = [trial.metrics or {} for trial in group]
    names = [name for name in several[0] if all(name in metrics for metrics in several)]
    return {name: _mean([metrics[name] for metrics in several]) for name in names}


def _mean(values: Sequence[float]) -> float:
    return sum(value / len(values) for value in values)  # divided first: a sum of huge values overflows


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
