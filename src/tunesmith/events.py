"""What happened (events, past tense) and what is to be done about it (commands, imperative).

Together, in the order in which they were applied, they are the records of the event log: the truth about an
experiment. Replaying applies them and decides nothing anew.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from tunesmith.resources import Node, Placement, Resources
from tunesmith.trial import AttemptOutcome, TrialStatus


class Suggestion(msgspec.Struct, frozen=True):
    """A config that a searcher proposes."""

    config: dict[str, Any]
    reason: str | None = None
    parent: int | None = None  #: index of the trial it was derived from
    max_t: float | None = None


class Clone(msgspec.Struct, frozen=True):
    """Go on from another trial's checkpoint, or from an own one, with another config (population based training)."""

    donor: int  #: the trial that saved it; the trial itself where only its config changes
    checkpoint: str  #: as the donor's report named it, and one that the donor still keeps
    config: dict[str, Any]


class Thaw(msgspec.Struct, frozen=True):
    """Go on with this paused trial; one that runs is told that it may."""

    trial: int
    reason: str
    max_t: float | None = None  #: how far to train it, as in `Suggestion`; None leaves it as it was
    resources: Resources | None = None  #: what it holds from now on, where that is free; None leaves it as it was
    clone: Clone | None = None  #: of a scheduler: from where and with what it goes on, if not as it was paused


class StopPaused(msgspec.Struct, frozen=True):
    """This trial is not worth going on; said of a paused one, or of one that runs and cannot be paused."""

    trial: int
    reason: str


class Verdict(StrEnum):
    """What a trial does after a report."""

    CONTINUE = "continue"
    STOP = "stop"  #: it is not worth going on
    COMPLETE = "complete"  #: it reached the end there is: the last rung, or an iteration limit
    PAUSE = "pause"
    CLONE = "clone"
    REFUSE = "refuse"  #: the report contradicts what is known; `report()` raises


class Decision(msgspec.Struct, frozen=True):
    """The answer to a report, with the numbers it rests on. A plain continue carries neither."""

    verdict: Verdict = Verdict.CONTINUE
    reason: str | None = None  #: a sentence with named places, e.g. "rank {rank} of {n_seen} at rung {rung}"
    numbers: dict[str, float | int | str] = {}
    clone: Clone | None = None  #: of CLONE and of nothing else; not where the same is said again

    def words(self) -> str | None:
        """The reason with its numbers filled in."""
        return None if self.reason is None else self.reason.format(**self.numbers)


CONTINUE = Decision()


class EndReason(StrEnum):
    """Why an experiment ended."""

    FINISHED = "finished"  #: as many samples as asked for, all over
    EXHAUSTED = "exhausted"  #: the searcher has no further config
    TIME_BUDGET = "time budget"
    STEP_BUDGET = "step budget"
    STOPPER = "stopper"
    FAILED = "failed"  #: fail_fast, or the breaker for trials that all fail alike
    INTERRUPTED = "interrupted"

    @property
    def is_resumable(self) -> bool:
        """Whether what was running goes on when the experiment is resumed."""
        return self not in (EndReason.FINISHED, EndReason.EXHAUSTED, EndReason.STOPPER)


class _Record(msgspec.Struct, frozen=True, tag_field="type", tag=True):
    """Base of events and commands: written to the log as JSON with the class name in `type`.

    The two that exist by the million are `gc=False`: they are in no cycle, and a resume is a quarter faster for it.
    """


# ---------------------------------------------------------------- events


class Event(_Record, frozen=True):
    """Something that happened."""


class SessionStarted(Event, frozen=True):
    """A driver opened the experiment: the first one created it, later ones resume it."""

    epoch: int  #: fencing epoch of the driver's lease, from 1
    at: float  #: wall time
    nodes: tuple[Node, ...]
    reruns: tuple[int, ...] = ()  #: failed trials that are run again, with their failures up to here forgiven
    is_from_scratch: bool = False  #: those begin anew instead of at their last checkpoint


class ConfigsSuggested(Event, frozen=True):
    """The searcher answered `Suggest`."""

    request: int
    suggestions: tuple[Suggestion, ...]
    is_exhausted: bool = False  #: there will be no further config
    cpu_s: float = 0.0
    note: str | None = None  #: e.g. that a fallback answered, and why
    error: str | None = None  #: of an exhausted one: the space itself cannot be sampled, and why
    #: Of a searcher that also says what goes on: paused trials to thaw, in this order, and trials to stop.
    thaws: tuple[Thaw, ...] = ()
    stops: tuple[StopPaused, ...] = ()


