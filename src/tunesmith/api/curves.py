"""What simulated trials do: learning curves from a function, a list or an earlier experiment, with seeded faults."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import msgspec

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.errors import ConfigError
from tunesmith.events import ConfigsSuggested, Event, StartAttempt, Suggest, Suggestion
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep
from tunesmith.protocols import History
from tunesmith.rng import generator
from tunesmith.stores import Reader, open_reader
from tunesmith.trial import TrialStatus

#: A training as a function of its config: all its steps from the first, as (seconds, metrics) or `SimulatedStep`s.
CurveFunction = Callable[[dict[str, Any]], Iterable[Any]]
_FORMS = (
    "Give a function (config) -> [(seconds, metrics), ...], the results or folder of an experiment, or a list or "
    "mapping of (config, values, durations)."
)


class Recording(msgspec.Struct, frozen=True):
    """What one trial did."""

    trial: int  #: its index where it was recorded
    config: dict[str, Any]
    steps: tuple[SimulatedStep, ...]
    error: str | None = None  #: with which it failed after the last step
    is_cut: bool = False  #: it was stopped after the last step, and what it would have done is not known


class Faults(msgspec.Struct, frozen=True):
    """What goes wrong, as a function of (seed, trial, attempt)."""

    seed: int
    crash_rate: float = 0.0  #: probability that an attempt dies, at a uniformly drawn one of the steps it has left
    straggler_rate: float = 0.0  #: probability that an attempt is slow
    straggler_factor: float = 1.0  #: how many times as long the steps of such a one take

    def apply(self, command: StartAttempt, steps: Iterator[SimulatedStep]) -> Iterator[SimulatedStep]:
        """The attempt's steps with what befalls it."""
        if not (self.crash_rate or self.straggler_rate):
            return steps
        rng = generator(self.seed, f"simulated attempt {command.attempt}", command.trial)
        crash, place, straggle = rng.random(3)
        if straggle < self.straggler_rate:
            steps = (msgspec.structs.replace(s, duration_s=s.duration_s * self.straggler_factor) for s in steps)
        return self._crashing(command, list(steps), place) if crash < self.crash_rate else steps

    def _crashing(self, command: StartAttempt, steps: list[SimulatedStep], place: float) -> Iterator[SimulatedStep]:
        n_before = int(place * len(steps))
        yield from steps[:n_before]
        lost = steps[n_before].duration_s if steps else 0.0
        yield SimulatedStep(lost, {}, error=f"simulated crash of trial {command.trial}, attempt {command.attempt}")


class CurveExecutor(SimulatedExecutor):
    """Runs curves instead of processes."""

    def __init__(
        self,
        curves: CurveFunction | Sequence[Recording],
        *,
        metric: str,
        n_workers: int,
        faults: Faults,
        start_s: float = 0.0,
        checkpoint_every: int | None = 1,
    ) -> None:
        """Args: checkpoint_every: steps; 0: never, None: where a curve says so."""
        super().__init__(lambda config, step: iter(()), n_workers=n_workers, start_s=start_s)
        self._curves, self._metric, self._faults = curves, metric, faults
        self._checkpoint_every = checkpoint_every
        #: The first fault of the caller, not of a trial: a curve that is none.
        self.fault: ConfigError | None = None

    def steps_of(self, command: StartAttempt) -> Iterator[SimulatedStep]:
        """The rest of the trial's curve, after the step of its checkpoint."""
        return self._faults.apply(command, self._steps_left(command))

    def _steps_left(self, command: StartAttempt) -> Iterator[SimulatedStep]:
        number = 0
        for step in self._steps(command):
            number = number + 1 if step.step is None else step.step
            if number > command.start_step:
                yield self._saving(step, number)

    def _steps(self, command: StartAttempt) -> Iterator[SimulatedStep]:
        """All steps of the trial, from its first."""
        if callable(self._curves):
            for given in self._curves(command.config):
                yield self._parsed(given, command)
            return
        recording = self._curves[command.trial]
        yield from recording.steps
        if recording.error is not None:
            yield SimulatedStep(0.0, {}, step=sys.maxsize, error=recording.error)

    def _saving(self, step: SimulatedStep, number: int) -> SimulatedStep:
        every = self._checkpoint_every
        saves = step.saves_checkpoint if every is None else every > 0 and number % every == 0
        return step if saves == step.saves_checkpoint else msgspec.structs.replace(step, saves_checkpoint=saves)

    def raise_fault(self) -> None:
        """Raise ConfigError where a curve turned out to be none."""
        if self.fault is not None:
            raise self.fault

    def _parsed(self, given: Any, command: StartAttempt) -> SimulatedStep:
        try:
            return given if isinstance(given, SimulatedStep) else parse_step(given, self._metric)
        except ConfigError as error:
            self.fault = self.fault or ConfigError(f"The curve of {command.config!r}: {error}")
            raise self.fault from None


class RecordedConfigs:
    """Proposes recorded configs in their order; a suggester, since they need not fit any space."""

    def __init__(self, recordings: Sequence[Recording], post: Callable[[Event, float], None]) -> None:
        self._recordings, self._post = recordings, post

    def ask(self, command: Suggest, history: History) -> None:
        """See Suggester."""
        begin = len(history.trials)
        found = self._recordings[begin : begin + command.n]
        suggestions = tuple(Suggestion(recording.config) for recording in found)
        self._post(ConfigsSuggested(command.request, suggestions, is_exhausted=not found), 0.0)

    def close(self) -> None:
        """Nothing to close."""


