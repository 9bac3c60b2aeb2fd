"""`tune.replay`: what another scheduler would have made of an experiment, answered from the experiment's own log."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import msgspec

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api.curves import Faults, Recording, most_at_once, parse_recordings, read_recordings, reader_of
from tunesmith.api.plan import Plan
from tunesmith.api.simulation import check_numbers, of_recordings, run_simulation, settled_objective, simulation_plan
from tunesmith.api.simulation_result import SimulatedBest, SimulationResult
from tunesmith.callbacks.text import clean, format_duration
from tunesmith.errors import ConfigError, TuneError
from tunesmith.events import AttemptEnded
from tunesmith.protocols import Scheduler
from tunesmith.stores import Reader
from tunesmith.trial import AttemptOutcome, Objective

if TYPE_CHECKING:
    import pandas as pd

_S_PER_HOUR = 3600.0


class Spent(msgspec.Struct, frozen=True):
    """What an experiment took and gave; times as on a virtual clock, without what was spent beside training."""

    steps: int
    training_s: float  #: of all trials together
    wall_s: float  #: with the recorded number of workers
    best: SimulatedBest | None


class Replay:
    """What one scheduler would have made of the recorded trials."""

    def __init__(
        self, name: str, simulation: SimulationResult, *, recordings: Sequence[Recording], recorded: Spent
    ) -> None:
        self.scheduler = name
        #: The replayed experiment: its trials with reasons, its log. Its trials count those that began, from 0.
        self.simulation = simulation
        self.recorded = recorded
        self.replayed = _spent(simulation, recordings)
        #: Recorded trials that the scheduler would have let go on beyond where they were stopped.
        self.unknown_trials = _gone_on(simulation, recordings)
        self.n_trials = len(recordings)
        self._recordings = recordings

    @property
    def steps_saved(self) -> float:
        """The share of the recorded steps that would not have been made; an upper bound where trials are unknown."""
        return 1.0 - self.replayed.steps / self.recorded.steps if self.recorded.steps else 0.0

    @property
    def hours_saved(self) -> float:
        """Hours of training, of all trials together, that would not have been spent; an upper bound likewise."""
        return (self.recorded.training_s - self.replayed.training_s) / _S_PER_HOUR

    @property
    def regret(self) -> float:
        """By how much the best value would have been worse; 0 where it is kept. An upper bound likewise.

        Infinite where no value would have been seen, 0 where none was recorded.
        """
        before, after = self.recorded.best, self.replayed.best
        if before is None or after is None:
            return 0.0 if before is None else math.inf
        as_loss = self.simulation.objective.mode.as_loss
        return max(0.0, as_loss(after.value) - as_loss(before.value))

    @property
    def is_best_kept(self) -> bool:
        """Whether the best value of all would have been seen."""
        return self.regret == 0.0

    def summary(self) -> str:
        """The answer in a few lines."""
        before, after = self.recorded, self.replayed
        lines = [
            f"{self.scheduler} on {self.n_trials} recorded trials, {self.simulation.n_workers} at a time:",
            f"steps    {after.steps} instead of {before.steps}, {_less(after.steps, before.steps, 'fewer')}",
            f"training {format_duration(after.training_s)} instead of {format_duration(before.training_s)}, "
            f"{_less(after.training_s, before.training_s, 'less')}",
            f"clock    {format_duration(after.wall_s)} instead of {format_duration(before.wall_s)}",
            f"best     {self._best_words()}",
        ]
        if self.unknown_trials:
            lines.append(
                f"unknown  {len(self.unknown_trials)} of {self.n_trials} trials were stopped before the point where "
                f"{self.scheduler} would have let them go: steps and time are lower bounds, and the best may be better"
            )
        return "\n".join(lines)

    def dataframe(self) -> pd.DataFrame:
        """One row per trial: recorded and replayed steps, seconds and best values, how it would have ended, and why.

        Raises: ImportError without pandas.
        """
        from tunesmith.analysis.frames import import_pandas

        unknown, rows = set(self.unknown_trials), []
        for recording, trial in zip(self._recordings, self.simulation.trials, strict=False):
            rows.append(
                {
                    "trial": recording.trial,
                    "recorded_steps": len(recording.steps),
                    "steps": trial.n_reports,
                    "recorded_s": math.fsum(step.duration_s for step in recording.steps),
                    "training_s": trial.time_total_s,
                    "best_value": trial.best_value,
                    "state": trial.status.value,
                    "reason": trial.reason,
                    "is_unknown": recording.trial in unknown,
                }
            )
        return import_pandas().DataFrame(rows)

    def __repr__(self) -> str:
        return f"<Replay: {' '.join(self.summary().split())}>"

    def _best_words(self) -> str:
        metric, before, after = self.simulation.objective.metric, self.recorded.best, self.replayed.best
        if before is None:
            return f"no trial had a finite {clean(metric)}"
        words = f"{clean(metric)} {before.value:.6g} (trial {before.trial}, step {before.step})"
        if after is None:
            return f"lost: no value instead of {words}"
        if self.is_best_kept:
            return f"kept: {words}"
        return f"lost: {after.value:.6g} (trial {after.trial}, step {after.step}) instead of {words}"


class Replays(Sequence[Replay]):
    """Several schedulers on the same recorded trials."""

    def __init__(self, replays: Sequence[Replay]) -> None:
        self._replays = tuple(replays)

    @overload
    def __getitem__(self, place: int) -> Replay: ...
    @overload
    def __getitem__(self, place: slice) -> Replays: ...
    def __getitem__(self, place: int | slice) -> Replay | Replays:
        return Replays(self._replays[place]) if isinstance(place, slice) else self._replays[place]

    def __len__(self) -> int:
        return len(self._replays)

    def __iter__(self) -> Iterator[Replay]:
        return iter(self._replays)

    def summary(self) -> str:
        """A table with one line per scheduler; the first line is what was recorded."""
        heads = ["scheduler", "steps", "training", "wall", "best", "regret", "unknown trials"]
        rows = [heads]
        if self._replays:
            rows.append(["as recorded", *_cells(self._replays[0].recorded), "", ""])
        for one in self._replays:
            unknown = f"{len(one.unknown_trials)} of {one.n_trials}"
            rows.append([one.scheduler, *_cells(one.replayed), f"{one.regret:.4g}", unknown])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if any(one.unknown_trials for one in self._replays):
            lines.append("Where trials are unknown, steps and time are lower bounds, and the best may be better.")
        return "\n".join(lines)

    def dataframe(self) -> pd.DataFrame:
        """One row per scheduler with the numbers of `Replay`.

        Raises: ImportError without pandas.
        """
        from tunesmith.analysis.frames import import_pandas

        return import_pandas().DataFrame(
            {
                "scheduler": one.scheduler,
                "steps": one.replayed.steps,
                "steps_saved": one.steps_saved,
                "training_s": one.replayed.training_s,
                "hours_saved": one.hours_saved,
                "wall_s": one.replayed.wall_s,
                "best_value": math.nan if one.replayed.best is None else one.replayed.best.value,
                "regret": one.regret,
                "n_unknown": len(one.unknown_trials),
            }
            for one in self._replays
        )

    def __repr__(self) -> str:
        return self.summary()


_Recorded = ExperimentAnalysis | str | Path | Mapping[Any, Any] | Sequence[Any]


@overload
def replay(
    experiment: _Recorded,
    *,
    scheduler: list[Any] | tuple[Any, ...],
    metric: str | None = None,
    mode: str | None = None,
    stop: Any = None,
    num_workers: int | None = None,
    checkpoint_every: int | None = None,
) -> Replays: ...
@overload
def replay(
    experiment: _Recorded,
    *,
    scheduler: str | Scheduler | None = None,
    metric: str | None = None,
    mode: str | None = None,
    stop: Any = None,
    num_workers: int | None = None,
    checkpoint_every: int | None = None,
) -> Replay: ...
def replay(
    experiment: _Recorded,
    *,
    scheduler: Any = None,
    metric: str | None = None,
    mode: str | None = None,
    stop: Any = None,
    num_workers: int | None = None,
    checkpoint_every: int | None = None,
) -> Replay | Replays:
    """What another scheduler would have made of an experiment, from what its trials reported; nothing is trained.

    The trials are run again on a virtual clock, in their order, with the recorded durations and as many at a time as
    there were; the scheduler sees each report as it would have, and ends trials where it would have. Only what was
    recorded is answered: a trial that it would have let go on beyond where it was stopped then is counted as unknown.

    Args:
        experiment: the results of an experiment, its folder, or (config, values, durations) as `simulate` takes them.
        scheduler: a scheduler or its name; a list or tuple of several gives a table. Copies are used.
        metric, mode: the experiment's own, or the scheduler's, where left out.
        stop: a stop rule beside it, such as NoImprovement(20), or {"training_iteration": 27} to say where training
            ends: the last rung of the scheduler that ran is not taken for that.
        num_workers: another number of trials at a time.
        checkpoint_every: what if all trials had saved every so many steps; 0: never. None: as recorded.
    Raises: ConfigError without a metric or a trial, for a scheduler that pauses trials while none saved a checkpoint,
        or one that changes configs: what a changed trial would have done was not recorded. StoreError if the folder
        holds no experiment.
    """
    schedulers = list(scheduler) if isinstance(scheduler, list | tuple) else [scheduler]
    if not schedulers:
        raise ConfigError("scheduler is an empty list. Give a scheduler, its name, or a list of these.")
    check_numbers(num_workers=1 if num_workers is None else num_workers, checkpoint_every=checkpoint_every)
    with reader_of(experiment) as reader:
        question = _Question(reader, metric=metric, mode=mode, stop=stop, checkpoint_every=checkpoint_every)
        if reader is not None:
            recordings, most = read_recordings(reader), most_at_once(reader)
        else:
            recordings, most = parse_recordings(experiment, question.metric_for(schedulers[0])), 1
        if not any(recording.steps for recording in recordings):
            raise ConfigError("No trial of the experiment has reported anything: there is nothing to replay.")
        question.recordings, question.n_workers = recordings, num_workers or most
        answers = [question.answer(one) for one in schedulers]
    return Replays(answers) if isinstance(scheduler, list | tuple) else answers[0]


class _Question:
    """What is the same for all schedulers that are asked about."""

    recordings: Sequence[Recording]
    n_workers: int

    def __init__(
        self, reader: Reader | None, *, metric: str | None, mode: str | None, stop: Any, checkpoint_every: int | None
    ) -> None:
        self._reader, self._metric, self._mode = reader, metric, mode
        self._stop, self._checkpoint_every = stop, checkpoint_every
        self._recorded: dict[Objective, Spent] = {}  #: by what is optimised

    def metric_for(self, scheduler: Any) -> str:
        """The first metric of the call, or of the scheduler."""
        objective = self._plan(scheduler).spec.objective
        assert objective is not None
        return objective.metric

    def answer(self, scheduler: Any) -> Replay:
        """The scheduler's replay, beside one in which every trial runs to where it was recorded."""
        replayed = self._run(self._plan(scheduler))
        objective = replayed.objective
        if objective not in self._recorded:
            plain = self._plan("fifo", (objective.metrics, objective.modes), stop=None)
            self._recorded[objective] = _spent(self._run(plain), self.recordings)
        recorded = self._recorded[objective]
        return Replay(_name(scheduler), replayed, recordings=self.recordings, recorded=recorded)

    def _plan(self, scheduler: Any, objective: Any = None, **changes: Any) -> Plan:
        arguments = {"stop": self._stop, **changes}
        return simulation_plan(
            objective=objective or settled_objective(self._metric, self._mode, scheduler, self._reader),
            space=None,
            search_alg=None,
            scheduler=scheduler,
            num_samples=None,
            is_recorded=True,
            seed=0,
            **arguments,
        )

    def _run(self, plan: Plan) -> SimulationResult:
        return run_simulation(
            of_recordings(plan, len(self.recordings), self._reader),
            curves=self.recordings,
            faults=Faults(0),
            n_workers=self.n_workers,
            start_s=0.0,
            checkpoint_every=self._checkpoint_every,
            charges_cpu=False,
        )


