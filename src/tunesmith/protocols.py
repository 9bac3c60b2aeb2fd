"""The six contracts of the house. Whoever writes a searcher, scheduler, stopper, executor, store or callback needs
this file only; `tunesmith.testing` holds a contract suite for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tunesmith.clock import Clock
from tunesmith.events import Command, Decision, Event, Record, StopPaused, Suggestion, Thaw, TrialReported
from tunesmith.resources import Node, Resources
from tunesmith.space import Space
from tunesmith.trial import Objective, Trial

if TYPE_CHECKING:
    import numpy as np

# ---------------------------------------------------------------- searcher


class Curve(msgspec.Struct, frozen=True):
    """What a trial reported over time: the first `n` entries of each list; superseded reports are not among them."""

    times: list[float]  #: rising, in units of the `time_attr` that was asked for
    values: list[float]  #: the first metric, in the user's sign; NaN and infinities as reported
    orders: list[int]  #: the number of each among all reports of the experiment, in the order of the log
    n: int
    totals_s: list[float] = []  #: how long the trial had trained by each, in seconds; empty where nobody knows

    def points(self) -> tuple[list[float], list[float]]:
        """Times and values, as lists of their own."""
        return self.times[: self.n], self.values[: self.n]


class History(msgspec.Struct, frozen=True):
    """All that a searcher may know. A snapshot: trials are frozen and the tuple does not grow."""

    space: Space
    objective: Objective | None
    seed: int
    trials: tuple[Trial, ...]  #: by index; those PENDING and RUNNING are included
    curves: tuple[Curve, ...] = ()  #: by index; empty unless the searcher asks for them with `curves_by`
    n_left: int | None = None  #: how many new configs the experiment has room for; None: no limit


class Exhausted(msgspec.Struct, frozen=True):
    """There is no further config, now or later."""

    reason: str


class Wait(msgspec.Struct, frozen=True):
    """There is no config now; ask again when a running trial has reported or ended."""

    reason: str


#: What a searcher may propose for a slot: a new config; where it `thaws`, a trial to go on with, or to stop for good.
Proposal = Suggestion | Thaw | StopPaused


class Searcher(Protocol):
    """Proposes configs. A function of the history: it may cache, never remember.

    Two further attributes are optional. `curves_by`: the `time_attr` of the learning curves that it wants in the
    history. `thaws`: it also says which paused trials go on and which trials end, and is asked while any are left; it
    then serves an experiment together with a scheduler that only pauses (FreezeThaw is both).
    """

    @property
    def uses_results(self) -> bool:
        """Whether results change what it proposes. If not, configs are asked for well ahead, many at a time."""

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Proposal] | Exhausted | Wait:
        """1 to `n` proposals, or why there are none. Equal arguments give equal answers, in any process."""


# ---------------------------------------------------------------- scheduler


class StartNew(msgspec.Struct, frozen=True):
    """Use the free slot for a new trial."""

    resources: Resources | None = None  #: what it holds; None: what the experiment gives each trial
    #: What to do where no new trial will come any more and nothing runs; None: the oldest paused trial goes on.
    otherwise: Thaw | StopPaused | None = None


class Hold(msgspec.Struct, frozen=True):
    """Leave the slot empty until the next event."""


NextAction = StartNew | Thaw | StopPaused | Hold


class Scheduler(Protocol):
    """Judges reports and says what runs next. `observe` is a fold; the other two have no side effects.

    An attribute `full_training` is optional: (`time_attr`, `max_t`) of one that ends trainings early. The default
    search then learns from where trials were headed instead of where they were stopped.
    """

    def bind(self, objective: Objective | None) -> Objective | None:
        """Take the experiment's objective, once, before anything else; return the one it will use.

        Raises: ConfigError if both sides name one, or neither does and it needs one.
        """

    def observe(self, record: Record) -> None:
        """Fold one record of the log, in the log's order, each exactly once."""

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """What the trial does after this report. Called before the report is observed; `trial` already holds it."""

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """What a free slot is used for; asked for each one, and again after each StopPaused.

        A scheduler is not told how many new trials there will be. Whoever has paused some wishes for a new one by
        StartNew, and says in its `otherwise` what becomes of those that are paused if none can come: there are as many
        as there may be, or the searcher has no further config, or none before it hears news. It is carried out once
        nothing runs and nothing is waited for, be it an answer of the searcher or the retry of a failed trial. `Hold`
        has no such way out: with nothing running it ends the experiment as failed.
        """

    def describe(self) -> Sequence[str]:
        """A few lines on its state for people: rungs, what each stop was for."""


