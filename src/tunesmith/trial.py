"""The words about one trial: its states, its attempts, its checkpoints, and what is optimised."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from tunesmith.errors import ConfigError, TransitionError
from tunesmith.resources import Placement


class Mode(StrEnum):
    """Whether small or large values of a metric are good."""

    MIN = "min"
    MAX = "max"

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better; NaN is worse than everything, and nothing is worse than NaN."""
        if math.isnan(value):
            return False
        if math.isnan(than):
            return True
        return value < than if self is Mode.MIN else value > than

    def as_loss(self, value: float) -> float:
        """The value with its sign turned so that smaller is better."""
        return value if self is Mode.MIN else -value


class MetricConstraint(msgspec.Struct, frozen=True):
    """A bound that a reported metric has to keep for its trial to count as a solution: `latency <= 20`."""

    metric: str
    is_upper: bool  #: whether the bound is the largest value allowed; else the smallest
    bound: float

    def excess(self, value: float) -> float:
        """By how much the value breaks the bound; 0 or less where it keeps it."""
        return value - self.bound if self.is_upper else self.bound - value

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.is_upper else '>='} {self.bound:g}"


class Objective(msgspec.Struct, frozen=True):
    """What is optimised: one metric and mode each, at least one; several objectives are no special case."""

    metrics: tuple[str, ...]
    modes: tuple[Mode, ...]
    constraints: tuple[MetricConstraint, ...] = ()

    @property
    def metric(self) -> str:
        """The first metric: the one that a single ranking uses."""
        return self.metrics[0]

    @property
    def mode(self) -> Mode:
        """The first metric's mode."""
        return self.modes[0]


def parse_objective(
    metric: str | Sequence[str] | None,
    mode: str | Sequence[str] | None,
    constraints: Mapping[str, str] | None = None,
) -> Objective | None:
    """The objective in a user's words, or None where neither was given.

    Args: constraints: bounds of metrics, `{"latency": "<= 20"}`.
    Raises: ConfigError if only one of metric and mode was given, they differ in number, a mode is not "min" or "max",
        or a constraint is no bound.
    """
    if metric is None and mode is None:
        if constraints:
            raise ConfigError("constraints bound the metrics of an objective. Give metric and mode too.")
        return None
    if metric is None or mode is None:
        raise ConfigError(f"metric is {metric!r} and mode is {mode!r}. Give both, or neither.")
    metrics, modes = _several(metric), _several(mode)
    for name in metrics:
        if not isinstance(name, str):
            raise ConfigError(f"metric is {metric!r}. Give the name of a reported value, or a list of names.")
    if not metrics or len(metrics) != len(modes):
        raise ConfigError(f"There are {len(metrics)} metrics and {len(modes)} modes. Give one mode for each metric.")
    for name in modes:
        if name not in ("min", "max"):
            raise ConfigError(f"mode is {name!r}. Give 'min' or 'max'.")
    bounds = tuple(_parse_constraint(name, words) for name, words in (constraints or {}).items())
    return Objective(metrics=metrics, modes=tuple(Mode(name) for name in modes), constraints=bounds)


_BOUND = re.compile(r"\s*(<=|>=|<|>)\s*([^\s]+)\s*")


def _parse_constraint(metric: Any, words: Any) -> MetricConstraint:
    """Strict and weak bounds are taken alike: metrics are floats."""
    found = _BOUND.fullmatch(words) if isinstance(words, str) else None
    try:
        bound = math.nan if found is None else float(found[2])
    except ValueError:
        bound = math.nan
    if found is None or not isinstance(metric, str) or not math.isfinite(bound):
        raise ConfigError(f'The constraint on {metric!r} is {words!r}. Give a bound: {{"latency": "<= 20"}}.')
    return MetricConstraint(metric, is_upper=found[1].startswith("<"), bound=bound)


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list | tuple) else (given,)


class TrialStatus(StrEnum):
    """Where a trial stands. `TRANSITIONS` says which may follow which."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    INVALID = "INVALID"

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to the trial in this run of the experiment."""
        return self not in _OPEN

    @property
    def ray_word(self) -> str:
        """The word that Ray Tune's users know: PENDING, RUNNING, PAUSED, TERMINATED or ERROR."""
        if self in _OPEN:
            return self.value
        if self is TrialStatus.INTERRUPTED:
            return "PENDING"
        return "ERROR" if self in (TrialStatus.FAILED, TrialStatus.INVALID) else "TERMINATED"


_OPEN = frozenset({TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.PAUSED})

#: Every change of state there is. PENDING after RUNNING is a requeue; after an end it is a resume of the experiment.
TRANSITIONS: dict[TrialStatus, frozenset[TrialStatus]] = {
    TrialStatus.PENDING: frozenset({TrialStatus.RUNNING, TrialStatus.STOPPED, TrialStatus.INTERRUPTED}),
    TrialStatus.RUNNING: frozenset(set(TrialStatus) - {TrialStatus.RUNNING}),
    TrialStatus.PAUSED: frozenset(
        {TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.STOPPED, TrialStatus.COMPLETED, TrialStatus.INTERRUPTED}
    ),
    TrialStatus.INTERRUPTED: frozenset({TrialStatus.PENDING}),
    TrialStatus.FAILED: frozenset({TrialStatus.PENDING}),
    TrialStatus.INVALID: frozenset({TrialStatus.PENDING}),
    TrialStatus.COMPLETED: frozenset(),
    TrialStatus.STOPPED: frozenset(),
}


