"""ASHA whose end of training grows only while it changes who is best."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

from tunesmith.events import Record, TrialReported
from tunesmith.schedulers.arguments import time_of, value_of
from tunesmith.schedulers.asha_promotion import ASHAPromotionScheduler
from tunesmith.schedulers.ladder import Place
from tunesmith.schedulers.rank_noise import LearningCurve, RankNoise, is_ranking_stable

#: How many trials of the top rung, the best ones, are compared: rankings of more hardly ever agree.
_MAX_COMPARED = 100


class PASHAScheduler(ASHAPromotionScheduler):
    """Promotes as ASHAPromotionScheduler does, but only up to a top rung that grows while rankings disagree.

    At first the second rung is the top. Whenever a trial arrives there, the trials of the top rung are ranked by their
    losses there and at the rung before. Where the rankings disagree, the next rung becomes the top, in the end `max_t`.
    They agree if each place is held by a trial whose loss at the lower rung is within epsilon of that of the trial
    which held the place there. Epsilon is the 90th percentile of the distances between learning curves that swapped
    ranks and swapped back, among trials of the top rung, at the last time they share; 0 until there are such curves.

    Needs trials that save checkpoints and start from them: one that cannot pause trains on beyond the top rung. Trials
    that are left at the top rung when no new trial will come are stopped: training the best further is up to the user.

    Args: as of ASHAPromotionScheduler, without brackets.

    Ray Tune has no such scheduler. Unlike the authors' code: of more than 100 trials of the top rung the best 100 are
    compared; curves of trials on their way to the top rung are compared when they get there; a trial without a finite
    loss at both rungs is left out.

    Raises: ConfigError, with the values allowed.
    Source: Bohdal et al. 2023 (arXiv 2207.06940).
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
    ) -> None:
        super().__init__(time_attr, metric, mode, max_t, grace_period, reduction_factor)
        #: Place of the top rung; one above the last where that is `max_t` itself.
        self._top = min(1, len(self._rungs[0]))
        self._losses: list[dict[int, float]] = [{} for _ in self._rungs[0]]  #: by rung: trial -> finite loss there
        self._curves: defaultdict[int, LearningCurve] = defaultdict(LearningCurve)
        self._noise = RankNoise()

    def observe(self, record: Record) -> None:
        """Fold as ASHAPromotionScheduler does; let the top rung grow."""
        arrival = self._arrival(record) if isinstance(record, TrialReported) else None
        super().observe(record)
        if isinstance(record, TrialReported):
            self._note_curve(record)
        if arrival is not None:
            (_, rung), standing = arrival
            if math.isfinite(standing.loss):
                self._losses[rung][standing.trial] = standing.loss
                if rung == self._top:
                    self._compare_rankings(standing.trial)

    def _note_curve(self, report: TrialReported) -> None:
        assert self._objective is not None
        time, value = time_of(report, self._time_attr), value_of(report, self._objective)
        if time is not None and value is not None and self._top < len(self._rungs[0]):
            self._curves[report.trial].add(time, self._objective.mode.as_loss(value))

    def _compare_rankings(self, newcomer: int) -> None:
        """Learn epsilon from the newcomer's curve, and raise the top where the rankings of the two top rungs differ."""
        losses, losses_before = self._losses[self._top], self._losses[self._top - 1]
        best = islice(self._rungs[0][self._top].seen, _MAX_COMPARED)
        compared = [standing.trial for standing in best if standing.trial in losses_before]
        compared = [trial for trial in compared if trial in losses]
        if newcomer not in compared:
            return
        self._noise.add(self._curves[newcomer], [self._curves[trial] for trial in compared if trial != newcomer])
        top = {trial: losses[trial] for trial in compared}
        before = {trial: losses_before[trial] for trial in compared}
        if not is_ranking_stable(top, before, self._noise.epsilon):
            self._top += 1
            self._noise.start_over()

    def _promotes(self, place: Place) -> bool:
        return place.rung < self._top

    def describe(self) -> Sequence[str]:
        """As of ASHAPromotionScheduler, with the top rung and epsilon."""
        levels = [*self._ladder.levels[0], self._max_t]
        top = f"Using PASHA: top rung {levels[self._top]:g} of {self._max_t:g}, epsilon {self._noise.epsilon:.4g}"
        return [top, *super().describe()]
