"""The state machine: events in, records out. It decides; it does not act, read a clock or touch a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tunesmith.errors import ConfigError
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    AttemptEnded,
    CheckpointSaved,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    DeleteCheckpoint,
    EndExperiment,
    EndReason,
    Event,
    InterruptRequested,
    Record,
    StartAttempt,
    StopAttempt,
    Suggest,
    TrialReported,
    Verdict,
)
from tunesmith.experiment.conclusion import conclude
from tunesmith.experiment.judgement import judge_report, with_anonymous_metric
from tunesmith.experiment.retention import surplus_checkpoints
from tunesmith.experiment.state import ExperimentState
from tunesmith.protocols import History, Hold, Scheduler, StopPaused, Stopper, Thaw
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import Objective, Trial, TrialStatus

#: Why running attempts end with the experiment, and how their trials are left.
_STATUS_AT_END = {
    EndReason.TIME_BUDGET: TrialStatus.STOPPED,
    EndReason.STEP_BUDGET: TrialStatus.STOPPED,
    EndReason.STOPPER: TrialStatus.STOPPED,
    EndReason.FAILED: TrialStatus.INTERRUPTED,
    EndReason.INTERRUPTED: TrialStatus.INTERRUPTED,
}

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
        n_ahead: int = 0,
    ) -> None:
        """Args: n_ahead: how many configs to hold ready beyond the free slots; 0 for searchers that use results."""
        self.spec, self.space, self.objective = spec, space, objective
        self.scheduler, self.stopper = scheduler, stopper
        self.state = ExperimentState(spec, objective)
        self._n_ahead = n_ahead
        self._out: list[Record] = []
        self._now = -math.inf  #: of the last pass
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
        return History(space=self.space, objective=self.objective, seed=self.spec.seed, trials=tuple(self.state.trials))

    def next_deadline(self) -> float:
        """When `handle` must be called even without an event, on the experiment's clock; infinity if never."""
        if self.state.ending is not None:
            return math.inf
        # One that has passed waits for a slot, which an event will bring.
        deadlines = [at for at in self.state.not_before.values() if at > self._now]
        if self.spec.time_budget_s is not None and self._started_at is not None:
            deadlines.append(self._started_at + self.spec.time_budget_s)
        return min(deadlines, default=math.inf)

    # ------------------------------------------------------------ replay and handle

    def replay(self, records: Iterable[Record]) -> None:
        """Fold a log. No searcher, no scheduler decision and no user code is called."""
        for record in records:
            self.state.apply(record)
            self.scheduler.observe(record)
            self.stopper.observe(record)
        self.state.changed.clear()

    def handle(self, events: Sequence[Event], now: float) -> list[Record]:
        """Take in what happened and decide: the records of this pass, in the order in which they were applied."""
        now += _CLOCK_SLACK_S
        self._now = now
        if self._started_at is None:
            self._started_at = now
        for event in events:
            self._react(event, now)
        self._check_ends(now)
        if self.state.ending is None:
            self._fill_slots(now)
            self._ask_for_configs()
            self._finish_if_nothing_is_left()
        records, self._out = self._out, []
        return records

    def _record(self, record: Record) -> None:
        self.state.apply(record)
        self.scheduler.observe(record)
        self.stopper.observe(record)
        self._out.append(record)

    # ------------------------------------------------------------ reactions

    def _react(self, event: Event, now: float) -> None:
        if isinstance(event, TrialReported):
            self._on_report(event)
        elif isinstance(event, AttemptEnded):
            self._on_attempt_ended(event, now)
        elif isinstance(event, ConfigsSuggested):
            if event.request in self.state.requests:
                self._record(event)
        elif isinstance(event, InterruptRequested):
            self._record(event)
            self._on_interrupt(event)
        else:
            self._record(event)  # type: ignore[arg-type]  # the remaining events are records as they are

    def _on_report(self, event: TrialReported) -> None:
        event = with_anonymous_metric(self.objective, event)
        judgement = judge_report(self.state, event, is_strict=self.spec.is_strict_metric)
        if judgement.instead is not None:
            self._record(judgement.instead)
            self._record(AnswerReport(event.trial, event.attempt, event.step, judgement.decision))
            if isinstance(judgement.instead, CheckpointSaved):
                self._retain(event)
            return
        stop = self.state.stopping.get(event.trial)
        self.state.apply(event)
        trial = self.state.trials[event.trial]
        decision = judgement.decision
        if stop is None and decision is CONTINUE:
            decision = self._decide(trial, event)
            if decision.verdict is Verdict.PAUSE and event.checkpoint is None:
                decision = CONTINUE
        self.scheduler.observe(event)
        self.stopper.observe(event)
        self._out.append(event)
        self._record(AnswerReport(event.trial, event.attempt, event.step, decision))
        self._retain(event)

    def _decide(self, trial: Trial, event: TrialReported) -> Decision:
        """Stopper first, then scheduler. A stopper is often user code: what it raises fails the trial (F84)."""
        try:
            decision = self.stopper.decide(trial, event)
        except Exception as error:
            return Decision(Verdict.REFUSE, "{why}", {"why": f"{type(error).__name__} in the stop rule: {error}"})
        if decision.verdict is not Verdict.CONTINUE:
            return decision
        return self.scheduler.decide(trial, event)

    def _retain(self, event: TrialReported) -> None:
        if event.checkpoint is None:
            return
        for surplus in surplus_checkpoints(self.state.trials[event.trial].checkpoints, self.spec.checkpoint_policy):
            self._record(DeleteCheckpoint(event.trial, surplus.path))

    def _on_attempt_ended(self, event: AttemptEnded, now: float) -> None:
        trial = self.state.trials[event.trial] if event.trial < len(self.state.trials) else None
        if trial is None or event.attempt != trial.attempt or trial.status is not TrialStatus.RUNNING:
            return
        self._record(event)
        conclusion = conclude(self.state, event, now)
        self._record(
            ConcludeAttempt(event.trial, event.attempt, conclusion.status, conclusion.reason, conclusion.not_before)
        )
        if conclusion.ends_experiment is not None and self.state.ending is None:
            self._end(EndReason.FAILED, conclusion.ends_experiment)

    def _on_interrupt(self, event: InterruptRequested) -> None:
        if self.state.ending is None:
            self._end(EndReason.INTERRUPTED, event.source)
        if event.level >= 2:
            for index in sorted(self.state.running):
                trial = self.state.trials[index]
                self._record(
                    StopAttempt(index, trial.attempt, event.source, TrialStatus.INTERRUPTED, is_immediate=True)
                )

    # ------------------------------------------------------------ ends

    def _check_ends(self, now: float) -> None:
        if self.state.ending is not None:
            return
        assert self._started_at is not None
        spec = self.spec
        if spec.time_budget_s is not None and now >= self._started_at + spec.time_budget_s:
            self._end(EndReason.TIME_BUDGET, f"the time budget of {spec.time_budget_s:g} s is used up")
        elif spec.max_total_steps is not None and self.state.n_steps >= spec.max_total_steps:
            self._end(EndReason.STEP_BUDGET, f"{self.state.n_steps} of {spec.max_total_steps} steps are reported")
        else:
            why = self.stopper.should_end()
            if why is not None:
                self._end(EndReason.STOPPER, why)

    def _finish_if_nothing_is_left(self) -> None:
        state = self.state
        if state.running or state.pending or state.requests or state.paused:
            return
        if self.spec.n_trials is not None and len(state.trials) >= self.spec.n_trials:
            self._end(EndReason.FINISHED, None)
        elif state.is_exhausted:
            self._end(EndReason.EXHAUSTED, f"the searcher has no further config after {len(state.trials)} trials")

    def _end(self, why: EndReason, detail: str | None) -> None:
        self._record(EndExperiment(why, detail))
        status = _STATUS_AT_END.get(why)
        if status is None:
            return
        for index in sorted(self.state.running):
            if index not in self.state.answered:
                reason = detail if why is not EndReason.INTERRUPTED and detail else why.value
                self._record(StopAttempt(index, self.state.trials[index].attempt, reason, status))
        for index in sorted(self.state.paused):
            self._record(ConcludeAttempt(index, self.state.trials[index].attempt, status, detail or why.value))

    # ------------------------------------------------------------ starts

    def _fill_slots(self, now: float) -> None:
        """Give every free slot to the trial that should have it. Ends when no slot or nothing to start is left."""
        limit = self.spec.max_concurrent_trials or math.inf
        while len(self.state.running) < limit:
            placement = self.state.pool.place(self.spec.resources)
            if placement is None:
                return
            index = self._next_trial(now)
            if index is None:
                return
            trial = self.state.trials[index]
            start = trial.checkpoint
            self._record(
                StartAttempt(
                    trial=index,
                    attempt=trial.attempt + 1,
                    placement=placement,
                    config=trial.config,
                    checkpoint=start.path if start else None,
                    start_step=start.step if start else 0,
                    start_time_s=start.time_total_s if start else 0.0,
                )
            )

    def _next_trial(self, now: float) -> int | None:
        while True:
            action = self.scheduler.choose_next([self.state.trials[index] for index in sorted(self.state.paused)])
            if isinstance(action, Thaw):
                return action.trial
            if isinstance(action, StopPaused):
                trial = self.state.trials[action.trial]
                self._record(ConcludeAttempt(trial.index, trial.attempt, TrialStatus.STOPPED, action.reason))
                continue
            if isinstance(action, Hold):
                return None
            return next((i for i in self.state.pending if self.state.not_before.get(i, -math.inf) <= now), None)

    def _ask_for_configs(self) -> None:
        """Ask the searcher for as many configs as free slots could take, and `n_ahead` more, but never too many."""
        state = self.state
        if state.is_exhausted:
            return
        limit = self.spec.max_concurrent_trials or math.inf
        free = self._n_free_slots() if len(state.running) < limit else 0
        wanted = min(free, limit - len(state.running)) + self._n_ahead
        asked = sum(state.requests.values())
        ready = len(state.pending) - len(state.not_before) + asked
        n = wanted - ready
        if self.spec.n_trials is not None:
            n = min(n, self.spec.n_trials - len(state.trials) - asked)
        # Ahead of need, ask in batches: a request costs more than a sample.
        if n >= 1 and (ready < free or n > self._n_ahead // 2):
            self._record(Suggest(request=state.n_requests + 1, n=int(n)))

    def _n_free_slots(self) -> int:
        """How many more trials would fit now; 0 means that the next one must wait for a slot."""
        return self.state.pool.n_fitting(self.spec.resources)


def check_spec(spec: ExperimentSpec) -> None:
    """Raise ConfigError for a budget or count that cannot be meant."""
    if spec.n_trials is not None and spec.n_trials < 0:
        raise ConfigError(f"num_samples gives {spec.n_trials} trials. Give a positive number, or -1 for endless.")
    if spec.n_trials is None and spec.time_budget_s is None and spec.max_total_steps is None:
        # Endless runs end with Ctrl-C or a stopper; that is what was asked for.
        pass
    for name, value in (("time_budget_s", spec.time_budget_s), ("max_total_steps", spec.max_total_steps)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value!r}. Give a positive number, or None for no limit.")
    if spec.max_concurrent_trials is not None and spec.max_concurrent_trials < 1:
        raise ConfigError(f"max_concurrent_trials is {spec.max_concurrent_trials}. Give 1 or more, or None.")
    if spec.max_failures < -1:
        raise ConfigError(f"max_failures is {spec.max_failures}. Give 0 or more, or -1 for endless retries.")
