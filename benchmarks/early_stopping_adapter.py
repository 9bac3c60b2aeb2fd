"""tunesmith's early stopping as optimizers of the search-quality benchmark's multi-fidelity problems.

Searcher and scheduler are driven through the real state machine: each job of the harness is an attempt, each of its
epochs a report with a checkpoint. The harness takes them as `--opt early_stopping_adapter:tunesmith_asha`, with this
folder and `src` on PYTHONPATH.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from search_adapter import flat, space_of
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    ConfigsSuggested,
    Event,
    SessionStarted,
    StartAttempt,
    Suggest,
    TrialReported,
    Verdict,
)
from tunesmith.experiment import Experiment
from tunesmith.protocols import Scheduler, Searcher
from tunesmith.resources import Node, Resources
from tunesmith.runner.suggester import answer
from tunesmith.schedulers import create_scheduler
from tunesmith.searchers import create_searcher
from tunesmith.stoppers import NoopStopper
from tunesmith.testing.samples import make_spec
from tunesmith.trial import AttemptOutcome, Mode, Objective

_LOSS = "loss"


class Pair(NamedTuple):
    """What proposes configs, and what judges reports; one object may be both."""

    searcher: Searcher
    scheduler: Scheduler


@dataclass
class Job:
    """An attempt, in the harness's words: it goes on from the epoch that `key` has reached."""

    key: int  #: the trial's index
    config: dict[str, Any]
    to: int
    attempt: int


class EarlyStopping:
    """An experiment without a limit, whose workers are those of the harness.

    Time is the number of epochs so far: the harness keeps its clock to itself.
    """

    def __init__(
        self, params: Sequence[Any], seed: int, max_fidelity: int, workers: int, *, make: Callable[[int], Pair]
    ) -> None:
        """Args: make: the deciders, for training up to so many epochs."""
        space, objective = space_of(params), Objective((_LOSS,), (Mode.MIN,))
        self.searcher, scheduler = make(max_fidelity)
        self.experiment = Experiment(
            make_spec(space, seed=seed, n_trials=None, objective=objective),
            space=space,
            objective=scheduler.bind(objective),
            scheduler=scheduler,
            stopper=NoopStopper(),
            curves_by=getattr(self.searcher, "curves_by", None),
            thaws=getattr(self.searcher, "thaws", False),
        )
        self._max_fidelity, self._now = max_fidelity, 0.0
        self._starts: deque[StartAttempt] = deque()  #: decided, and not yet taken by a worker
        nodes = (Node("here", cpu=workers * Resources().cpu),)
        self._handle(SessionStarted(epoch=1, at=0.0, nodes=nodes))

    def ask(self) -> Job | None:
        """The next attempt; None where none is to start now."""
        if not self._starts:
            return None
        start = self._starts.popleft()
        return Job(start.trial, flat(start.config), self._max_fidelity, start.attempt)

    def report(self, job: Job, epoch: int, value: float) -> bool:
        """Whether the attempt goes on after this epoch."""
        self._now += 1.0
        metrics, folder = {_LOSS: value}, f"{job.key}/{epoch}"
        return self._handle(TrialReported(job.key, job.attempt, epoch, metrics, float(epoch), self._now, folder))

    def done(self, job: Job, epoch: int, value: float) -> None:
        """The attempt ended, as it was told to or after its last epoch."""
        is_told = job.key in self.experiment.state.answered
        outcome = AttemptOutcome.STOPPED if is_told else AttemptOutcome.RETURNED
        self._handle(AttemptEnded(job.key, job.attempt, outcome, self._now))

    def _handle(self, event: Event) -> bool:
        """Take in the event, and what the searcher answers to it; whether a trial that reported may go on."""
        events, may_go_on = [event], True
        while events:
            records = self.experiment.handle(events, self._now)
            events = []
            for record in records:
                if isinstance(record, StartAttempt):
                    self._starts.append(record)
                elif isinstance(record, Suggest):
                    events.append(self._suggested(record))
                elif isinstance(record, AnswerReport):
                    may_go_on = record.decision.verdict is Verdict.CONTINUE
                    if record.decision.verdict in (Verdict.CLONE, Verdict.REFUSE):
                        raise RuntimeError(f"The harness knows no such answer: {record.decision}")
        return may_go_on

    def _suggested(self, command: Suggest) -> ConfigsSuggested:
        """The answer, at no cost of time; random search in place of a searcher that fails would go unnoticed."""
        event = answer(self.searcher, command, self.experiment.history())
        if event.note is not None and event.suggestions:
            raise RuntimeError(event.note)
        return event


def named(max_t: int, *, searcher: str, scheduler: str, reduction_factor: float = 3) -> Pair:
    """Two of tunesmith's by their names."""
    judge = create_scheduler(scheduler, max_t=max_t, reduction_factor=reduction_factor)
    return Pair(create_searcher(searcher), judge)


def freeze_thaw(max_t: int, **kwargs: Any) -> Pair:
    """The method that is searcher and scheduler in one. Args: kwargs: of FreezeThaw."""
    from tunesmith.methods import FreezeThaw

    method = FreezeThaw(max_t=max_t, **kwargs)
    return Pair(method, method)


def _optimizer(searcher: str, scheduler: str) -> Callable[..., EarlyStopping]:
    return partial(EarlyStopping, make=partial(named, searcher=searcher, scheduler=scheduler))


OPTIMIZERS = {
    "tunesmith_asha": _optimizer("random", "asha"),
    "tunesmith_asha_gp": _optimizer("auto", "asha"),
    "tunesmith_hyperband": _optimizer("random", "hyperband"),
    "tunesmith_bohb": _optimizer("bohb", "hb_bohb"),
    "tunesmith_freeze_thaw": partial(EarlyStopping, make=freeze_thaw),
}
