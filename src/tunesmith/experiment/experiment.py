"""The state machine: events in, records out. It decides; it does not act, read a clock or touch a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    DeleteCheckpoint,
    EndExperiment,
    EndReason,
    Event,
    InterruptRequested,
    NodeLost,
    NodeOffered,
    Record,
    ReportRefused,
    SessionStarted,
    StartAttempt,
    StopAttempt,
    StopPaused,
    TrialReported,
    Verdict,
)
from tunesmith.experiment.asking import ConfigRequests
from tunesmith.experiment.cloning import checked_clone, own_checkpoints
from tunesmith.experiment.conclusion import Conclusion, conclude, conclude_as_told, due_quarantine, status_at_end
from tunesmith.experiment.curves import CurveLog
from tunesmith.experiment.ending import due_ending, ending_of_idleness, waits_for_room
from tunesmith.experiment.judgement import Judgement, judge_nan, judge_report, with_anonymous_metric
from tunesmith.experiment.retention import retention_of, retention_of_lenders, superseded
from tunesmith.experiment.silence import SilenceWatch
from tunesmith.experiment.starting import Start, n_startable, next_use, start_attempt, waits_in_vain
from tunesmith.experiment.state import ExperimentState, as_told
from tunesmith.experiment.stopping import grace_of, stop_of_silent, stops_at_end, stops_at_interrupt
from tunesmith.protocols import History, Scheduler, Stopper
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.stoppers import shortest_timeout_s
from tunesmith.trial import AttemptOutcome, Objective, Trial, TrialStatus

#: A wait for a deadline may end a rounding error too early; without slack the loop would spin there.
_CLOCK_SLACK_S = 1e-6


class Experiment:
    """One tuning job as a pure machine. `handle` returns the records to be committed, then carried out.

    Replaying a log is `replay(records)`: the fold without a single decision.
    """

    def __init__(
        self,
        spec: ExperimentSpec,
        *,
        space: Space,
        objective: Objective | None,
        scheduler: Scheduler,
        stopper: Stopper,
        n_ahead: int | None = 0,
        begins_trials: bool = True,
        curves_by: str | None = None,
        thaws: bool = False,
        is_elastic: bool = False,
    ) -> None:
        """Args:
        n_ahead: how many configs to hold ready beyond the free slots. None, for searchers that use results: only where
            what they cost is more than a small share of what trials take, and then what becomes free meanwhile.
        begins_trials: if not, only trials that have begun before run, and none is asked for, in this session.
        curves_by, thaws: of the searcher, see Searcher.
        is_elastic: of the executor: without room for anything, it waits for more.
        """
        self.spec, self.space, self.objective = spec, space, objective
        self.scheduler, self.stopper = scheduler, stopper
        self.state = ExperimentState(spec, objective)
        self._begins_trials = begins_trials
        self._requests = ConfigRequests(n_ahead, thaws=thaws)
        self._thaws = thaws
        self._is_elastic = is_elastic
        self._curves = None if curves_by is None else CurveLog(objective, time_attr=curves_by)
        self._silence = SilenceWatch(spec)
        limits_s = [limit for limit in (spec.time_budget_s, shortest_timeout_s(stopper)) if limit is not None]
        self.time_limit_s = min(limits_s, default=math.inf)  #: of each session
        self._out: list[Record] = []
        self._now = -math.inf  #: of the last pass
        self._slot_since: dict[int, float] = {}  #: by trial: since when the running attempt has its slot
        self._started_at: float | None = None  #: on the experiment's clock; budgets count from here

    # ------------------------------------------------------------ what others ask

    @property
    def trials(self) -> Sequence[Trial]:
        """All trials as they stand, by index."""
        return self.state.trials

    @property
    def is_done(self) -> bool:
        """Whether the experiment has ended and no attempt is left."""
        return self.state.ending is not None and not self.state.running

    def history(self) -> History:
        """The snapshot that a searcher works on."""
        trials = tuple(self.state.trials)
        return History(
            space=self.space,
            objective=self.objective,
            seed=self.spec.seed,
            trials=trials,
            curves=() if self._curves is None else self._curves.snapshot(len(trials)),
            n_left=None if self.spec.n_trials is None else max(0, self.spec.n_trials - len(trials)),
        )

    def next_deadline(self) -> float:
        """When `handle` must be called even without an event, on the experiment's clock; infinity if never."""
        if self.state.ending is not None:
            return math.inf
        # One that has passed waits for a slot, which an event will bring.
        deadlines = [at for at in self.state.not_before.values() if at > self._now]
        if self._started_at is not None:
            deadlines.append(self._started_at + self.time_limit_s)
        return min([*deadlines, self._silence.next_deadline(), self._requests.deadline])

    def n_wanted(self) -> float:
        """How many attempts could run now, were there room for all that may still start; infinity if endlessly many."""
        state = self.state
        if state.ending is not None:
            return len(state.running)
        n_new = self._n_startable()
        n_begun = len(state.running) + state.n_begun + len(state.paused)
        return min(n_begun + n_new, self.spec.max_concurrent_trials or math.inf)

    # ------------------------------------------------------------ replay and handle

    def replay(self, records: Iterable[Record]) -> None:
        """Fold a log. No searcher, no scheduler decision and no user code is called."""
        for record in records:
            self.state.apply(record)
            self._observe(record)
        self.state.changed.clear()

    def handle(self, events: Sequence[Event], now: float) -> list[Record]:
        """Take in what happened and decide: the records of this pass, in the order in which they were applied."""
        now += _CLOCK_SLACK_S
        self._now = now
        if self._started_at is None:
            self._started_at = now
        for event in events:
            self._react(event, now)
        self._give_up_silent(now)
        self._check_ends(now)
        if self.state.ending is None:
            self._fill_slots(now)
            suggest = self._requests.due(self.state, now) if self._begins_trials else None
            if suggest is not None:
                self._record(suggest)
            self._finish_if_nothing_is_left(now)
        records, self._out = self._out, []
        return records

    def _record(self, record: Record) -> None:
        self.state.apply(record)
        self._observe(record)
        self._out.append(record)

    def _record_all(self, records: Iterable[Record]) -> None:
        for record in records:
            self._record(record)

    def _observe(self, record: Record) -> None:
        self.scheduler.observe(record)
        self.stopper.observe(record)
        if self._curves is not None:
            self._curves.observe(record)

    # ------------------------------------------------------------ reactions

    def _react(self, event: Event, now: float) -> None:
        """Take in one event. What is of no attempt that runs, or answers no open request, leaves no trace."""
        state = self.state
        if isinstance(event, TrialReported):
            if state.runs(event.trial, event.attempt):
                self._silence.note_report(event.trial, now)
            if state.find(event.trial) is not None:
                self._on_report(event)
        elif isinstance(event, AttemptEnded):
            if state.runs(event.trial, event.attempt):
                self._on_ended(event, now)
        elif isinstance(event, AttemptStarted):
            if state.runs(event.trial, event.attempt):
                self._silence.note_start(event.trial, now)
                self._record(event)
        elif isinstance(event, ConfigsSuggested):
            # Nothing starts any more after the end; a resumed experiment asks anew.
            if event.request in state.requests and state.ending is None:
                self._on_suggested(event)
        elif isinstance(event, InterruptRequested):
            self._record(event)
            self._on_interrupt(event)
        elif isinstance(event, SessionStarted):
            self._on_session_started(event)
        elif isinstance(event, NodeLost):
            self._on_node_lost(event, now)
        elif isinstance(event, (ReportRefused, NodeOffered)):
            self._record(event)
        else:
            raise TypeError(f"{type(event).__name__} is no event of an executor or a suggester.")

    def _on_suggested(self, event: ConfigsSuggested) -> None:
        """Take no more configs than were asked for; end those trials that are said not to be worth going on."""
        state, request = self.state, self.state.requests[event.request]
        may_go_on = {t for t in state.running if state.status_told(t) is None}
        thaws = tuple(t for t in event.thaws if t.trial in state.paused or t.trial in may_go_on)
        stops = tuple(s for s in event.stops if s.trial in state.paused or s.trial in may_go_on)
        n_room = request.n if self.spec.n_trials is None else min(request.n, self.spec.n_trials - len(state.trials))
        self._record(replace(event, suggestions=event.suggestions[:n_room], thaws=thaws, stops=stops))
        for stop in stops:
            if stop.trial in state.paused:
                self._conclude(stop.trial, Conclusion(TrialStatus.STOPPED, stop.reason))
            else:
                self._record(StopAttempt(stop.trial, state.trials[stop.trial].attempt, stop.reason))

    def _on_report(self, event: TrialReported) -> None:
        event = with_anonymous_metric(self.objective, event)
        judgement = judge_report(self.state, event, is_strict=self.spec.is_strict_metric)
        if judgement.instead is not None:
            self._on_no_result(event, judgement)
            return
        self.state.apply(event)
        trial = self.state.trials[event.trial]
        decision = judgement.decision
        if decision is CONTINUE:
            decision = self._decide(trial, event)
        self._observe(event)
        self._out.append(event)
        self._record(AnswerReport(event.trial, event.attempt, event.step, decision))
        if event.checkpoint is not None:
            self._retain(event.trial)

    def _on_no_result(self, event: TrialReported, judgement: Judgement) -> None:
        """Record and answer a report that becomes no result, and see to the folder that it brought."""
        assert judgement.instead is not None
        checkpoints = self.state.trials[event.trial].checkpoints
        self._record(judgement.instead)
        self._record(AnswerReport(event.trial, event.attempt, event.step, judgement.decision))
        if isinstance(judgement.instead, CheckpointSaved):
            replaced = [
                saved
                for saved in checkpoints
                if saved.donor is None and saved.step == event.step and saved.path != event.checkpoint
            ]
            for saved in replaced:
                self._record(DeleteCheckpoint(event.trial, saved.path))
            self._retain(event.trial)
        elif judgement.decision.verdict is Verdict.STOP and event.checkpoint is not None:
            # A refused attempt that may go on keeps its folder: its next report carries it again.
            self._delete_unless_kept(event.trial, event.checkpoint)

    def _delete_unless_kept(self, index: int, path: str) -> None:
        is_needed = path in self.state.needed_checkpoints()
        if not is_needed and all(saved.path != path for saved in self.state.trials[index].checkpoints):
            self._record(DeleteCheckpoint(index, path))

    def _decide(self, trial: Trial, event: TrialReported) -> Decision:
        """Stopper and scheduler first, so that an interrupt saves no trial from its end; then what it was told."""
        decision = self._judge(trial, event)
        if decision.verdict is Verdict.PAUSE and event.checkpoint is None:
            self._requests.note_unpausable(trial.index)
            decision = CONTINUE
        if decision.verdict is Verdict.CLONE:
            decision = checked_clone(self.state.trials, decision)
        stop = self.state.stopping.get(trial.index)
        return decision if stop is None or decision.verdict is not Verdict.CONTINUE else as_told(stop)

    def _judge(self, trial: Trial, event: TrialReported) -> Decision:
        """Stopper first, then scheduler. A stopper is often user code: what it raises fails the trial (F84)."""
        try:
            decision = self.stopper.decide(trial, event)
        except Exception as error:
            return Decision(Verdict.REFUSE, "{why}", {"why": f"{type(error).__name__} in the stop rule: {error}"})
        if decision.verdict is Verdict.CONTINUE:
            decision = judge_nan(self.objective, event, self.spec.nan_policy)
        return self.scheduler.decide(trial, event) if decision.verdict is Verdict.CONTINUE else decision

    def _retain(self, index: int) -> None:
        self._record_all(retention_of(self.state, index))

    def _on_ended(self, event: AttemptEnded, now: float) -> None:
        gone = self.state.in_use.get(event.trial) if event.outcome is AttemptOutcome.NO_CHECKPOINT else None
        placement = self.state.trials[event.trial].placement
        self._record(event)
        self._conclude(event.trial, conclude(self.state, event, now))
        quarantine = None if placement is None else due_quarantine(self.state, placement.node)
        if quarantine is not None:
            self._record(quarantine)
        known = self.state.trials[event.trial].checkpoints
        for saved in known:  # the next attempt starts from the one before it (F33, F86)
            if saved.path == gone:
                self._record(DeleteCheckpoint(event.trial if saved.donor is None else saved.donor, gone))

    def _conclude(self, index: int, conclusion: Conclusion) -> None:
        started_from, since = self.state.in_use.get(index), self._slot_since.pop(index, None)
        loans = self.state.borrowing.all_loans()
        self._silence.forget(index)
        self._record(
            ConcludeAttempt(
                index,
                self.state.trials[index].attempt,
                conclusion.status,
                conclusion.reason,
                conclusion.not_before,
                None if since is None else self._now - since,
            )
        )
        if started_from is not None:
            self._retain(index)
        self._record_all(retention_of_lenders(self.state, loans))
        if conclusion.ends_experiment is not None and self.state.ending is None:
            self._end(EndReason.FAILED, conclusion.ends_experiment)

    def _on_session_started(self, event: SessionStarted) -> None:
        """What the driver before had told to end stays ended: a decision that was recorded holds."""
        loans = self.state.borrowing.all_loans()
        self._record(event)
        if event.is_from_scratch:
            for index in event.reruns:
                for saved in self.state.trials[index].checkpoints:
                    self._record(DeleteCheckpoint(index, saved.path))
        self._record_all(retention_of_lenders(self.state, loans))
        for index in sorted(self.state.running):
            self._conclude(index, conclude_as_told(self.state, self.state.trials[index]))

    def _on_node_lost(self, event: NodeLost, now: float) -> None:
        trials = [self.state.trials[index] for index in sorted(self.state.running)]
        self._record(event)
        for trial in trials:
            if trial.placement is not None and trial.placement.node == event.node:
                error = f"the node {event.node} is gone"
                lost = AttemptEnded(trial.index, trial.attempt, AttemptOutcome.PREEMPTED, at=0.0, error=error)
                self._conclude(trial.index, conclude(self.state, lost, now))

    def _on_interrupt(self, event: InterruptRequested) -> None:
        was_ending, grace_s = self.state.ending is not None, grace_of(self.spec, event)
        if not was_ending:
            self._end(EndReason.INTERRUPTED, event.source, grace_s=grace_s)
        self._record_all(stops_at_interrupt(self.state, event, was_ending=was_ending, grace_s=grace_s))

    # ------------------------------------------------------------ ends

    def _check_ends(self, now: float) -> None:
        if self.state.ending is not None:
            return
        assert self._started_at is not None
        ending = due_ending(self.state, self.stopper, elapsed_s=now - self._started_at, time_limit_s=self.time_limit_s)
        if ending is not None:
            self._end(*ending)

    def _give_up_silent(self, now: float) -> None:
        """End attempts that have said nothing for too long; each counts as a failure."""
        for index, reason in self._silence.overdue(now):
            self._silence.forget(index)
            stop = stop_of_silent(self.state, index, reason)
            if stop is not None:
                self._record(stop)

    def _finish_if_nothing_is_left(self, now: float) -> None:
        """End where no event can come any more: all is done, or nothing that is left can ever start."""
        state = self.state
        if state.running or state.requests or any(at > now for at in state.not_before.values()):
            return
        n_startable = self._n_startable()
        if self._is_elastic and waits_for_room(state, n_startable=n_startable):
            return
        self._end(*ending_of_idleness(state, n_startable=n_startable, begins_trials=self._begins_trials))

    def _end(self, why: EndReason, detail: str | None, *, grace_s: float | None = None) -> None:
        """Start nothing more and stop what runs. Paused trials stay paused where the experiment may go on later."""
        self._record(EndExperiment(why, detail))
        self._record_all(stops_at_end(self.state, why, detail, grace_s=grace_s))
        status = status_at_end(why)
        if status is not TrialStatus.INTERRUPTED:
            for index in sorted(self.state.paused):
                self._conclude(index, Conclusion(status, detail or why.value))

    # ------------------------------------------------------------ starts

    def _fill_slots(self, now: float) -> None:
        """Give every free slot to the trial that should have it. Ends when no slot or nothing to start is left.

        Where trials have failed alike at their start, nothing more is started until those that run have shown whether
        all do (F2).
        """
        state, limit = self.state, self.spec.max_concurrent_trials or math.inf
        if state.has_tripped:
            return
        while (state.pending or state.paused) and len(state.running) < limit:
            placement = self.state.pool.place(self.spec.resources)
            if placement is None:
                return
            start = self._next_start(now)
            if start is None:
                return
            self._silence.note_start(start.trial, now)
            self._slot_since[start.trial] = now
            self._start(start_attempt(state, start, default=placement))

    def _start(self, command: StartAttempt) -> None:
        """Start the attempt; what a clone's trial had saved beyond the step that it goes back to is superseded."""
        own, loans = own_checkpoints(self.state.trials[command.trial]), self.state.borrowing.all_loans()
        self._record(command)
        kept = {saved.path for saved in self.state.trials[command.trial].checkpoints}
        gone = [saved.path for saved in own if saved.path not in kept]
        self._record_all(superseded(self.state, command.trial, gone))
        self._record_all(retention_of_lenders(self.state, loans))

    def _next_start(self, now: float) -> Start | None:
        """What a free slot is for, once those are concluded that the scheduler gives up before it says so."""
        state, scheduler, n_startable = self.state, self.scheduler, self._n_startable()
        while True:
            use = next_use(state, scheduler, now=now, n_startable=n_startable, is_in_vain=self._waits_in_vain())
            if not isinstance(use, StopPaused):
                return use
            self._conclude(use.trial, Conclusion(TrialStatus.STOPPED, use.reason))

    def _waits_in_vain(self) -> bool:
        asks_for_thaws = self._thaws and self._begins_trials
        return waits_in_vain(self.state, now=self._now, n_startable=self._n_startable(), asks_for_thaws=asks_for_thaws)

    def _n_startable(self) -> float:
        return n_startable(self.state) if self._begins_trials else 0