def _spent(simulation: SimulationResult, recordings: Sequence[Recording]) -> Spent:
    """Of a simulation of these recordings; the best trial by its recorded index."""
    try:
        best = simulation.best
    except TuneError:
        best = None
    if best is not None:
        best = msgspec.structs.replace(best, trial=recordings[best.trial].trial)
    return Spent(simulation.n_steps, simulation.training_s, simulation.wall_s, best)


def _gone_on(simulation: SimulationResult, recordings: Sequence[Recording]) -> tuple[int, ...]:
    """Recorded trials that were cut, and came to the end of what is known of them without having been stopped there."""
    ended = (record for record in simulation.log if isinstance(record, AttemptEnded))
    ran_out = {record.trial for record in ended if record.outcome is AttemptOutcome.RETURNED}
    return tuple(one.trial for index, one in enumerate(recordings) if one.is_cut and index in ran_out)


def _name(scheduler: Any) -> str:
    return (
        "FIFOScheduler" if scheduler is None else scheduler if isinstance(scheduler, str) else type(scheduler).__name__
    )


def _less(after: float, before: float, word: str) -> str:
    """`38% fewer`, or `the same`."""
    share = 1.0 - after / before if before > 0.0 else 0.0
    return "the same" if share == 0.0 else f"{abs(share):.0%} {word if share > 0 else 'more'}"


def _cells(spent: Spent) -> list[str]:
    best = "none" if spent.best is None else f"{spent.best.value:.6g}"
    return [str(spent.steps), format_duration(spent.training_s), format_duration(spent.wall_s), best]