class AttemptStarted(Event, frozen=True):
    """The attempt's process is up and about to call the trainable."""

    trial: int
    attempt: int
    at: float
    pid: int | None = None
    node: str | None = None


class TrialReported(Event, frozen=True, gc=False):
    """A trial handed over metrics at one step. `checkpoint` is the folder it saved for it, complete and synced."""

    trial: int
    attempt: int
    step: int
    metrics: dict[str, float]
    time_total_s: float  #: training time of all attempts up to here
    at: float
    checkpoint: str | None = None  #: relative to the experiment's folder
    is_last: bool = False  #: the trial says it is done (Ray Tune's `done=True`)


class CheckpointSaved(Event, frozen=True):
    """A trial saved a folder for a step that it had reported before: a class trainable told to stop does."""

    trial: int
    attempt: int
    step: int
    checkpoint: str
    at: float


class ReportRefused(Event, frozen=True):
    """A report that must not become a result: of a superseded attempt, or after a stop. Counted, not stored as one."""

    trial: int
    attempt: int
    step: int
    why: str


class AttemptEnded(Event, frozen=True):
    """An attempt's whole process tree is gone."""

    trial: int
    attempt: int
    outcome: AttemptOutcome
    at: float
    error: str | None = None  #: traceback or description
    cpu_s: float | None = None
    max_rss_bytes: int | None = None


class InterruptRequested(Event, frozen=True):
    """Ctrl-C or a termination signal; the level counts the presses from 1."""

    level: int
    source: str


class NodeLost(Event, frozen=True):
    """A node and all attempts on it are gone."""

    node: str


class NodeOffered(Event, frozen=True):
    """What there is of a node for this experiment from here on: it joined, or its part has grown or shrunk.

    It never shrinks below what the attempts on it hold.
    """

    node: Node


# ---------------------------------------------------------------- commands


class Command(_Record, frozen=True):
    """Something to be done. Carried out only after it was committed."""


class Suggest(Command, frozen=True):
    """Ask the searcher for up to `n` configs; or random search, in place of one that is too slow."""

    request: int
    n: int
    instead_of: int | None = None  #: the request that random search answers here; a later answer to it is dropped
    reason: str | None = None  #: of such a one


class StartAttempt(Command, frozen=True):
    """Start a process for the trial. `config` is the trial's; the log does not repeat it."""

    trial: int
    attempt: int
    placement: Placement
    config: dict[str, Any] = {}
    checkpoint: str | None = None
    start_step: int = 0  #: the step of that checkpoint; the first report is one above
    start_time_s: float = 0.0  #: training time already spent
    #: Of the first attempt of a clone: who saved that checkpoint. The config is the trial's from here on.
    donor: int | None = None


class AnswerReport(Command, frozen=True, gc=False):
    """Let the trial's `report()` return, or end it there."""

    trial: int
    attempt: int
    step: int
    decision: Decision


class StopAttempt(Command, frozen=True):
    """End an attempt by the stop ladder, beginning with its next report. An attempt on a longer ladder is hurried."""

    trial: int
    attempt: int
    reason: str
    status_after: TrialStatus = TrialStatus.STOPPED
    is_immediate: bool = False  #: skip the ladder's patient steps
    grace_s: float | None = None  #: until SIGKILL; None: the experiment's


class ConcludeAttempt(Command, frozen=True):
    """Give the trial its state after an attempt ended, or after a decision about a trial that does not run."""

    trial: int
    attempt: int
    status: TrialStatus
    reason: str | None = None
    not_before: float | None = None  #: for PENDING: earliest start, on the experiment's clock
    held_s: float | None = None  #: how long the attempt had its slot, by the same clock; None where none is concluded


class DeleteCheckpoint(Command, frozen=True):
    """Retention no longer keeps this folder."""

    trial: int
    path: str


class QuarantineNode(Command, frozen=True):
    """Start nothing more on this node in this session: whatever starts there fails."""

    node: str
    reason: str


class EndExperiment(Command, frozen=True):
    """Start nothing more; the experiment is done when no attempt is left."""

    why: EndReason
    detail: str | None = None


Record = (
    SessionStarted
    | ConfigsSuggested
    | AttemptStarted
    | TrialReported
    | CheckpointSaved
    | ReportRefused
    | AttemptEnded
    | InterruptRequested
    | NodeLost
    | NodeOffered
    | Suggest
    | StartAttempt
    | AnswerReport
    | StopAttempt
    | ConcludeAttempt
    | DeleteCheckpoint
    | QuarantineNode
    | EndExperiment
)
