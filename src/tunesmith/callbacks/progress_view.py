"""What a person who watches is shown: one frozen struct, built from the store and from what the driver knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tunesmith.callbacks.estimate import Workload, time_left_s
from tunesmith.events import EndReason
from tunesmith.resources import Node
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import Objective, Trial, TrialStatus, metric_value

_SILENCE_FACTOR = 10  #: a running trial is called silent after so many median steps without a report,
_MIN_SILENCE_S = 60.0  #: and not before this
_COMPLETE_ENDS = (EndReason.FINISHED, EndReason.EXHAUSTED)
_END_REASONS = {reason.value: reason for reason in EndReason}


class StandingFacts(Protocol):
    """How an experiment stands."""

    @property
    def status(self) -> str | None:
        """An EndReason's value once it ended; anything else while it goes on."""

    @property
    def detail(self) -> str | None:
        """Why it ended, in words."""


class ResultFacts(Protocol):
    """What a view needs of a stored result."""

    @property
    def attempt(self) -> int:
        """The attempt that reported it."""

    @property
    def step(self) -> int:
        """Its step."""

    @property
    def value(self) -> float | None:
        """Of the objective's first metric."""


class ExperimentReader(Protocol):
    """The part of `tunesmith.stores.open_reader(folder)` that a view is built from."""

    @property
    def spec(self) -> ExperimentSpec:
        """What the user asked for."""

    def status(self) -> StandingFacts:
        """How the experiment stands."""

    def counts(self) -> Mapping[TrialStatus, int]:
        """Trials by state."""

    def n_results(self) -> int:
        """Results stored."""

    def trials(self) -> Sequence[Trial]:
        """All trials, by index."""

    def top_trials(self, n: int) -> Sequence[Trial]:
        """The best `n` by the objective, best first."""

    def results(self, trial: int) -> Iterable[ResultFacts]:
        """The results of one trial."""

    def config_of(self, trial: int, attempt: int) -> dict[str, Any]:
        """The config that one attempt was given."""


class LiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What only the driver knows: it is in no store."""

    elapsed_s: float  #: counted as the time budget counts it
    time_limit_s: float = math.inf  #: of the session, that of a stopper included
    now_wall: float  #: wall time, comparable with the trials' times
    nodes: tuple[Node, ...] = ()  #: `Executor.nodes()`
    scheduler_lines: tuple[str, ...] = ()  #: `Scheduler.describe()`
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    n_stand_ins: int = 0  #: configs that random search gave in place of the searcher
    n_steps: int | None = None  #: steps that count against `max_total_steps`; None: the sum of the trials' steps


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """The best trial so far, by the objective's first metric."""

    trial: int
    name: str
    metric: str
    mode: str
    value: float
    step: int
    config: dict[str, Any]
    checkpoint: str | None = None  #: folder, absolute
    checkpoint_step: int | None = None
    n_folds: int = 0  #: that `value` is the mean over; 0 where it is of one report


class ResourceUse(msgspec.Struct, frozen=True):
    """How much of one resource is held."""

    name: str
    used: float
    total: float


class ReportedTrial(msgspec.Struct, frozen=True):
    """A trial in Ray Tune's words, for reporters that were written for its `should_report(trials, done)`."""

    trial_id: str
    status: str
    config: dict[str, Any]
    last_result: dict[str, Any]
    name: str

    def __str__(self) -> str:
        return self.name


