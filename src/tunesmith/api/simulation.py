"""`tune.simulate`: any searcher and scheduler on recorded or synthetic learning curves, on a virtual clock."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from numbers import Real
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api.curves import (
    CurveExecutor,
    CurveFunction,
    Faults,
    RecordedConfigs,
    Recording,
    parse_recordings,
    read_recordings,
    reader_of,
)
from tunesmith.api.plan import Plan, make_plan
from tunesmith.api.simulation_result import SimulationResult
from tunesmith.errors import ConfigError, TuneError
from tunesmith.events import Decision, EndReason, Thaw, TrialReported, Verdict
from tunesmith.protocols import NextAction, Scheduler, Searcher
from tunesmith.runner.simulation import SimulatedExperiment
from tunesmith.stoppers import bind_stopper
from tunesmith.stores import Reader
from tunesmith.trial import Trial

_MAX_WORKERS = 10_000
_AHEAD_PER_SLOT, _MAX_AHEAD = 4, 256  #: as in a real run, for searchers that learn nothing
_DEFAULT_SAMPLES = 100


def simulate(
    curves: CurveFunction | ExperimentAnalysis | str | Path | Mapping[Any, Any] | Sequence[Any],
    space: Mapping[str, Any] | None = None,
    *,
    metric: str | None = None,
    mode: str | None = None,
    search_alg: str | Searcher | None = None,
    scheduler: str | Scheduler | None = None,
    stop: Any = None,
    num_samples: int | None = None,
    num_workers: int = 1,
    max_total_steps: int | None = None,
    time_budget_s: float | timedelta | None = None,
    start_s: float = 0.0,
    checkpoint_every: int | None = 1,
    crash_rate: float = 0.0,
    max_failures: int = 0,
    straggler_rate: float = 0.0,
    straggler_factor: float = 4.0,
    charge_deciders: bool = True,
    seed: int | None = None,
) -> SimulationResult:
    """What an experiment with this searcher and scheduler would come to; only trials and time are simulated.

    Args:
        curves: what trials do: a function (config) -> all steps of its training as (seconds, metrics), where a number
            stands for the metric (a list, or a finite generator; what it raises fails the trial); or recorded curves,
            run in their order: the results of an experiment (`tune.load`), its folder, or a list or mapping of (config,
            values, durations) with one duration for all steps or one for each.
        space: of a function. Recorded configs need none.
        metric, mode: what is optimised ("min" or "max"); may go to the scheduler instead. An experiment knows its own.
        search_alg, scheduler, stop: as in `tune.run`; copies are used, so that they can be used again.
        num_samples: trials; 100 for a function, all of recorded curves. -1: until a budget ends it.
        num_workers: 1 to 10,000; each runs one trial.
        time_budget_s: of virtual time.
        start_s: virtual seconds from each start and thaw to the trial's first step.
        checkpoint_every: trials save every so many steps; 0: never, None: where that was recorded, or the function's
            `SimulatedStep`s say so. Without checkpoints nothing can be paused or cloned, and who crashed begins anew.
            A clone goes on along the curve of its new config.
        crash_rate: probability that an attempt dies at some step; `max_failures` further attempts follow.
        straggler_rate, straggler_factor: probability that an attempt takes so many times as long.
        charge_deciders: the CPU time of scheduler and searcher passes on the virtual clock too. Without it equal seeds
            give the same experiment bit by bit.
    Raises: ConfigError, SpaceError; StoreError if the folder holds no experiment; TuneError if no trial can go on.
    """
    check_numbers(num_workers=num_workers, checkpoint_every=checkpoint_every)
    _check_numbers(start_s=start_s, straggler_factor=straggler_factor)
    _check_rates(crash_rate=crash_rate, straggler_rate=straggler_rate)
    is_recorded = not callable(curves)
    if is_recorded and (space is not None or search_alg is not None):
        raise ConfigError(
            "Recorded curves are run in their order. Leave out space= and search_alg=, or give a function."
        )
    with reader_of(curves) as reader:
        plan = simulation_plan(
            objective=settled_objective(metric, mode, scheduler, reader),
            space=space,
            search_alg=search_alg,
            scheduler=scheduler,
            stop=stop,
            num_samples=num_samples,
            is_recorded=is_recorded,
            max_total_steps=max_total_steps,
            time_budget_s=time_budget_s,
            max_failures=max_failures,
            seed=seed,
        )
        if is_recorded:
            assert plan.spec.objective is not None
            curves = read_recordings(reader) if reader else parse_recordings(curves, plan.spec.objective.metric)
            plan = of_recordings(plan, len(curves) if num_samples is None else min(num_samples, len(curves)), reader)
    return run_simulation(
        plan,
        curves=curves,  # type: ignore[arg-type]  # a function, or recordings by now
        faults=Faults(plan.spec.seed, crash_rate, straggler_rate, straggler_factor),
        n_workers=num_workers,
        start_s=start_s,
        checkpoint_every=checkpoint_every,
        charges_cpu=charge_deciders,
    )


# ---------------------------------------------------------------- shared with replay


def settled_objective(
    metric: str | None, mode: str | None, scheduler: str | Scheduler | None, reader: Reader | None
) -> tuple[Any, Any]:
    """Metric and mode as the call gives them, else as the experiment had them, unless the scheduler has its own."""
    recorded = None if reader is None else reader.spec.objective
    if metric is not None or mode is not None or recorded is None:
        return metric, mode
    if scheduler is not None and not isinstance(scheduler, str):
        try:
            copy.deepcopy(scheduler).bind(recorded)
        except ConfigError:  # two of them; what else is wrong will be said when it is bound in earnest
            return None, None
    return recorded.metrics, recorded.modes


def simulation_plan(
    *,
    objective: tuple[Any, Any],
    space: Mapping[str, Any] | None,
    search_alg: str | Searcher | None,
    scheduler: str | Scheduler | None,
    stop: Any,
    num_samples: int | None,
    is_recorded: bool,
    max_total_steps: int | None = None,
    time_budget_s: float | timedelta | None = None,
    max_failures: int = 0,
    seed: int | None = None,
) -> Plan:
    """The plan of a simulated experiment, of copies of the deciders.

    Args: objective: metric and mode. is_recorded: the configs are given; `of_recordings` completes the plan.
    Raises: ConfigError, SpaceError; without an objective too: nothing could be said of the best.
    """
    search_alg, scheduler, stop = _copies(search_alg, scheduler, stop)
    plan = make_plan(
        _simulated,
        name=None,
        metric=objective[0],
        mode=objective[1],
        config=space,
        num_samples=1 if is_recorded else _DEFAULT_SAMPLES if num_samples is None else num_samples,
        stop=stop,
        time_budget_s=time_budget_s,
        max_total_steps=max_total_steps,
        resources_per_trial=None,
        search_alg="random" if is_recorded else search_alg,
        points_to_evaluate=None,
        warm_start=None,
        parameter_constraints=(),
        scheduler=scheduler,
        keep_checkpoints_num=None,
        checkpoint_score_attr=None,
        checkpoint_freq=0,
        checkpoint_at_end=False,
        max_failures=max_failures,
        fail_fast=False,
        max_concurrent_trials=None,
        grace_s=10.0,
        first_report_timeout_s=None,
        report_timeout_s=None,
        nan_policy="ignore",
        seed=seed,
    )
    if plan.spec.objective is None:
        raise ConfigError("There is no metric to judge by. Give metric= and mode='min' or 'max'.")
    bind_stopper(plan.stopper, plan.spec.objective)
    return plan._replace(spec=replace(plan.spec, experiment_id=f"{plan.spec.seed:032x}", created_at=0.0))


def of_recordings(plan: Plan, n_trials: int, reader: Reader | None) -> Plan:
    """The plan for so many recorded trials: none is refused for what it reports, and the constraints are theirs."""
    objective = plan.spec.objective
    assert objective is not None
    if reader is not None and reader.spec.objective is not None:
        objective = replace(objective, constraints=reader.spec.objective.constraints)
    spec = replace(
        plan.spec, n_trials=n_trials, objective=objective, is_strict_metric=False, n_alike_failures=sys.maxsize
    )
    return plan._replace(spec=spec)


def run_simulation(
    plan: Plan,
    *,
    curves: CurveFunction | Sequence[Recording],
    faults: Faults,
    n_workers: int,
    start_s: float,
    checkpoint_every: int | None,
    charges_cpu: bool,
) -> SimulationResult:
    """Run the plan on these curves to its end.

    Raises: ConfigError for a curve that is none, a scheduler that pauses trials while none saves a checkpoint, or one
        that changes the configs of recorded curves; TuneError if it ends because nothing can go on.
    """
    objective = plan.spec.objective
    assert objective is not None
    executor = CurveExecutor(
        curves,
        metric=objective.metric,
        n_workers=n_workers,
        faults=faults,
        start_s=start_s,
        checkpoint_every=checkpoint_every,
    )
    scheduler = _Noting(plan.scheduler)
    simulated = SimulatedExperiment(
        plan.spec,
        space=plan.space,
        objective=objective,
        searcher=plan.searcher,
        scheduler=scheduler,
        stopper=plan.stopper,
        executor=executor,
        suggester=None if callable(curves) else RecordedConfigs(curves, executor.post),
        n_ahead=None if plan.searcher.uses_results else min(_MAX_AHEAD, _AHEAD_PER_SLOT * n_workers),
        charges_cpu=charges_cpu,
        on_pass=executor.raise_fault,
    ).run()
    if scheduler.pauses_in_vain:
        raise ConfigError(
            f"{type(plan.scheduler).__name__} pauses trials, and none saved a checkpoint to go on from, so that "
            "all ran on. Give checkpoint_every=1 or more, or a scheduler that stops trials."
        )
    if scheduler.n_clones and not callable(curves):
        raise ConfigError(
            f"{type(plan.scheduler).__name__} changes the configs of trials, and what a changed trial would have done "
            "was not recorded. Use tune.simulate with a function of the config."
        )
    result = SimulationResult(simulated, objective=objective, n_workers=n_workers, start_s=start_s)
    if result.end.why is EndReason.FAILED:
        raise TuneError(f"The simulated experiment could not go on: {result.end.detail}.")
    return result


class _Noting:
    """The scheduler; notes what a simulation must know of its decisions beside what becomes of them."""

    def __init__(self, inner: Scheduler) -> None:
        self.bind, self.observe, self.describe = inner.bind, inner.observe, inner.describe
        self._inner = inner
        self._n_refused = self._n_paused = 0
        self.n_clones = 0  #: trials that were to go on with another config

    @property
    def pauses_in_vain(self) -> bool:
        """Whether it wanted to pause trials, and no trial could be."""
        return self._n_refused > 0 and self._n_paused == 0

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """The scheduler's decision."""
        decision = self._inner.decide(trial, report)
        if decision.verdict is Verdict.PAUSE:
            self._n_refused += report.checkpoint is None
            self._n_paused += report.checkpoint is not None
        self.n_clones += decision.verdict is Verdict.CLONE
        return decision

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """The scheduler's choice."""
        action = self._inner.choose_next(paused)
        self.n_clones += isinstance(action, Thaw) and action.clone is not None
        return action


