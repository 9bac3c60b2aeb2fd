"""Freeze-thaw: one model over configs and training time decides, at each free slot, what is trained next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, Decision, Record, StopPaused, Suggestion, Thaw, TrialReported, Verdict
from tunesmith.methods.curve_board import CurveBoard, Ladder, OpenTrial, read_board
from tunesmith.methods.curve_model import CurveFits, CurveModel
from tunesmith.models.acquisition import log_expected_improvement, optimism
from tunesmith.models.candidates import CandidateSearch, Effort
from tunesmith.models.cube import Border
from tunesmith.models.success import SuccessModel
from tunesmith.models.threads import one_blas_thread
from tunesmith.protocols import Exhausted, History, NextAction, Proposal, StartNew, Wait
from tunesmith.searchers.earlier_runs import EarlierRuns
from tunesmith.searchers.first_configs import FirstConfigs, Task, anything_new, exhausted_words, initial_size
from tunesmith.trial import Objective, Trial, TrialStatus, metric_value, parse_objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.models.observations import Observations

    Array = NDArray[np.float64]

_N_SD = 1.8  #: of the optimism, as in GPSearch
_HOPELESS = 0.05  #: chance to become the best, below which a trial is not worth its training
_FIRST_SHARE = 16  #: the first stop by default is max_t divided by this: cheap, and beyond the first steep fall
_N_AROUND = 8
_BELIEF_STRENGTH = 10.0  #: of the user's priors, divided by the number of configs seen
#: A model of curves is asked more often than one of results, and costs more.
_EFFORT = Effort(n_pool=256, n_near=12, n_starts=6, n_mutations=12, n_rounds=6)


class FreezeThaw(FirstConfigs):
    """Trains every config a little, then goes on with those that promise the best end; searcher and scheduler in one.

    Each trial is paused at the stops of a ladder, `grace_period` times powers of `reduction_factor`. At each free slot
    a Gaussian process over configs and training time (`models.curve_process`) predicts where every paused trial, and
    every config that was not tried yet, would end at `max_t`. The one with the most promising end goes on, or starts:
    by turns the lowest confidence bound and the largest expected improvement. Trials that run count as trained to their
    end. When no new config may start any more, the rest goes on while any has a chance of 5 % to become the best.

    Where the trainable saves no checkpoints nothing can be paused. Then a trial that reaches a stop is ended there if
    its chance to become the best is below 5 % and it is not among the best 1/`reduction_factor` seen there.

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
        super().__init__(
            points_to_evaluate=points_to_evaluate, priors=priors, warm_start=warm_start, n_initial=n_initial
        )
        if not isinstance(time_attr, str):
            raise ConfigError(f"time_attr is {time_attr!r}. Give the name of a reported value.")
        top = _positive("max_t", max_t)
        if grace_period is None:
            grace_period = max(1.0, float(round(top / _FIRST_SHARE))) if top > 1.0 else top / _FIRST_SHARE
        grace = _positive("grace_period", grace_period)
        if grace > top:
            raise ConfigError(f"grace_period is {grace:g}. Give a number up to max_t ({top:g}).")
        if _positive("reduction_factor", reduction_factor) <= 1.0:
            raise ConfigError(f"reduction_factor is {reduction_factor:g}. Give a number above 1.")
        self._time_attr, self._metric, self._mode = time_attr, metric, mode
        self._factor = float(reduction_factor)
        self._ladder = Ladder(max_t=top, grace_period=grace, factor=self._factor)
        self._fits = CurveFits()
        self._n_thawed = self._n_ended = 0

    # ------------------------------------------------------------ as a scheduler

    @property
    def curves_by(self) -> str:
        """See Searcher."""
        return self._time_attr

    def bind(self, objective: Objective | None) -> Objective | None:
        """Take the experiment's objective unless this method was given its own; return the one it will use."""
        own = (self._metric, self._mode)
        if objective is not None and own != (None, None):
            raise ConfigError(
                "FreezeThaw and the experiment both name a metric. Give metric and mode in one place only."
            )
        objective = objective or parse_objective(*own)
        if objective is None:
            raise ConfigError("FreezeThaw has no metric to compare trials by. Give metric= and mode='min' or 'max'.")
        if len(objective.metrics) > 1:
            raise ConfigError("FreezeThaw works on one metric. For several use scheduler='mo_asha', or none.")
        return objective

    def observe(self, record: Record) -> None:
        """Counts only: what is known of trials comes with the history."""
        self._n_thawed += len(getattr(record, "thaws", ()))
        self._n_ended += len(getattr(record, "stops", ()))

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE at `max_t`, PAUSE where the trial was to be trained to, else CONTINUE."""
        time = metric_value(report.metrics, report.step, report.time_total_s, self._time_attr)
        if time is None or math.isnan(time):
            return CONTINUE
        if time >= self._ladder.max_t:
            return Decision(Verdict.COMPLETE, "reached max_t", {"max_t": self._ladder.max_t})
        target = self._target(trial)
        if time < target:
            return CONTINUE
        return Decision(Verdict.PAUSE, "trained to {time:g} of {max_t:g}", {"time": time, "max_t": self._ladder.max_t})

    def _target(self, trial: Trial) -> float:
        return self._ladder.next_after(0.0) if trial.max_t is None else trial.max_t

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """A new trial, where one was proposed: what is thawed was chosen with the configs."""
        return StartNew()

    def describe(self) -> Sequence[str]:
        """The stops, and what was decided so far."""
        stops = ", ".join(f"{level:g}" for level in (*self._ladder.levels, self._ladder.max_t))
        return [f"Using FreezeThaw: stops at {stops}; {self._n_thawed} thaws, {self._n_ended} trials given up"]

    # ------------------------------------------------------------ as a searcher

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Proposal] | Exhausted | Wait:
        """See Searcher. With `n` 0, only what becomes of trials that reached a stop and cannot be paused."""
        with one_blas_thread():
            return self._propose(history, rng, n)

    def _propose(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Proposal] | Exhausted | Wait:
        cache = self.prepared(history)
        board = read_board(history, cache.cube, self._ladder)
        desk = _Desk(self, history, board, cache.read(history), rng)
        found: list[Proposal] = [StopPaused(index, "its last value is no number") for index in board.spoilt]
        found += desk.reviewed()
        for _ in range(n):
            index = len(history.trials) + desk.n_new
            may_start = history.n_left is None or desk.n_new < history.n_left
            given = self.given(history, cache, index) if may_start else None
            proposal: Proposal | None = given
            if given is None and may_start and not desk.is_modelled:
                spread = self.spread(desk.task(index), cache.beliefs, history.seed) or anything_new(
                    desk.task(index), rng
                )
                if spread is not None:
                    proposal = Suggestion(cache.cube.config(spread[0], index=index), reason=spread[1])
            if proposal is None:
                proposal = desk.best_choice(index, cache.beliefs, may_start=may_start)
            if isinstance(proposal, Suggestion):
                proposal = desk.started(proposal, self._ladder.next_after(0.0))
            if proposal is None:
                break
            found.append(proposal)
        return found or desk.nothing()


@dataclass
class _Choice:
    """What may be trained next, and how much it promises."""

    score: float
    trial: OpenTrial | None = None
    row: Any = None


class _Desk:
    """One request: what is known, and what was answered so far."""

    def __init__(
        self, method: FreezeThaw, history: History, board: CurveBoard, observations: Observations, rng: Any
    ) -> None:
        self._method, self._history, self._board, self._rng = method, history, board, rng
        self._observations, self._ladder = observations, method._ladder
        self._cube = method.prepared(history).cube
        self._paused = list(board.paused)
        self._proposed: Array = np.empty((0, self._cube.d))
        self._model: CurveModel | None = None
        self._success: SuccessModel | None = None
        self.n_new = 0
        self._n_answers = 0

    # ------------------------------------------------------------ facts

    @property
    def is_modelled(self) -> bool:
        """Whether enough configs have been seen for a model to choose new ones."""
        n_initial = initial_size(self._cube.d) if self._method.n_initial is None else self._method.n_initial
        return len(self._history.trials) + self.n_new >= n_initial and self._board.n_seen >= min(3, n_initial)

    @property
    def model(self) -> CurveModel:
        """Fitted when it is asked first."""
        if self._model is None:
            self._model = CurveModel(self._cube, self._board, self._method._fits)
            if len(self._observations.failed):
                seen = self._board.rows[np.unique(self._board.trial)]
                self._success = SuccessModel(self._cube, seen, self._observations.failed)
        return self._model

    def task(self, index: int) -> Task:
        """A new config, as searchers know it."""
        n_grid = self._history.space.n_grid
        fixed = self._cube.grid_columns(index % n_grid) if n_grid > 1 else {}
        return Task(self._cube, self._observations, self._proposed, index, fixed)

    def started(self, suggestion: Suggestion, max_t: float) -> Suggestion:
        """Note a new config."""
        row = self._cube.encode(suggestion.config)
        self._proposed = np.concatenate([self._proposed, row[None]])
        self.n_new += 1
        self._n_answers += 1
        return Suggestion(suggestion.config, suggestion.reason, suggestion.parent, max_t)

    # ------------------------------------------------------------ answers

    def best_choice(self, index: int, beliefs: Any, *, may_start: bool) -> Proposal | None:
        """The paused trial or new config that promises the best end; None where nothing is worth its training."""
        if self._board.n_seen == 0:
            return None
        model, is_optimistic = self.model, (self._n_decisions() + self._n_answers) % 2 == 0
        choices = []
        if self._paused:
            scores = self._scores(*model.final_of(self._paused), is_optimistic=is_optimistic)
            if not may_start:  # nothing new competes any more: what has no chance is given up
                scores = np.where(model.chance(self._paused) < _HOPELESS, -np.inf, scores)
            best = int(np.argmax(scores))
            if np.isfinite(scores[best]):
                choices.append(_Choice(float(scores[best]), trial=self._paused[best]))
        if may_start:
            choices += self._new_config(index, beliefs, is_optimistic=is_optimistic)
        if not choices:
            return None
        choice = max(choices, key=lambda choice: choice.score)
        what = "the lowest confidence bound" if is_optimistic else "the largest expected improvement"
        words = f"{what} at {self._ladder.max_t:g}, by a Gaussian process of {model.n_points} points"
        if choice.trial is not None:
            return self._thawed(choice.trial, words)
        return Suggestion(self._cube.config(choice.row, index=index), reason=words)

    def _thawed(self, trial: OpenTrial, words: str) -> Thaw:
        self._paused.remove(trial)
        self.model.count_on([trial.place])
        self._n_answers += 1
        return Thaw(trial.index, words, max_t=self._ladder.next_after(trial.time))

    def _new_config(self, index: int, beliefs: Any, *, is_optimistic: bool) -> list[_Choice]:
        """The new config of the highest score, if there is one."""
        model, task = self.model, self.task(index)
        n_seen, n_failed = self._board.n_seen, len(self._observations.failed)
        caution = (n_seen + n_failed) / n_seen

        def score(rows: Array) -> Array:
            found = self._scores(*model.final(rows), is_optimistic=is_optimistic)
            if self._success is not None:
                found = found + caution * self._success.log_probability(rows)
            if beliefs:
                found = found + _BELIEF_STRENGTH / n_seen * beliefs.log_density(rows)
            return found

        border = Border.REFLECTS if is_optimistic else Border.HOLDS
        effort = Effort.for_cube(self._cube) if self._cube.has_dependents else _EFFORT
        search = CandidateSearch(self._cube, index=index, fixed=task.fixed, border=border, effort=effort)
        row = search.find(score, self._rng, around=model.by_final[:_N_AROUND], excluded=task.taken)
        return [] if row is None else [_Choice(float(score(row[None])[0]), row=row)]

    def _scores(self, mean: Array, sd: Array, *, is_optimistic: bool) -> Array:
        if is_optimistic:
            return optimism(mean, sd, _N_SD)
        return log_expected_improvement(mean, sd, self.model.best)

    def _n_decisions(self) -> int:
        """How many starts and thaws there were: the measures take turns by it."""
        return sum(max(trial.attempt, 1) for trial in self._history.trials)

    def reviewed(self) -> list[Proposal]:
        """What becomes of trials that run, have reached their stop and have nothing saved to go on from later."""
        trials = self._history.trials
        if any(trial.checkpoints for trial in trials):
            return []
        due = [t for t in self._board.running if t.time >= self._method._target(trials[t.index]) and t.time > 0.0]
        if not due:
            return []
        chances = self.model.chance(due)
        found: list[Proposal] = []
        for trial, chance in zip(due, chances, strict=True):
            if chance < _HOPELESS and not self._is_among_the_best(trial):
                reason = f"a chance of {chance:.1%} to become the best by {self._ladder.max_t:g}"
                found.append(StopPaused(trial.index, reason))
            else:
                reason = f"a chance of {chance:.0%} to become the best by {self._ladder.max_t:g}"
                found.append(Thaw(trial.index, reason, max_t=self._ladder.next_after(trial.time)))
        return found

    def _is_among_the_best(self, trial: OpenTrial) -> bool:
        """Whether its newest loss is in the top share of all that were seen as far as it is."""
        board, tau = self._board, self._ladder.tau(trial.time)
        own = board.losses[board.trial == trial.place][-1]
        others = [
            board.losses[(board.trial == place) & (board.tau <= tau + 1e-9)][-1]
            for place in np.unique(board.trial[board.tau >= tau - 1e-9])
            if np.any((board.trial == place) & (board.tau <= tau + 1e-9))
        ]
        rank = 1 + sum(other < own for other in others)
        return bool(rank <= max(1.0, len(others) / self._method._factor))

    def nothing(self) -> Sequence[Proposal] | Exhausted | Wait:
        """The answer where nothing is worth a slot: wait for what runs, else give up what is paused."""
        if any(trial.status in (TrialStatus.RUNNING, TrialStatus.PENDING) for trial in self._history.trials):
            return Wait("nothing is worth training beside what runs")
        if self._paused:
            chances = self.model.chance(self._paused) if self._board.n_seen else np.zeros(len(self._paused))
            return [
                StopPaused(trial.index, f"a chance of {chance:.1%} to become the best by {self._ladder.max_t:g}")
                for trial, chance in zip(self._paused, chances, strict=True)
            ]
        return Exhausted(exhausted_words(self._history))


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{name} is {value!r}. Give a number above 0.")
    return float(value)
