"""The session: what one attempt knows about itself, and how its reports reach the driver and stop it."""

from __future__ import annotations

import base64
import math
import operator
import os
import pickle
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunesmith.clock import Clock, SystemClock
from tunesmith.errors import CheckpointError, ConfigError, ReportError
from tunesmith.trialside.channel import Channel
from tunesmith.trialside.checkpoint import (
    begin_folder,
    copy_folder,
    discard_folder,
    finish_folder,
    is_empty,
    make_trial_dir,
    path_of,
)
from tunesmith.trialside.metrics import clean_metrics, clean_number, short_repr
from tunesmith.trialside.program_files import STOP_FILE_VARIABLE, write_stop_file
from tunesmith.trialside.wire import decode_config, encode_config

OnStop = Literal["raise", "return"]

#: Names of a report that are Ray Tune's words to the session, not metrics.
_SPECIAL = ("done", "training_iteration", "should_checkpoint")

_VERDICT_WORDS = {
    "stop": "told to stop",
    "complete": "reached its last step",
    "pause": "paused",
    "clone": "goes on from another trial's checkpoint",
}


class TrialStopped(BaseException):
    """Raised inside `report()` when the trial is to end there. Not an Exception, so that `except Exception` lets it by.

    Training code need not catch it; `finally:` blocks run.
    """

    def __init__(self, reason: str, verdict: str = "stop") -> None:
        super().__init__(reason)
        self.reason = reason
        self.verdict = verdict  #: a value of `tunesmith.events.Verdict`, never "continue"


@dataclass(frozen=True, slots=True)
class ReportDecision:
    """What a report was answered."""

    should_stop: bool = False
    reason: str | None = None
    verdict: str = "continue"
    is_interrupted: bool = False  #: the trial is not over: it goes on from its newest checkpoint some other time


