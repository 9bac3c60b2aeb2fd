"""The fold: how each record changes what is known. Live and in replay it is the same code; nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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
    NodeLost,
    NodeOffered,
    QuarantineNode,
    Record,
    ReportRefused,
    SessionStarted,
    StartAttempt,
    StopAttempt,
    Suggest,
    TrialReported,
    Verdict,
)
from tunesmith.experiment.cloning import Borrowing, cloned, own_checkpoints
from tunesmith.experiment.failures import Failures
from tunesmith.experiment.pace import Pace
from tunesmith.experiment.slots import SlotPool
from tunesmith.experiment.trial_table import TrialTable
from tunesmith.experiment.values import best_after, checkpoint_score, with_fold
from tunesmith.resources import Resources
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import AttemptOutcome, Checkpoint, Objective, Trial, TrialStatus

_STATUS_AFTER = {
    Verdict.STOP: TrialStatus.STOPPED,
    Verdict.COMPLETE: TrialStatus.COMPLETED,
    Verdict.PAUSE: TrialStatus.PAUSED,
    Verdict.CLONE: TrialStatus.PENDING,
}
#: What an attempt may be told that is no end of its trial: where its driver dies first, it runs again.
_NO_END = (TrialStatus.INTERRUPTED, TrialStatus.PENDING, TrialStatus.FAILED)


class Told(NamedTuple):
    """An answer that ends an attempt, and the state it leaves the trial in."""

    decision: Decision
    status: TrialStatus


class ExperimentState(TrialTable):
    """All that is known about an experiment. Only `apply` changes it."""

    def __init__(self, spec: ExperimentSpec, objective: Objective | None) -> None:
        super().__init__()
        self.spec = spec
        self.objective = objective
        #: Earliest start of pending trials that must wait, on the experiment's clock; a subset of `pending`.
        self.not_before: dict[int, float] = {}
        #: What an attempt was answered that ends it, the first such answer; keys are a subset of `running`.
        self.answered: dict[int, Told] = {}
        #: Attempts told to stop that have not been answered since; a subset of `running`, disjoint from `answered`.
        self.stopping: dict[int, StopAttempt] = {}
        #: The checkpoint that a running attempt started from, where there is one; keys are a subset of `running`.
        self.in_use: dict[int, str] = {}
        self.borrowing = Borrowing()
        #: What trials were given in this session, where that is not what the experiment gives each.
        self.resources: dict[int, Resources] = {}
        #: Attempts that ended and wait for their conclusion; empty between passes.
        self.ended: dict[int, AttemptEnded] = {}
        #: Suggest commands without an answer, by request. At most one.
        self.requests: dict[int, Suggest] = {}
        self.n_requests = 0
        #: Counts what a searcher may learn from: results and conclusions.
        self.n_news = 0
        self._n_news_at_request = 0
        #: `n_news` as of the last request, if it was answered with no config: ask again only when there is more.
        self.waits_since: int | None = None
        self.is_exhausted = False
        self.exhausted_note: str | None = None
        self.sampling_error: str | None = None  #: why the space cannot be sampled; only while `is_exhausted`
        self.ending: EndExperiment | None = None
        self.interrupt_level = 0
        self.epoch = 0
        self.n_late_reports = 0
        self.n_stand_ins = 0  #: configs that random search gave in place of the searcher
        self.n_steps = 0  #: results stored in this experiment, the unit of max_total_steps
        self.metrics_seen: dict[str, None] = {}  #: in the order of first appearance
        self.failures = Failures()
        self.pace = Pace()

    def apply(self, record: Record) -> None:
        """Fold one record."""
        _FOLDS[type(record)](self, record)

    @property
    def is_waiting(self) -> bool:
        """Whether the searcher had no config, and nothing it could learn from has happened since it was asked."""
        return self.waits_since is not None and self.waits_since == self.n_news

    def needed_checkpoints(self) -> set[str]:
        """Paths that no retention may delete: attempts run from them, or clones need them."""
        return {*self.in_use.values(), *self.borrowing.paths()}

    # ------------------------------------------------------------ folds of events

    def _session_started(self, event: SessionStarted) -> None:
        """A new driver: whatever ran under the old one is gone and will run again from its newest checkpoint.

        Except what had been told to end: those trials stay RUNNING, without a place, until the records that follow
        conclude them as they were told.
        """
        self.epoch = event.epoch
        for trial in self.trials:
            if trial.index in self.running and self.status_told(trial.index) is not None:
                self._set(trial.index, placement=None)
            elif trial.status in (TrialStatus.RUNNING, TrialStatus.INTERRUPTED):
                self._set(trial.index, status=TrialStatus.PENDING, placement=None, stop_asked=None, reason=None)
                self.answered.pop(trial.index, None)
                self.stopping.pop(trial.index, None)
        for index in event.reruns:
            self.failures.forgive(self.trials[index])
            self._set(index, status=TrialStatus.PENDING, reason=None)
            if event.is_from_scratch:
                self._set(index, checkpoints=own_checkpoints(self.trials[index]))
        for index in list(self.borrowing.loans):
            self.borrowing.drop_unless_newest(self.trials[index])
        self.pool = SlotPool(event.nodes)
        for forgotten in (self.ended, self.requests, self.not_before, self.in_use, self.resources):
            forgotten.clear()
        self.ending, self.interrupt_level = None, 0
        self.thaws.clear()
        self.waits_since, self.is_exhausted, self.exhausted_note, self.sampling_error = None, False, None, None
        self.failures.begin_session()

    def _configs_suggested(self, event: ConfigsSuggested) -> None:
        request = self.requests.pop(event.request, None)
        if request is not None and request.instead_of is None:
            self.pace.note_answer(event.cpu_s, len(event.suggestions) + len(event.thaws))
        self.is_exhausted = event.is_exhausted
        self.exhausted_note = event.note if event.is_exhausted else None
        self.sampling_error = event.error
        self.n_stand_ins += len(event.suggestions) if event.note is not None else 0
        is_idle = not (event.suggestions or event.thaws or event.stops or event.is_exhausted)
        self.waits_since = self._n_news_at_request if is_idle else None
        for thaw in event.thaws:
            if thaw.max_t is not None:
                self._set(thaw.trial, max_t=thaw.max_t)
            if thaw.trial in self.paused and thaw.trial not in self.thaws:
                self.thaws.append(thaw.trial)
        for suggestion in event.suggestions:
            index = len(self.trials)
            trial = Trial(
                index=index,
                trial_id=trial_id(self.spec.experiment_id, index),
                config=suggestion.config,
                proposed_by=suggestion.reason,
                max_t=suggestion.max_t,
            )
            self._add(trial)

    def _attempt_started(self, event: AttemptStarted) -> None:
        trial = self.trials[event.trial]
        started_at = event.at if trial.started_at is None else trial.started_at
        self._set(trial.index, pid=event.pid, node=event.node, started_at=started_at)

    def _trial_reported(self, event: TrialReported) -> None:
        trial = self.trials[event.trial]
        if "fold" in event.metrics:
            trial = with_fold(self.objective, trial, event)
        best_value, best_step = best_after(self.objective, trial, event)
        self.n_steps += 1
        self.n_news += 1
        self.failures.note_success(trial)
        self.failures.note_step(trial.index, event.step)
        for name in event.metrics:
            if name not in self.metrics_seen:
                self.metrics_seen[name] = None
        # What `_set` does, without asking what a report cannot change: a resume folds a million of these.
        self.trials[trial.index] = replace(
            trial,
            n_reports=trial.n_reports + 1,
            step=event.step,
            metrics=event.metrics,
            time_total_s=event.time_total_s,
            reported_at=event.at,
            best_value=best_value,
            best_step=best_step,
        )
        self.changed.add(trial.index)
        if event.checkpoint is not None:
            self._add_checkpoint(trial.index, event.checkpoint)

    def _checkpoint_saved(self, event: CheckpointSaved) -> None:
        self._add_checkpoint(event.trial, event.checkpoint)

    def _add_checkpoint(self, index: int, path: str) -> None:
        """The folder was saved for the trial's last step; it takes the place of another one of that step."""
        trial = self.trials[index]
        metrics = trial.metrics or {}
        saved = Checkpoint(
            path=path,
            step=trial.step,
            attempt=trial.attempt,
            score=checkpoint_score(
                self.spec.checkpoint_policy, self.objective, metrics, trial.step, trial.time_total_s
            ),
            time_total_s=trial.time_total_s,
            metrics=trial.metrics,
            best_value=trial.best_value,
            best_step=trial.best_step,
            folds=trial.folds,
        )
        earlier = tuple(other for other in own_checkpoints(trial) if other.step != trial.step)
        self._set(index, checkpoints=(*earlier, saved))

    def _report_refused(self, event: ReportRefused) -> None:
        self.n_late_reports += 1

    def _attempt_ended(self, event: AttemptEnded) -> None:
        trial = self.trials[event.trial]
        self.ended[trial.index] = event
        is_given_up = self.is_given_up(event)
        was_told = (trial.index in self.answered or trial.index in self.stopping) and not is_given_up
        is_failure = (event.outcome.is_failure or is_given_up) and not was_told
        error = self.error_of(event)
        if event.outcome is AttemptOutcome.RETURNED and not is_given_up:
            self.failures.note_success(trial)
        is_strike = is_failure and not is_given_up and self._is_to_blame(trial)
        is_failure = is_failure and not is_strike
        if is_strike:
            self.failures.note_strike(trial, error)
        elif is_failure:
            self.failures.note_failure(trial, event.outcome, error)
        if event.outcome is AttemptOutcome.LOST or (
            event.outcome is AttemptOutcome.STOPPED and not was_told and not is_given_up
        ):
            self.failures.note_loss(trial)
        self._set(
            trial.index,
            ended_at=event.at,
            error=error if error is not None else trial.error,
            n_failures=trial.n_failures + is_failure,
            n_losses=trial.n_losses + (event.outcome is AttemptOutcome.LOST),
            n_preemptions=trial.n_preemptions + (event.outcome is AttemptOutcome.PREEMPTED),
        )

    def _interrupt_requested(self, event: InterruptRequested) -> None:
        self.interrupt_level = max(self.interrupt_level, event.level)

    def _node_lost(self, event: NodeLost) -> None:
        """The node and what it had to give are gone; the records that follow conclude its attempts."""
        self.pool.drop(event.node)
        for index in self.running:
            trial = self.trials[index]
            if trial.placement is not None and trial.placement.node == event.node:
                self._set(index, n_preemptions=trial.n_preemptions + 1)

    def _node_offered(self, event: NodeOffered) -> None:
        self.pool.offer(event.node)

    def _is_to_blame(self, trial: Trial) -> bool:
        """Whether the trial's failure is put down to its node: nothing ever reported there, and there is another."""
        node = None if trial.placement is None else trial.placement.node
        if node is None or node in self.failures.good_nodes:
            return False
        return self.pool.has_other(node, self.spec.resources)

    # ------------------------------------------------------------ folds of commands

    def _suggest(self, command: Suggest) -> None:
        self._n_news_at_request = self.n_news
        self.waits_since = None
        self.n_requests = max(self.n_requests, command.request)
        if command.instead_of is not None:
            self.requests.pop(command.instead_of, None)
        self.requests[command.request] = command

    def _start_attempt(self, command: StartAttempt) -> None:
        """The trial stands again where its checkpoint left it: steps above `start_step` are superseded."""
        trial = self.trials[command.trial]
        if command.donor is not None:
            trial = cloned(trial, command, promise=self.borrowing.promises.get(trial.index), trials=self.trials)
            self.failures.losses.pop(trial.index, None)
        start = next((saved for saved in trial.checkpoints if saved.path == command.checkpoint), None)
        kept = tuple(saved for saved in trial.checkpoints if saved.step <= command.start_step)
        self.not_before.pop(trial.index, None)
        if command.checkpoint is not None:
            self.in_use[trial.index] = command.checkpoint
        self.borrowing.note_start(trial.index, start)
        self.resources.pop(trial.index, None)
        if command.placement.resources != self.spec.resources:
            self.resources[trial.index] = command.placement.resources
        self._set(
            trial.index,
            config=trial.config,
            status=TrialStatus.RUNNING,
            attempt=command.attempt,
            placement=command.placement,
            step=command.start_step,
            time_total_s=command.start_time_s,
            metrics=start.metrics if start else None,
            best_value=start.best_value if start else None,
            best_step=start.best_step if start else None,
            folds=start.folds if start else (),
            checkpoints=kept if start else (),
            reason=None,
            stop_asked=None,
            ended_at=None,
        )

    def _answer_report(self, command: AnswerReport) -> None:
        """An answer that ends the attempt; the first one stands. Answers to superseded attempts change nothing."""
        decision = command.decision
        if decision.verdict in (Verdict.CONTINUE, Verdict.REFUSE) or command.trial in self.answered:
            return
        if not self.runs(command.trial, command.attempt):
            return
        stop = self.stopping.pop(command.trial, None)
        status = _STATUS_AFTER[decision.verdict]
        if stop is not None and decision == as_told(stop):
            status = stop.status_after
        self.answered[command.trial] = Told(decision, status)
        if decision.clone is not None and decision.verdict is Verdict.CLONE:
            self.borrowing.note_answer(command.trial, decision.clone, trials=self.trials)

    def _stop_attempt(self, command: StopAttempt) -> None:
        """An attempt that was answered already ends as it was answered."""
        if command.trial not in self.answered:
            self.stopping[command.trial] = command
        self._set(command.trial, stop_asked=command.reason)

    def _conclude_attempt(self, command: ConcludeAttempt) -> None:
        index = command.trial
        self.ended.pop(index, None)
        self.answered.pop(index, None)
        self.stopping.pop(index, None)
        self.in_use.pop(index, None)
        self.failures.struck.discard(index)
        self.borrowing.note_conclusion(self.trials[index], command.status)
        self.n_news += 1
        self.pace.note_conclusion(index, command.status, command.held_s)
        if command.status.is_over:
            self.failures.losses.pop(index, None)
        if command.not_before is not None:
            self.not_before[index] = command.not_before
        self._set(index, status=command.status, placement=None, stop_asked=None, reason=command.reason)

    def _delete_checkpoint(self, command: DeleteCheckpoint) -> None:
        for index in (command.trial, *self.borrowing.note_deletion(command.trial, command.path)):
            left = tuple(saved for saved in self.trials[index].checkpoints if saved.path != command.path)
            self._set(index, checkpoints=left)
            self.borrowing.drop_unless_newest(self.trials[index])

    def _quarantine_node(self, command: QuarantineNode) -> None:
        self.pool.quarantine(command.node)

    def _end_experiment(self, command: EndExperiment) -> None:
        self.ending = command

    # ------------------------------------------------------------ helpers

    def status_told(self, index: int) -> TrialStatus | None:
        """The final or paused state that a running attempt was told to leave its trial in; None if it may go on."""
        told, stop = self.answered.get(index), self.stopping.get(index)
        status = told.status if told is not None else stop.status_after if stop is not None else None
        return None if status in _NO_END else status

    def is_given_up(self, event: AttemptEnded) -> bool:
        """Whether the attempt was told to end because it had failed, and did not come to its end by itself."""
        told, stop = self.answered.get(event.trial), self.stopping.get(event.trial)
        if told is not None:
            return told.status is TrialStatus.FAILED
        has_returned = event.outcome is AttemptOutcome.RETURNED
        return stop is not None and stop.status_after is TrialStatus.FAILED and not has_returned

    def error_of(self, event: AttemptEnded) -> str | None:
        """What the attempt's error is: for one that was given up, also why; before its end is concluded."""
        if not self.is_given_up(event):
            return event.error
        told, stop = self.answered.get(event.trial), self.stopping.get(event.trial)
        reason = told.decision.words() if told is not None else stop.reason if stop is not None else ""
        return f"{event.error.rstrip()}\n{reason}" if event.error else reason

    @property
    def has_tripped(self) -> bool:
        """Whether so many trials failed alike, none having reported in this session, that nothing more is started."""
        return self.failures.alike()[1] >= self.spec.n_alike_failures