def parse_step(given: Any, metric: str) -> SimulatedStep:
    """(seconds, metrics) as a step; a number stands for the objective.

    Raises: ConfigError if it is neither.
    """
    try:
        duration_s, metrics = given
        values = dict(metrics) if isinstance(metrics, Mapping) else {metric: metrics}
        found = {str(name): float(value) for name, value in values.items()}
        is_good = 0.0 <= float(duration_s) < math.inf
    except (TypeError, ValueError):
        is_good = False
    if not is_good:
        raise ConfigError(f"a step is {given!r}. Give (seconds, 0 or more, and metrics by name, or the objective).")
    return SimulatedStep(float(duration_s), found)


@contextmanager
def reader_of(given: Any) -> Iterator[Reader | None]:
    """Of an experiment's results or folder; None for anything else. What was opened here is closed again.

    Raises: StoreError where the folder holds no experiment.
    """
    if not isinstance(given, str | Path):
        yield given.reader if isinstance(given, ExperimentAnalysis) else None
        return
    reader = open_reader(Path(given).expanduser())
    try:
        yield reader
    finally:
        reader.close()


def parse_recordings(given: Any, metric: str) -> list[Recording]:
    """Recorded curves of a user: triples of (config, values, durations), in a list or mapping.

    Args: metric: what a value is, where it is a number.
    Raises: ConfigError for anything else.
    """
    triples = list(given.values()) if isinstance(given, Mapping) else given
    if not isinstance(triples, list | tuple) or not triples:
        raise ConfigError(f"curves is {given!r}. {_FORMS}")
    return [_recording(index, triple, metric) for index, triple in enumerate(triples)]


def _recording(index: int, triple: Any, metric: str) -> Recording:
    try:
        config, values, durations = triple
        config, values = dict(config), list(values)
        seconds = [durations] * len(values) if isinstance(durations, Real) else list(durations)
        pairs = list(zip(seconds, values, strict=True))
    except (TypeError, ValueError):
        raise ConfigError(
            f"Recorded curve {index} is {triple!r}. Give (config, values, durations): a dict, the values or metrics of "
            "each step, and as many seconds, or one number of seconds for all steps."
        ) from None
    try:
        steps = [parse_step(pair, metric) for pair in pairs]
    except ConfigError as error:
        raise ConfigError(f"Recorded curve {index}: {error}") from None
    return Recording(index, config, tuple(steps))


# ---------------------------------------------------------------- experiments

_ANSWERS = """SELECT trial, json_extract(body, '$.decision.verdict'), json_extract(body, '$.decision.reason')
  FROM log WHERE type = 'AnswerReport' AND trial IS NOT NULL ORDER BY seq"""
_STOPS = "SELECT trial, attempt FROM log WHERE type = 'StopAttempt'"
_CLONES = "SELECT 1 FROM log WHERE type = 'StartAttempt' AND json_extract(body, '$.donor') IS NOT NULL LIMIT 1"
_SLOTS = "SELECT type, trial FROM log WHERE type IN ('SessionStarted', 'StartAttempt', 'ConcludeAttempt') ORDER BY seq"
#: How rules that look at one trial alone give an end, whatever the scheduler.
_OWN_ENDS = ("reached {name} >= {limit}", "reached {max_iter} iterations", "the trial said it is done")
_WITHOUT_SCHEDULER = ("", "FIFOScheduler")


def read_recordings(reader: Reader) -> list[Recording]:
    """What every trial of the experiment did that began, by index: its results without those a restart superseded.

    Raises: ConfigError where trials were cloned: their curves hang together.
    """
    if reader.query(_CLONES):
        raise ConfigError(
            f"Trials of {reader.folder} went on from other trials' checkpoints (population based training), so that "
            "their curves do not stand for themselves. Only experiments without clones can be run again."
        )
    steps: dict[int, list[SimulatedStep]] = {}
    time_s: dict[int, float] = {}
    for result in reader.results():
        taken_s = result.time_total_s - time_s.get(result.trial, 0.0)
        time_s[result.trial] = result.time_total_s
        saves = result.checkpoint is not None
        step = SimulatedStep(taken_s if taken_s > 0.0 else 0.0, result.metrics, saves, step=result.step)
        steps.setdefault(result.trial, []).append(step)
    answers = {trial: (verdict, reason) for trial, verdict, reason in reader.query(_ANSWERS)}
    stops = set(reader.query(_STOPS))
    found = []
    for trial in reader.trials():
        if trial.attempt == 0:
            continue
        has_failed = trial.status in (TrialStatus.FAILED, TrialStatus.INVALID)
        error = (trial.error or trial.reason or "failed") if has_failed else None
        verdict, reason = answers.get(trial.index, (None, None))
        is_own_end = verdict in ("stop", "complete") and (
            reason in _OWN_ENDS
            or (reader.spec.scheduler_name in _WITHOUT_SCHEDULER and (trial.index, trial.attempt) not in stops)
        )
        has_returned = trial.status is TrialStatus.COMPLETED and verdict != "complete"
        is_cut = not (has_failed or is_own_end or has_returned)
        found.append(Recording(trial.index, trial.config, tuple(steps.get(trial.index, ())), error, is_cut))
    return found


def most_at_once(reader: Reader) -> int:
    """How many trials of the experiment ran at the same time, at most."""
    running: set[int] = set()
    n_most = 1
    for kind, trial in reader.query(_SLOTS):
        if kind == "SessionStarted":
            running.clear()
        elif kind == "StartAttempt":
            running.add(trial)
            n_most = max(n_most, len(running))
        else:
            running.discard(trial)
    return n_most
