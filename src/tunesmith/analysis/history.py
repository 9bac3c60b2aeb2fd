"""How the best value came about: trial by trial, and over what was spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.analysis.fold_means import FoldMean, of_most_folds
from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.reports import Reports, read_reports
from tunesmith.analysis.scores import best_of_each, candidates, feasible_trials, metric_over_folds
from tunesmith.stores import Reader
from tunesmith.trial import Mode, TrialStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class TrialHistory:
    """The best value of each trial, by index; all arrays have one entry for each trial."""

    trial: Ints
    #: Best finite one, of trials with folds their mean; NaN where there is none. Of reports that keep the constraints,
    #: where the trial has any.
    value: Array
    best: Array  #: the best up to and including this trial, among candidates; NaN before the first
    is_feasible: Flags  #: whether a report with a finite value keeps the constraints
    is_candidate: Flags  #: whether it may be the best: feasible, and with folds a mean over the most there are
    state: tuple[TrialStatus, ...]


@dataclass(frozen=True)
class BestSoFar:
    """Each improvement of the best value, in order, and last the end: the best as it stands, after all was spent."""

    time_s: Array  #: the experiment was at work; see `ActiveTime`
    n_steps: Ints  #: reports of all trials, those included that a restart repeated
    n_trials: Ints  #: that had reported
    value: Array
    trial: Ints  #: that the value is of


def trial_history(reader: Reader, chosen: ChosenMetric) -> TrialHistory:
    """What each trial reached."""
    states = [(trial, TrialStatus(status)) for trial, status in reader.query(_STATES)]
    place = {index: i for i, (index, _) in enumerate(states)}
    trial = np.array(list(place), np.int64)
    value = np.full(len(states), np.nan)
    is_feasible, is_candidate = np.zeros(len(states), bool), np.zeros(len(states), bool)
    kept = best_of_each(reader, chosen.name, mode=chosen.mode, constraints=chosen.constraints)
    others = best_of_each(reader, chosen.name, mode=chosen.mode) if chosen.constraints else []
    for one in [*others, *kept]:
        value[place[one.trial]] = one.value
    is_feasible[[place[one.trial] for one in kept]] = True
    is_candidate[[place[one.trial] for one in candidates(kept)]] = True
    best = _cumulative_best(np.where(is_candidate, value, np.nan), chosen.mode)
    return TrialHistory(trial, value, best, is_feasible, is_candidate, tuple(status for _, status in states))


def best_so_far(reader: Reader, chosen: ChosenMetric) -> BestSoFar:
    """The best value over time, reports and trials; empty where there is no finite one."""
    reports = read_reports(reader, chosen)
    means = metric_over_folds(reader, chosen.name)
    if means:
        value = _fold_values(reports, means, feasible_trials(reader, chosen.constraints))
    else:
        value = np.where(reports.counts & reports.is_feasible & np.isfinite(reports.value), reports.value, np.nan)
    n_trials = _running_count_of_new(reports.trial)
    best = _cumulative_best(value, chosen.mode)
    is_known = ~np.isnan(best)
    is_better = is_known & np.concatenate([[True], best[1:] != best[:-1]]) if len(best) else is_known
    at = np.flatnonzero(is_better)
    if len(at) == 0:
        return BestSoFar(*(np.zeros(0, kind) for kind in (float, np.int64, np.int64, float, np.int64)))
    last = len(reports) - 1
    moments = np.append(at, last)
    return BestSoFar(
        time_s=np.append(reports.at_s[at], np.nanmax(reports.at_s)),
        n_steps=moments + 1,
        n_trials=n_trials[moments],
        value=best[moments],
        trial=reports.trial[np.append(at, at[-1])],
    )


_STATES = "SELECT trial, status FROM trial_states ORDER BY trial"


def _fold_values(reports: Reports, means: dict[int, FoldMean], feasible: set[int]) -> Array:
    """The mean of each trial with the most folds at its last report, NaN at all others."""
    value = np.full(len(reports), np.nan)
    place = {key: i for i, key in enumerate(zip(reports.trial, reports.attempt, reports.step, strict=True))}
    for mean in of_most_folds(mean for mean in means.values() if mean.trial in feasible):
        value[place[mean.trial, mean.attempt, mean.step]] = mean.value
    return value


def _running_count_of_new(trial: Ints) -> Ints:
    """How many different trials were seen up to each report."""
    is_new = np.zeros(len(trial), np.int64)
    is_new[np.unique(trial, return_index=True)[1]] = 1
    return np.cumsum(is_new)


def _cumulative_best(values: Array, mode: Mode) -> Array:
    """NaN counts as nothing seen."""
    fold = np.fmin if mode is Mode.MIN else np.fmax
    return np.asarray(fold.accumulate(values)) if len(values) else values