@dataclass(frozen=True, kw_only=True)
class TrialFacts:
    """What an attempt is told at its start."""

    experiment_id: str
    experiment_name: str
    trial_index: int
    trial_id: str
    trial_name: str
    attempt: int
    config: dict[str, Any]
    folder: Path  #: the experiment's, absolute
    trial_dir: Path  #: inside `folder`; made when first needed
    resources: Mapping[str, float] = field(default_factory=lambda: {"cpu": 1.0, "gpu": 0.0})
    start_step: int = 0  #: of the start checkpoint; the first automatic step is one above
    start_time_s: float = 0.0  #: training time of the attempts before
    start_checkpoint: Path | None = None
    seed: int = 0

    def as_welcome(self) -> dict[str, Any]:
        """The `welcome` frame that tells these facts to a process of the trial."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        start = None if self.start_checkpoint is None else str(self.start_checkpoint)
        return {
            **facts,
            "type": "welcome",
            "config": encode_config(self.config),
            "folder": str(self.folder),
            "trial_dir": str(self.trial_dir),
            "resources": dict(self.resources),
            "start_checkpoint": start,
        }

    @classmethod
    def from_welcome(cls, welcome: Mapping[str, Any]) -> TrialFacts:
        """The facts in a `welcome` frame; entries unknown to this version are ignored."""
        facts = {name: welcome[name] for name in cls.__dataclass_fields__ if name in welcome}
        start = facts.get("start_checkpoint")
        return cls(
            **{
                **facts,
                "config": _config_in(welcome),
                "folder": Path(facts["folder"]),
                "trial_dir": Path(facts["trial_dir"]),
                "start_checkpoint": None if start is None else Path(start),
            }
        )


def _config_in(welcome: Mapping[str, Any]) -> Any:
    pickled = welcome.get("config_pickle")
    if pickled is None:
        return decode_config(welcome["config"])
    return pickle.loads(base64.b64decode(pickled))  # from our own driver, over a socket that only this user can open


@dataclass(frozen=True, slots=True)
class _Report:
    step: int
    metrics: dict[str, float | int]
    is_last: bool
    checkpoint: Path | None


class Session:
    """One process's part in an attempt. Reports may come from any thread, and from forked children of the process."""

    def __init__(
        self, facts: TrialFacts, channel: Channel, *, clock: Clock | None = None, started_at: float | None = None
    ) -> None:
        """Args: started_at: when the attempt started, by the clock; None: now."""
        self.facts = facts
        self.channel = channel
        #: How the function ended, in the words of the `ended` frame; None while it runs. For what runs at exit.
        self.outcome: str | None = None
        self._clock = clock or SystemClock()
        self._started_at = self._clock.now() if started_at is None else started_at
        self._lock = threading.RLock()  #: guards all that follows, and the channel
        self._is_reporting = False
        #: The last report that was sent and not refused; None before the first of this process.
        self._last: _Report | None = None
        #: The answer to `_last`; None while it is not known.
        self._decision: ReportDecision | None = None
        #: Set once the attempt was told to end; from then on the driver is not asked again.
        self._stop: ReportDecision | None = None
        #: A finished folder that no report has carried yet; the following one will.
        self._pending: Path | None = None
        self._newest_checkpoint = facts.start_checkpoint
        _sessions.add(self)

    @property
    def stop(self) -> ReportDecision | None:
        """The decision that ended the attempt; None while it may go on."""
        return self._stop

    @property
    def last_step(self) -> int:
        """The step of the last report; before the first, the step to start from."""
        return self.facts.start_step if self._last is None else self._last.step

    @property
    def has_reported(self) -> bool:
        """Whether this process handed over a report."""
        return self._last is not None

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint: the last one reported here, else the one to start from."""
        return self._newest_checkpoint

    def time_total_s(self) -> float:
        """Training time of all attempts up to now."""
        return self.facts.start_time_s + self._clock.now() - self._started_at

    def make_trial_dir(self) -> Path:
        """The trial's folder, made where it is missing."""
        return make_trial_dir(self.facts.trial_dir)

    @contextmanager
    def saving(self, label: object) -> Iterator[Path]:
        """A folder to save into; left without an exception, it is complete and goes with the following report.

        The folder gets its final name at the end of the block. Where nothing was saved, nothing goes along.
        """
        partial = begin_folder(self.facts.trial_dir, label, self.facts.attempt)
        try:
            yield partial
            if is_empty(partial):
                discard_folder(partial)
                return
            finished = finish_folder(partial, label)
        except BaseException:
            discard_folder(partial)
            raise
        with self._lock:
            self._pending = finished

    def report(
        self,
        metrics: Mapping[str, Any],
        *,
        step: int | None = None,
        checkpoint: Any = None,
        on_stop: OnStop = "raise",
    ) -> ReportDecision:
        """Hand over the metrics of one step; returns once they are committed, with the decision.

        Args:
            metrics: see `clean_metrics`; `done=True` ends the trial after this report, `training_iteration` is a step.
            step: 1 or more, growing; one more than the last where neither names it.
            checkpoint: a folder saved for this step; without it, the one that `saving` finished last.
            on_stop: "raise" TrialStopped when the trial is to end, or "return" the decision.
        Raises: MetricError, ReportError or CheckpointError for what cannot be stored; DriverLost.
        """
        check_on_stop(on_stop)
        with self._lock:
            decision = self._stop or self._handed_over(metrics, step, checkpoint)
        if decision.should_stop and on_stop == "raise":
            raise TrialStopped(decision.reason or "told to stop", decision.verdict)
        return decision

    def add_checkpoint(self) -> None:
        """Send the folder that `saving` finished after the attempt's last report, for that report's step.

        For trainables that save at their end, which is known only from the answer. The driver may decline.
        """
        with self._lock:
            if self._last is None or self._pending is None:
                return
            self._last = _Report(self._last.step, self._last.metrics, True, self._pending)
            self._pending = None
            try:
                self._send(self._last)
            except ReportError:
                pass

    def _handed_over(self, metrics: Mapping[str, Any], step: int | None, checkpoint: Any) -> ReportDecision:
        if self._is_reporting:
            raise ReportError("report() was called inside report(), by a signal handler or a hook. Report after it.")
        cleaned, asked_step, is_last = parse_report(metrics, step)
        step = self.last_step + 1 if asked_step is None else asked_step
        self._is_reporting = True
        try:
            report = self._next_report(cleaned, step, is_last, checkpoint)
            return self._decision if report is None and self._decision is not None else self._sent(report)
        finally:
            self._is_reporting = False

    def _next_report(
        self, metrics: dict[str, float | int], step: int, is_last: bool, checkpoint: Any
    ) -> _Report | None:
        """The report to send; None where it repeats the last one."""
        last = self._last
        if last is None or step > last.step:
            return _Report(step, metrics, is_last, self._folder_for(step, checkpoint))
        if step < last.step:
            raise ReportError(
                f"Step {step} was reported after step {last.step}. Steps grow within an attempt: "
                "leave step= out to have them counted, or give each report a higher one."
            )
        if not _is_equal(metrics, last.metrics):
            raise ReportError(
                f"Step {step} was reported twice with different metrics: {short_repr(last.metrics)}, then "
                f"{short_repr(metrics)}. Report all metrics of a step at once, or give the second a higher step."
            )
        if checkpoint is not None:
            raise ReportError(
                f"Step {step} was reported already, without this checkpoint. Give it with the step's first report."
            )
        return None

    def _sent(self, report: _Report | None) -> ReportDecision:
        """Send a new report, or (None) once more the last one, whose answer an exception kept away."""
        before = self._last, self._decision, self._pending
        if report is not None:
            self._last, self._decision, self._pending = report, None, None
        assert self._last is not None
        try:
            self._decision = self._send(self._last)
        except ReportError:
            self._last, self._decision, self._pending = before
            raise
        if self._decision.should_stop:
            self._stop = self._decision
            if STOP_FILE_VARIABLE in os.environ:  # within a program, whose other processes look for the file
                write_stop_file(os.environ[STOP_FILE_VARIABLE], self._decision.reason or self._decision.verdict)
        return self._decision

    def _send(self, report: _Report) -> ReportDecision:
        folder = report.checkpoint
        answer = self.channel.report(
            report.step,
            report.metrics,
            time_total_s=self.time_total_s(),
            checkpoint=None if folder is None else folder.relative_to(self.facts.folder).as_posix(),
            is_last=report.is_last,
        )
        self._newest_checkpoint = folder or self._newest_checkpoint
        if answer.verdict != "continue":
            words = answer.reason or _VERDICT_WORDS.get(answer.verdict, answer.verdict)
            return ReportDecision(True, words, answer.verdict, answer.is_interrupted)
        if report.is_last:
            return ReportDecision(True, "done=True was reported", "complete")
        return ReportDecision(False, answer.reason)

    def _folder_for(self, step: int, checkpoint: Any) -> Path | None:
        if checkpoint is None:
            return self._pending
        path = path_of(checkpoint)
        if path == self._pending:
            return path
        # A folder that a report carried before is copied too: retention may delete one and not the other.
        try:
            return copy_folder(path, self.facts.trial_dir, step, self.facts.attempt)
        except OSError as error:
            raise CheckpointError(f"The checkpoint {str(path)!r} cannot be copied: {error}.") from error

    def _after_fork(self) -> None:
        """In a forked child: a lock held by a thread that does not exist here would never be given back."""
        self._lock = threading.RLock()
        self._is_reporting = False


