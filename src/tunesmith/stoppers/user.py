"""Rules that users write: a function, or a class in Ray Tune's form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, Decision, Record, StartAttempt, TrialReported, Verdict
from tunesmith.stoppers.result import result_dict
from tunesmith.trial import Trial


class Stopper(ABC):
    """Base for stoppers in Ray Tune's form. May remember what it likes; after a resume it begins anew.

    A stopper that must know the whole history after a resume is written on `tunesmith.protocols.Stopper`.
    """

    @abstractmethod
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial should stop. Called once for each report."""

    @abstractmethod
    def stop_all(self) -> bool:
        """Whether the whole experiment should end."""


class FunctionStopper:
    """Stops a trial when `function(trial_id, result)` is true.

    The function is called for live reports only, never when a log is replayed. What it raises is not caught.
    """

    def __init__(self, function: Callable[[str, dict[str, Any]], bool]) -> None:
        if not callable(function) or isinstance(function, type):
            raise ConfigError(f"The stopper is {function!r}. Give a function of (trial_id, result), not a class.")
        self._function = function
        self._name = str(getattr(function, "__name__", type(function).__name__))
        #: Training time of each trial up to its last report, or to the checkpoint that its attempt started from.
        self._time_s: dict[int, float] = {}

    def observe(self, record: Record) -> None:
        """Remember the training time, for `time_this_iter_s`."""
        if isinstance(record, StartAttempt):
            self._time_s[record.trial] = record.start_time_s
        elif isinstance(record, TrialReported):
            self._time_s[record.trial] = record.time_total_s

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """STOP where the function says so."""
        result = result_dict(trial, report, previous_time_s=self._time_s.get(report.trial, 0.0))
        if not self._function(trial.trial_id, result):
            return CONTINUE
        return Decision(Verdict.STOP, "stopped by {name}", {"name": self._name})

    def should_end(self) -> str | None:
        """Never."""
        return None


class StopperAdapter(FunctionStopper):
    """Makes a stopper in Ray Tune's form one of ours."""

    def __init__(self, stopper: Stopper) -> None:
        super().__init__(stopper)
        self._stopper = stopper

    def should_end(self) -> str | None:
        """What `stop_all` says."""
        return f"{self._name}.stop_all() is true" if self._stopper.stop_all() else None
