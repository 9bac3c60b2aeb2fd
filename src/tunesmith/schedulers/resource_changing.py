"""Gives running trials more CPUs and GPUs when fewer trials than slots are left: pause, and thaw with more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tunesmith.errors import ConfigError
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    NodeLost,
    NodeOffered,
    Record,
    SessionStarted,
    StartAttempt,
    Suggest,
    Thaw,
    TrialReported,
    Verdict,
)
from tunesmith.protocols import NextAction, Scheduler
from tunesmith.resources import Node, Placement, Resources, parse_resources
from tunesmith.schedulers.fifo import FIFOScheduler
from tunesmith.schedulers.resource_sharing import DistributeResources, Situation
from tunesmith.trial import Objective, Trial, TrialStatus

_CHANGE = "goes on with {wanted} instead of {held}: {n_open} trials share {total}"

#: What a trial should hold from now on; None: what it holds.
Allocation = Callable[[Trial, TrialReported, Situation], Resources | Mapping[str, object] | None]


@dataclass
class _Books:
    """Who holds what, as the log says."""

    nodes: dict[str, Node] = field(default_factory=dict)
    held: dict[int, Placement] = field(default_factory=dict)  #: of the running attempts
    base: Resources | None = None  #: what the experiment gives each trial
    over: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    n_suggested: int = 0
    requests: dict[int, int] = field(default_factory=dict)  #: open ones: how many configs they ask for
    #: Trials that were told to pause for it -> what they are to come back with.
    wishes: dict[int, Resources] = field(default_factory=dict)
    reports: dict[int, TrialReported] = field(default_factory=dict)  #: the last one of each trial that is not over

    def observe(self, record: Record) -> None:
        if isinstance(record, TrialReported):
            self.reports[record.trial] = record
        elif isinstance(record, StartAttempt):
            if self.base is None:
                self.base = record.placement.resources
            self.held[record.trial] = record.placement
            self.begun.add(record.trial)
            self.over.discard(record.trial)
        elif isinstance(record, ConcludeAttempt):
            self.held.pop(record.trial, None)
            if record.status.is_over and record.status is not TrialStatus.INTERRUPTED:
                self.over.add(record.trial)
                self.reports.pop(record.trial, None)
        elif isinstance(record, Suggest):
            self.requests.pop(-1 if record.instead_of is None else record.instead_of, None)
            self.requests[record.request] = record.n
        elif isinstance(record, ConfigsSuggested):
            self.requests.pop(record.request, None)
            self.n_suggested += len(record.suggestions)
        elif isinstance(record, SessionStarted):
            self.nodes = {node.name: node for node in record.nodes}
            self.base = None  # the machine and what each is given may be others now
            self.held.clear()
            self.requests.clear()
        elif isinstance(record, NodeOffered):
            self.nodes[record.node.name] = record.node
        elif isinstance(record, NodeLost):
            self.nodes.pop(record.node, None)

    def situation(self, trial: int, objective: Objective | None) -> Situation | None:
        """What the allocation function is told; None where the trial holds nothing."""
        mine = self.held.get(trial)
        if mine is None or self.base is None or mine.node not in self.nodes:
            return None
        n_open = self.n_suggested - len(self.over) + sum(self.requests.values())
        rooms = [self._room(node, but=trial) for node in self.nodes.values()]
        return Situation(
            base=self.base,
            held=mine.resources,
            total=_sum([_all_of(node) for node in self.nodes.values()]),
            within_reach=max(rooms, key=lambda room: (room.gpu, room.cpu)),
            n_open=max(n_open, len(self.held)),
            objective=objective,
            reports=dict(self.reports),
        )

    def _room(self, node: Node, *, but: int) -> Resources:
        """What the node has free, and what this trial holds of it; what others were promised is not free."""
        here = {trial: place for trial, place in self.held.items() if trial != but and place.node == node.name}
        promised = [self.wishes.get(trial, place.resources) for trial, place in here.items()]
        n_whole_gpus = sum(all(place.gpus.get(gpu, 0.0) == 0.0 for place in here.values()) for gpu in node.gpus)
        n_more_gpus = sum(
            max(0.0, self.wishes[trial].gpu - place.resources.gpu)
            for trial, place in here.items()
            if trial in self.wishes
        )
        custom = {
            name: amount - sum(one.custom.get(name, 0.0) for one in promised) for name, amount in node.custom.items()
        }
        cpu = node.cpu - sum(one.cpu for one in promised)
        return Resources(cpu=max(0.0, cpu), gpu=max(0.0, n_whole_gpus - math.ceil(n_more_gpus)), custom=custom)


class ResourceChangingScheduler:
    """Another scheduler's decisions; and trials that go on hold what an allocation function says.

    A change takes effect at a report that carries a checkpoint: the trial pauses and comes back at once with its new
    resources (a process of its own on as many CPUs, with its GPUs). Where they are not free any more, it goes on with
    what it had.

    Args:
        base_scheduler: judges the trials; None: first come, first served.
        resources_allocation_function: (trial, report, situation) -> Resources, a dict such as {"cpu": 2}, or None for
            what it holds. See `Situation`, `DistributeResources` and `DistributeResourcesToTopJob`. What it raises
            fails the trial.

    On purpose unlike Ray Tune: the function is given the trial, its report and a `Situation` in place of a controller,
    a trial, a result and a scheduler; it answers Resources, since a trial is one process and has no bundles; a change
    waits for a checkpoint instead of asking for one; a resumed experiment begins with what each trial is given.
    Raises: ConfigError for a base scheduler or function that is none.
    """

    def __init__(
        self,
        base_scheduler: Scheduler | None = None,
        resources_allocation_function: Allocation | None = None,
    ) -> None:
        self._base: Scheduler = FIFOScheduler() if base_scheduler is None else base_scheduler
        self._allocate: Allocation = resources_allocation_function or DistributeResources()
        if not all(hasattr(self._base, name) for name in ("bind", "observe", "decide", "choose_next", "describe")):
            raise ConfigError(f"base_scheduler is {base_scheduler!r}. Give a scheduler, or None.")
        if not callable(self._allocate):
            raise ConfigError(
                f"resources_allocation_function is {resources_allocation_function!r}. Give a function or None."
            )
        self._books = _Books()
        self._objective: Objective | None = None
        self._n_changes = 0

    def bind(self, objective: Objective | None) -> Objective | None:
        """As the base scheduler does."""
        self._objective = self._base.bind(objective)
        return self._objective

    def observe(self, record: Record) -> None:
        """Keep books of what is held. The base scheduler does not hear of pauses that are for resources only."""
        self._books.observe(record)
        if isinstance(record, AnswerReport) and "wanted_cpu" in record.decision.numbers:
            self._books.wishes[record.trial] = _wish(record.decision)
            self._base.observe(AnswerReport(record.trial, record.attempt, record.step, CONTINUE))
            return
        if isinstance(record, ConcludeAttempt) and record.trial in self._books.wishes:
            if record.status is TrialStatus.PAUSED:
                return
            del self._books.wishes[record.trial]  # it ended otherwise
        elif isinstance(record, StartAttempt) and record.trial in self._books.wishes:
            self._n_changes += record.placement.resources == self._books.wishes.pop(record.trial)
        self._base.observe(record)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """What the base scheduler says; where that is to continue, PAUSE if the trial should hold something else."""
        decision = self._base.decide(trial, report)
        situation = self._books.situation(trial.index, self._objective)
        if decision.verdict is not Verdict.CONTINUE or report.checkpoint is None or situation is None:
            return decision
        situation = replace(situation, reports={**situation.reports, trial.index: report})
        try:
            found = self._allocate(trial, report, situation)
            wanted = None if found is None else parse_resources(found)
        except Exception as error:
            why = f"{type(error).__name__} in resources_allocation_function: {error}"
            return Decision(Verdict.REFUSE, "{why}", {"why": why})
        if wanted is None or wanted == situation.held or not situation.can_hold(wanted):
            return decision
        numbers: dict[str, float | int | str] = {
            "wanted": wanted.words(),
            "held": situation.held.words(),
            "n_open": situation.n_open,
            "total": situation.total.words(),
            "wanted_cpu": wanted.cpu,
            "wanted_gpu": wanted.gpu,
            **{f"wanted_{name}": amount for name, amount in wanted.custom.items()},
        }
        return Decision(Verdict.PAUSE, _CHANGE, numbers)

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """First those that paused for resources; then what the base scheduler says about the others."""
        for trial in paused:
            if trial.index in self._books.wishes:
                wish = self._books.wishes[trial.index]
                return Thaw(trial.index, f"comes back with {wish.words()}", resources=wish)
        return self._base.choose_next(paused)

    def describe(self) -> Sequence[str]:
        """The base scheduler's lines, and what the trials hold."""
        held = [place.resources for place in self._books.held.values()]
        line = f"ResourceChanging: {self._n_changes} changes; {len(held)} trials hold {_sum(held).words()}"
        return [*self._base.describe(), line]


def _wish(decision: Decision) -> Resources:
    amounts = {
        name.removeprefix("wanted_"): float(value)
        for name, value in decision.numbers.items()
        if name.startswith("wanted_")
    }
    return Resources(cpu=amounts.pop("cpu"), gpu=amounts.pop("gpu"), custom=amounts)


def _all_of(node: Node) -> Resources:
    return Resources(cpu=node.cpu, gpu=float(len(node.gpus)), custom=dict(node.custom))


def _sum(all_resources: Sequence[Resources]) -> Resources:
    custom: dict[str, float] = {}
    for one in all_resources:
        for name, amount in one.custom.items():
            custom[name] = custom.get(name, 0.0) + amount
    cpu, gpu = sum(one.cpu for one in all_resources), sum(one.gpu for one in all_resources)
    return Resources(cpu=cpu, gpu=gpu, custom=custom)