def _simulated(config: dict[str, Any]) -> None:
    """Stands for the training function."""


def _copies(search_alg: Any, scheduler: Any, stop: Any) -> tuple[Any, Any, Any]:
    """Of what remembers anything, so that it can be used again; a searcher that is the scheduler too stays one."""
    is_both = search_alg is not None and search_alg is scheduler
    scheduler, stop = copy.deepcopy((scheduler, stop))
    return scheduler if is_both else search_alg, scheduler, stop


def check_numbers(*, num_workers: Any, checkpoint_every: Any) -> None:
    """Raise ConfigError unless both are whole numbers in their ranges; the second may be None."""
    if not (_is_whole(num_workers) and 1 <= num_workers <= _MAX_WORKERS):
        raise ConfigError(f"num_workers is {num_workers!r}. Give a whole number from 1 to {_MAX_WORKERS:,}.")
    if checkpoint_every is not None and not (_is_whole(checkpoint_every) and checkpoint_every >= 0):
        raise ConfigError(f"checkpoint_every is {checkpoint_every!r}. Give a whole number of steps, or 0 for never.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_numbers(*, start_s: Any, straggler_factor: Any) -> None:
    if not isinstance(start_s, Real) or not 0 <= float(start_s) < math.inf:
        raise ConfigError(f"start_s is {start_s!r}. Give seconds, 0 or more.")
    if not isinstance(straggler_factor, Real) or not 0 < float(straggler_factor) < math.inf:
        raise ConfigError(
            f"straggler_factor is {straggler_factor!r}. Give a number above 0: 4.0 is four times as long."
        )


def _check_rates(**rates: Any) -> None:
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 <= float(rate) <= 1:
            raise ConfigError(f"{name} is {rate!r}. Give a probability from 0 to 1.")
