"""Bugs that the campaign must find: each switch breaks one protection of the real code, in this process only."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from tunesmith import rng
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    Command,
    ConcludeAttempt,
    DeleteCheckpoint,
    Event,
    Record,
    ReportRefused,
    SessionStarted,
    StartAttempt,
    Suggest,
    TrialReported,
    Verdict,
)
from tunesmith.experiment import Experiment, SlotPool, experiment, retention
from tunesmith.experiment import state as states
from tunesmith.experiment.judgement import Judgement
from tunesmith.experiment.state import ExperimentState
from tunesmith.protocols import History
from tunesmith.runner.loop import Loop
from tunesmith.schedulers.rung import Rung
from tunesmith.space import space
from tunesmith.stores import lease
from tunesmith.trial import TrialStatus
from tunesmith.trialside import checkpoint

Patch = tuple[Any, str, Any]


class Bug(Enum):
    """One protection that is missing; the value says which."""

    ACT_BEFORE_COMMIT = "acting before committing"
    COMMIT_WITHOUT_EVENTS = "committing without the events"
    IGNORE_EPOCH = "ignoring the epoch"
    IGNORE_ATTEMPT = "ignoring the attempt number"
    STORE_LATE_REPORT = "storing a late report"
    LOSE_LAST_REPORT = "losing the last report before a stop"
    START_TWICE = "starting a trial twice after a crash"
    FORGET_PENDING = "forgetting a pending suggestion"
    REUSE_STREAM = "reusing a random stream"
    WRONG_STEP_AFTER_THAW = "wrong step after a thaw"
    SUPERSEDED_VISIBLE = "superseded steps left visible"
    DELETE_IN_USE = "deleting a checkpoint in use"
    ROW_BEFORE_RENAME = "committing a checkpoint row before its rename"
    NO_FSYNC = "no fsync of a checkpoint"
    NAN_IN_RUNG = "NaN into a rung"
    SLOT_LEAKED = "a slot leaked by a failed start"
    SLOT_TWICE = "a slot given twice"
    DEADLINE_NEVER = "a deadline never fired"
    STOP_WRONG_TRIAL = "stopping the wrong trial"
    COUNTER_RESTARTS = "a counter that restarts at a resume"
    THAW_UNASKED = "thawing before the searcher is asked"


@contextmanager
def plant(bug: Bug | None) -> Iterator[None]:
    """Break the protection while the block runs."""
    with ExitStack() as stack:
        for target, name, value in _PATCHES[bug]() if bug is not None else ():
            stack.enter_context(patch.object(target, name, value))
        yield


# ---------------------------------------------------------------- loop and store


def _act_before_commit() -> list[Patch]:
    def one_pass(self: Any, events: Sequence[Event]) -> None:
        records = self.experiment.handle(events, now=self._clock.now())
        if records:
            self._executor.carry_out([record for record in records if isinstance(record, Command)])
            self._store.append(records, self.experiment.state.take_changed())
            _carry_out_rest(self, records)

    return [(Loop, "_pass", one_pass)]


def _commit_without_events() -> list[Patch]:
    def one_pass(self: Any, events: Sequence[Event]) -> None:
        records = self.experiment.handle(events, now=self._clock.now())
        if records:
            kept = [record for record in records if isinstance(record, Command | SessionStarted)]
            self._store.append(kept, self.experiment.state.take_changed())
            self._executor.carry_out([record for record in records if isinstance(record, Command)])
            _carry_out_rest(self, records)

    return [(Loop, "_pass", one_pass)]


def _carry_out_rest(loop: Any, records: Sequence[Record]) -> None:
    for record in records:
        if isinstance(record, Suggest):
            loop._suggester.ask(record, loop.experiment.history())
        elif isinstance(record, DeleteCheckpoint):
            loop._delete_checkpoint(record)
    loop._after_pass()


def _start_twice() -> list[Patch]:
    """What the log says was started is carried out anew by the next driver, before it starts it by itself."""
    real = Loop.run

    def run(self: Any, epoch: int) -> None:
        starts = [record for record in self._store.records() if isinstance(record, StartAttempt)]
        running = self.experiment.state.running
        newest = {start.trial: start for start in starts if start.trial in running}
        self._executor.carry_out(list(newest.values()))
        real(self, epoch)

    return [(Loop, "run", run)]


# ---------------------------------------------------------------- reports and attempts


def _ignore_attempt() -> list[Patch]:
    def runs(self: ExperimentState, index: int, attempt: int) -> bool:
        trial = self.find(index)
        return trial is not None and trial.status is TrialStatus.RUNNING

    return [(ExperimentState, "runs", runs)]


def _store_late_report() -> list[Patch]:
    real = experiment.judge_report

    def judge(state: ExperimentState, event: TrialReported, *, is_strict: bool) -> Judgement:
        judgement = real(state, event, is_strict=is_strict)
        is_late = isinstance(judgement.instead, ReportRefused) and event.trial in state.answered
        return Judgement(judgement.decision) if is_late and event.step > state.trials[event.trial].step else judgement

    return [(experiment, "judge_report", judge)]


def _lose_last_report() -> list[Patch]:
    real = Experiment._on_report

    def on_report(self: Any, event: TrialReported) -> None:
        n_before = len(self._out)
        real(self, event)
        answers = [r for r in self._out[n_before:] if isinstance(r, AnswerReport)]
        if answers and answers[0].decision.verdict is Verdict.STOP:
            self._out[n_before:] = [r for r in self._out[n_before:] if not isinstance(r, TrialReported | AnswerReport)]
            self._lost = [*getattr(self, "_lost", []), *answers]

    real_handle = Experiment.handle

    def handle(self: Any, events: Sequence[Event], now: float) -> list[Record]:
        records = real_handle(self, events, now)
        lost, self._lost = getattr(self, "_lost", []), []
        return records + lost

    return [(Experiment, "_on_report", on_report), (Experiment, "handle", handle)]


def _stop_wrong_trial() -> list[Patch]:
    real = Experiment._record

    def record(self: Any, item: Record) -> None:
        if isinstance(item, AnswerReport) and item.decision.verdict is Verdict.STOP:
            others = sorted(self.state.running - {item.trial})
            if others:
                other = self.state.trials[others[0]]
                item = replace(item, trial=other.index, attempt=other.attempt, step=other.step)
        real(self, item)

    return [(Experiment, "_record", record)]


def _counter_restarts() -> list[Patch]:
    real = states._FOLDS[SessionStarted]

    def fold(self: ExperimentState, event: SessionStarted) -> None:
        real(self, event)
        for trial in self.trials:
            self.trials[trial.index] = replace(trial, n_failures=0)

    return [_fold_patch(SessionStarted, fold)]


def _fold_patch(kind: type, fold: Callable[[Any, Any], None]) -> Patch:
    return states, "_FOLDS", {**states._FOLDS, kind: fold}


# ---------------------------------------------------------------- configs


def _forget_pending() -> list[Patch]:
    real = Experiment.history

    def history(self: Experiment) -> History:
        found = real(self)
        return replace(found, trials=tuple(t for t in found.trials if t.status is not TrialStatus.PENDING))

    return [(Experiment, "history", history)]


def _reuse_stream() -> list[Patch]:
    return [(space, "generator", lambda seed, purpose, index=0: rng.generator(seed, purpose, index // 2))]


# ---------------------------------------------------------------- checkpoints and steps


def _wrong_step_after_thaw() -> list[Patch]:
    real = Experiment._record

    def record(self: Any, item: Record) -> None:
        is_thaw = isinstance(item, StartAttempt) and self.state.trials[item.trial].status is TrialStatus.PAUSED
        real(self, replace(item, start_step=item.start_step - 1) if is_thaw else item)

    return [(Experiment, "_record", record)]


def _superseded_visible() -> list[Patch]:
    real = states._FOLDS[StartAttempt]

    def fold(self: ExperimentState, command: StartAttempt) -> None:
        before = self.trials[command.trial]
        real(self, command)
        trial = self.trials[command.trial]
        self.trials[command.trial] = replace(trial, best_value=before.best_value, best_step=before.best_step)

    return [_fold_patch(StartAttempt, fold)]


def _delete_in_use() -> list[Patch]:
    real = retention.surplus_checkpoints
    return [(retention, "surplus_checkpoints", lambda saved, policy, in_use=(): real(saved, policy))]


def _row_before_rename() -> list[Patch]:
    """The folder is named in the report, and gets that name only when the next one is begun."""
    real_begin, real_finish = checkpoint.begin_folder, checkpoint.finish_folder
    unfinished: list[tuple[Any, object]] = []

    def begin(trial_dir: Any, label: object, attempt: int) -> Any:
        if unfinished and unfinished[0][0]._disk is trial_dir._disk:
            real_finish(*unfinished.pop())
        unfinished.clear()
        return real_begin(trial_dir, label, attempt)

    def finish(partial: Any, label: object) -> Any:
        unfinished.append((partial, label))
        return partial.with_name(f"checkpoint_{label:06d}")

    return [(checkpoint, "begin_folder", begin), (checkpoint, "finish_folder", finish)]


# ---------------------------------------------------------------- rungs, slots, deadlines


def _nan_in_rung() -> list[Patch]:
    def add(self: Rung, score: float) -> None:
        if math.isinf(score):
            self.n_worst += 1
        else:
            insort(self.scores, score)

    return [(Rung, "add", add)]


def _slot_leaked() -> list[Patch]:
    """An attempt that ends before its start was heard of keeps its slot."""
    real_ended, real_release = states._FOLDS[AttemptEnded], SlotPool.release
    unborn: list[Any] = []

    def fold(self: ExperimentState, event: AttemptEnded) -> None:
        real_ended(self, event)
        trial = self.trials[event.trial]
        if trial.started_at is None:
            unborn.append(trial.placement)

    def release(self: SlotPool, placement: Any) -> None:
        if any(placement is other for other in unborn):
            unborn.clear()
        else:
            real_release(self, placement)

    return [_fold_patch(AttemptEnded, fold), (SlotPool, "release", release)]


def _slot_twice() -> list[Patch]:
    """The slot is given away when the trial is told to stop, not when its process is gone."""
    real_answer, real_conclude = states._FOLDS[AnswerReport], states._FOLDS[ConcludeAttempt]

    def answer(self: ExperimentState, command: AnswerReport) -> None:
        was_told = command.trial in self.answered
        real_answer(self, command)
        placement = self.trials[command.trial].placement
        if command.trial in self.answered and not was_told and placement is not None:
            self.pool.release(placement)

    def conclude(self: ExperimentState, command: ConcludeAttempt) -> None:
        placement = self.trials[command.trial].placement
        if command.trial in self.answered and placement is not None:
            self.pool.take(placement)
        real_conclude(self, command)

    return [(states, "_FOLDS", {**states._FOLDS, AnswerReport: answer, ConcludeAttempt: conclude})]


_PATCHES: dict[Bug, Callable[[], list[Patch]]] = {
    Bug.ACT_BEFORE_COMMIT: _act_before_commit,
    Bug.COMMIT_WITHOUT_EVENTS: _commit_without_events,
    Bug.IGNORE_EPOCH: lambda: [(lease, "check_epoch", lambda cursor, epoch: None)],
    Bug.IGNORE_ATTEMPT: _ignore_attempt,
    Bug.STORE_LATE_REPORT: _store_late_report,
    Bug.LOSE_LAST_REPORT: _lose_last_report,
    Bug.START_TWICE: _start_twice,
    Bug.FORGET_PENDING: _forget_pending,
    Bug.REUSE_STREAM: _reuse_stream,
    Bug.WRONG_STEP_AFTER_THAW: _wrong_step_after_thaw,
    Bug.SUPERSEDED_VISIBLE: _superseded_visible,
    Bug.DELETE_IN_USE: _delete_in_use,
    Bug.ROW_BEFORE_RENAME: _row_before_rename,
    Bug.NO_FSYNC: lambda: [(checkpoint, "_sync_tree", lambda folder: None)],
    Bug.NAN_IN_RUNG: _nan_in_rung,
    Bug.SLOT_LEAKED: _slot_leaked,
    Bug.SLOT_TWICE: _slot_twice,
    Bug.DEADLINE_NEVER: lambda: [(Experiment, "next_deadline", lambda self: math.inf)],
    Bug.STOP_WRONG_TRIAL: _stop_wrong_trial,
    Bug.COUNTER_RESTARTS: _counter_restarts,
    Bug.THAW_UNASKED: lambda: [(Experiment, "_waits_in_vain", lambda self: not self.state.running)],
}
