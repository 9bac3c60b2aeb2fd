"""From records to hooks: folds the log as the experiment does, and tells a callback what each record means."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    CheckpointSaved,
    ConcludeAttempt,
    Decision,
    Record,
    StartAttempt,
    TrialReported,
    Verdict,
)
from tunesmith.experiment.state import ExperimentState
from tunesmith.hooks.callback import Callback
from tunesmith.hooks.live_trial import LiveTrial
from tunesmith.stores import Reader, open_reader
from tunesmith.trial import AttemptOutcome, TrialStatus

_log = logging.getLogger("tunesmith")
_PAGE = 2000
_ENDS = (Verdict.STOP, Verdict.COMPLETE)
_HOOKS_OF_ENDS = {
    TrialStatus.COMPLETED: "on_trial_complete",
    TrialStatus.STOPPED: "on_trial_complete",
    TrialStatus.FAILED: "on_trial_error",
    TrialStatus.INVALID: "on_trial_error",
    TrialStatus.PAUSED: "on_trial_pause",
}
_NO_FAULT = (AttemptOutcome.RETURNED, AttemptOutcome.STOPPED)


class HookCaller:
    """A record callback that calls the hooks of a `Callback`. What a hook raises is raised."""

    def __init__(self, callback: Callback, *, after_seq: int = 0) -> None:
        """Args: after_seq: what the log holds up to here is folded, so that trials are known, and not told."""
        self._callback, self._after_seq = callback, after_seq
        self._reader: Reader | None = None
        self._state: ExperimentState | None = None
        self._iteration = 0
        #: All of the experiment, by index. The list is handed to the hooks as it is.
        self.trials: list[LiveTrial] = []
        #: Reports whose answer has not come by yet (it follows in the same pass), and whether they are told; by trial.
        self._unanswered: dict[int, tuple[TrialReported, bool]] = {}
        self._outcomes: dict[int, AttemptOutcome] = {}  #: of the attempts that ended and are not concluded

    def setup(self, folder: Path) -> None:
        """Open the experiment, catch up silently, and call the callback's `setup`."""
        reader = self._reader = open_reader(folder)
        spec = reader.spec
        self._state = ExperimentState(spec, spec.objective)
        cursor = 0
        while cursor < self._after_seq and (page := reader.records(cursor, _PAGE)):
            cursor = page[-1][0]
            for seq, record in page:
                if seq <= self._after_seq:
                    self.take(record, is_told=False)
        self.call(
            "setup",
            stop=None,
            num_samples=spec.n_trials,
            total_num_samples=spec.n_trials,
            experiment_id=spec.experiment_id,
            experiment_name=spec.name,
            folder=reader.folder,
        )

    def on_records(self, records: Sequence[Record]) -> None:
        """Tell what these records mean."""
        self.begin_step()
        for record in records:
            self.take(record)
        self.end_step()

    def on_end(self) -> None:
        """Tell of the session's end."""
        try:
            self.call("on_experiment_end", trials=self.trials)
        finally:
            self.close()

    def close(self) -> None:
        """Free the experiment's file. Idempotent."""
        if self._reader is not None:
            self._reader.close()

    def begin_step(self) -> None:
        """Before some records."""
        self._iteration += 1
        self.call("on_step_begin", iteration=self._iteration, trials=self.trials)

    def end_step(self) -> None:
        """After them."""
        for index in list(self._unanswered):
            self._tell_result(index, Decision())
        self.call("on_step_end", iteration=self._iteration, trials=self.trials)

    def take(self, record: Record, *, is_told: bool = True) -> None:
        """Fold one record; where `is_told`, call the hooks for it."""
        assert self._state is not None
        index: int | None = getattr(record, "trial", None)
        if index is not None and index in self._unanswered and not isinstance(record, AnswerReport):
            self._tell_result(index, Decision())
        self._state.apply(record)
        self._refresh()
        if index is None:
            return
        self._note(record, index, is_told=is_told)
        if is_told:
            self._tell(record, index)

    def call(self, hook: str, **arguments: Any) -> Any:
        """Call one hook. By keywords, as Ray Tune does: hooks may take those only that they need, in any order."""
        return getattr(self._callback, hook)(**arguments)

    def _refresh(self) -> None:
        assert self._state is not None and self._reader is not None
        for trial in self._state.take_changed():
            if trial.index == len(self.trials):
                self.trials.append(LiveTrial(trial, self._reader))
            else:
                self.trials[trial.index].update(trial)

    def _note(self, record: Record, index: int, *, is_told: bool) -> None:
        match record:
            case StartAttempt():
                self.trials[index].begin(record)
                self._outcomes.pop(index, None)
            case AttemptEnded():
                self._outcomes[index] = record.outcome
            case TrialReported():
                self._unanswered[index] = (record, is_told)
            case AnswerReport() if index in self._unanswered:
                report = self._unanswered[index][0]
                if (report.attempt, report.step) == (record.attempt, record.step):
                    self._tell_result(index, record.decision)

    def _tell(self, record: Record, index: int) -> None:
        trial = self.trials[index]
        match record:
            case StartAttempt():
                self._tell_of(trial, "on_trial_start")
                if record.checkpoint is not None:
                    self._tell_of(trial, "on_trial_restore")
            case CheckpointSaved():
                self._tell_save(trial)
            case ConcludeAttempt():
                outcome = self._outcomes.pop(index, None)
                if (hook := _HOOKS_OF_ENDS.get(record.status)) is not None:
                    self._tell_of(trial, hook)
                elif record.status is TrialStatus.PENDING and outcome not in (None, *_NO_FAULT):
                    self._tell_of(trial, "on_trial_recover")

    def _tell_result(self, index: int, decision: Decision) -> None:
        (report, is_told), trial = self._unanswered.pop(index), self.trials[index]
        trial.report(report, decision, is_last=report.is_last or decision.verdict in _ENDS)
        if not is_told:
            return
        self._tell_of(trial, "on_trial_result", result=dict(trial.last_result))  # it may be changed by the hook
        if report.checkpoint is not None:
            self._tell_save(trial)

    def _tell_save(self, trial: LiveTrial) -> None:
        self._tell_of(trial, "on_trial_save")
        self._tell_of(trial, "on_checkpoint", checkpoint=trial.checkpoint)

    def _tell_of(self, trial: LiveTrial, hook: str, **arguments: Any) -> None:
        self.call(hook, iteration=self._iteration, trials=self.trials, trial=trial, **arguments)


class ForgivingCaller(HookCaller):
    """Logs the first exception of a callback with its traceback, counts the others, and goes on with the next hook."""

    def __init__(self, callback: Callback, *, after_seq: int = 0) -> None:
        super().__init__(callback, after_seq=after_seq)
        self._n_raised = 0

    def call(self, hook: str, **arguments: Any) -> Any:
        """See HookCaller; raises nothing that is an Exception."""
        try:
            return super().call(hook, **arguments)
        except Exception:
            self._n_raised += 1
            if self._n_raised == 1:
                _log.warning(
                    "%s() of %s raised. It is called further; what else it raises is only counted.",
                    hook,
                    type(self._callback).__name__,
                    exc_info=True,
                )
            return None

    def on_end(self) -> None:
        """See HookCaller; says how often the callback raised."""
        super().on_end()
        if self._n_raised > 1:
            _log.warning("%s raised %d times in all.", type(self._callback).__name__, self._n_raised)
