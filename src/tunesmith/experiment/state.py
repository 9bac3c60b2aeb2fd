"""The fold: how each record changes what is known. Live and in replay it is the same code; nothing is decided here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    DeleteCheckpoint,
    EndExperiment,
    InterruptRequested,
    Record,
    ReportRefused,
    SessionStarted,
    StartAttempt,
    StopAttempt,
    Suggest,
    TrialReported,
    Verdict,
)
from tunesmith.experiment.slots import SlotPool
from tunesmith.resources import Placement
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import (
    AttemptOutcome,
    Checkpoint,
    Mode,
    Objective,
    Trial,
    TrialStatus,
    check_transition,
    metric_value,
)


class ExperimentState:
    """All that is known about an experiment. Only `apply` changes it."""

    def __init__(self, spec: ExperimentSpec, objective: Objective | None) -> None:
        self.spec = spec
        self.objective = objective
        self.trials: list[Trial] = []  #: by index
        self.pool = SlotPool(())
        #: Indices of all and only the trials in state RUNNING.
        self.running: set[int] = set()
        #: Indices of all and only the trials in state PENDING, in the order in which they are to start.
        self.pending: deque[int] = deque()
        #: Indices of all and only the trials in state PAUSED.
        self.paused: set[int] = set()
        #: Earliest start of pending trials that must wait, on the experiment's clock; a subset of `pending`.
        self.not_before: dict[int, float] = {}
        #: What the attempt's last report was answered, where that ends it; a subset of `running`.
        self.answered: dict[int, Decision] = {}
        #: Attempts told to stop that have not been answered since; a subset of `running`.
        self.stopping: dict[int, StopAttempt] = {}
        #: Attempts that ended and wait for their conclusion; empty between passes.
        self.ended: dict[int, AttemptEnded] = {}
        #: Suggest commands without an answer: request -> n.
        self.requests: dict[int, int] = {}
        self.n_requests = 0
        self.is_exhausted = False
        self.ending: EndExperiment | None = None
        self.interrupt_level = 0
        self.epoch = 0
        self.n_late_reports = 0
        self.n_steps = 0  #: results stored in this experiment, the unit of max_total_steps
        self.metrics_seen: dict[str, None] = {}  #: in the order of first appearance
        #: Error line -> how many trials failed with it before any report. Emptied by the first report.
        self.start_failures: dict[str, int] = {}
        #: Trials changed since they were last taken for the store.
        self.changed: set[int] = set()

    def apply(self, record: Record) -> None:
        """Fold one record."""
        _FOLDS[type(record)](self, record)

    def take_changed(self) -> list[Trial]:
        """The trials that changed since the last call, by index."""
        changed = [self.trials[index] for index in sorted(self.changed)]
        self.changed.clear()
        return changed

    # ------------------------------------------------------------ folds of events

    def _session_started(self, event: SessionStarted) -> None:
        """A new driver: whatever ran under the old one is gone and will run again from its newest checkpoint."""
        self.epoch = event.epoch
        for trial in reversed(self.trials):
            if trial.status in (TrialStatus.RUNNING, TrialStatus.INTERRUPTED):
                self._set(trial.index, status=TrialStatus.PENDING, placement=None, stop_asked=None, reason=None)
        self.pool = SlotPool(event.nodes)
        self.requests.clear()
        self.answered.clear()
        self.stopping.clear()
        self.not_before.clear()
        self.ending, self.interrupt_level, self.is_exhausted = None, 0, False
        self.start_failures.clear()

    def _configs_suggested(self, event: ConfigsSuggested) -> None:
        self.requests.pop(event.request, None)
        self.is_exhausted = event.is_exhausted
        for suggestion in event.suggestions:
            index = len(self.trials)
            trial = Trial(
                index=index,
                trial_id=trial_id(self.spec.experiment_id, index),
                config=suggestion.config,
                proposed_by=suggestion.reason,
                max_t=suggestion.max_t,
            )
            self.trials.append(trial)
            self.pending.append(index)
            self.changed.add(index)

    def _attempt_started(self, event: AttemptStarted) -> None:
        trial = self.trials[event.trial]
        if event.attempt != trial.attempt or trial.status is not TrialStatus.RUNNING:
            return
        started_at = event.at if trial.started_at is None else trial.started_at
        self._set(trial.index, pid=event.pid, node=event.node, started_at=started_at)

    def _trial_reported(self, event: TrialReported) -> None:
        trial = self.trials[event.trial]
        best_value, best_step = self._best_after(trial, event)
        checkpoints = trial.checkpoints
        if event.checkpoint is not None:
            saved = Checkpoint(
                path=event.checkpoint,
                step=event.step,
                attempt=event.attempt,
                score=self._score(event.metrics, event.step, event.time_total_s),
                time_total_s=event.time_total_s,
                metrics=event.metrics,
                best_value=best_value,
                best_step=best_step,
            )
            checkpoints = (*checkpoints, saved)
        self.n_steps += 1
        if self.start_failures:
            self.start_failures.clear()
        for name in event.metrics:
            if name not in self.metrics_seen:
                self.metrics_seen[name] = None
        self._set(
            trial.index,
            n_reports=trial.n_reports + 1,
            step=event.step,
            metrics=event.metrics,
            time_total_s=event.time_total_s,
            reported_at=event.at,
            best_value=best_value,
            best_step=best_step,
            checkpoints=checkpoints,
        )

    def _checkpoint_saved(self, event: CheckpointSaved) -> None:
        trial = self.trials[event.trial]
        saved = Checkpoint(
            path=event.checkpoint,
            step=event.step,
            attempt=event.attempt,
            score=self._score(trial.metrics or {}, event.step, trial.time_total_s),
            time_total_s=trial.time_total_s,
            metrics=trial.metrics,
            best_value=trial.best_value,
            best_step=trial.best_step,
        )
        earlier = tuple(other for other in trial.checkpoints if other.step != event.step)
        self._set(trial.index, checkpoints=(*earlier, saved))

    def _report_refused(self, event: ReportRefused) -> None:
        self.n_late_reports += 1

    def _attempt_ended(self, event: AttemptEnded) -> None:
        trial = self.trials[event.trial]
        if event.attempt != trial.attempt or trial.status is not TrialStatus.RUNNING:
            return
        self.ended[trial.index] = event
        was_told = trial.index in self.answered or trial.index in self.stopping
        is_failure = event.outcome.is_failure and not was_told
        if is_failure and trial.n_reports == 0 and event.error:
            line = last_line(event.error)
            self.start_failures[line] = self.start_failures.get(line, 0) + 1
        self._set(
            trial.index,
            ended_at=event.at,
            error=event.error if event.error is not None else trial.error,
            n_failures=trial.n_failures + is_failure,
            n_losses=trial.n_losses + (event.outcome is AttemptOutcome.LOST),
            n_preemptions=trial.n_preemptions + (event.outcome is AttemptOutcome.PREEMPTED),
        )

    def _interrupt_requested(self, event: InterruptRequested) -> None:
        self.interrupt_level = max(self.interrupt_level, event.level)

    # ------------------------------------------------------------ folds of commands

    def _suggest(self, command: Suggest) -> None:
        self.n_requests = max(self.n_requests, command.request)
        self.requests[command.request] = command.n

    def _start_attempt(self, command: StartAttempt) -> None:
        """The trial stands again where its checkpoint left it: steps above `start_step` are superseded."""
        trial = self.trials[command.trial]
        start = next((saved for saved in trial.checkpoints if saved.path == command.checkpoint), None)
        kept = tuple(saved for saved in trial.checkpoints if saved.step <= command.start_step)
        self.not_before.pop(trial.index, None)
        self._set(
            trial.index,
            status=TrialStatus.RUNNING,
            attempt=command.attempt,
            placement=command.placement,
            step=command.start_step,
            time_total_s=command.start_time_s,
            metrics=start.metrics if start else None,
            best_value=start.best_value if start else None,
            best_step=start.best_step if start else None,
            checkpoints=kept if start else (),
            reason=None,
            stop_asked=None,
            ended_at=None,
        )

    def _answer_report(self, command: AnswerReport) -> None:
        if command.decision.verdict in (Verdict.CONTINUE, Verdict.REFUSE):
            return
        self.stopping.pop(command.trial, None)
        self.answered[command.trial] = command.decision

    def _stop_attempt(self, command: StopAttempt) -> None:
        if command.trial not in self.answered:
            self.stopping[command.trial] = command
        self._set(command.trial, stop_asked=command.reason)

    def _conclude_attempt(self, command: ConcludeAttempt) -> None:
        index = command.trial
        self.ended.pop(index, None)
        self.answered.pop(index, None)
        self.stopping.pop(index, None)
        if command.not_before is not None:
            self.not_before[index] = command.not_before
        self._set(index, status=command.status, placement=None, stop_asked=None, reason=command.reason)

    def _delete_checkpoint(self, command: DeleteCheckpoint) -> None:
        trial = self.trials[command.trial]
        self._set(trial.index, checkpoints=tuple(saved for saved in trial.checkpoints if saved.path != command.path))

    def _end_experiment(self, command: EndExperiment) -> None:
        self.ending = command

    def _nothing(self, record: Record) -> None:
        """A record that is kept for people."""

    # ------------------------------------------------------------ helpers

    def _set(self, index: int, **changes: object) -> None:
        old = self.trials[index]
        new = replace(old, **changes)
        if new.status is not old.status:
            check_transition(old, new.status)
            self._move(index, old.status, new.status)
        if new.placement is not old.placement:
            if old.placement is not None:
                self.pool.release(old.placement)
            if new.placement is not None:
                self.pool.take(new.placement)
        self.trials[index] = new
        self.changed.add(index)

    def _move(self, index: int, old: TrialStatus, new: TrialStatus) -> None:
        if old is TrialStatus.RUNNING:
            self.running.discard(index)
        elif old is TrialStatus.PENDING:
            self.pending.remove(index)
        elif old is TrialStatus.PAUSED:
            self.paused.discard(index)
        if new is TrialStatus.RUNNING:
            self.running.add(index)
        elif new is TrialStatus.PAUSED:
            self.paused.add(index)
        elif new is TrialStatus.PENDING:
            # A trial that has begun goes before one that has not: finish what was started.
            self.pending.appendleft(index)

    def _best_after(self, trial: Trial, event: TrialReported) -> tuple[float | None, int | None]:
        if self.objective is None:
            return trial.best_value, trial.best_step
        value = metric_value(event.metrics, event.step, event.time_total_s, self.objective.metric)
        if value is None or math.isnan(value):
            return trial.best_value, trial.best_step
        if trial.best_value is None or self.objective.mode.is_better(value, trial.best_value):
            return value, event.step
        return trial.best_value, trial.best_step

    def _score(self, metrics: dict[str, float], step: int, time_total_s: float) -> float | None:
        """What retention ranks a checkpoint by, smaller is better."""
        policy, objective = self.spec.checkpoint_policy, self.objective
        if policy.score_metric is not None:
            metric, mode = policy.score_metric, policy.score_mode
        elif objective is not None:
            metric, mode = objective.metric, objective.mode
        else:
            metric, mode = "training_iteration", Mode.MAX
        value = metric_value(metrics, step, time_total_s, metric)
        return None if value is None or math.isnan(value) else mode.as_loss(value)

    def check_invariants(self) -> None:
        """Every sentence beside an attribute above holds."""
        by_status = {status: {t.index for t in self.trials if t.status is status} for status in TrialStatus}
        assert self.running == by_status[TrialStatus.RUNNING], "running"
        assert set(self.pending) == by_status[TrialStatus.PENDING], "pending"
        assert len(self.pending) == len(set(self.pending)), "a trial is queued twice"
        assert self.paused == by_status[TrialStatus.PAUSED], "paused"
        assert set(self.not_before) <= set(self.pending), "not_before"
        assert set(self.answered) <= self.running, "answered"
        assert set(self.stopping) <= self.running, "stopping"
        assert not set(self.answered) & set(self.stopping), "answered and stopping"
        for index, trial in enumerate(self.trials):
            assert trial.index == index
            assert (trial.placement is not None) == (trial.status is TrialStatus.RUNNING), trial
            assert all(a.step < b.step for a, b in zip(trial.checkpoints, trial.checkpoints[1:], strict=False)), trial
        held: Sequence[Placement] = [t.placement for t in self.trials if t.placement is not None]
        self.pool.check_invariants(held)


def trial_id(experiment_id: str, index: int) -> str:
    """Ray Tune's form: 5 hexadecimal digits of the experiment and the trial's number."""
    return f"{experiment_id[:5]}_{index:05d}"


def last_line(error: str) -> str:
    """The line of a traceback that names the error."""
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


_FOLDS: dict[type, Callable[[ExperimentState, Any], None]] = {
    SessionStarted: ExperimentState._session_started,
    ConfigsSuggested: ExperimentState._configs_suggested,
    AttemptStarted: ExperimentState._attempt_started,
    TrialReported: ExperimentState._trial_reported,
    CheckpointSaved: ExperimentState._checkpoint_saved,
    ReportRefused: ExperimentState._report_refused,
    AttemptEnded: ExperimentState._attempt_ended,
    InterruptRequested: ExperimentState._interrupt_requested,
    Suggest: ExperimentState._suggest,
    StartAttempt: ExperimentState._start_attempt,
    AnswerReport: ExperimentState._answer_report,
    StopAttempt: ExperimentState._stop_attempt,
    ConcludeAttempt: ExperimentState._conclude_attempt,
    DeleteCheckpoint: ExperimentState._delete_checkpoint,
    EndExperiment: ExperimentState._end_experiment,
}
