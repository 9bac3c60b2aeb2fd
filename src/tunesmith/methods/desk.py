"""One request to the freeze-thaw method: which paused trial goes on, or which config begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from tunesmith.events import StopPaused, Suggestion, Thaw
from tunesmith.methods.curve_board import CurveBoard, Ladder, OpenTrial, n_decisions
from tunesmith.methods.curve_model import HOPELESS, CurveFits, CurveModel
from tunesmith.methods.step_costs import StepCosts
from tunesmith.models.acquisition import log_expected_improvement, optimism
from tunesmith.models.candidates import CandidateSearch, Effort
from tunesmith.models.cube import Border
from tunesmith.models.success import SuccessModel
from tunesmith.protocols import Exhausted, History, Proposal, Wait
from tunesmith.searchers.first_configs import Prepared, Task, exhausted_words, initial_size
from tunesmith.trial import TrialStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_N_SD = 1.8  #: of the optimism, as in GPSearch
#: of the stops: each costs a fresh process
_N_AROUND = 8
_N_MAX_CONFIGS = 300  #: that the model sees: a decision stays below a twentieth of a second
_BELIEF_STRENGTH = 10.0  #: of the user's priors, divided by the number of configs seen
#: A model of curves is asked more often than one of results, and costs more.
_EFFORT = Effort(n_pool=256, n_near=12, n_starts=6, n_mutations=12, n_rounds=6)


@dataclass
class _Choice:
    """What may be trained next, and how much it promises."""

    score: float
    trial: OpenTrial | None = None
    row: Any = None


class Desk:
    """One request: what is known, and what was answered so far."""

    def __init__(
        self,
        history: History,
        board: CurveBoard,
        *,
        prepared: Prepared,
        ladder: Ladder,
        fits: CurveFits,
        n_initial: int | None,
        rng: np.random.Generator,
    ) -> None:
        """Args:
        board: of the history; the model sees the part of it that matters most.
        n_initial: configs to begin with before the model is asked; None: by the number of leaves.
        """
        self._history, self._ladder, self._fits, self._rng = history, ladder, fits, rng
        self._whole_board, self.board = board, board.focused(_N_MAX_CONFIGS)
        self._cube, self._beliefs, self._observations = prepared.cube, prepared.beliefs, prepared.read(history)
        self._n_initial = initial_size(self._cube.d) if n_initial is None else n_initial
        self._paused = list(self.board.paused)
        self._proposed: Array = np.empty((0, self._cube.d))
        self._model: CurveModel | None = None
        self._success: SuccessModel | None = None
        self._costs = StepCosts(self._cube, self.board)
        self.n_new = 0
        self._n_answers = 0

    # ------------------------------------------------------------ facts

    @property
    def is_modelled(self) -> bool:
        """Whether enough configs have been seen for a model to choose new ones."""
        n_trials = len(self._history.trials) + self.n_new
        return n_trials >= self._n_initial and self.board.n_seen >= min(3, self._n_initial)

    @property
    def model(self) -> CurveModel:
        """Fitted when it is asked first."""
        if self._model is None:
            # Fitted to all of them: those that the model sees change with each report, and would be fitted anew.
            fitted = self._fits.fit(self._cube, self._whole_board)
            self._model = CurveModel(self._cube, self.board, fitted)
            if len(self._observations.failed):
                seen = self.board.rows[np.unique(self.board.trial)]
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
        if self._model is not None:
            self._model.count_on_new(row)
        self.n_new += 1
        self._n_answers += 1
        return replace(suggestion, max_t=max_t)

    # ------------------------------------------------------------ answers

    def best_choice(self, index: int, *, may_start: bool) -> Proposal | None:
        """The paused trial or new config that promises the best end; None where nothing is worth its training."""
        if self.board.n_seen == 0:
            return self._repeated(index) if may_start else None
        model = self.model
        is_optimistic = (n_decisions(self._history, self._ladder) + self._n_answers) % 2 == 0  # the measures take turns
        choices = self._new_config(index, is_optimistic=is_optimistic) if may_start else []
        if may_start and not choices and (repeated := self._repeated(index)) is not None:
            return repeated
        if self._paused:
            scores = self._scores(*model.final_of(self._paused), is_optimistic=is_optimistic)
            if not is_optimistic:
                scores = scores - self._costs.of(self._paused)
            if not choices:  # nothing new competes any more: what has no chance is given up
                scores = np.where(model.chance(self._paused) < HOPELESS, -np.inf, scores)
            best = int(np.argmax(scores))
            if np.isfinite(scores[best]):
                choices.append(_Choice(float(scores[best]), trial=self._paused[best]))
        if not choices:
            return None
        choice = max(choices, key=lambda choice: choice.score)
        what = "the lowest confidence bound" if is_optimistic else "the largest expected improvement"
        if self._costs.differ and not is_optimistic:
            what += " per second"
        words = f"{what} at {self._ladder.max_t:g}, by a Gaussian process of {model.n_points} points"
        if choice.trial is not None:
            return self._thawed(choice.trial, words)
        return Suggestion(self._cube.config(choice.row, index=index), reason=words)

    def _repeated(self, index: int) -> Suggestion | None:
        """A config that may be an old one, where one is asked for all the same: in a grid, or where nothing varies."""
        cube, space = self._cube, self._history.space
        if space.n_grid == 1 and cube.d > 0 and cube.n_points is not None:
            return None
        config = space.sample(self._history.seed, index)
        return Suggestion(config, reason="drawn at random: nothing new was found")

    def _thawed(self, trial: OpenTrial, words: str) -> Thaw:
        self._paused.remove(trial)
        self.model.count_on([trial.place])
        self._n_answers += 1
        return Thaw(trial.index, words, max_t=self._ladder.next_after(trial.time))

    def _new_config(self, index: int, *, is_optimistic: bool) -> list[_Choice]:
        """The new config of the highest score, if there is one."""
        model, task = self.model, self.task(index)
        n_seen, n_failed = self.board.n_seen, len(self._observations.failed)
        caution = (n_seen + n_failed) / n_seen

        def score(rows: Array) -> Array:
            found = self._scores(*model.final(rows), is_optimistic=is_optimistic)
            if not is_optimistic:
                found = found - self._costs.of_new(rows)
            if self._success is not None:
                found = found + caution * self._success.log_probability(rows)
            if self._beliefs:
                found = found + _BELIEF_STRENGTH / n_seen * self._beliefs.log_density(rows)
            return found

        border = Border.REFLECTS if is_optimistic else Border.HOLDS
        effort = Effort.for_cube(self._cube) if self._cube.has_dependents else _EFFORT
        search = CandidateSearch(self._cube, index=index, fixed=task.fixed, border=border, effort=effort)
        row = search.find(score, self._rng, around=model.by_final[:_N_AROUND], excluded=task.taken)
        return [] if row is None else [_Choice(float(score(row[None])[0]), row=row)]

    def _scores(self, mean: Array, sd: Array, *, is_optimistic: bool) -> Array:
        """How much each end promises; both measures as logs, so that a chance to fail weighs the same in both."""
        if is_optimistic:
            return np.asarray(np.log(np.logaddexp(0.0, optimism(mean, sd, _N_SD) + self.model.best)))
        return log_expected_improvement(mean, sd, self.model.best)

    def nothing(self) -> Sequence[Proposal] | Exhausted | Wait:
        """The answer where nothing is worth a slot: wait for what runs, else give up what is paused."""
        if any(trial.status in (TrialStatus.RUNNING, TrialStatus.PENDING) for trial in self._history.trials):
            return Wait("nothing is worth training beside what runs")
        paused = [trial.index for trial in self._history.trials if trial.status is TrialStatus.PAUSED]
        if not paused:
            return Exhausted(exhausted_words(self._history))
        reasons = dict.fromkeys(paused, f"not among the {_N_MAX_CONFIGS} trials that are compared")
        if self._paused and self.board.n_seen:
            for trial, chance in zip(self._paused, self.model.chance(self._paused), strict=True):
                reasons[trial.index] = f"a chance of {chance:.1%} to become the best by {self._ladder.max_t:g}"
        return [StopPaused(index, reason) for index, reason in reasons.items()]
