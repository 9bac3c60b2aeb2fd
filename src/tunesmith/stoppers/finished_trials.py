"""The end of an experiment in which a further trial is unlikely to pay, judged by the trials that are finished."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, ConcludeAttempt, Decision, Record, StartAttempt, TrialReported
from tunesmith.stoppers.arguments import positive, whole
from tunesmith.trial import Objective, Trial, TrialStatus, fold_of, mean_over_folds, metric_value, parse_objective

_FINISHED = (TrialStatus.COMPLETED, TrialStatus.STOPPED)
_OVER = (*_FINISHED, TrialStatus.FAILED, TrialStatus.INVALID)  #: and not INTERRUPTED, which goes on with the experiment
#: Finished trials that the estimate looks at, the latest: a searcher that learns proposes better ones than at first.
_WINDOW = 200
_S_PER_HOUR = 3600.0


class _OnFinishedTrials:
    """Follows the objective of open trials and is told of each that finishes. Ends no single trial.

    A trial is finished when it is COMPLETED or STOPPED; failures say nothing about how good a result can be. NaN and
    infinities are no values. What a restarted trial reported before its restart stays among its values. A trial that
    reports folds is worth the mean over them, and can be the best when it is finished, over no fewer than others.
    """

    def __init__(self, *, metric: str | None, mode: str | None) -> None:
        self._own = parse_objective(metric, mode)
        self._objective = self._own
        #: Of each trial that has reported and is not over: its best value so far as a loss, infinity if it has none.
        self._open: dict[int, float] = {}
        #: Training time of those trials, from the records.
        self._time_s: dict[int, float] = {}
        #: Of each open trial that reports folds: fold -> loss, where that is finite.
        self._folds: dict[int, dict[int, float]] = {}
        self._n_folds = 0  #: the most that a finished trial has
        self._best = math.inf  #: of all trials, as a loss
        self._why: str | None = None  #: why the experiment should end

    def bind(self, objective: Objective | None) -> None:
        """Take the experiment's objective, unless the stopper was given its own.

        Raises: ConfigError if there is neither.
        """
        self._objective = self._own or objective
        if self._objective is None:
            raise ConfigError(self._missing())

    def observe(self, record: Record) -> None:
        """Fold one record."""
        if isinstance(record, TrialReported):
            self._on_report(record)
        elif isinstance(record, StartAttempt):
            self._time_s[record.trial] = record.start_time_s
        elif isinstance(record, ConcludeAttempt) and record.status in _OVER:
            loss = self._open.pop(record.trial, math.inf)
            time_s = self._time_s.pop(record.trial, 0.0)
            folds = self._folds.pop(record.trial, None)
            if record.status in _FINISHED:
                if folds is not None:
                    loss = self._over_folds(record.trial, folds)
                self._on_finished(record.trial, loss, time_s)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """Always to continue.

        Raises: ConfigError where nobody has said what is compared.
        """
        if self._objective is None:
            raise ConfigError(self._missing())
        return CONTINUE

    def should_end(self) -> str | None:
        """Why the experiment should end, or None. Costs nothing: it is judged when a trial finishes."""
        return self._why

    def _on_report(self, report: TrialReported) -> None:
        self._time_s[report.trial] = report.time_total_s
        loss, fold = self._loss(report), fold_of(report.metrics)
        if fold is not None:
            self._folds.setdefault(report.trial, {}).update({fold: loss} if loss < math.inf else {})
        if report.trial in self._folds:
            return
        if loss < self._open.get(report.trial, math.inf):
            self._open[report.trial] = loss
        if loss < self._best:
            self._best = loss
            self._on_best(report.trial, loss)

    def _over_folds(self, trial: int, folds: Mapping[int, float]) -> float:
        """What a trial that finishes is worth; it may be the best."""
        mean = mean_over_folds(list(folds.values())) if folds else None
        if mean is None:
            return math.inf
        if len(folds) > self._n_folds:  # what was the best over fewer is so no more
            self._n_folds, self._best = len(folds), math.inf
        if len(folds) == self._n_folds and mean < self._best:
            self._best = mean
            self._on_best(trial, mean)
        return mean

    def _loss(self, report: TrialReported) -> float:
        if self._objective is None:
            return math.inf
        value = metric_value(report.metrics, report.step, report.time_total_s, self._objective.metric)
        return self._objective.mode.as_loss(value) if value is not None and math.isfinite(value) else math.inf

    def _on_best(self, trial: int, loss: float) -> None:
        """A trial reported a new best."""

    def _on_finished(self, trial: int, loss: float, time_s: float) -> None:
        """A trial finished with this best loss, infinite if it has none, after so much training."""

    def _missing(self) -> str:
        return (
            f"{type(self).__name__} has no metric to compare trials by. Give metric= and mode='min' or 'max', to it or "
            "to the call that runs the experiment."
        )

    def _shown_best(self) -> str:
        """`loss 0.0123`, in the user's sign."""
        assert self._objective is not None
        return f"{self._objective.metric} {self._objective.mode.as_loss(self._best):.6g}"


