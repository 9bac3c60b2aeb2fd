"""What a simulated experiment came to: the best, the trials, and what the virtual machine and the real driver spent."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tunesmith.errors import TuneError
from tunesmith.events import (
    AttemptEnded,
    AttemptStarted,
    EndExperiment,
    Record,
    StartAttempt,
    TrialReported,
)
from tunesmith.runner.simulation import SimulatedExperiment
from tunesmith.trial import AttemptOutcome, Objective, Trial, TrialStatus, metric_value

if TYPE_CHECKING:
    import pandas as pd


class SimulatedBest(msgspec.Struct, frozen=True):
    """The best finite value of a simulated experiment."""

    config: dict[str, Any]
    value: float
    step: int
    trial: int  #: index
    at_s: float  #: virtual seconds since the start


class Progress(NamedTuple):
    """The best value as it stood from here on."""

    at_s: float  #: virtual seconds since the start
    n_steps: int  #: reported so far, by all trials
    value: float


class SimulationResult:
    """A simulated experiment that is over. Times are virtual seconds unless they say CPU."""

    def __init__(self, simulated: SimulatedExperiment, *, objective: Objective, n_workers: int, start_s: float) -> None:
        self.objective = objective
        self.n_workers = n_workers
        self.seed: int = simulated.spec.seed
        #: Every trial as it ended, by index.
        self.trials: tuple[Trial, ...] = tuple(simulated.trials)
        #: All records of the experiment, in order.
        self.log: list[Record] = simulated.log
        #: From the start to the last event.
        self.wall_s: float = simulated.clock.now()
        #: Reports that became results, those of restarted trials included.
        self.n_steps: int = simulated.experiment.state.n_steps
        self.n_events: int = simulated.experiment.n_events
        #: CPU time of scheduler, stopper and state machine.
        self.decider_cpu_s: float = simulated.experiment.cpu_s
        #: What the scheduler says of itself.
        self.scheduler_lines: list[str] = list(simulated.scheduler.describe())
        self._start_s, self._marks = start_s, simulated.marks

    # ------------------------------------------------------------ results

    @cached_property
    def best(self) -> SimulatedBest:
        """The best finite value at any step of any trial; the first of equals.

        Where trials report folds it is the best mean of those with the most folds.

        Raises: TuneError where no trial reported one.
        """
        best = self._best_over_folds()
        for report, value in self._values if best is None else ():
            if best is None or self.objective.mode.is_better(value, best.value):
                config = self.trials[report.trial].config
                best = SimulatedBest(config, value, report.step, report.trial, report.at)
        if best is None:
            error = next((trial.error for trial in self.trials if trial.error), None)
            seen = sorted({name for trial in self.trials for name in trial.metrics or ()})
            raise TuneError(
                f"No trial reported a finite {self.objective.metric!r}; {len(self.trials)} trials reported "
                f"{', '.join(seen) or 'nothing'}.{f' The first error: {error}' if error else ''}"
            )
        return best

    @cached_property
    def progress(self) -> list[Progress]:
        """Each improvement of the best value, in order: what to draw when schedulers are compared."""
        found: list[Progress] = []
        n_steps = 0
        for record in self.log:
            if not isinstance(record, TrialReported):
                continue
            n_steps += 1
            value = self._value(record)
            if value is not None and (not found or self.objective.mode.is_better(value, found[-1].value)):
                found.append(Progress(record.at, n_steps, value))
        return found

    def _best_over_folds(self) -> SimulatedBest | None:
        n_folds = max((len(trial.folds) for trial in self.trials), default=0)
        if n_folds == 0:
            return None
        mode, best = self.objective.mode, None
        for trial in self.trials:
            mean, step, at = trial.best_value, trial.best_step, trial.reported_at
            if len(trial.folds) < n_folds or mean is None or step is None or at is None:
                continue
            if not self._is_feasible(trial):
                continue
            if best is None or mode.is_better(mean, best.value):
                best = SimulatedBest(trial.config, mean, step, trial.index, at)
        return best

    @property
    def end(self) -> EndExperiment:
        """Why the experiment ended: `end.why`, and in words `end.detail`."""
        return next(record for record in reversed(self.log) if isinstance(record, EndExperiment))

    def counts(self) -> dict[TrialStatus, int]:
        """How many trials ended in each state; states without any are left out."""
        found = [trial.status for trial in self.trials]
        return {status: found.count(status) for status in TrialStatus if status in found}

    # ------------------------------------------------------------ what was spent

    @cached_property
    def idle_share(self) -> float:
        """The share of the workers' time in which they neither started a trial nor trained.

        Up to the last start of a new trial: after that some have nothing left to do. A trial that waits for the answer
        to its report is idle too. 0 where all trials start at once.
        """
        firsts = (r.at for r in self.log if isinstance(r, AttemptStarted) and r.attempt == 1)
        window_s = max(firsts, default=self._start_s) - self._start_s
        if window_s <= 0.0:
            return 0.0
        busy_s = sum(max(0.0, min(end, window_s) - begin) for begin, end in _busy(self.log, self._start_s))
        return max(0.0, 1.0 - busy_s / (self.n_workers * window_s))

    @property
    def training_s(self) -> float:
        """Training time of all trials together, without what restarts repeated."""
        return math.fsum(trial.time_total_s for trial in self.trials)

    @property
    def cpu_us_per_event(self) -> float:
        """CPU microseconds of the whole simulation per event of a trial or searcher, curves and simulator included."""
        return 1e6 * (self._marks[-1][1] - self._marks[0][1]) / max(1, self.n_events)

    @property
    def decider_us_per_event(self) -> float:
        """The same of scheduler, stopper and state machine alone."""
        return 1e6 * self.decider_cpu_s / max(1, self.n_events)

    def cpu_us_by_part(self, n_parts: int = 10) -> list[float]:
        """`cpu_us_per_event` in so many equal parts of the run: it should not grow. NaN for parts without a reading."""
        events, seconds = zip(*self._marks, strict=True)
        places = [round(i * self.n_events / n_parts) for i in range(n_parts + 1)]
        at = [bisect_right(events, place) - 1 for place in places]
        return [
            1e6 * (seconds[j] - seconds[i]) / (events[j] - events[i]) if events[j] > events[i] else math.nan
            for i, j in pairwise(at)
        ]

    # ------------------------------------------------------------ tables and words

    def dataframe(self) -> pd.DataFrame:
        """One row per trial: state, steps, training time, best value and its step, reason, `config/<name>`.

        Raises: ImportError without pandas.
        """
        from tunesmith.analysis.frames import import_pandas
        from tunesmith.space import flatten_config

        rows: list[dict[str, Any]] = []
        for trial in self.trials:
            facts: dict[str, Any] = {
                "trial": trial.index,
                "state": trial.status.value,
                "attempts": trial.attempt,
                "step": trial.step,
            }
            facts |= {"time_total_s": trial.time_total_s, "best_value": trial.best_value, "best_step": trial.best_step}
            facts["reason"] = trial.reason
            rows.append(facts | {f"config/{name}": value for name, value in flatten_config(trial.config).items()})
        return import_pandas().DataFrame(rows)

    def results_dataframe(self) -> pd.DataFrame:
        """One row per report: trial, attempt, step, `at_s`, and its metrics by name.

        Raises: ImportError without pandas.
        """
        from tunesmith.analysis.frames import import_pandas

        return import_pandas().DataFrame(
            {"trial": r.trial, "attempt": r.attempt, "training_iteration": r.step, "at_s": r.at, **r.metrics}
            for r in self.log
            if isinstance(r, TrialReported)
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status.value}" for status, count in self.counts().items())
        best = ""
        if self.progress:
            best = f", best {self.objective.metric}={self.best.value:.6g} (trial {self.best.trial})"
        return (
            f"<SimulationResult: {counts or 'no trials'}{best}, {self.n_steps} steps in {self.wall_s:.6g} virtual s "
            f"on {self.n_workers} workers, {self.idle_share:.1%} idle, {self.decider_us_per_event:.0f} us per event>"
        )

    # ------------------------------------------------------------ helpers

    @cached_property
    def _values(self) -> list[tuple[TrialReported, float]]:
        """Every report with a finite objective, in order."""
        reports = (record for record in self.log if isinstance(record, TrialReported))
        return [(report, value) for report in reports if (value := self._value(report)) is not None]

    def _value(self, report: TrialReported) -> float | None:
        """The finite objective of a report that keeps all constraints, else None."""
        value = metric_value(report.metrics, report.step, report.time_total_s, self.objective.metric)
        if value is None or not math.isfinite(value) or not self._is_feasible(report):
            return None
        return value

    def _is_feasible(self, found: TrialReported | Trial) -> bool:
        """Whether a report, or the last one of a trial, keeps all constraints."""
        for bound in self.objective.constraints:
            value = metric_value(found.metrics or {}, found.step, found.time_total_s, bound.metric)
            if value is None or not bound.excess(value) <= 0:
                return False
        return True


def _busy(log: Sequence[Record], start_s: float) -> list[tuple[float, float]]:
    """When some worker started a trial, trained, or lost a step to a crash: (begin, end) in virtual seconds."""
    found = []
    time_s: dict[int, float] = {}  #: by trial: its training time so far
    last_at: dict[int, float] = {}  #: by trial: when it was last heard of
    for record in log:
        if isinstance(record, StartAttempt):
            time_s[record.trial] = record.start_time_s
        elif isinstance(record, AttemptStarted):
            found.append((record.at - start_s, record.at))
            last_at[record.trial] = record.at
        elif isinstance(record, TrialReported):
            found.append((record.at - (record.time_total_s - time_s[record.trial]), record.at))
            time_s[record.trial], last_at[record.trial] = record.time_total_s, record.at
        elif isinstance(record, AttemptEnded) and record.outcome is AttemptOutcome.EXITED:
            found.append((last_at.get(record.trial, record.at), record.at))
    return found