# ---------------------------------------------------------------- stopper


class Stopper(Protocol):
    """Ends a trial, or the experiment, by a rule that needs no comparison with other trials.

    An optional method `bind(objective)` is told the experiment's objective before anything else.
    """

    def observe(self, record: Record) -> None:
        """Fold one record of the log."""

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """CONTINUE, STOP or COMPLETE for the trial that reported; called before the report is observed."""

    def should_end(self) -> str | None:
        """Why the whole experiment should end now, or None."""


# ---------------------------------------------------------------- executor


class Launch(msgspec.Struct, frozen=True):
    """What an executor needs to know once, before the first attempt."""

    experiment_id: str
    experiment_name: str
    folder: Path
    trainable: Any  #: the user's function or class, as given
    trial_names: Callable[[int], tuple[str, str]]  #: a trial's index -> its id and its name
    seed: int
    handle: Callable[[Sequence[Event]], None]  #: pass events through the loop at once: for trials in its own thread
    grace_s: float = 10.0
    checkpoint_freq: int = 0  #: of class trainables: save every so many steps
    checkpoint_at_end: bool = False
    log_cap_bytes: int = 16 * 2**20
    resources: Resources = Resources()  #: of a trial that asks for nothing else
    n_wanted: Callable[[], float] = lambda: math.inf  #: how many attempts could run now, were there room for all
    place: str = ""  #: tells the executors apart that run one experiment's trials side by side on one machine


class Executor(Protocol):
    """Runs attempts and hands back events. The only place where time passes is `wait`.

    One whose nodes come and go has a further attribute, `is_elastic`, which is True: without any room the experiment
    waits for `NodeOffered` instead of ending. Its `nodes` answers, once started, what there is for now.
    """

    @property
    def clock(self) -> Clock:
        """What `wait` goes by, and the experiment's deadlines with it; a `VirtualClock` where time is simulated."""

    @property
    def is_inline(self) -> bool:
        """Whether trials run one by one in the loop's own thread, inside `wait`: nothing may run beside them then."""

    def nodes(self) -> tuple[Node, ...]:
        """What there is to run on."""

    def check(self, space: Space, request: Resources) -> None:
        """Raise before anything is made: ResourceError where no node can ever hold what a trial asks for.

        TrainableError where a constant or an option of the space cannot travel.
        """

    def start(self, launch: Launch) -> None:
        """Get ready. Raises TrainableError where the trainable cannot travel, before anything runs."""

    def carry_out(self, commands: Sequence[Command]) -> None:
        """Do what each StartAttempt, AnswerReport and StopAttempt says; ignore the others. Never blocks for long."""

    def wait(self, timeout_s: float | None) -> list[Event]:
        """Events in the order in which they happened; empty after `timeout_s` seconds without any."""

    def post(self, event: Event, delay_s: float = 0.0) -> None:
        """Make `wait` return this event; may be called from any thread and from a signal handler."""

    def close(self, *, is_immediate: bool = False) -> None:
        """End every attempt and free everything. Idempotent. No process is left afterwards."""


# ---------------------------------------------------------------- store


class Store(Protocol):
    """Where the event log lives. One writer, held by a lease with a fencing epoch."""

    def append(self, records: Sequence[Record], trials: Sequence[Trial]) -> None:
        """Commit the records and the new state of the trials they changed, all or nothing. Returns when committed.

        Raises: LeaseError when another driver has taken over; StoreError when it cannot be written.
        """

    def records(self) -> Iterator[Record]:
        """The whole log, in order."""

    def close(self) -> None:
        """Give back the lease. Idempotent."""


# ---------------------------------------------------------------- callback


class RecordCallback(Protocol):
    """Watches an experiment record by record; `tunesmith.Callback` is told the same trial by trial.

    Called from a thread of its own, never from the loop; what it raises ends it, and nothing else.
    """

    def setup(self, folder: Path) -> None:
        """Before the first record. `tunesmith.stores.open_reader(folder)` reads the experiment."""

    def on_records(self, records: Sequence[Record]) -> None:
        """The next committed records, in order."""

    def on_end(self) -> None:
        """After the last record."""
