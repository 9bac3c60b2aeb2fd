"""What each trial scored on each fold, and who is ahead."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tunesmith.trial import mean_over_folds


class _Score(NamedTuple):
    step: int
    fold: int
    loss: float


@dataclass
class FoldStandings:
    """Folds reports of folds; each takes O(log n) with n trials."""

    _reports: defaultdict[int, list[_Score]] = field(default_factory=lambda: defaultdict(list))  #: by rising step
    #: Trial -> fold -> the loss that was last reported of it.
    _losses: dict[int, dict[int, float]] = field(default_factory=dict)
    #: Number of folds -> (mean loss, trial), ascending, of all and only the trials with so many, all finite.
    _ranked: defaultdict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, trial: int, *, step: int, fold: int, loss: float) -> None:
        """Note the loss; it takes the place of an earlier one of that fold."""
        self._reports[trial].append(_Score(step, fold, loss))
        self._put(trial, {**self.losses(trial), fold: loss})

    def rewind(self, trial: int, step: int) -> None:
        """The trial starts again from this step: what it reported beyond it is superseded."""
        if trial in self._reports and self._reports[trial][-1].step > step:
            kept = [score for score in self._reports[trial] if score.step <= step]
            self._reports[trial] = kept
            self._put(trial, {score.fold: score.loss for score in kept})
            if not kept:
                del self._reports[trial], self._losses[trial]

    def losses(self, trial: int) -> Mapping[int, float]:
        """Fold -> loss."""
        return self._losses.get(trial, {})

    def incumbent(self, *, but: int | None = None) -> int | None:
        """Of the trials over the most folds, all of them finite, the one with the best mean; the first of equals.

        Args: but: a trial that is left out.
        """
        for n_folds in sorted(self._ranked, reverse=True):
            for _, trial in self._ranked[n_folds][:2]:
                if trial != but:
                    return trial
        return None

    def _put(self, trial: int, losses: dict[int, float]) -> None:
        self._take_out(trial)
        self._losses[trial] = losses
        mean = mean_over_folds(list(losses.values())) if losses else None
        if mean is not None:
            insort(self._ranked[len(losses)], (mean, trial))

    def _take_out(self, trial: int) -> None:
        losses = list(self.losses(trial).values())
        mean = mean_over_folds(losses) if losses else None
        if mean is not None:
            ranked = self._ranked[len(losses)]
            del ranked[bisect_left(ranked, (mean, trial))]
            if not ranked:
                del self._ranked[len(losses)]

    def check_invariants(self) -> None:
        """Assert that the ranks hold what the losses say, and these what the reports say."""
        for trial, losses in self._losses.items():
            assert losses == {score.fold: score.loss for score in self._reports[trial]}
            mean = mean_over_folds(list(losses.values()))
            assert ((mean, trial) in self._ranked.get(len(losses), [])) == (mean is not None)
        assert sum(map(len, self._ranked.values())) <= len(self._losses)
        assert all(ranked == sorted(ranked) and ranked for ranked in self._ranked.values())