class AttemptOutcome(StrEnum):
    """How one process of a trial ended."""

    RETURNED = "RETURNED"  #: the function returned
    STOPPED = "STOPPED"  #: it was told to stop, and did or was killed
    RAISED = "RAISED"  #: the function raised
    EXITED = "EXITED"  #: the process ended without the function having returned
    SIGNALLED = "SIGNALLED"  #: the process died by a signal that was not ours
    LOST = "LOST"  #: its process or node vanished
    PREEMPTED = "PREEMPTED"
    INVALID = "INVALID"  #: the trainable refused the config
    NO_CHECKPOINT = "NO_CHECKPOINT"  #: it was never begun: the checkpoint to start from is gone

    @property
    def is_failure(self) -> bool:
        """Whether the attempt counts against `max_failures`."""
        return self in (AttemptOutcome.RAISED, AttemptOutcome.EXITED, AttemptOutcome.SIGNALLED)


class FoldScore(msgspec.Struct, frozen=True):
    """What a trial reported of one fold of a cross-validation: the objective's first metric, in the user's sign."""

    fold: int
    step: int  #: of the report
    value: float  #: as reported; NaN and infinities included


class Checkpoint(msgspec.Struct, frozen=True):
    """A folder that a trial saved and can start from; committed with the report of the same step."""

    path: str  #: relative to the experiment's folder
    step: int
    attempt: int
    score: float | None = None  #: the value that retention ranks by, smaller is better; None where there was none
    time_total_s: float = 0.0  #: training time up to this step
    metrics: dict[str, float] | None = None  #: reported with it
    best_value: float | None = None  #: the trial's best up to this step: what stands again after a restart from here
    best_step: int | None = None
    #: The trial that saved it, where that is another one: a clone starts from it, and retries from it until it has
    #: saved one of its own. `metrics` and best are then those of the trial that borrowed it: its own results.
    donor: int | None = None
    folds: tuple[FoldScore, ...] = ()  #: the trial's up to this step


class Trial(msgspec.Struct, frozen=True):
    """One candidate as it stands now. Frozen: only the experiment's fold replaces it."""

    index: int
    trial_id: str
    config: dict[str, Any]
    status: TrialStatus = TrialStatus.PENDING
    attempt: int = 0  #: number of the current or last attempt; 0 before the first
    n_failures: int = 0
    n_losses: int = 0
    n_preemptions: int = 0
    n_reports: int = 0  #: results stored, superseded ones included
    step: int = 0  #: last step reported; 0 before the first
    metrics: dict[str, float] | None = None  #: of the last report
    time_total_s: float = 0.0  #: training time up to the last report, over all attempts
    #: Best value of the objective's first metric, in the user's sign; with `folds` the mean over these, None unless all
    #: are finite.
    best_value: float | None = None
    best_step: int | None = None  #: of that report; with `folds` the last of theirs
    checkpoints: tuple[Checkpoint, ...] = ()  #: committed and kept, oldest first
    placement: Placement | None = None  #: what it holds; set in state RUNNING and in no other
    pid: int | None = None
    node: str | None = None
    started_at: float | None = None  #: wall time of the first attempt's start
    reported_at: float | None = None  #: wall time of the last report
    ended_at: float | None = None
    stop_asked: str | None = None  #: why the running attempt was told to end
    reason: str | None = None  #: why it is in its state: of a stop, a failure, a completion
    error: str | None = None  #: traceback or description of the last failure
    proposed_by: str | None = None  #: the searcher's reason for this config
    max_t: float | None = None  #: the searcher's wish for how far to train
    folds: tuple[FoldScore, ...] = ()  #: one for each fold that was reported, by fold; what was last reported of it

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest committed one."""
        return self.checkpoints[-1] if self.checkpoints else None


def check_transition(trial: Trial, target: TrialStatus) -> None:
    """Raise TransitionError unless the table allows the trial to go to `target`."""
    if target not in TRANSITIONS[trial.status]:
        raise TransitionError(
            f"Trial {trial.index} cannot go from {trial.status.value} to {target.value} "
            f"(attempt {trial.attempt}, step {trial.step}, {trial.n_failures} failures, reason: {trial.reason})."
        )


def metric_value(metrics: Mapping[str, float], step: int, time_total_s: float, name: str) -> float | None:
    """The value that `name` has in a report, filled-in keys included; None where it is missing."""
    value = metrics.get(name)
    if value is not None:
        return value
    if name == "training_iteration":
        return float(step)
    if name == "time_total_s":
        return time_total_s
    return None


def fold_of(metrics: Mapping[str, float]) -> int | None:
    """Which fold of a cross-validation a report is of: its `fold`, a whole number from 0; None where it is of none."""
    fold = metrics.get("fold")
    if fold is None or not 0 <= fold < math.inf or fold != int(fold):
        return None
    return int(fold)


def mean_over_folds(values: Sequence[float]) -> float | None:
    """The mean of one or more values, the same in any order of them; None unless all are finite."""
    if not all(map(math.isfinite, values)):
        return None
    return math.fsum(value / len(values) for value in values)  # divided first: a sum of huge values overflows
