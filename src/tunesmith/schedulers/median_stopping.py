"""The median stopping rule of Vizier."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunesmith.errors import ConfigError
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    Record,
    StartAttempt,
    Thaw,
    TrialReported,
    Verdict,
)
from tunesmith.protocols import NextAction, StartNew
from tunesmith.schedulers.arguments import number
from tunesmith.schedulers.fifo import first_come
from tunesmith.schedulers.metric_scheduler import MetricScheduler
from tunesmith.schedulers.running_means import RunningMeans
from tunesmith.trial import Trial, TrialStatus

_WORSE = "best {metric} {best:.6g} is worse than {median:.6g}, the median of {n_others} running means at {time:g}"
_NO_NUMBER = "{metric} was never a number; the median of {n_others} running means at {time:g} is {median:.6g}"


class MedianStoppingRule(MetricScheduler):
    """Stops a trial whose best value so far is worse than the median of the others' running means up to its time.

    Args:
        time_attr: what time is counted in: "time_total_s", "training_iteration", or a reported value that grows.
        metric, mode: what is compared; here or in the call that runs the experiment, not in both. Of several metrics
            the first is used.
        grace_period: no trial is stopped before this time, and means are of reports from it on.
        min_samples_required: so many other trials must have come as far.
        min_time_slice: taken for Ray Tune's sake, without effect; see (1).
        hard_stop: False pauses trials instead, where they save checkpoints. Paused ones go on, the first paused first,
            once no new trial is to be had, and are not judged again.

    The others are all trials that have reported at this time or later, over or not. Values that are not finite enter no
    mean and are never a best; a trial with none that is finite is stopped as soon as the others have a median.

    Where trials report at times of their own, as with "time_total_s", and 200 others or more have come as far, the
    median is of 100 to 200 of them, evenly spaced by how far they have come: each must be looked up. With times that
    all trials share, as with "training_iteration", it is of all.

    On purpose unlike Ray Tune: (1) a trial is never paused because too few others have come as far; (2) values that are
    not finite as above, there NaN makes the median NaN and infinities stay in it; (3) a trial's last report is not
    counted a second time when it ends; (4) reports that a restart supersedes are left out; (5) where `hard_stop` is
    false, a trial is paused at a report that carries a checkpoint, and trains on where there is none; (6) reports
    without the metric or `time_attr` are counted and shown.

    Raises: ConfigError, with the values allowed.
    Source: Golovin et al. 2017 (KDD, "Google Vizier: A service for black-box optimization"), median stopping rule.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        grace_period: float = 60.0,
        min_samples_required: int = 3,
        min_time_slice: float = 0,
        hard_stop: bool = True,
    ) -> None:
        super().__init__(time_attr=time_attr, metric=metric, mode=mode)
        for name, value in (("grace_period", grace_period), ("min_time_slice", min_time_slice)):
            if number(name, value, "of 0 or more") < 0:
                raise ConfigError(f"{name} is {value!r}. Give a number of 0 or more.")
        if isinstance(min_samples_required, bool) or not isinstance(min_samples_required, int):
            raise ConfigError(f"min_samples_required is {min_samples_required!r}. Give a whole number.")
        self._grace_period, self._n_required = grace_period, max(min_samples_required, 1)
        self._verdict = Verdict.STOP if hard_stop else Verdict.PAUSE
        self._means = RunningMeans(grace_period)
        #: Trials that were paused here once, and may go on to their end.
        self._set_aside: set[int] = set()
        self._paused: dict[int, None] = {}  #: in the order of their pauses
        #: Trials that went on because no new one came, and are not over: until new ones come, others follow at once.
        self._gone_on: set[int] = set()
        self._n_stopped = 0

    def observe(self, record: Record) -> None:
        """Keep every trial's running mean, and who is paused."""
        if isinstance(record, TrialReported):
            self._note_report(record)
        elif isinstance(record, AnswerReport):
            is_own = record.decision.verdict is self._verdict and "n_others" in record.decision.numbers
            self._n_stopped += is_own
            if is_own and self._verdict is Verdict.PAUSE:
                self._set_aside.add(record.trial)
        elif isinstance(record, ConcludeAttempt):
            self._note_conclusion(record)
        elif isinstance(record, StartAttempt):
            self._means.rewind(record.trial, record.start_step)
            if record.trial in self._paused:
                del self._paused[record.trial]
                self._gone_on.add(record.trial)
        elif isinstance(record, ConfigsSuggested):
            if record.suggestions:
                self._gone_on.clear()
            for thaw in record.thaws:  # the searcher's choice, which says nothing about new trials
                self._paused.pop(thaw.trial, None)

    def _note_conclusion(self, record: ConcludeAttempt) -> None:
        self._paused.pop(record.trial, None)
        if record.status is TrialStatus.PAUSED:
            self._paused[record.trial] = None
        elif record.status.is_over and record.status is not TrialStatus.INTERRUPTED:
            self._gone_on.discard(record.trial)

    def _note_report(self, report: TrialReported) -> None:
        time, value = self._time(report), self._value(report)
        if time is None or value is None:
            self._n_ignored += 1
        else:
            self._means.add(report.trial, step=report.step, time=time, loss=self._bound.mode.as_loss(value))

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """STOP or PAUSE where the trial's best is worse than the median, else CONTINUE."""
        time, value = self._time(report), self._value(report)
        if time is None or value is None or time < self._grace_period or trial.index in self._set_aside:
            return CONTINUE
        found = self._means.median_of_others(report.trial, time)
        if found is None or found[1] < self._n_required:
            return CONTINUE
        median, n_others = found
        mode, best = self._bound.mode, self._means.best(report.trial)
        if math.isfinite(value):
            best = min(best, mode.as_loss(value))
        if best <= median:
            return CONTINUE
        numbers: dict[str, float | int | str] = {
            "metric": self._bound.metric,
            "median": mode.as_loss(median),  # turns the sign back
            "n_others": n_others,
            "time": time,
        }
        if not math.isfinite(best):
            return Decision(self._verdict, _NO_NUMBER, numbers)
        return Decision(self._verdict, _WORSE, {**numbers, "best": mode.as_loss(best)})

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """A new trial; the first that was paused where none will come, or where trials are not paused by this rule."""
        if not self._paused:
            return first_come(paused)
        first = Thaw(next(iter(self._paused)), "no new trial is left, and it was paused first")
        return first if self._verdict is Verdict.STOP or self._gone_on else StartNew(otherwise=first)

    def describe(self) -> Sequence[str]:
        """One line as Ray Tune words it, and what was left out."""
        lines = [f"Using MedianStoppingRule: num_stopped={self._n_stopped}."]
        return [*lines, *self._ignored_lines()]