class NoImprovement(_OnFinishedTrials):
    """Ends the experiment when the best value has not improved for `n_trials` finished trials.

    The trial that brought the best value is not among them. Running trials are stopped with the experiment.

    Args:
        n_trials: how many trials must finish without an improvement, 1 or more.
        min_delta: the best must become better by more than this to count as improved, in units of the metric.
        metric, mode: the experiment's own where left out; of several the first.
    Raises: ConfigError.
    """

    def __init__(
        self, n_trials: int, min_delta: float = 0.0, *, metric: str | None = None, mode: str | None = None
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._n_trials = whole("n_trials", n_trials, at_least=1)
        self._min_delta = _not_negative("min_delta", min_delta)
        self._reference = math.inf  #: the best value when it last improved, as a loss
        self._improver: int | None = None  #: the trial that brought it, while it is open
        self._n_since = 0  #: trials that finished since

    def _on_best(self, trial: int, loss: float) -> None:
        if self._reference - loss > self._min_delta:
            self._reference, self._improver, self._n_since, self._why = loss, trial, 0, None

    def _on_finished(self, trial: int, loss: float, time_s: float) -> None:
        if trial == self._improver:
            self._improver = None
            return
        self._n_since += 1
        if self._best < math.inf and self._n_since >= self._n_trials:
            by = f" by more than {self._min_delta:g}" if self._min_delta else ""
            best, n = self._shown_best(), self._n_since
            self._why = f"no improvement: the best, {best}, has not improved{by} for {n} finished trials"


class ExpectedImprovementPerHour(_OnFinishedTrials):
    """Ends the experiment when a further trial is expected to improve the best by less than `threshold` per hour.

    The estimate looks at the latest m finished trials, at most 200, so that a searcher that learns is judged by what it
    proposes now. Were any of them as likely as any other to have come last, the last one would have improved the best
    by (second best - best) / m on average, since with probability 1/m it is the best itself. One gap between two values
    is a poor guide, so it is estimated from the best k + 1, k the square root of m rounded up: beyond a high threshold
    most distributions have an exponential tail (Pickands 1975, with shape 0), whose scale s is the mean distance of the
    best k from the (k + 1)-th, and the expected gap between its two best is s too (Renyi 1953). Where the best b of the
    whole experiment lies beyond the best y of these m, a further trial must first get there:

        E[improvement] = s / m * exp(-(y - b) / s).

    It errs towards going on: it is too large where losses have a floor, so that the tail is shorter (for uniform losses
    3.5 to 8 times at 20 to 200 trials, for normal ones 1.5 times), and where it extrapolates beyond y (3 times if the
    best of 1,000 is judged by the latest 100).

    It is divided by the mean training time of the m trials: all their attempts, from the records, never a clock. With W
    workers an hour of wall time has W such hours.

    Args:
        threshold: in units of the metric per hour of training, above 0.
        min_trials: nothing ends before so many trials have finished, 3 or more.
        metric, mode: the experiment's own where left out; of several the first.
    Raises: ConfigError.
    """

    def __init__(
        self, threshold: float, min_trials: int = 20, *, metric: str | None = None, mode: str | None = None
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._threshold = positive("threshold", threshold)
        self._min_trials = whole("min_trials", min_trials, at_least=3)
        self._n_finished = 0
        #: Best loss and training seconds of the latest finished trials.
        self._latest: deque[tuple[float, float]] = deque(maxlen=max(_WINDOW, self._min_trials))

    def _on_finished(self, trial: int, loss: float, time_s: float) -> None:
        self._n_finished += 1
        self._latest.append((loss, time_s))
        if self._n_finished < self._min_trials:
            return
        expected = expected_improvement([loss for loss, _ in self._latest], best=self._best)
        hours = sum(time_s for _, time_s in self._latest) / len(self._latest) / _S_PER_HOUR
        if expected is None or not hours > 0 or expected / hours >= self._threshold:
            self._why = None
            return
        self._why = (
            f"a further trial is expected to improve {self._shown_best()} by {expected:.3g} in {hours:.3g} hours, "
            f"{expected / hours:.3g} per hour, less than {self._threshold:g} (judged by {len(self._latest)} trials)"
        )


def expected_improvement(losses: Sequence[float], *, best: float) -> float | None:
    """By how much a further trial is expected to fall below `best`; None where too few of the losses are finite.

    For the formula see ExpectedImprovementPerHour. Args: losses: infinite for trials without a value.
    """
    ordered, k = sorted(losses), math.ceil(math.sqrt(len(losses)))
    if len(ordered) <= k or not math.isfinite(ordered[k]):
        return None
    scale = math.fsum((ordered[k] - loss) / k for loss in ordered[:k])
    if scale <= 0.0:  # the best are all equal
        return 0.0
    return scale / len(ordered) * math.exp(-max(0.0, ordered[0] - best) / scale)


def _not_negative(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise ConfigError(f"{name} is {value!r}. Give a number of 0 or more.")
    return float(value)
