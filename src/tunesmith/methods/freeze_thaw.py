"""Freeze-thaw: one model over configs and training time decides, at each free slot, what is trained next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from tunesmith.errors import ConfigError
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    Record,
    StartAttempt,
    StopPaused,
    Suggestion,
    TrialReported,
    Verdict,
)
from tunesmith.methods.curve_board import Ladder, is_without_curves, read_board
from tunesmith.methods.curve_model import CurveFits
from tunesmith.methods.desk import Desk
from tunesmith.methods.review import SPOILT, reviewed
from tunesmith.models.threads import one_blas_thread
from tunesmith.protocols import Exhausted, History, NextAction, Proposal, StartNew, Wait
from tunesmith.schedulers.arguments import bound_objective, check_names, positive
from tunesmith.searchers.auto_search import AutoSearch
from tunesmith.searchers.earlier_runs import EarlierRuns
from tunesmith.searchers.first_configs import FirstConfigs, anything_new
from tunesmith.trial import Objective, Trial, TrialStatus, metric_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_FIRST_SHARE = 16  #: the first stop by default is max_t divided by this: cheap, and beyond the first steep fall
_LEAST_FACTOR = 1.1


class FreezeThaw(FirstConfigs):
    """Trains every config a little, then goes on with those that promise the best end; searcher and scheduler in one.

    Each trial is paused at the stops of a ladder, `grace_period` times powers of `reduction_factor`. At each free slot
    a Gaussian process over configs and training time (`models.curve_process`) predicts where every paused trial, and
    every config that was not tried yet, would end at `max_t`. The one with the most promising end goes on, or starts:
    by turns the lowest confidence bound and the largest expected improvement, which counts per second where durations
    depend on the config. Trials that run count as trained to their end. When no new config may start any more, the rest
    goes on while any has a chance of 5 % to become the best.

    A trial is paused at the first report at or beyond its stop that has the metric and a checkpoint. Where no trial
    saves any before its end, one that reaches a stop is ended there if its chance to become the best is below 5 % and
    it is not among the best 1/`reduction_factor` seen there. So is one that has saved nothing half of the way, on the
    logarithmic scale, from its stop to `max_t`.

    Trainings that report only once, or end before the first stop, have no curves: then configs are chosen as
    `AutoSearch` does.

    Give it as `scheduler`; it is the searcher too. One metric.

    Source: Swersky et al. 2014 (arXiv 1406.3896) for the idea. Stops as in successive halving instead of single steps,
    and pending trials counted at their end instead of at their next step, are ours: docs/adr/0011-early-stopping.md.
    """

    thaws = True
    uses_results = True

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: float = 100,
        grace_period: float | None = None,
        reduction_factor: float = 3,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        priors: Mapping[str, Any] | None = None,
        warm_start: EarlierRuns | None = None,
        n_initial: int | None = None,
    ) -> None:
        """Args:
            time_attr: what training is counted in: "training_iteration", "time_total_s", or any reported value that
                grows.
            metric, mode: here or in the call that runs the experiment, not in both.
            max_t: the end of training, in units of `time_attr`.
            grace_period: the first stop; a sixteenth of `max_t` by default, 1 at least where `max_t` is 16 or less.
            points_to_evaluate, priors, warm_start, n_initial: see FirstConfigs.
        Raises: ConfigError.
        """
        first: Any = {
            "points_to_evaluate": points_to_evaluate,
            "priors": priors,
            "warm_start": warm_start,
            "n_initial": n_initial,
        }
        super().__init__(**first)
        self._plain = AutoSearch(**first)
        check_names(time_attr=time_attr, metric=metric, mode=mode)
        top = float(positive("max_t", max_t))
        if grace_period is None:
            grace_period = max(1.0, float(round(top / _FIRST_SHARE))) if top > 1.0 else top / _FIRST_SHARE
        grace = float(positive("grace_period", grace_period))
        if grace > top:
            raise ConfigError(f"grace_period is {grace:g}. Give a number up to max_t ({top:g}).")
        if positive("reduction_factor", reduction_factor) < _LEAST_FACTOR:
            raise ConfigError(f"reduction_factor is {reduction_factor:g}. Give {_LEAST_FACTOR} or more.")
        self._time_attr, self._metric, self._mode = time_attr, metric, mode
        self._ladder = Ladder(max_t=top, grace_period=grace, factor=float(reduction_factor))
        self._fits = CurveFits()
        self._objective: Objective | None = None
        self._paused: set[int] = set()  #: trials that were told to pause and have not been started since
        self._given_up: set[int] = set()  #: trials that were not worth going on, and have not ended yet
        self._n_paused = self._n_thawed = self._n_given_up = self._n_reviewed = 0

    # ------------------------------------------------------------ as a scheduler

    @property
    def curves_by(self) -> str:
        """See Searcher."""
        return self._time_attr

    def bind(self, objective: Objective | None) -> Objective | None:
        """Take the experiment's objective unless this method was given its own; return the one it will use."""
        found = bound_objective(type(self).__name__, objective, metric=self._metric, mode=self._mode)
        if found is not None and len(found.metrics) > 1:
            raise ConfigError("FreezeThaw works on one metric. For several use scheduler='mo_asha', or none.")
        self._objective = found
        return found

    def observe(self, record: Record) -> None:
        """Counts only: what is known of trials comes with the history."""
        if isinstance(record, AnswerReport):
            if record.decision.verdict is Verdict.PAUSE:
                self._paused.add(record.trial)
                self._n_paused += 1
        elif isinstance(record, StartAttempt):
            self._n_thawed += record.trial in self._paused
            self._paused.discard(record.trial)
        elif isinstance(record, ConfigsSuggested):
            self._given_up.update(one.trial for one in record.stops)
            judged = [one.trial for one in record.thaws] + [one.trial for one in record.stops]
            self._n_reviewed += sum(trial not in self._paused for trial in judged)
        elif isinstance(record, ConcludeAttempt):
            self._n_given_up += record.status is TrialStatus.STOPPED and record.trial in self._given_up
            self._given_up.discard(record.trial)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE at `max_t`, PAUSE where the trial was to be trained to, else CONTINUE."""
        assert self._objective is not None
        time = metric_value(report.metrics, report.step, report.time_total_s, self._time_attr)
        if time is None or math.isnan(time):
            return CONTINUE
        if time >= self._ladder.max_t:
            return Decision(Verdict.COMPLETE, "reached max_t", {"max_t": self._ladder.max_t})
        value = metric_value(report.metrics, report.step, report.time_total_s, self._objective.metric)
        if time < self._target(trial) or value is None:  # without a value it could not be compared with others
            return CONTINUE
        return Decision(Verdict.PAUSE, "trained to {time:g} of {max_t:g}", {"time": time, "max_t": self._ladder.max_t})

    def _target(self, trial: Trial) -> float:
        """How far it is trained before it is paused: whoever started it, to the next stop at least."""
        begun_at = 0.0
        for saved in trial.checkpoints:
            if saved.attempt < trial.attempt:
                time = metric_value(saved.metrics or {}, saved.step, saved.time_total_s, self._time_attr)
                begun_at = begun_at if time is None or math.isnan(time) else time
        return max(self._ladder.next_after(begun_at), trial.max_t or 0.0)

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """A new trial, where one was proposed: what is thawed was chosen with the configs."""
        return StartNew()

    def describe(self) -> Sequence[str]:
        """The stops, what was decided so far, and whether trials can be paused."""
        stops = ", ".join(f"{level:g}" for level in self._ladder.levels) or "none"
        if self._n_reviewed and not self._n_paused:
            done = "no checkpoints to pause trials with"
        else:
            done = f"paused {self._n_paused} times, thawed {self._n_thawed} times"
        end = f"{self._n_given_up} trials given up"
        return [f"Using FreezeThaw: stops at {stops} of {self._ladder.max_t:g}; {done}; {end}"]

    # ------------------------------------------------------------ as a searcher

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Proposal] | Exhausted | Wait:
        """See Searcher. With `n` 0, only what becomes of trials that reached a stop and cannot be paused."""
        with one_blas_thread():
            return self._propose(history, rng, n)

    def _propose(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Proposal] | Exhausted | Wait:
        cache = self.prepared(history)
        board = read_board(history, cache.cube, self._ladder)
        desk = Desk(
            history, board, prepared=cache, ladder=self._ladder, fits=self._fits, n_initial=self.n_initial, rng=rng
        )
        found: list[Proposal] = [StopPaused(index, SPOILT) for index in board.spoilt]
        found += reviewed(history, desk.board, self._ladder, target_of=self._target, model_of=lambda: desk.model)
        if found_plain := self._plainly_searched(history, rng, n):
            return [*found, *found_plain]
        for _ in range(n):
            index = len(history.trials) + desk.n_new
            may_start = history.n_left is None or desk.n_new < history.n_left
            proposal: Proposal | None = self.given(history, cache, index) if may_start else None
            if proposal is None and may_start and not desk.is_modelled:
                task = desk.task(index)
                spread = self.spread(task, cache.beliefs, history.seed) or anything_new(task, rng)
                if spread is not None:
                    proposal = Suggestion(cache.cube.config(spread[0], index=index), reason=spread[1])
            if proposal is None:
                proposal = desk.best_choice(index, may_start=may_start)
            if isinstance(proposal, Suggestion):
                proposal = desk.started(proposal, self._ladder.next_after(0.0))
            if proposal is None:
                break
            found.append(proposal)
        return found or desk.nothing()

    def _plainly_searched(self, history: History, rng: np.random.Generator, n: int) -> list[Proposal]:
        """Configs by the search without curves, where there are none."""
        n = n if history.n_left is None else min(n, history.n_left)
        if n < 1 or not is_without_curves(history, self._ladder):
            return []
        found = self._plain.suggest(history, rng, n)
        if isinstance(found, Exhausted | Wait):
            return []
        return [replace(suggestion, max_t=self._ladder.next_after(0.0)) for suggestion in found]
