"""An experiment driven by hand: events in, records out, the invariants checked after every pass."""

from __future__ import annotations

from typing import Any

from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    ConfigsSuggested,
    EndExperiment,
    Event,
    InterruptRequested,
    Record,
    SessionStarted,
    StartAttempt,
    Suggest,
    Suggestion,
    TrialReported,
    Verdict,
)
from tunesmith.experiment import Experiment
from tunesmith.experiment.invariants import check_invariants
from tunesmith.resources import Node
from tunesmith.schedulers import FIFOScheduler
from tunesmith.space import Space
from tunesmith.stoppers import NoopStopper
from tunesmith.testing.samples import make_spec
from tunesmith.trial import AttemptOutcome, Trial


class World:
    """Args: answers_itself: Suggest is answered with as many configs as asked for, in the same call."""

    def __init__(
        self,
        *,
        n_slots: float = 2,
        scheduler: Any = None,
        stopper: Any = None,
        n_ahead: int | None = 0,
        answers_itself: bool = True,
        is_elastic: bool = False,
        log: list[Record] = (),  # type: ignore[assignment]
        **spec: Any,
    ) -> None:
        self.spec = make_spec(**spec)
        self.make_scheduler = scheduler or FIFOScheduler
        self.make_stopper = stopper or NoopStopper
        self.n_slots, self.n_ahead, self.answers_itself = n_slots, n_ahead, answers_itself
        self.is_elastic = is_elastic
        self.now = 0.0
        self.log: list[Record] = list(log)
        self.experiment = self.new_experiment()
        self.experiment.replay(self.log)

    def new_experiment(self) -> Experiment:
        scheduler = self.make_scheduler()
        objective = scheduler.bind(self.spec.objective)
        return Experiment(
            self.spec,
            space=Space({}),
            objective=objective,
            scheduler=scheduler,
            stopper=self.make_stopper(),
            n_ahead=self.n_ahead,
            is_elastic=self.is_elastic,
        )

    def begin(self, epoch: int = 1, nodes: tuple[Node, ...] | None = None) -> list[Record]:
        return self.handle(SessionStarted(epoch, 0.0, nodes or (Node("here", cpu=float(self.n_slots)),)))

    def resumed(self, **changes: Any) -> World:
        """Another driver on the same log, begun."""
        facts = {name: getattr(self.spec, name) for name in self.spec.__struct_fields__}
        for name in ("experiment_id", "name", "trainable_name", "space", "space_fingerprint", "seed"):
            facts.pop(name)
        world = World(
            n_slots=self.n_slots,
            scheduler=self.make_scheduler,
            stopper=self.make_stopper,
            n_ahead=self.n_ahead,
            answers_itself=self.answers_itself,
            log=self.log,
            **{**facts, **changes},
        )
        world.begin(epoch=2)
        return world

    # ------------------------------------------------------------ events

    def handle(self, *events: Event, at: float | None = None) -> list[Record]:
        """One pass, and those that answer its requests."""
        self.now = self.now if at is None else at
        records = self.experiment.handle(events, self.now)
        self.log += records
        check_invariants(self.state)
        news = list(records)
        if self.answers_itself:
            for record in records:
                if isinstance(record, Suggest) and record.request in self.state.requests:
                    news += self.handle(self.suggested(record.request, record.n))
        return news

    def suggested(self, request: int, n: int, **changes: Any) -> ConfigsSuggested:
        first = len(self.trials)
        return ConfigsSuggested(request, tuple(Suggestion({"x": first + i}) for i in range(n)), **changes)

    def report(self, trial: int, step: int | None = None, *, at: float | None = None, **changes: Any) -> list[Record]:
        return self.handle(self.reported(trial, step, **changes), at=at)

    def reported(
        self, trial: int, step: int | None = None, *, attempt: int | None = None, **changes: Any
    ) -> TrialReported:
        now = self.trials[trial]
        step = now.step + 1 if step is None else step
        facts: dict[str, Any] = {"metrics": {"loss": 1.0 / max(step, 1)}, "time_total_s": float(step), "at": self.now}
        return TrialReported(trial, attempt or now.attempt, step, **{**facts, **changes})

    def started(self, trial: int) -> list[Record]:
        return self.handle(AttemptStarted(trial, self.trials[trial].attempt, self.now, pid=1, node="here"))

    def ended(self, trial: int, outcome: AttemptOutcome = AttemptOutcome.RETURNED, **changes: Any) -> AttemptEnded:
        attempt = changes.pop("attempt", self.trials[trial].attempt)
        return AttemptEnded(trial, attempt, outcome, self.now, **changes)

    def end(
        self, trial: int, outcome: AttemptOutcome = AttemptOutcome.RETURNED, *, at: float | None = None, **changes: Any
    ) -> list[Record]:
        return self.handle(self.ended(trial, outcome, **changes), at=at)

    def fail(self, trial: int, error: str = "ValueError: no", **changes: Any) -> list[Record]:
        return self.end(trial, AttemptOutcome.RAISED, error=error, **changes)

    def interrupt(self, level: int = 1) -> list[Record]:
        return self.handle(InterruptRequested(level, "SIGINT"))

    # ------------------------------------------------------------ what there is

    @property
    def state(self) -> Any:
        return self.experiment.state

    @property
    def trials(self) -> list[Trial]:
        return self.state.trials

    def status(self) -> str:
        """Every trial's state, by the first two letters."""
        return " ".join(trial.status.value[:2] for trial in self.trials)

    @property
    def ending(self) -> EndExperiment | None:
        return self.state.ending


def of(records: list[Record], kind: type[Any]) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def verdicts(records: list[Record]) -> list[Verdict]:
    return [answer.decision.verdict for answer in of(records, AnswerReport)]


def started(records: list[Record]) -> list[int]:
    return [start.trial for start in of(records, StartAttempt)]
