"""The end of an experiment whose best values no longer differ."""

from __future__ import annotations

import math
from typing import NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, Decision, Record, TrialReported, Verdict
from tunesmith.stoppers.arguments import metric_name, positive, whole
from tunesmith.stoppers.deviation import standard_deviation
from tunesmith.trial import Mode, Trial, metric_value


class _Best(NamedTuple):
    """One of the best values; they are sorted in this order."""

    loss: float
    trial: int
    step: int


class _Standing(NamedTuple):
    best: tuple[_Best, ...]  #: at most `top`, best first
    n_on_plateau: int  #: how many reports in a row, up to now, left the best values on a plateau


class ExperimentPlateauStopper:
    """Ends the experiment when the `top` best values reported so far have a standard deviation of at most `std`.

    As in Ray Tune every report counts, not one value for each trial: one trial that has converged can fill the places.
    Unlike there, reports without the metric or with a NaN or infinite value are ignored, and a step repeated after a
    restart counts once.

    Args:
        metric: what is compared.
        std: the plateau's population standard deviation, above 0.
        top: how many of the best values are looked at, 2 or more.
        mode: "min" or "max".
        patience: so many reports in a row must find the plateau; 0 and 1 both end at the first.
    Raises: ConfigError.
    """

    def __init__(self, metric: str, std: float = 0.001, top: int = 10, mode: str = "min", patience: int = 0) -> None:
        if mode not in ("min", "max"):
            raise ConfigError(f"mode is {mode!r}. Give 'min' or 'max'.")
        self._metric, self._std, self._mode = metric_name(metric), positive("std", std), Mode(mode)
        self._top = whole("top", top, at_least=2)
        self._patience = whole("patience", patience, at_least=0)
        self._standing = _Standing(best=(), n_on_plateau=0)

    def observe(self, record: Record) -> None:
        """Remember the value if it is among the best."""
        if isinstance(record, TrialReported):
            self._standing = self._standing_after(record)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """STOP for the trial whose report completes the plateau; `should_end` ends the others."""
        why = self._why_end(self._standing_after(report))
        return CONTINUE if why is None else Decision(Verdict.STOP, "{why}", {"why": why})

    def should_end(self) -> str | None:
        """Why the experiment should end, or None."""
        return self._why_end(self._standing)

    def _standing_after(self, report: TrialReported) -> _Standing:
        value = metric_value(report.metrics, report.step, report.time_total_s, self._metric)
        if value is None or not math.isfinite(value):
            return self._standing
        others = (b for b in self._standing.best if (b.trial, b.step) != (report.trial, report.step))
        newcomer = _Best(self._mode.as_loss(value), report.trial, report.step)
        best = tuple(sorted([*others, newcomer])[: self._top])
        return _Standing(best, self._standing.n_on_plateau + 1 if self._is_plateau(best) else 0)

    def _is_plateau(self, best: tuple[_Best, ...]) -> bool:
        return len(best) == self._top and standard_deviation([b.loss for b in best]) <= self._std

    def _why_end(self, standing: _Standing) -> str | None:
        if standing.n_on_plateau == 0 or standing.n_on_plateau < self._patience:
            return None
        deviation = standard_deviation([b.loss for b in standing.best])
        return (
            f"plateau: standard deviation {deviation:.3g} of the {self._top} best values of {self._metric}, "
            f"at most {self._std:g}"
        )