class ProgressView(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment at one moment. Iterating gives its trials in Ray Tune's words."""

    name: str
    folder: str
    database: str | None = None
    trials: tuple[Trial, ...] = ()  #: all of them, by index
    names: dict[int, str] = {}  #: of each trial
    log_files: dict[int, str] = {}  #: of the trials that failed
    counts: dict[TrialStatus, int] = {}
    n_total: int | None = None  #: trials in all; None: endless
    n_reports: int = 0
    n_steps: int = 0
    n_stand_ins: int = 0
    max_total_steps: int | None = None
    elapsed_s: float = 0.0
    time_budget_s: float | None = None
    now_wall: float = 0.0
    n_parallel: int = 1
    resources: tuple[ResourceUse, ...] = ()
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    objective: Objective | None = None
    best: Best | None = None
    searcher_name: str = ""
    scheduler_name: str = ""
    scheduler_lines: tuple[str, ...] = ()
    end_status: EndReason | None = None  #: why it ends; None while it goes on
    end_detail: str | None = None

    def __iter__(self) -> Iterator[ReportedTrial]:
        for trial in self.trials:
            metrics = {**(trial.metrics or {}), "training_iteration": trial.step, "time_total_s": trial.time_total_s}
            result = {**metrics, "trial_id": trial.trial_id, "done": trial.status.is_over}
            yield ReportedTrial(
                trial.trial_id, trial.status.ray_word, trial.config, result, self.trial_name(trial.index)
            )

    def __len__(self) -> int:
        return len(self.trials)

    def __bool__(self) -> bool:
        return True

    @property
    def n_over(self) -> int:
        """Trials to which nothing more happens; interrupted ones go on at a resume, so they are not over."""
        return sum(n for status, n in self.counts.items() if status.is_over and status is not TrialStatus.INTERRUPTED)

    @property
    def n_running(self) -> int:
        """Trials in state RUNNING."""
        return self.counts.get(TrialStatus.RUNNING, 0)

    @property
    def is_complete(self) -> bool:
        """Whether it ended because there is nothing left to do."""
        return self.end_status in _COMPLETE_ENDS

    @property
    def state(self) -> str:
        """One word: RUNNING, ENDING (trials still run), or why it ended."""
        if self.end_status is None:
            return "RUNNING"
        return "ENDING" if self.n_running else self.end_status.value.upper()

    def trial_name(self, index: int) -> str:
        """The trial's name; its number where it has none."""
        return self.names.get(index, f"trial {index}")

    def stops(self) -> list[Trial]:
        """Trials that were stopped early, the latest first."""
        stopped = [trial for trial in self.trials if trial.status is TrialStatus.STOPPED]
        return sorted(stopped, key=lambda trial: (trial.ended_at or 0.0, trial.index), reverse=True)

    def failures(self) -> list[Trial]:
        """Trials that have failed at least once, or whose config was refused, the latest first."""
        failed = [t for t in self.trials if t.n_failures or t.status in (TrialStatus.FAILED, TrialStatus.INVALID)]
        return sorted(failed, key=lambda trial: (trial.ended_at or 0.0, trial.index), reverse=True)

    def time_left_s(self, n_total: int | None = None) -> float | None:
        """The estimate of what is left, or None where it is unknown yet; `n_total` replaces the view's."""
        over = [t for t in self.trials if t.status.is_over and t.status is not TrialStatus.INTERRUPTED]
        begun = [t for t in self.trials if not t.status.is_over and t.attempt > 0]
        return time_left_s(
            Workload(
                durations_s=tuple(_duration_s(trial, self.now_wall) for trial in over),
                spent_s=tuple(_duration_s(trial, self.now_wall) for trial in begun),
                n_total=self.n_total if n_total is None else n_total,
                n_parallel=self.n_parallel,
                elapsed_s=self.elapsed_s,
                time_budget_s=self.time_budget_s,
                n_steps=self.n_steps,
                max_total_steps=self.max_total_steps,
            )
        )

    def silent_for_s(self) -> dict[int, float]:
        """Running trials that have not reported for ten median steps and a minute, and for how long."""
        paces_s = sorted(t.time_total_s / t.step for t in self.trials if t.step and t.time_total_s > 0)
        if not paces_s:
            return {}
        limit_s = max(_MIN_SILENCE_S, _SILENCE_FACTOR * paces_s[len(paces_s) // 2])
        silences_s = {t.index: _since_s(t, self.now_wall) for t in self.trials if t.status is TrialStatus.RUNNING}
        return {index: silence_s for index, silence_s in silences_s.items() if silence_s > limit_s}


def build_view(
    reader: ExperimentReader,
    live: LiveFacts,
    *,
    folder: Path,
    database: Path | None = None,
    trial_name: Callable[[Trial], str] | None = None,
    log_file: Callable[[Trial], Path] | None = None,
) -> ProgressView:
    """The experiment as it stands in the store, with what the driver knows beside it.

    Reads all trials: its cost grows with their number, so call it no more often than is looked at.
    """
    spec, trials = reader.spec, tuple(reader.trials())
    named = trial_name or (lambda trial: f"{spec.trainable_name}_{trial.trial_id}")
    names = {trial.index: named(trial) for trial in trials}
    standing = reader.status()
    end_status = _END_REASONS.get(standing.status or "")
    view = ProgressView(
        name=spec.name,
        folder=str(folder),
        database=None if database is None else str(database),
        trials=trials,
        names=names,
        counts=dict(reader.counts()),
        n_total=spec.n_trials,
        n_reports=reader.n_results(),
        n_stand_ins=live.n_stand_ins,
        n_steps=sum(trial.step for trial in trials) if live.n_steps is None else live.n_steps,
        max_total_steps=spec.max_total_steps,
        elapsed_s=live.elapsed_s,
        time_budget_s=live.time_limit_s if math.isfinite(live.time_limit_s) else spec.time_budget_s,
        now_wall=live.now_wall,
        n_parallel=_n_parallel(spec, live.nodes),
        resources=_resources(trials, live.nodes),
        memory_used_bytes=live.memory_used_bytes,
        memory_total_bytes=live.memory_total_bytes,
        objective=spec.objective,
        best=_best(reader, folder, names),
        searcher_name=spec.searcher_name,
        scheduler_name=spec.scheduler_name,
        scheduler_lines=live.scheduler_lines,
        end_status=end_status,
        end_detail=None if end_status is None else standing.detail,
    )
    logs = {} if log_file is None else {trial.index: str(log_file(trial)) for trial in view.failures()}
    return msgspec.structs.replace(view, log_files=logs)


def memory_now() -> tuple[int, int]:
    """Bytes of this machine's memory that are used, and all of them, for `LiveFacts`."""
    import psutil

    memory = psutil.virtual_memory()
    return memory.total - memory.available, memory.total


def best_by_last_report(view: ProgressView, metric: str, mode: str) -> Best | None:
    """The trial whose last report has the best `metric`: for a reporter with a metric of its own.

    Where trials report folds, one of those with the most; of the objective's first metric their mean counts.
    """
    is_objective = view.objective is not None and metric == view.objective.metric
    sign = 1 if mode == "min" else -1
    ranked: list[tuple[int, float, int]] = []
    for i, trial in enumerate(view.trials):
        value = trial.best_value if trial.folds and is_objective else last_value(trial, metric)
        if value is not None and math.isfinite(value):
            ranked.append((-len(trial.folds), sign * value, i))
    if not ranked:
        return None
    _, loss, i = min(ranked)
    trial = view.trials[i]
    step = (trial.best_step if is_objective and trial.folds else None) or trial.step
    facts: dict[str, Any] = {
        "name": view.trial_name(trial.index),
        "metric": metric,
        "mode": mode,
        "value": sign * loss,
        "step": step,
    }
    return _best_of(trial, Path(view.folder), **facts, n_folds=len(trial.folds) if is_objective else 0)


def last_value(trial: Trial, metric: str) -> float | None:
    """The metric in the trial's last report, filled-in keys included; None where it has none."""
    if trial.metrics is None:
        return None
    return metric_value(trial.metrics, trial.step, trial.time_total_s, metric)


def _best(reader: ExperimentReader, folder: Path, names: Mapping[int, str]) -> Best | None:
    objective = reader.spec.objective
    if objective is None:
        return None
    for trial in reader.top_trials(1):
        value, step = trial.best_value, trial.best_step
        if value is None or step is None or math.isnan(value):
            continue
        name = names.get(trial.index, f"trial {trial.index}")
        best = _best_of(
            trial,
            folder,
            name=name,
            metric=objective.metric,
            mode=objective.mode.value,
            value=value,
            step=step,
            n_folds=len(trial.folds),
        )
        return msgspec.structs.replace(best, config=_config_at(reader, trial, value, step))
    return None


def _config_at(reader: ExperimentReader, trial: Trial, value: float, step: int) -> dict[str, Any]:
    """The config that the trial had when it reported the value: a clone may have changed it since."""
    if trial.attempt <= 1:
        return trial.config
    is_mean = bool(trial.folds)
    attempts = [r.attempt for r in reader.results(trial.index) if r.step == step and (is_mean or r.value == value)]
    return reader.config_of(trial.index, attempts[0]) if attempts else trial.config


def _best_of(trial: Trial, folder: Path, *, step: int, **facts: Any) -> Best:
    """With the checkpoint of the same step, or the newest one where that step has none."""
    same_step = [checkpoint for checkpoint in trial.checkpoints if checkpoint.step == step]
    checkpoint = same_step[-1] if same_step else trial.checkpoint
    return Best(
        trial=trial.index,
        step=step,
        config=trial.config,
        checkpoint=None if checkpoint is None else str(folder / checkpoint.path),
        checkpoint_step=None if checkpoint is None else checkpoint.step,
        **facts,
    )


def _n_parallel(spec: ExperimentSpec, nodes: Sequence[Node]) -> int:
    """How many trials fit at once, at least 1."""
    n_fit = sum(_n_fit(spec, node) for node in nodes)
    if spec.max_concurrent_trials is not None:
        n_fit = min(n_fit, spec.max_concurrent_trials)
    if spec.n_trials is not None:
        n_fit = min(n_fit, spec.n_trials)
    return max(1, n_fit)


def _n_fit(spec: ExperimentSpec, node: Node) -> int:
    request = spec.resources
    amounts = [(request.cpu, node.cpu), *((need, node.custom.get(name, 0.0)) for name, need in request.custom.items())]
    fits = [int(have / need + 1e-9) for need, have in amounts if need > 0]
    if request.gpu >= 1:
        fits.append(int(len(node.gpus) / request.gpu))
    elif request.gpu > 0:
        fits.append(len(node.gpus) * int(1 / request.gpu + 1e-9))
    return min(fits, default=spec.n_trials or 1)


def _resources(trials: Sequence[Trial], nodes: Sequence[Node]) -> tuple[ResourceUse, ...]:
    """CPUs, GPUs and then what else the nodes offer, each with what running trials hold of it."""
    held = [trial.placement.resources for trial in trials if trial.placement is not None]
    uses = [
        ResourceUse("CPU", sum(r.cpu for r in held), sum(node.cpu for node in nodes)),
        ResourceUse("GPU", sum(r.gpu for r in held), float(sum(len(node.gpus) for node in nodes))),
    ]
    for name in sorted({name for node in nodes for name in node.custom}):
        used = sum(r.custom.get(name, 0.0) for r in held)
        uses.append(ResourceUse(name, used, sum(node.custom.get(name, 0.0) for node in nodes)))
    return tuple(use for use in uses if use.total > 0)


def _duration_s(trial: Trial, now_wall: float) -> float:
    """Training time over all attempts, and since the last report where it runs; by the clock if it never reported."""
    if trial.n_reports == 0 and trial.started_at is not None:
        end = trial.ended_at if trial.status.is_over and trial.ended_at is not None else now_wall
        return max(0.0, end - trial.started_at)
    return trial.time_total_s + (_since_s(trial, now_wall) if trial.status is TrialStatus.RUNNING else 0.0)


def _since_s(trial: Trial, now_wall: float) -> float:
    """Seconds since the trial was last heard of; 0 where the wall clock went back."""
    times = [at for at in (trial.started_at, trial.reported_at) if at is not None]
    return max(0.0, now_wall - max(times)) if times else 0.0