def as_told(stop: StopAttempt) -> Decision:
    """The answer to a report that has no other reason to end the attempt than that it was told to end."""
    return Decision(Verdict.STOP, "{why}", {"why": stop.reason})


def trial_id(experiment_id: str, index: int) -> str:
    """Ray Tune's form: 5 hexadecimal digits of the experiment and the trial's number."""
    return f"{experiment_id[:5]}_{index:05d}"


_FOLDS: dict[type, Callable[[ExperimentState, Any], None]] = {
    SessionStarted: ExperimentState._session_started,
    ConfigsSuggested: ExperimentState._configs_suggested,
    AttemptStarted: ExperimentState._attempt_started,
    TrialReported: ExperimentState._trial_reported,
    CheckpointSaved: ExperimentState._checkpoint_saved,
    ReportRefused: ExperimentState._report_refused,
    AttemptEnded: ExperimentState._attempt_ended,
    InterruptRequested: ExperimentState._interrupt_requested,
    NodeLost: ExperimentState._node_lost,
    NodeOffered: ExperimentState._node_offered,
    Suggest: ExperimentState._suggest,
    StartAttempt: ExperimentState._start_attempt,
    AnswerReport: ExperimentState._answer_report,
    StopAttempt: ExperimentState._stop_attempt,
    ConcludeAttempt: ExperimentState._conclude_attempt,
    DeleteCheckpoint: ExperimentState._delete_checkpoint,
    QuarantineNode: ExperimentState._quarantine_node,
    EndExperiment: ExperimentState._end_experiment,
}
