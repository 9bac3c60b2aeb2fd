"""What `tune.run` returns and `load` gives: Ray Tune's names, and `best` with everything from one step."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tunesmith.analysis import frames
from tunesmith.analysis.fold_means import of_most_folds
from tunesmith.analysis.lineage import schedule_of
from tunesmith.analysis.pareto import ParetoPoint, bound_words, pareto_points
from tunesmith.analysis.scores import (
    Scope,
    best_point,
    feasible_trials,
    kept_checkpoints,
    metric_over_folds,
    metrics_seen,
    scores,
)
from tunesmith.analysis.trial_view import TrialView
from tunesmith.errors import ConfigError, TuneError, TunesmithError
from tunesmith.executors.remote_folders import fetch_if_elsewhere
from tunesmith.stores import Reader
from tunesmith.trial import MetricConstraint, Mode, Trial, TrialStatus

if TYPE_CHECKING:
    import pandas as pd

    from tunesmith.analysis.importance import Importance
    from tunesmith.space import Space

logger = logging.getLogger(__name__)

_KEPT = "SELECT path FROM checkpoints WHERE trial = ? AND attempt = ? AND step = ? AND state = 'kept'"


class Best(msgspec.Struct, frozen=True):
    """The best result of an experiment: everything from one and the same step."""

    config: dict[str, Any]  #: of the attempt that reported it
    value: float
    step: int
    checkpoint: str | None  #: absolute path of the checkpoint of that step, if one was saved and kept
    trial: TrialView


class ExperimentAnalysis:
    """The trials and results of one experiment, read as they are asked for."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._views: dict[int, TrialView] = {}
        #: The trainable and the space, where the experiment was run in this process; the driver sets it.
        self._made_with: tuple[Any, Space] | None = None

    # ------------------------------------------------------------ trials

    @cached_property
    def trials(self) -> list[TrialView]:
        """Every trial, by index."""
        for trial in self.reader.trials():
            self._views.setdefault(trial.index, TrialView(trial, self.reader))
        return [self._views[index] for index in sorted(self._views)]

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """Trial id -> last result."""
        return {trial.trial_id: trial.last_result for trial in self.trials}

    @property
    def errors(self) -> dict[str, str]:
        """Trial id -> traceback or reason of each trial that failed or was refused its config."""
        failed = (TrialStatus.FAILED, TrialStatus.INVALID)
        return {trial.trial_id: trial.error or trial.reason or "" for trial in self.trials if trial.state in failed}

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.reader.folder

    def stats(self) -> dict[str, Any]:
        """How the experiment stands, in numbers."""
        status = self.reader.status()
        return {
            "name": self.reader.spec.name,
            "status": status.status,
            "detail": status.detail,
            "started_at": status.started_at,
            "ended_at": status.ended_at,
            "n_trials": self.reader.n_trials(),
            "n_results": self.reader.n_results(),
            "states": {state.value: count for state, count in self.reader.counts().items()},
        }

    def __len__(self) -> int:
        return self.reader.n_trials()

    def __iter__(self) -> Iterator[TrialView]:
        return iter(self.trials)

    def __getitem__(self, index: int) -> TrialView:
        return self.trials[index]

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state.value}" for state, count in self.reader.counts().items())
        best, objective = "", self.reader.spec.objective
        if objective is not None and objective.constraints:
            point = best_point(self.reader, objective.metric, mode=objective.mode, constraints=objective.constraints)
            if point is not None:
                best = (
                    f", best {objective.metric}={point[3]:.6g} (trial {self._view(point[0]).trial_id}, step {point[2]})"
                )
        elif objective is not None and (top := self.reader.top_trials(1)):
            name = objective.metric
            best = f", best {name}={top[0].best_value:.6g} (trial {top[0].trial_id}, step {top[0].best_step})"
        status = self.reader.status().status or "not started"
        return (
            f"<ExperimentAnalysis {self.reader.spec.name}: {status}, {counts or 'no trials'}{best}, in {self.folder}>"
        )

    def _repr_html_(self) -> str:
        from tunesmith.analysis.html_result import result_html

        return result_html(self.reader)

    # ------------------------------------------------------------ the best

    @cached_property
    def best(self) -> Best:
        """The best finite value of the objective over all trials and steps, with what belongs to that very step.

        Where trials report folds, the best mean over the most folds, with what belongs to the last of them.
        With constraints, of the reports that keep all of them; with several metrics, of the first: see `pareto`.
        Raises: ConfigError where the experiment has no metric and mode; TuneError where no finite value was reported,
            or none together with values that keep the constraints.
        """
        metric, mode = self._objective(None, None)
        point = best_point(self.reader, metric, mode=mode, constraints=self._constraints)
        if point is None and self._constraints and best_point(self.reader, metric, mode=mode) is not None:
            raise TuneError(self._why_none_is_feasible())
        if point is None:
            counts = ", ".join(f"{count} {state.value}" for state, count in self.reader.counts().items())
            raise TuneError(
                f"No trial reported a finite {metric!r} ({counts or 'no trials'}). "
                f"Metrics seen: {', '.join(metrics_seen(self.reader)) or 'none'}. Look at .errors and the trials' logs."
            )
        index, attempt, step, value = point
        rows = self.reader.query(_KEPT, (index, attempt, step))
        return Best(
            config=self.reader.config_of(index, attempt),
            value=value,
            step=step,
            checkpoint=self._fetched(rows[0][0]) if rows else None,
            trial=self._view(index),
        )

    @cached_property
    def best_schedule(self) -> list[tuple[int, dict[str, Any]]]:
        """[(0, config), (step, config), ...]: the configs that led to `best`; one entry unless it was a clone.

        Raises: as `best` does.
        """
        metric, mode = self._objective(None, None)
        point = best_point(self.reader, metric, mode=mode, constraints=self._constraints)
        step = self.best.step
        assert point is not None
        return [entry for entry in schedule_of(self.reader, point[0], point[1]) if entry[0] < max(step, 1)]

    @cached_property
    def pareto(self) -> list[ParetoPoint]:
        """The trials that no other one beats: nowhere worse and somewhere better, by their last reports.

        Sorted by the first metric, best first. With constraints only trials that keep all of them; where none does, the
        trials that come closest, marked by `is_feasible`, and a warning. A trial whose last report lacks one of the
        objective's metrics, or has one that is not finite, takes no part.

        Raises: ConfigError where the experiment has no metric and mode.
        """
        self._objective(None, None)
        objective = self.reader.spec.objective
        assert objective is not None
        return pareto_points(self.reader, objective, self._view)

    def get_best_trial(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str = "last",
        filter_nan_and_inf: bool = True,
    ) -> TrialView | None:
        """The trial whose `scope` value is best; the first of equals. None, and a warning, for an unknown metric.

        Where trials report folds, in every scope the best mean over the most folds. With constraints, and no metric
        named here, of the trials whose last report keeps all of them.

        Args:
            metric, mode: the experiment's own where left out, also if they were given to its scheduler only.
            scope: last, all (the best step), avg, last-5-avg or last-10-avg.
            filter_nan_and_inf: leave out trials whose value is not finite; otherwise NaN is worst.
        Raises: ConfigError (a ValueError) if no mode is known, or the scope is none of these.
        """
        name, which = self._objective(metric, mode)
        found = scores(self.reader, name, mode=which, scope=_scope(scope))
        if not found:
            self._warn_unknown(name)
            return None
        if metric is None and self._constraints:
            feasible = feasible_trials(self.reader, self._constraints)
            found = {index: value for index, value in found.items() if index in feasible}
            if not found:
                logger.warning("%s", self._why_none_is_feasible())
                return None
        if means := metric_over_folds(self.reader, name):
            eligible = {mean.trial for mean in of_most_folds(mean for mean in means.values() if mean.trial in found)}
            found = {index: value for index, value in found.items() if index in eligible} or found
        best: int | None = None
        for index, value in found.items():
            if filter_nan_and_inf and not math.isfinite(value):
                continue
            if best is None or which.is_better(value, than=found[best]):
                best = index
        if best is None:
            logger.warning(
                "No trial has a finite %r in scope %r. Pass filter_nan_and_inf=False to see them.", name, scope
            )
        return None if best is None else self._view(best)

    def get_best_config(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last"
    ) -> dict[str, Any] | None:
        """The config of `get_best_trial`."""
        trial = self.get_best_trial(metric, mode, scope)
        return None if trial is None else trial.config

    def get_best_logdir(self, metric: str | None = None, mode: str | None = None, scope: str = "last") -> str | None:
        """The directory of `get_best_trial`."""
        trial = self.get_best_trial(metric, mode, scope)
        return None if trial is None else trial.logdir

    def get_best_checkpoint(self, trial: TrialView, metric: str | None = None, mode: str | None = None) -> str | None:
        """The trial's kept checkpoint whose step has the best finite value, as a directory ending in a slash."""
        name, which = self._objective(metric, mode)
        best: tuple[str, float] | None = None
        for path, value in kept_checkpoints(self.reader, trial.index, name):
            if math.isfinite(value) and (best is None or which.is_better(value, than=best[1])):
                best = path, value
        if best is None:
            logger.warning("%r has no checkpoint with a finite %r.", trial, name)
        return None if best is None else f"{self._fetched(best[0])}/"

    def _fetched(self, path: str) -> str:
        """The checkpoint's folder, brought here where it lies at a URL; if that fails, where it would be."""
        try:
            return str(fetch_if_elsewhere(self.folder, path))
        except TunesmithError as error:
            logger.warning("%s", error)
            return str(self.folder / path)

    def get_trial_checkpoints_paths(self, trial: TrialView, metric: str | None = None) -> list[tuple[str, float]]:
        """Directory and value of each kept checkpoint of the trial, oldest first."""
        name = metric or self._objective(None, None)[0]
        return [(f"{self.folder / path}/", value) for path, value in kept_checkpoints(self.reader, trial.index, name)]

    @property
    def best_trial(self) -> TrialView | None:
        """The trial with the best last value of the objective."""
        return self.get_best_trial()

    @property
    def best_config(self) -> dict[str, Any] | None:
        """Its config."""
        return self.get_best_config()

    @property
    def best_logdir(self) -> str | None:
        """Its directory."""
        return self.get_best_logdir()

    @property
    def best_checkpoint(self) -> str | None:
        """Its kept checkpoint with the best value."""
        trial = self.best_trial
        return None if trial is None else self.get_best_checkpoint(trial)

    @property
    def best_result(self) -> dict[str, Any] | None:
        """Its last result."""
        trial = self.best_trial
        return None if trial is None else trial.last_result

    @property
    def best_dataframe(self) -> pd.DataFrame | None:
        """Its results, one row each."""
        trial = self.best_trial
        return None if trial is None else frames.results_frame(self.reader, trial.index)

    def observations(self, metric: str | None = None, mode: str | None = None) -> list[tuple[dict[str, Any], float]]:
        """Config and best finite value of every trial that is over and did not fail: what a `warm_start` takes.

        With constraints, and no metric named here, of the reports that keep all of them.

        Raises: ConfigError if no metric and mode are known.
        """
        return [(trial.config, value) for trial, value in self._observed(metric, mode)]

    def _observed(self, metric: str | None = None, mode: str | None = None) -> list[tuple[Trial, float]]:
        from tunesmith.analysis.metric_choice import ChosenMetric
        from tunesmith.analysis.observations import observed

        constraints = self._constraints if metric is None else ()
        return observed(self.reader, ChosenMetric(*self._objective(metric, mode), constraints))

    def importance(self, metric: str | None = None, mode: str | None = None, **options: Any) -> Importance:
        """How much of the objective's variance each parameter explains: `.shares`, by name, the largest first.

        Args: options: `step`, `space` and `seed`, as in `tunesmith.analysis.importance`, which says how it is computed.
        Raises: ConfigError for an unknown metric; TuneError with fewer than 5 trials, or where nothing varies.
        """
        from tunesmith.analysis.importance import importance

        return importance(self.reader, metric, mode, **options)

    # ------------------------------------------------------------ tables

    def dataframe(self, metric: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """One row per trial with a result: its last one, or with metric and mode the one of its best finite value.

        Metrics and the filled-in keys are columns by name, the config is `config/<name>`.
        Raises: ImportError without pandas.
        """
        if metric is None and mode is None:
            return frames.trials_frame(self.reader, self.trials)
        return frames.trials_frame(self.reader, self.trials, self._objective(metric, mode))

    def pareto_dataframe(self) -> pd.DataFrame:
        """One row per trial of `pareto`: its metrics, step, whether it keeps the constraints, checkpoint and config.

        Raises: ImportError without pandas; ConfigError where the experiment has no metric and mode.
        """
        return frames.pareto_frame(self.pareto)

    def results_dataframe(self) -> pd.DataFrame:
        """One row per result that counts, in the order in which they were stored.

        Raises: ImportError without pandas.
        """
        return frames.results_frame(self.reader)

    @property
    def results_df(self) -> pd.DataFrame:
        """Ray Tune's name for the last results, by trial id."""
        return self.dataframe().set_index("trial_id")

    @property
    def trial_dataframes(self) -> Mapping[str, pd.DataFrame]:
        """Directory of a trial -> its results; each is read when it is looked up."""
        return frames.TrialFrames(self.reader, {trial.logdir: trial.index for trial in self.trials})

    # ------------------------------------------------------------ helpers

    def _view(self, index: int) -> TrialView:
        if index not in self._views:
            self._views[index] = TrialView(self.reader.trial(index), self.reader)
        return self._views[index]

    def _objective(self, metric: str | None, mode: str | None) -> tuple[str, Mode]:
        """The metric and mode meant, the experiment's own where they are left out."""
        own = self.reader.spec.objective
        if metric is None and own is not None:
            metric = own.metric
        if mode is None and own is not None:
            mode = own.modes[own.metrics.index(metric)] if metric in own.metrics else own.mode
        if metric is None or mode is None:
            raise ConfigError(
                f"metric is {metric!r} and mode is {mode!r}, and the experiment was run without them. "
                'Give both, for example metric="loss", mode="min".'
            )
        if mode not in ("min", "max"):
            raise ConfigError(f"mode is {mode!r}. Give 'min' or 'max'.")
        return metric, Mode(mode)

    @property
    def _constraints(self) -> tuple[MetricConstraint, ...]:
        objective = self.reader.spec.objective
        return () if objective is None else objective.constraints

    def _why_none_is_feasible(self) -> str:
        closest = next((point for point in self.pareto if not point.is_feasible), None)
        words = ""
        if closest is not None:
            seen = (f"{c.metric} {closest.metrics.get(c.metric, 'not reported')}" for c in self._constraints)
            words = f" The closest at its last report is {closest.trial}: {', '.join(seen)}."
        return (
            f"No result keeps {bound_words(self._constraints)}.{words} Loosen the bounds or run more trials; "
            "get_best_trial with metric and mode looks at all."
        )

    def _warn_unknown(self, metric: str) -> None:
        seen = metrics_seen(self.reader)
        close = difflib.get_close_matches(metric, seen, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        logger.warning("No trial reported the metric %r. Metrics seen: %s.%s", metric, ", ".join(seen) or "none", hint)


def _scope(word: str) -> Scope:
    try:
        return Scope(word)
    except ValueError:
        raise ConfigError(f"scope is {word!r}. Give one of {', '.join(scope.value for scope in Scope)}.") from None