def parse_report(metrics: Mapping[str, Any], step: Any) -> tuple[dict[str, float | int], int | None, bool]:
    """The metrics cleaned and without Ray Tune's special names, the step asked for, and whether it is the last report.

    Raises: MetricError or ReportError.
    """
    is_last = False
    if isinstance(metrics, Mapping) and any(name in metrics for name in _SPECIAL):
        rest = dict(metrics)
        is_last = bool(clean_number("done", rest.pop("done", False)))
        iteration = rest.pop("training_iteration", step)
        if step is not None and iteration != step:
            raise ReportError(f"The report has step={step!r} and training_iteration={iteration!r}. Give one of them.")
        rest.pop("should_checkpoint", None)
        metrics, step = rest, iteration
    cleaned = clean_metrics(metrics)
    if "mean_loss" in cleaned:
        cleaned.setdefault("neg_mean_loss", -cleaned["mean_loss"])
    return cleaned, None if step is None else _checked_step(step), is_last


def check_on_stop(on_stop: str) -> None:
    """Raise ConfigError unless it is one of the two words."""
    if on_stop not in ("raise", "return"):
        raise ConfigError(f"on_stop is {on_stop!r}. Give 'raise' or 'return'.")


def _checked_step(step: Any) -> int:
    try:
        number = 0 if isinstance(step, bool) else operator.index(step)
    except TypeError:
        number = 0
    if number < 1:
        raise ReportError(
            f"The step (training_iteration) is {short_repr(step)}. Give a whole number of 1 or more; "
            "a loop that counts from 0 reports step=i + 1."
        )
    return number


def _is_equal(left: Mapping[str, float], right: Mapping[str, float]) -> bool:
    """Whether both hold the same numbers; NaN equals NaN."""
    return left.keys() == right.keys() and all(
        value == right[name] or (math.isnan(value) and math.isnan(right[name])) for name, value in left.items()
    )


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _renew_locks() -> None:
    for session in list(_sessions):
        session._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
