"""The one process of a study that writes: answers what it and the others ask, each answer after its commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import assert_never

from msgspec.structs import replace

from tunesmith.clock import Clock
from tunesmith.errors import (
    ExperimentExistsError,
    LeaseError,
    ReportError,
    SpaceError,
    StudyExhausted,
    StudyWaiting,
    TunesmithError,
)
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    Decision,
    Event,
    Record,
    SessionStarted,
    StartAttempt,
    Suggest,
    TrialReported,
    Verdict,
)
from tunesmith.experiment.values import is_same
from tunesmith.protocols import Searcher
from tunesmith.runner.study_experiment import STUDY_NODE, StudyExperiment
from tunesmith.runner.study_frames import Answer, Ask, Done, Handed, Holder, Judged, Leave, Look, Question, Report, Tell
from tunesmith.runner.study_holders import Holders, is_gone
from tunesmith.runner.suggester import answer
from tunesmith.space import Space
from tunesmith.stores import SqliteStore
from tunesmith.stores.codec import config_text
from tunesmith.trial import AttemptOutcome, Trial, TrialStatus
from tunesmith.trialside.functions import ANONYMOUS_METRIC
from tunesmith.trialside.wire import FrameError, decode_numbers

_CLOSE_TIMEOUT_S = 30.0
_FILLED_IN = ("training_iteration", "time_total_s", ANONYMOUS_METRIC)
#: What leaves the state as the log will have it: the question was wrong, or there is no answer.
_REFUSALS = (ReportError, StudyExhausted, StudyWaiting, SpaceError, FrameError)


class WriterClosed(TunesmithError):  # noqa: N818 (users never see it)
    """This process writes no more; the question is to be put to the next writer."""


class StudyWriter:
    """Owns the store and the state machine. Called from any thread; only proposing a config takes long.

    Whatever fails in the middle of a pass closes it, as its state is then ahead of the log: whoever comes next begins
    with the log, and what was not answered may be asked again.
    """

    def __init__(
        self, experiment: StudyExperiment, *, store: SqliteStore, space: Space, searcher: Searcher, clock: Clock
    ) -> None:
        """Fold the store's log; it is the writer's from now on.

        Args: experiment: a new one, with a scheduler that has seen nothing. Its spec is put in the stored one's place.
        Raises: ExperimentExistsError if something else than a study has used the store.
        """
        self._experiment, self._store, self._space, self._searcher = experiment, store, space, searcher
        self._clock = clock
        self._holders = Holders()
        #: Held while state and store are used: for milliseconds.
        self._lock = threading.Lock()
        #: Held by an ask from its beginning to its end: the next one is to know the trial that it brings.
        self._asking = threading.Lock()
        #: What was decided in this pass and is not committed yet.
        self._records: list[Record] = []
        self._has_begun = False  #: whether an experiment that had ended was begun anew, or had not ended
        self.is_closed = False
        experiment.replay(self._seen(store.records()))
        if experiment.state.epoch > 0 and experiment.state.pool.nodes != (STUDY_NODE,):
            raise ExperimentExistsError(f"The experiment {experiment.spec.name!r} is no study. Give another name.")
        if store.spec != experiment.spec:
            store.revise(experiment.spec, experiment.trials)
        if experiment.state.epoch == 0:
            with self._pass():
                self._begin()

    def answer(self, question: Question) -> Answer:
        """Do what is asked, commit it, and say what came of it.

        Raises: ReportError, StudyExhausted, StudyWaiting or SpaceError where it cannot be done; StoreError where it
            cannot be stored; WriterClosed or LeaseError if another process is to be asked.
        """
        if isinstance(question, Ask):
            return self._ask(question)
        with self._pass():
            if isinstance(question, Report):
                return self._report(question)
            if isinstance(question, Tell):
                return self._tell(question)
            if isinstance(question, Look):
                return self._look(question)
            if isinstance(question, Leave):
                return self._leave(question)
            assert_never(question)

    def close(self) -> None:
        """Commit what is being done, and give back the lease; an ask that waits for its config is not waited for."""
        is_mine = self._lock.acquire(timeout=_CLOSE_TIMEOUT_S)
        try:
            self.is_closed = True
            if is_mine:
                self._store.close()
        finally:
            if is_mine:
                self._lock.release()

    # ------------------------------------------------------------ passes

    @contextmanager
    def _pass(self) -> Iterator[None]:
        """All that is decided within is one transaction, committed at its end; also where it ends with a refusal."""
        with self._lock:
            if self.is_closed:
                raise WriterClosed("This process does not write the study any more.")
            refusal: Exception | None = None
            try:
                try:
                    yield
                except _REFUSALS as error:
                    refusal = error
                self._commit()
            except BaseException:
                self.is_closed = True
                self._store.close()
                raise
            if refusal is not None:
                raise refusal

    def _decide(self, events: Sequence[Event], *, is_ask: bool = False) -> list[Record]:
        """The records that follow from the events; they go with the pass."""
        handle = self._experiment.handle_ask if is_ask else self._experiment.handle
        records = handle(events, self._clock.now())
        for record in records:
            self._holders.observe(record)
        self._records += records
        return records

    def _commit(self) -> None:
        records, self._records = self._records, []
        self._store.append(records, self._experiment.state.take_changed())

    def _seen(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            self._holders.observe(record)
            yield record

    def _begin(self) -> None:
        """Begin, or begin anew what had ended: then no trial is open."""
        if not self._has_begun:
            self._has_begun = True
            self._decide([SessionStarted(self._store.epoch, self._clock.wall(), (STUDY_NODE,))])

    # ------------------------------------------------------------ ask

    def _ask(self, question: Ask) -> Handed:
        with self._asking:
            with self._pass():
                self._go_on_after_end()
                trial = self._not_received(question) or self._started(self._losses(), question.holder)
                if trial is not None:
                    return self._handed(trial)
                command, history = self._request(), self._experiment.history()
            # Nobody else waits for the model: reports and ends of other trials are answered meanwhile.
            event = answer(self._searcher, replace(command, n=1), history)
            with self._pass():
                trial = self._started([event], question.holder)
                if trial is None:
                    raise self._why_not()
                return self._handed(trial)

    def _go_on_after_end(self) -> None:
        """An end is none for who asks for more: more trials, or another searcher."""
        state, n_trials = self._experiment.state, self._experiment.spec.n_trials
        if state.ending is not None and (n_trials is None or state.n_ever_begun < n_trials):
            self._begin()

    def _not_received(self, question: Ask) -> Trial | None:
        """A trial that was handed to this process before, whose answer got lost."""
        state = self._experiment.state
        for trial in (state.trials[index] for index in sorted(state.running)):
            is_known = (trial.index, trial.attempt) in question.received
            if not is_known and self._holders.is_held_by(question.holder, trial.index):
                return trial
        return None

    def _losses(self) -> list[Event]:
        at = self._clock.wall()
        events: list[Event] = []
        for index in self._holders.lost():
            held, attempt = self._holders.of(index), self._experiment.trials[index].attempt
            who = f"process {held.holder.pid}" if held.holder else "the process"
            events.append(AttemptEnded(index, attempt, AttemptOutcome.LOST, at, f"{who} that trained it is gone"))
        return events

    def _started(self, events: Sequence[Event], holder: Holder) -> Trial | None:
        """The trial that is started for an ask after these events, if one is."""
        for record in self._decide(events, is_ask=True):
            if isinstance(record, StartAttempt):
                at = self._clock.wall()
                self._decide([AttemptStarted(record.trial, record.attempt, at, pid=holder.pid, node=holder.host)])
                return self._experiment.trials[record.trial]
        return None

    def _request(self) -> Suggest:
        """The request to the searcher that is open; the one of a process that died before its answer is as good."""
        command = next(iter(self._experiment.state.requests.values()), None)
        if command is None:
            raise self._why_not()
        return command

    def _why_not(self) -> TunesmithError:
        state, spec = self._experiment.state, self._experiment.spec
        n_open = len(state.running)
        if state.pending or state.paused:
            n_left = len(state.pending) + len(state.paused)
            return StudyWaiting(
                f"{n_left} trials are to go on a little later, and there is no other one now. Ask again in a second."
            )
        if spec.n_trials is not None and state.n_ever_begun >= spec.n_trials:
            return StudyExhausted(
                f"The study {spec.name!r} has handed out all {spec.n_trials} trials (num_samples); {n_open} are open. "
                "Open it with a larger num_samples, or without, for more."
            )
        if state.sampling_error is not None:
            return SpaceError(state.sampling_error)
        if state.is_exhausted:
            note = f": {state.exhausted_note}" if state.exhausted_note else ""
            return StudyExhausted(
                f"The searcher has no further config after {len(state.trials)} trials{note}; {n_open} are open. "
                "Open the study with another search_alg for more."
            )
        return StudyWaiting(
            f"The searcher has no config until it learns more; {n_open} trials are open. Tell one of them, then ask "
            "again."
        )

    def _handed(self, trial: Trial) -> Handed:
        text = config_text(trial.config, self._space)
        return Handed(trial.index, trial.trial_id, trial.attempt, text, trial.step)

    # ------------------------------------------------------------ reports and ends

    def _look(self, question: Look) -> Handed:
        trial = self._open(question.trial)
        self._adopt(trial, question.holder)
        return self._handed(trial)

    def _adopt(self, trial: Trial, holder: Holder) -> None:
        """Whoever works on a trial that nobody trains, or whose process is gone, is its process from now on."""
        held = self._holders.of(trial.index)
        if held.holder != holder and (held.holder is None or is_gone(held)):
            at = self._clock.wall()
            self._decide([AttemptStarted(trial.index, trial.attempt, at, pid=holder.pid, node=holder.host)])

    def _report(self, question: Report) -> Judged:
        trial = self._open(question.trial, question.attempt)
        self._adopt(trial, question.holder)
        decision = self._reported(trial, question, question.step, is_last=question.is_last)
        return Judged(decision.verdict.value, decision.words())

    def _reported(self, trial: Trial, question: Report | Tell, step: int, *, is_last: bool) -> Decision:
        """The answer to the question's metrics; of a trial that was told to stop, that answer again.

        Raises: ReportError where they are refused.
        """
        told = self._experiment.state.answered.get(trial.index)
        metrics, at = decode_numbers(question.metrics or {}), self._clock.wall()
        time_total_s = question.time_total_s
        if time_total_s is None:
            time_total_s = max(trial.time_total_s, at - self._holders.of(trial.index).at)
        event = TrialReported(trial.index, trial.attempt, step, metrics, time_total_s, at, is_last=is_last)
        for record in self._decide([event]):
            if isinstance(record, AnswerReport):
                if record.decision.verdict is Verdict.REFUSE:
                    raise ReportError(f"Trial {trial.index}: {record.decision.words()}")
                return record.decision if told is None else told.decision
        raise AssertionError(f"the report of trial {trial.index} was not answered")

    def _tell(self, question: Tell) -> Done:
        trial = self._find(question.trial)
        if question.is_retry and self._is_told(trial, question):
            return Done()
        trial = self._open(question.trial, question.attempt)
        outcome = AttemptOutcome.RETURNED
        if question.failed is not None:
            outcome = AttemptOutcome.RAISED
        elif question.metrics is not None:
            self._tell_metrics(trial, question)
        elif trial.metrics is None:
            raise ReportError(
                f"Trial {trial.index} was told without metrics, and has reported none. "
                "Give its metrics, tell(t, loss=0.3), or its error, tell(t, failed='...')."
            )
        self._decide([AttemptEnded(trial.index, trial.attempt, outcome, self._clock.wall(), question.failed)])
        return Done()

    def _tell_metrics(self, trial: Trial, question: Tell) -> None:
        """The final metrics are one more report, unless they are those of the last one."""
        metrics, objective = decode_numbers(question.metrics or {}), self._experiment.objective
        step = question.step or trial.step + 1
        if is_same(metrics, trial.metrics) and question.step in (None, trial.step):
            return
        if objective is not None and trial.metrics is None:
            missing = [name for name in objective.metrics if name not in (*metrics, *_FILLED_IN)]
            if missing:
                seen = ", ".join(map(repr, metrics)) or "nothing"
                raise ReportError(f"Trial {trial.index} was told {seen}, but not {missing[0]!r}. Tell that too.")
        self._reported(trial, question, step, is_last=True)

    def _is_told(self, trial: Trial, question: Tell) -> bool:
        """Whether this very tell was done before, as far as what it says is stored."""
        if not trial.status.is_over or question.attempt not in (None, trial.attempt):
            return False
        if question.failed is not None:
            return trial.status is TrialStatus.FAILED and trial.error == question.failed
        if question.metrics is None or trial.status is TrialStatus.STOPPED:  # what is told after a stop is not kept
            return trial.status is not TrialStatus.FAILED
        return is_same(decode_numbers(question.metrics), trial.metrics)

    def _leave(self, question: Leave) -> Done:
        at = self._clock.wall()
        for index, attempt in question.trials:
            if not self._experiment.state.runs(index, attempt):
                continue
            if not self._holders.is_held_by(question.holder, index):
                continue
            if question.is_given_back:
                error = f"process {question.holder.pid} gave it back"
                self._decide([AttemptEnded(index, attempt, AttemptOutcome.PREEMPTED, at, error)])
            else:
                self._decide([AttemptStarted(index, attempt, at)])
        return Done()

    # ------------------------------------------------------------ finding trials

    def _find(self, key: int | str) -> Trial:
        """The trial of this index or id. Raises: ReportError if there is none."""
        trials = self._experiment.trials
        index = next((trial.index for trial in trials if trial.trial_id == key), -1) if isinstance(key, str) else key
        trial = self._experiment.state.find(index)
        if trial is None:
            raise ReportError(f"There is no trial {key!r} in this study; it has {len(trials)}.")
        return trial

    def _open(self, key: int | str, attempt: int | None = None) -> Trial:
        """The same, if it is open, and in this attempt where one is given. Raises: ReportError otherwise."""
        trial = self._find(key)
        if attempt not in (None, trial.attempt):
            raise ReportError(
                f"Trial {trial.index} was handed out again since (attempt {trial.attempt}; this is attempt {attempt}), "
                "as its process was gone or gave it back. Drop this one and ask for another."
            )
        if trial.status is TrialStatus.RUNNING:
            return trial
        if trial.status.is_over:
            why = f", {trial.reason}" if trial.reason else ""
            raise ReportError(
                f"Trial {trial.index} was told already: it is {trial.status.value}{why}. Each trial is told once; "
                "ask for another."
            )
        raise ReportError(f"Trial {trial.index} is {trial.status.value}: nobody trains it now. Ask for a trial.")


def is_to_be_asked_elsewhere(error: BaseException) -> bool:
    """Whether another process is the writer, so that the question is to be put again."""
    return isinstance(error, WriterClosed | LeaseError)
